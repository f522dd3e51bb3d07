"""Finds runs by conditions and order, in the store rather than here: ten thousand runs cost little more than ten.

Conditions and orders are those that MLflow's own search knows. What a condition is for, and what is done where MLflow
knows none, is left to `model_query`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from winnow.tracking import projection
from winnow.tracking.connection import failures_as_unavailable, open_client
from winnow.tracking.store import refresh_statistics

Comparison = Literal["=", "!=", "<", "<=", ">", ">="]

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FIRST_PAGE, _LARGEST_PAGE = 32, 1000


@dataclass(frozen=True)
class TrackedRun:
    """A run as the tracking store has it.

    Attributes:
        run_id: the store's id of the run.
        name: the run's name: `trial 003`.
        params: parameters as text, by name.
        metrics: the newest value of each metric, by name.
        tags: tags by name.
        started_at_ms: milliseconds since the epoch.
    """

    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started_at_ms: int

    @property
    def trial(self) -> int | None:
        """Number of the trial in its study; None for a run that is not a trial's."""
        number = self.tags.get(projection.TRIAL)
        return None if number is None else int(number)

    @property
    def state(self) -> str | None:
        """The trial's state when it was last written."""
        return self.tags.get(projection.STATE)


@dataclass(frozen=True)
class Condition:
    """`metrics.f1 >= 0.9`. A run without the name does not meet it, whatever the comparison."""

    kind: Literal["metric", "param", "tag"]
    name: str
    comparison: Comparison
    value: float | str

    def accepts(self, run: TrackedRun) -> bool:
        """Whether a run meets it."""
        values: Mapping[str, Any] = {"metric": run.metrics, "param": run.params, "tag": run.tags}[self.kind]
        return self.name in values and _COMPARE[self.comparison](values[self.name], self.value)

    def text(self) -> str | None:
        """In MLflow's filter language; None where that cannot say it (a quote inside a value)."""
        quotes = "`\"'"
        if any(quote in self.name for quote in quotes):
            return None
        if isinstance(self.value, str):
            return None if "'" in self.value else f"{self.kind}s.`{self.name}` {self.comparison} '{self.value}'"
        # MLflow's parser takes 1e20 for a number, but not 1e+20.
        number = repr(float(self.value)).replace("+", "")
        return f"{self.kind}s.`{self.name}` {self.comparison} {number}"


@dataclass(frozen=True)
class Order:
    """An order of runs by a metric; runs without it, or where it is not a number, come last.

    Attributes:
        metric: the metric's name.
        goal: whether the largest or the smallest value comes first.
    """

    metric: str
    goal: Literal["maximize", "minimize"]

    def key(self, run: TrackedRun) -> tuple[bool, float]:
        """Smaller is earlier."""
        value = run.metrics.get(self.metric)
        if value is None or math.isnan(value):
            return True, 0.0
        return False, -value if self.goal == "maximize" else value

    def text(self) -> str:
        """In MLflow's words."""
        return f"metrics.`{self.metric}` {'DESC' if self.goal == 'maximize' else 'ASC'}"


class RunSearch(Protocol):
    """Finds the runs of a study."""

    def sweep(self, study: str) -> TrackedRun | None:
        """The parent run of a study, or None where it has none."""

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        """The trials that meet all conditions, in order, then by start and run id; fetched as they are consumed."""


class MlflowRunSearch:
    """`RunSearch` in a store of MLflow's. Raises TrackingUnavailableError where that is away."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._opened: Any = None

    def sweep(self, study: str) -> TrackedRun | None:
        """The parent run of a study, or None where it has none."""
        return next(self._search(study, [Condition("tag", projection.KIND, "=", "sweep")], []), None)

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        """The trials that meet all conditions; see `RunSearch`."""
        return self._search(study, [Condition("tag", projection.KIND, "=", "trial"), *conditions], order)

    def page_of(self, study: str) -> str | None:
        """The path of a study's table in MLflow's UI, or None where there is no such study."""
        experiment_id = self._experiment_id(study)
        return None if experiment_id is None else projection.page(experiment_id)

    def _search(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        experiment_id = self._experiment_id(study)
        if experiment_id is None:
            return
        filters = " and ".join(text for condition in conditions if (text := condition.text()) is not None)
        order_by = [*_distinct(one.text() for one in order), "attributes.start_time ASC"]
        size, token = _FIRST_PAGE, None
        while True:
            with failures_as_unavailable():
                page = self._client.search_runs(
                    [experiment_id], filters, max_results=size, order_by=order_by, page_token=token
                )
            for found in page:
                run = _tracked(found)
                if all(condition.accepts(run) for condition in conditions):
                    yield run
            size, token = min(size * 4, _LARGEST_PAGE), page.token
            if not token:
                return

    def _experiment_id(self, study: str) -> str | None:
        with failures_as_unavailable():
            experiment = self._client.get_experiment_by_name(study)
        return None if experiment is None else str(experiment.experiment_id)

    @property
    def _client(self) -> Any:
        if self._opened is None:
            refresh_statistics(self._uri)
            self._opened = open_client(self._uri)
        return self._opened


def _distinct(texts: Iterable[str]) -> list[str]:
    """The first mention of each column: MLflow refuses a second, and it would decide nothing."""
    by_column: dict[str, str] = {}
    for text in texts:
        by_column.setdefault(text.rpartition(" ")[0], text)
    return list(by_column.values())


def _tracked(found: Any) -> TrackedRun:
    return TrackedRun(
        run_id=str(found.info.run_id),
        name=str(found.info.run_name),
        params=found.data.params,
        metrics=found.data.metrics,
        tags=found.data.tags,
        started_at_ms=int(found.info.start_time),
    )
