"""`RunSearch` over runs in memory, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from winnow.testing.tracker import MemoryRun
from winnow.tracking import projection
from winnow.tracking.run_search import Condition, Order, TrackedRun


class MemoryRunSearch:
    """`RunSearch` over runs in memory."""

    def __init__(self, runs: Iterable[MemoryRun | TrackedRun]) -> None:
        self._runs = [run if isinstance(run, TrackedRun) else _from_memory(run) for run in runs]

    def sweep(self, study: str) -> TrackedRun | None:
        return next(self._search(study, [Condition("tag", projection.KIND, "=", "sweep")], []), None)

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        return self._search(study, [Condition("tag", projection.KIND, "=", "trial"), *conditions], order)

    def _search(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        of_study = [Condition("tag", projection.STUDY, "=", study), *conditions]
        found = [run for run in self._runs if all(condition.accepts(run) for condition in of_study)]
        found.sort(key=lambda run: (*(one.key(run) for one in order), run.started_at_ms, run.run_id))
        return iter(found)


def _from_memory(run: MemoryRun) -> TrackedRun:
    return TrackedRun(run.run_id, run.name, run.params, run.metrics, run.tags, run.started_at_ms)
