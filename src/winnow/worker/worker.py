"""A worker group's supervisor: claims trials, has its ranks train them, and keeps the study.

It never imports torch, so that it starts at once, stays small, and lives when the ranks die. One claim after another:

    claim → (sample) → for each fold: train → record → worth another? → finish
                     → after the last trial: refit → register;  report

Whatever happens to the ranks is settled here and now: a fault of the trial ends it as failed, with its reason; a loss
(a signal, a machine) hands it back to be continued at the fold it was lost in, and counts, unless the machine had been
asked to stop. A study that cannot be reached is waited for; the tracking store never is, except by a refit that has a
model to hand over.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from optuna.trial import TrialState

from winnow.config.errors import InputError, WinnowError
from winnow.config.functions import names_data_function
from winnow.config.next_command import next_command, next_flag
from winnow.study.leases import Failure, Lease, LeaseLostError, Leases
from winnow.study.projector import Projector, keep_in, reconcile
from winnow.study.pruning import is_hopeless
from winnow.study.retry import Retry
from winnow.study.space import decode, distributions, propose
from winnow.study.status import WorkerState, WorkerStatus
from winnow.study.store import StudyStore
from winnow.tracking.records import FoldRecord, SweepRecord, TrialRecord
from winnow.tracking.tracker import Tracker, TrackingUnavailableError
from winnow.training.messages import Failed, FoldScored, FromRank, Progress, Ready, Refit, Refitted, TrainFold
from winnow.worker.heartbeat import Heartbeat
from winnow.worker.ranks import Ended, Ranks, RanksEndedError
from winnow.worker.stop import Stop, StopRequestedError

_log = logging.getLogger(__name__)

IDLE_POLL_S = 0.2
TAIL_LINES = 15
STARTUP_TIMEOUT_S = 600.0
FAILED_STARTS = 2
"""Worlds in a row that end before they are ready, after which the group gives up: it is not going to get better."""


class CannotStartError(Exception):
    """The group's ranks do not come up."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended
        super().__init__(ended.what)


class NodesGoneError(WinnowError):
    """Other nodes of the group are not there, and were waited for too long."""


class _NodeMissingError(Exception):
    """A node was lost before the ranks were up: what is held is handed back while it is waited for."""


@dataclass(frozen=True)
class Identity:
    """Who works: `group` for every life of it, `owner` for this one."""

    group: str
    owner: str
    host: str


class Worker:
    """One life of one worker group.

    Args:
        store: the study.
        ranks: its ranks, not yet started.
        tracker: makes a client of the tracking store.
        write_report: writes the study's report to a file.
        identity: who this is.
        stop: set when it shall end.
        is_dead: whether a group of this host is gone, where that can be seen.
        startup_timeout_s: how long its ranks may take to come up.
        clock_ms: milliseconds since the epoch.
    """

    def __init__(
        self,
        store: StudyStore,
        ranks: Ranks,
        tracker: Callable[[], Tracker],
        write_report: Callable[[StudyStore, Path], None],
        identity: Identity,
        stop: Stop,
        is_dead: Callable[[str], bool] = lambda _group: False,
        startup_timeout_s: float = STARTUP_TIMEOUT_S,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._ranks = ranks
        self._make_tracker = tracker
        self._write_report = write_report
        self._identity = identity
        self._stop = stop
        self._is_dead = is_dead
        self._startup_timeout_s = startup_timeout_s
        self._clock_ms = clock_ms
        self._experiment = store.header.experiment
        self._sweep = store.header.sweep
        self._space = distributions(self._experiment.search.space)
        self._leases: Leases = store.leases()
        self._retrying = Retry(self._experiment.execution.storage_patience_s, stop.check)
        self._projector = Projector(store, tracker)
        self._heartbeat = Heartbeat(store, self._leases, identity.owner, identity.group, identity.host)
        self._failed_starts = 0
        self._guilty_log: Path | None = None

    def run(self) -> None:
        """Work until the study is done.

        Raises:
            StopRequestedError: it was asked to end.
            CannotStartError: its ranks do not come up.
            NodesGoneError: other nodes of the group are missing.
            InputError: its ranks have other rows or other code than the study.
        """
        self._retrying(self._leases.give_back_group, self._identity.group, "its worker died", keep=self._identity.owner)
        self._projector.start()
        self._show("starting")
        with self._heartbeat:
            try:
                while (lease := self._next()) is not None:
                    self._work_on(lease)
            finally:
                self._ranks.stop()
                is_flushed = self._projector.close(0.5 if self._stop.is_requested else 30.0)
                if not is_flushed:
                    _log.warning("the tracking store has not heard everything; the next run of the study tells it")

    # Claiming

    def _next(self) -> Lease | None:
        while True:
            self._stop.check()
            self._await_nodes()
            claimed = self._retrying(self._leases.claim, self._identity.owner, self._identity.group)
            if isinstance(claimed, Lease):
                self._heartbeat.hold(claimed)
                return claimed
            if claimed.is_done:
                return None
            self._show("waiting")
            self._take_back_from_the_dead()
            time.sleep(IDLE_POLL_S)

    def _await_nodes(self) -> None:
        """Claim nothing while a node is missing: others can train it meanwhile."""
        patience_s = self._experiment.execution.storage_patience_s
        deadline = time.monotonic() + patience_s
        while self._ranks.lack_nodes and not self._retrying(self._store.is_done):
            self._show("waiting")
            if time.monotonic() > deadline:
                raise NodesGoneError(
                    f"worker {self._identity.group}: expected its other nodes, found that one is missing for "
                    f"{patience_s:g} s. See what became of it; the sweep goes on without this worker."
                )
            self._stop.check()
            time.sleep(IDLE_POLL_S)

    def _take_back_from_the_dead(self) -> None:
        """Not wait for the leases of groups that can be seen to be gone."""
        for life in self._retrying(self._store.workers):
            if life.host != self._identity.host or life.group == self._identity.group:
                continue
            # Asked before: the group may be started again, and hold something new, while we look.
            owners = self._retrying(self._leases.owners, life.group)
            if owners and self._is_dead(life.group):
                self._retrying(self._leases.give_back_group, life.group, "its worker died", of=owners)

    def _work_on(self, lease: Lease) -> None:
        try:
            match lease.kind:
                case "trial":
                    self._work_on_trial(lease)
                case "refit":
                    self._work_on_refit(lease)
                case "report":
                    self._work_on_report(lease)
        except LeaseLostError as lost:
            _log.warning("passed on to another worker meanwhile: %s", lost)
        except _NodeMissingError:
            _log.warning("a node is missing; what it was to train is handed back")
            self._retrying(self._leases.give_back, lease, "one of its nodes is missing", is_lost=False)
        except StopRequestedError:
            self._leases.give_back(lease, "it was asked to stop", is_lost=False)
            raise
        except CannotStartError as error:
            self._leases.give_back(lease, error.ended.what, is_lost=False)
            raise
        except InputError as error:
            self._leases.give_back(lease, str(error), is_lost=False)
            raise
        finally:
            self._heartbeat.hold(None)
            if lease.kind != "report":
                self._projector.changed(lease.number)

    # Trials

    def _work_on_trial(self, lease: Lease) -> None:
        trial = self._with_params(lease)
        if len(trial.folds) < self._sweep.folds:
            # Before the tracking store is told: loading its client would compete with the ranks' start for the CPUs.
            self._ensure_ranks()
        self._projector.changed(lease.number)
        scored = {fold.fold: fold for fold in trial.folds}
        for fold in range(self._sweep.folds):
            if fold in scored:
                continue
            outcome = self._train_fold(lease, trial, fold)
            if isinstance(outcome, Failed):
                reason = f"fold {fold + 1}: {outcome.reason}"
                _log.info("trial %d failed, %s", trial.number, reason)
                self._retrying(self._leases.finish_trial, lease, "failed", None, reason, self._failure(outcome))
                return
            if outcome is None:
                return
            scored[fold] = outcome
            self._retrying(self._leases.record_fold, lease, outcome, self._score(outcome))
            if len(scored) < self._sweep.folds and self._is_hopeless(scored):
                side = "below" if self._sweep.goal == "maximize" else "above"
                reason = f"its mean after {len(scored)} fold(s) is {side} the median"
                self._retrying(self._leases.finish_trial, lease, "pruned", self._mean(scored), reason)
                return
            self._projector.changed(lease.number)
        self._retrying(self._leases.finish_trial, lease, "complete", self._mean(scored))

    def _with_params(self, lease: Lease) -> TrialRecord:
        """The trial with its parameters: those it had before it was lost, or new ones."""
        trial = self._retrying(self._store.trial, lease.number)
        if trial.params.keys() >= self._space.keys():
            return trial
        frozen = self._retrying(self._store.frozen, lease.number)
        search = self._experiment.search
        stored = self._retrying(
            propose, self._store.study, frozen, self._space, sampler=search.sampler, seed=search.seed
        )
        self._retrying(self._leases.set_params, lease, stored, self._space)
        return replace(trial, params=decode(search.space, stored))

    def _train_fold(self, lease: Lease, trial: TrialRecord, fold: int) -> FoldRecord | Failed | None:
        """A fold's record, the reason why there is none, or None where the trial was handed back."""
        self._ensure_ranks()
        started_at_ms = self._clock_ms()
        self._show("training", trial=trial.number, fold=fold + 1)
        answer = self._ask(lease, TrainFold(trial=trial.number, fold=fold, params=dict(trial.params)))
        if not isinstance(answer, FoldScored):
            return answer if isinstance(answer, Failed) else None
        return FoldRecord(
            fold=fold,
            metrics=answer.metrics,
            epochs=answer.epochs,
            train_s=answer.train_s,
            started_at_ms=started_at_ms,
            ended_at_ms=self._clock_ms(),
            worker=self._identity.group,
            first_step_s=answer.first_step_s,
            score_s=answer.score_s,
        )

    def _ask(self, lease: Lease, job: TrainFold | Refit) -> FromRank | None:
        """The ranks' answer to a job; None where they were lost and the task was handed back."""
        self._guilty_log = None
        try:
            self._ranks.send(job)
            return self._answer()
        except RanksEndedError as error:
            ended = error.ended
            _log.warning("%s; log: %s", ended.what, ended.log)
            self._guilty_log = ended.log
            if ended.failure is not None:
                return ended.failure
            self._retrying(self._leases.give_back, lease, ended.what, is_lost=not ended.is_asked)
            return None

    def _failure(self, failed: Failed) -> Failure:
        """The end of the traceback, or of what the guilty rank wrote in this job, and where the whole log is."""
        log = self._guilty_log or self._ranks.first_log
        text = failed.detail or self._ranks.written_in_job(log)
        return Failure(tuple(text.rstrip().splitlines()[-TAIL_LINES:]), str(log))

    def _answer(self) -> FromRank:
        while True:
            self._stop.check()
            message = self._ranks.receive(timeout_s=0.5)
            if isinstance(message, Progress):
                self._heartbeat.epoch(message.epoch, message.epochs)
            elif message is not None:
                return message

    def _is_hopeless(self, scored: dict[int, FoldRecord]) -> bool:
        if self._experiment.search.pruner == "off":
            return False
        counted = (TrialState.COMPLETE, TrialState.PRUNED)
        others = [scores for state, scores in self._retrying(self._store.fold_scores) if state in counted]
        own = [self._score(scored[fold]) for fold in sorted(scored)]
        return is_hopeless(own, others, self._sweep.goal)

    def _score(self, fold: FoldRecord) -> float:
        return fold.metrics[self._sweep.metric]

    def _mean(self, scored: dict[int, FoldRecord]) -> float:
        return statistics.fmean(self._score(fold) for fold in scored.values())

    # Refits and the report

    def _work_on_refit(self, lease: Lease) -> None:
        trial = self._retrying(self._store.trial, lease.number)
        self._ensure_ranks()
        self._show("refitting", trial=trial.number)
        with _scratch() as scratch:
            bundle = scratch / "bundle"
            job = Refit(trial=trial.number, params=dict(trial.params), metrics=_means(trial), directory=str(bundle))
            answer = self._ask(lease, job)
            if isinstance(answer, Failed):
                _log.warning("refit of trial %d failed: %s", trial.number, answer.reason)
                self._retrying(self._leases.finish_task, lease, reason=answer.reason)
            elif isinstance(answer, Refitted):
                self._register(lease, trial, answer)

    def _register(self, lease: Lease, trial: TrialRecord, refitted: Refitted) -> None:
        """Hand the model over to the tracking store, which is waited for: the model would be lost otherwise."""
        tracker = self._make_tracker()
        scored = replace(trial, holdout=refitted.metrics, holdout_at_ms=self._clock_ms())
        keep = keep_in(self._store, trial)
        deadline = time.monotonic() + self._experiment.execution.storage_patience_s
        while True:
            try:
                parent = self._parent_run_id()
                version = tracker.log_bundle(
                    self._sweep, parent, scored, Path(refitted.directory), lambda run_id: self._retrying(keep, run_id)
                )
                break
            except TrackingUnavailableError as error:
                self._stop.check()
                if time.monotonic() > deadline:
                    self._retrying(self._leases.give_back, lease, f"tracking store away: {error}", is_lost=True)
                    return
                _log.warning("model of trial %d waits for the tracking store: %s", trial.number, error)
                self._show("refitting", trial=trial.number, waits_for=str(error))
                time.sleep(2.0)
        result = {"version": version.version, "metrics": refitted.metrics}
        self._retrying(self._leases.finish_task, lease, result=result)

    def _work_on_report(self, lease: Lease) -> None:
        """The closing report: what the tracking store has not heard, the parent run's summary, the page."""
        self._retrying(reconcile, self._store, self._projector)
        self._projector.flush(30.0)
        with _scratch() as scratch:
            report = scratch / "report.html"
            self._retrying(self._write_report, self._store, report)
            parent, trials = self._parent_run_id(), self._retrying(self._store.trials)
            try:
                self._make_tracker().finish_sweep(self._sweep, parent, trials, report)
            except TrackingUnavailableError as error:
                _log.warning("the report is not in the tracking store: %s", error)
                self._retrying(self._leases.finish_task, lease, reason=f"tracking store away: {error}")
                return
        self._retrying(self._leases.finish_task, lease, result={})

    def _parent_run_id(self) -> str:
        run_id = self._retrying(self._store.parent_run_id)
        assert run_id is not None, "the orchestrator makes the sweep's run before any worker"
        return run_id

    # Ranks, study and terminal

    def _ensure_ranks(self) -> None:
        """Bring a world up, unless one is, and wait until it is ready. Raises CannotStartError, InputError."""
        while not self._ranks.are_running:
            if self._ranks.lack_nodes:
                raise _NodeMissingError
            self._show("starting")
            self._ranks.start()
            try:
                ready = self._await_ready()
            except RanksEndedError as error:
                if self._ranks.lack_nodes and error.ended.failure is None:
                    raise _NodeMissingError from error
                kind = error.ended.failure.kind if error.ended.failure is not None else None
                if kind == "other_data":
                    raise other_data(self._sweep, self._identity.group, error.ended.what) from error
                if kind == "other_code":
                    raise other_code(self._sweep, self._identity.group, error.ended.what) from error
                self._failed_starts += 1
                if self._failed_starts >= FAILED_STARTS or error.ended.failure is not None:
                    raise CannotStartError(error.ended) from error
                continue
            self._failed_starts = 0
            _log.info("%d rank(s) on %s, ready after %.1f s", ready.world_size, ready.device, ready.startup_s)

    def _await_ready(self) -> Ready:
        deadline = time.monotonic() + self._startup_timeout_s
        while time.monotonic() < deadline:
            self._stop.check()
            message = self._ranks.receive(timeout_s=0.5)
            if isinstance(message, Ready):
                return message
            if self._ranks.cannot_meet:
                raise RanksEndedError(self._ranks.give_up())
        self._ranks.stop()
        what = f"its ranks were not ready within {self._startup_timeout_s:.0f} s"
        raise RanksEndedError(Ended(None, what, self._ranks.first_log))

    def _show(
        self, state: WorkerState, *, trial: int | None = None, fold: int | None = None, waits_for: str | None = None
    ) -> None:
        self._heartbeat.show(
            WorkerStatus(
                worker=self._identity.group,
                state=state,
                trial=trial,
                fold=fold,
                folds=self._sweep.folds,
                epoch=None,
                epochs=None,
                since_ms=self._clock_ms(),
                waits_for=waits_for,
            )
        )


def other_data(sweep: SweepRecord, group: str, what: str) -> InputError:
    """That a worker group's ranks have other rows than the study, with the likely cause.

    Args:
        what: which rank it is, and the digest of its rows.
    """
    if names_data_function(sweep.data_source):
        cause = (
            "The data function gives other rows in each process; seed it. If it is seeded, it computes values that "
            "differ between machines: round them."
        )
    else:
        cause = "The data has changed since the study was made, or this machine reads it with other packages."
    return InputError(
        f"data.source of study {sweep.study!r}",
        expected=f"the rows that the study was made with (sha256 {sweep.data_sha256[:12]}) in worker {group}",
        found=f"others ({what})",
        remedy=f"{cause} No trial was spent, but the study keeps its rows: delete it "
        f"(`{next_command('delete-study', study=sweep.study)}`), or start one of another name "
        f"({next_flag('study', ...)}).",
    )


def other_code(sweep: SweepRecord, group: str, what: str) -> InputError:
    """That a worker group has other code than its study. `what`: which rank it is, and which files differ."""
    return InputError(
        f"the code of worker {group}",
        expected=f"the files that study {sweep.study!r} was started with",
        found=f"others ({what})",
        remedy="Change them back, or have the image built from the same code. To go on with changed code, stop the "
        f"workers with `{next_command('cancel', study=sweep.study)}` and start again with "
        f"{next_flag('allow_changed_code', True)}. No trial was spent.",
    )


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        yield Path(folder)


def _means(trial: TrialRecord) -> dict[str, float]:
    """Mean (`f1`) and spread (`f1.std`) of every metric over the folds."""
    names = trial.folds[0].metrics.keys() if trial.folds else ()
    means: dict[str, float] = {}
    for name in names:
        values = [fold.metrics[name] for fold in trial.folds]
        means[name] = statistics.fmean(values)
        means[f"{name}.std"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return means
