"""Finds runs by conditions and order with MLflow's own search, so that ten thousand runs cost little more than ten.

`model_query` decides what to search for, and filters what MLflow's search cannot express.
"""

from __future__ import annotations

import functools
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
    """A run in the tracking store, such as `trial 003`, with the newest value of each metric."""

    run_id: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    started_at_ms: int

    @property
    def trial(self) -> int | None:
        """The trial's number; None if the run is not a trial's."""
        number = self.tags.get(projection.TRIAL)
        return None if number is None else int(number)

    @property
    def state(self) -> str | None:
        """The trial's last written state."""
        return self.tags.get(projection.STATE)


@dataclass(frozen=True)
class Condition:
    """A condition such as `metrics.f1 >= 0.9`. A run without the name never meets it."""

    kind: Literal["metric", "param", "tag"]
    name: str
    comparison: Comparison
    value: float | str

    def accepts(self, run: TrackedRun) -> bool:
        """Whether a run meets the condition."""
        values: Mapping[str, Any] = {"metric": run.metrics, "param": run.params, "tag": run.tags}[self.kind]
        return self.name in values and _COMPARE[self.comparison](values[self.name], self.value)

    def text(self) -> str | None:
        """The condition in MLflow's filter language; None if that cannot express it (a quote in a name or value)."""
        quotes = "`\"'"
        if any(quote in self.name for quote in quotes):
            return None
        if isinstance(self.value, str):
            return None if "'" in self.value else f"{self.kind}s.`{self.name}` {self.comparison} '{self.value}'"
        # MLflow parses 1e20 as a number, but not 1e+20.
        number = repr(float(self.value)).replace("+", "")
        return f"{self.kind}s.`{self.name}` {self.comparison} {number}"


@dataclass(frozen=True)
class Order:
    """An order of runs by a metric, the best value first; runs without it, or with NaN, come last."""

    metric: str
    goal: Literal["maximize", "minimize"]

    def key(self, run: TrackedRun) -> tuple[bool, float]:
        """A sort key."""
        value = run.metrics.get(self.metric)
        if value is None or math.isnan(value):
            return True, 0.0
        return False, -value if self.goal == "maximize" else value

    def text(self) -> str:
        """The order in MLflow's language."""
        return f"metrics.`{self.metric}` {'DESC' if self.goal == 'maximize' else 'ASC'}"


class RunSearch(Protocol):
    """Finds the runs of a study."""

    def sweep(self, study: str) -> TrackedRun | None:
        """The parent run of a study; None if it has none."""

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        """The trials that meet all conditions, in this order, then by start and run id; fetched lazily."""


class MlflowRunSearch:
    """`RunSearch` in an MLflow store. Every call raises TrackingUnavailableError if it does not answer."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def sweep(self, study: str) -> TrackedRun | None:
        """The parent run of a study; None if it has none."""
        return next(self._search(study, [Condition("tag", projection.KIND, "=", "sweep")], []), None)

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        """The trials that meet all conditions; see `RunSearch`."""
        return self._search(study, [Condition("tag", projection.KIND, "=", "trial"), *conditions], order)

    def page_of(self, study: str) -> str | None:
        """The path of a study's page in MLflow's UI; None if there is no such study."""
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

    @functools.cached_property
    def _client(self) -> Any:
        refresh_statistics(self._uri)
        return open_client(self._uri)


def _distinct(texts: Iterable[str]) -> list[str]:
    """The first mention of each column: MLflow refuses repetitions, which would have no effect."""
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
