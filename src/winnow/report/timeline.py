"""Which worker trained what, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.report.facts import Facts
from winnow.report.timescale import Timescale
from winnow.study.formatting import duration
from winnow.study.view import StudyView

FEW_BARS = 1500
"""With more bars, there is one per trial instead of one per fold or pack of folds."""


@dataclass(frozen=True)
class Job:
    """The folds that a worker trained together as one model.

    Attributes:
        members: (index of the trial, fold) pairs.
    """

    worker: str
    start_ms: int
    end_ms: int
    members: tuple[tuple[int, int], ...]

    @property
    def trials(self) -> tuple[int, ...]:
        """The indices of its trials."""
        return tuple(dict.fromkeys(trial for trial, _ in self.members))


def jobs_of(facts: Facts) -> list[Job]:
    """All trained folds, by worker and time. Folds with the same start and end are one job."""
    found: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
    for index, trial in enumerate(facts.trials):
        for fold in trial.record.folds:
            found.setdefault((fold.worker, fold.started_at_ms, fold.ended_at_ms), []).append((index, fold.fold))
    return [Job(*place, tuple(members)) for place, members in sorted(found.items())]


def timeline(view: StudyView, facts: Facts, jobs: Sequence[Job], scale: Timescale) -> dict[str, Any]:
    """One row per worker with one bar per job, and the lost attempts, failed trials and pauses.

    Positions and lengths are in the scale's unit. A stretch is a worker's consecutive jobs of the same trials. Its bars
    are [start, length, number of folds, text]. If there are too many, they are merged into one.
    """
    is_merged = len(jobs) > FEW_BARS
    lanes = {worker: lane for lane, worker in enumerate(facts.workers)}
    stretches = []
    for stretch in _stretches(jobs):
        bars = [_merged(stretch)] if is_merged else stretch
        stretches.append(
            {
                "lane": lanes[stretch[0].worker],
                "trials": stretch[0].trials,
                "bars": [
                    [*_span(scale, job.start_ms, job.end_ms), len(job.members), _text(job, is_merged)] for job in bars
                ],
            }
        )
    lost = []
    for each in view.incidents:
        began_ms = each.at_ms if each.started_at_ms is None else each.started_at_ms
        text = f"trial {each.trial}, attempt {each.attempt}: {each.what}"
        lost.append([lanes[each.worker], *_span(scale, began_ms, each.at_ms), text])
    failures = [
        [lanes[max(trial.record.folds, key=lambda fold: fold.ended_at_ms).worker], scale.at(ended_ms), index]
        for index, trial in enumerate(facts.trials)
        if trial.record.state == "failed" and trial.record.folds and (ended_ms := trial.record.ended_at_ms) is not None
    ]
    return {
        "isMerged": is_merged,
        "unit": scale.unit,
        "length": scale.length,
        "lanes": facts.workers,
        "stretches": stretches,
        "lost": lost,
        "failures": failures,
        "pauses": [[place, f"paused {duration(seconds)}"] for place, seconds in scale.pauses],
    }


def _stretches(jobs: Sequence[Job]) -> list[list[Job]]:
    found: list[list[Job]] = []
    for job in jobs:
        last = found[-1][-1] if found else None
        if last and (last.worker, last.trials) == (job.worker, job.trials) and _follows(job, last):
            found[-1].append(job)
        else:
            found.append([job])
    return found


def _follows(job: Job, last: Job) -> bool:
    """Whether the gap between two jobs is too short for a lost attempt or a pause."""
    return job.start_ms - last.end_ms <= max(last.end_ms - last.start_ms, 500)


def _merged(jobs: Sequence[Job]) -> Job:
    members = tuple(member for job in jobs for member in job.members)
    return Job(jobs[0].worker, jobs[0].start_ms, jobs[-1].end_ms, members)


def _text(job: Job, is_merged: bool) -> str:
    count = len(job.members)
    what = f"fold {job.members[0][1] + 1}" if count == 1 else f"{count} folds{'' if is_merged else ' at once'}"
    return f"{what}: {duration((job.end_ms - job.start_ms) / 1000)}"


def _span(scale: Timescale, start_ms: int, end_ms: int) -> tuple[float, float]:
    start = scale.at(start_ms)
    return float(f"{start:.6g}"), float(f"{scale.at(end_ms) - start:.4g}")
