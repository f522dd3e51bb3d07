"""The world of a worker group: ranks that are started when a job needs them, and answer one job at a time.

If a job's own fault ends the ranks, that fault is the answer. Ranks that are lost (a signal, a machine) raise an error,
and the next job starts others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.functions import names_data_function
from winnow.config.next_command import next_command, next_flag
from winnow.study.leases import Failure
from winnow.tracking.records import SweepRecord
from winnow.training.messages import (
    EpochScored,
    EpochVerdict,
    Failed,
    FoldFailed,
    FoldResult,
    FoldsTrained,
    FromRank,
    Progress,
    Ready,
    Refit,
    Refitted,
    TrainFolds,
)
from winnow.worker.ranks import Ranks, RanksEndedError
from winnow.worker.stop import Stop

_log = logging.getLogger(__name__)

TAIL_LINES = 15
STARTUP_TIMEOUT_S = 600.0
FAILED_STARTS = 2
"""After so many worlds in a row that ended before they were ready, the group gives up."""


class CannotStartError(Exception):
    """The group's ranks do not come up."""

    def __init__(self, ended: RanksEndedError) -> None:
        self.ended = ended
        super().__init__(ended.what)


class WorldLostError(Exception):
    """The world ended, or cannot start, through no fault of its job.

    Attributes:
        is_lost: whether this counts as a loss of the job's trial; False if the world was asked to end.
    """

    def __init__(self, what: str, *, is_lost: bool) -> None:
        self.what = what
        self.is_lost = is_lost
        super().__init__(what)


@dataclass(eq=False)
class World:
    """The ranks of one group, as its supervisor uses them.

    Args:
        stop: checked while the supervisor waits for the ranks.
        on_progress: called with the epoch (1-based) and the number of epochs.
    """

    ranks: Ranks
    sweep: SweepRecord
    group: str
    stop: Stop
    startup_timeout_s: float
    on_start: Callable[[], None]
    on_progress: Callable[[int, int], None]
    should_stop: Callable[[EpochScored], bool]
    _failed_starts: int = 0
    _guilty_log: Path | None = None

    def ensure_ready(self) -> None:
        """Start the ranks, unless they are running, and wait until they are ready.

        Raises:
            WorldLostError: one of the group's nodes is missing.
            CannotStartError: the ranks do not come up.
            InputError: they have other rows or other code than the study.
        """
        while not self.ranks.are_running:
            if not self.ranks.nodes.are_complete:
                raise _node_missing()
            self.on_start()
            self.ranks.start()
            try:
                ready = self._await_ready()
            except RanksEndedError as ended:
                failure = ended.failure
                if failure is None and not self.ranks.nodes.are_complete:
                    raise _node_missing() from ended
                if failure is not None and failure.kind == "other_data":
                    raise other_data(self.sweep, self.group, ended.what) from ended
                if failure is not None and failure.kind == "other_code":
                    raise other_code(self.sweep, self.group, ended.what) from ended
                self._failed_starts += 1
                if failure is not None or self._failed_starts >= FAILED_STARTS:
                    raise CannotStartError(ended) from ended
                continue
            self._failed_starts = 0
            _log.info("%d rank(s) on %s, ready after %.1f s", ready.world_size, ready.device, ready.startup_s)

    def train(self, job: TrainFolds) -> Iterator[tuple[FoldResult, ...]]:
        """The ranks' answers, as folds end. If a fold ends the ranks, its failure is the last answer.

        Raises:
            WorldLostError: the ranks ended, and no single fold is known to be at fault.
        """
        waiting = {(member.trial, member.fold) for member in job.members}
        try:
            self._send(job)
            while waiting:
                answer = self._answer()
                assert isinstance(answer, FoldsTrained), "folds are answered by folds"
                waiting -= {(result.trial, result.fold) for result in answer.results}
                yield answer.results
        except RanksEndedError as ended:
            failure = self._failure_of(ended)
            fold = ended.fold or (min(waiting) if len(waiting) == 1 else None)
            if fold is None:
                raise WorldLostError(ended.what, is_lost=not ended.is_asked) from ended
            yield (FoldFailed(*fold, failure),)

    def refit(self, job: Refit) -> Refitted | Failed:
        """The ranks' answer, `Failed` if the refit ended them. Raises WorldLostError."""
        try:
            self._send(job)
            answer = self._answer()
        except RanksEndedError as ended:
            return self._failure_of(ended)
        assert isinstance(answer, Refitted | Failed), "a refit is answered by a refit"
        return answer

    def failure(self, failed: Failed) -> Failure:
        """The end of the traceback, or of what the guilty rank wrote in this job, and where the whole log is."""
        log = self._guilty_log or self.ranks.first_log
        text = failed.detail or self.ranks.written_in_job(log)
        return Failure(tuple(text.rstrip().splitlines()[-TAIL_LINES:]), str(log))

    def _send(self, job: TrainFolds | Refit) -> None:
        self._guilty_log = None
        self.ranks.send(job)

    def _failure_of(self, ended: RanksEndedError) -> Failed:
        """How the job ended the ranks. Raises WorldLostError if it did not."""
        _log.warning("%s; log: %s", ended.what, ended.log)
        self._guilty_log = ended.log
        if ended.failure is None:
            raise WorldLostError(ended.what, is_lost=not ended.is_asked) from ended
        return ended.failure

    def _answer(self) -> FromRank:
        while True:
            self.stop.check()
            message = self.ranks.receive(timeout_s=0.5)
            if isinstance(message, Progress):
                self.on_progress(message.epoch, message.epochs)
            elif isinstance(message, EpochScored):
                self.ranks.answer(EpochVerdict(self.should_stop(message)))
            elif message is not None:
                return message

    def _await_ready(self) -> Ready:
        deadline = time.monotonic() + self.startup_timeout_s
        nodes = self.ranks.nodes
        while time.monotonic() < deadline:
            self.stop.check()
            message = self.ranks.receive(timeout_s=0.5)
            if isinstance(message, Ready):
                return message
            if not (nodes.are_complete and nodes.have_all_their_parts):
                raise self.ranks.end_in_vain()
        self.ranks.stop()
        what = f"its ranks were not ready within {self.startup_timeout_s:.0f} s"
        raise RanksEndedError(what, self.ranks.first_log)


def _node_missing() -> WorldLostError:
    return WorldLostError("one of its nodes is missing", is_lost=False)


def other_data(sweep: SweepRecord, group: str, what: str) -> InputError:
    """The error for ranks with other rows than the study. `what`: which rank, and the digest of its rows."""
    if names_data_function(sweep.data_source):
        cause = (
            "The data function gives other rows in each process; seed it. If it is seeded, it computes values that "
            "differ between machines: round them."
        )
    else:
        cause = "The data has changed since the study was made, or this machine reads it with other packages. A query "
        cause += "needs an ORDER BY, so that its rows have one order."
    return InputError(
        f"data.source of study {sweep.study!r}",
        expected=f"the rows that the study was made with (sha256 {sweep.data_sha256[:12]}) in worker {group}",
        found=f"others ({what})",
        remedy=f"{cause} No trial was spent, but the study keeps its rows: delete it "
        f"(`{next_command('delete-study', study=sweep.study)}`), or start one of another name "
        f"({next_flag('study', ...)}).",
    )


def other_code(sweep: SweepRecord, group: str, what: str) -> InputError:
    """The error for ranks with other code than the study. `what`: which rank, and which files differ."""
    return InputError(
        f"the code of worker {group}",
        expected=f"the files that study {sweep.study!r} was started with",
        found=f"others ({what})",
        remedy="Change them back, or have the image built from the same code. To go on with changed code, stop the "
        f"workers with `{next_command('cancel', study=sweep.study)}` and start again with "
        f"{next_flag('allow_changed_code', True)}. No trial was spent.",
    )
