"""A worker group's supervisor: it claims jobs, has its ranks carry them out, and records the results.

    claim → train a fold → record;  or refit and register, or write the report

`study/schedule.py` decides what comes next. The supervisor never imports torch: it starts at once, stays small, and
survives its ranks. A fault of a trial ends the trial as failed, with its reason. After a loss (a signal, a machine) the
trial continues at the fold in which it was lost; the loss counts, unless the machine was asked to stop. The worker
waits for a study that does not answer. It waits for the tracking store only to register a refitted model.
"""

from __future__ import annotations

import functools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.errors import InputError, WinnowError
from winnow.study.epoch_pruning import EpochPruner
from winnow.study.leases import Claim, ClaimedJob, FailedFold, Lease, LeaseLostError, Result, ScoredFold, StoppedFold
from winnow.study.packing import Packing
from winnow.study.projector import Projector, keep_in, start_run
from winnow.study.retry import Retry
from winnow.study.schedule import ALONE, Job, RefitTrial, ScheduleView, TrainFolds, WriteReport, next_jobs
from winnow.study.space import decode
from winnow.study.status import WorkerState, WorkerStatus
from winnow.study.store import StudyStore
from winnow.tracking.projection import ENDED_BY, NOT_PACKED, mean_and_spread
from winnow.tracking.records import FoldRecord, TrialRecord
from winnow.tracking.tracker import Tracker, TrackingUnavailableError
from winnow.training import messages
from winnow.training.messages import EpochScored, Failed, FoldJob, FoldResult, FoldScored, FoldStopped, Refit, Refitted
from winnow.worker.heartbeat import Heartbeat, Identity
from winnow.worker.ranks import Ranks
from winnow.worker.stop import Stop, StopRequestedError
from winnow.worker.world import STARTUP_TIMEOUT_S, CannotStartError, World, WorldLostError

_log = logging.getLogger(__name__)

IDLE_POLL_S = 0.2


class NodesGoneError(WinnowError):
    """Other nodes of the group are missing, and did not come back in time."""


@dataclass(eq=False)
class Worker:
    """One life of one worker group.

    Args:
        folder: the study's folder on this machine, which its workers share.
        is_dead: whether a group of this host is known to be gone.
    """

    store: StudyStore
    ranks: Ranks
    make_tracker: Callable[[], Tracker]
    write_report: Callable[[StudyStore, Path], None]
    identity: Identity
    stop: Stop
    folder: Path
    is_dead: Callable[[str], bool] = lambda _group: False
    startup_timeout_s: float = STARTUP_TIMEOUT_S
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __post_init__(self) -> None:
        self._experiment = self.store.header.experiment
        self._sweep = self.store.header.sweep
        self._leases = self.store.leases()
        self._patience_s = self._experiment.execution.storage_patience_s
        self._retrying = Retry(self._patience_s, self.stop.check)
        self._projector = Projector(self.store, self.make_tracker, self.folder, self.identity.group)
        self._heartbeat = Heartbeat(self.store, self._leases, self.identity)
        show_starting = functools.partial(self._show, "starting")
        self._world = World(
            *(self.ranks, self._sweep, self.identity.group, self.stop, self.startup_timeout_s),
            *(show_starting, self._heartbeat.epoch, self._should_stop),
        )
        sweep = self._sweep
        self._epoch_pruner = EpochPruner(
            self._experiment, sweep.metric, sweep.goal, functools.partial(self._retrying, self.store.fold_curves)
        )
        self._stopped: tuple[EpochScored, str] | None = None
        self._packing = Packing.of(self._experiment.execution.pack)
        self._not_packed: str | None = None
        self._held: tuple[Lease, ...] = ()
        # The last results of a job, which are stored with the next claim.
        self._results: tuple[Result, ...] = ()

    def run(self) -> None:
        """Work until the study is finished.

        Raises:
            StopRequestedError: it was asked to end.
            FolderRemovedError: its folder was removed.
            CannotStartError: its ranks do not come up.
            NodesGoneError: other nodes of the group are missing.
            InputError: its ranks have other rows or other code than the study.
        """
        self._retrying(self._leases.give_back_group, self.identity.group, "its worker died", keep=self.identity.owner)
        self._projector.start()
        self._show("starting")
        with self._heartbeat:
            try:
                while self._carry_out_next():
                    pass
            except FileNotFoundError:
                self.stop.check()  # the group's folder may have been removed
                raise
            finally:
                self.ranks.stop()
                if not self._projector.close(0.5 if self.stop.is_requested else 30.0):
                    _log.warning("the tracking store does not hold everything yet; the next run sends the rest")

    def _carry_out_next(self) -> bool:
        """Claim jobs and carry them out, giving back what is cut short; False once the study is finished."""
        try:
            claim = self._claim()
            for claimed in claim.jobs:
                match claimed.job:
                    case TrainFolds():
                        self._train(claimed.job, claimed)
                    case RefitTrial():
                        self._refit(*claimed.leases)
                    case WriteReport():
                        self._report(*claimed.leases)
            return not claim.is_study_finished
        except LeaseLostError as lost:
            _log.warning("given to another worker meanwhile: %s", lost)
            self._retrying(self._give_back, "another task of its job was given to another worker", is_lost=False)
        except WorldLostError as lost:
            _log.warning("%s; the ranks' jobs are given back", lost.what)
            self._retrying(self._give_back, lost.what, is_lost=lost.is_lost)
        except StopRequestedError:
            self._give_back("it was asked to stop", is_lost=False)
            raise
        except (CannotStartError, InputError) as error:
            self._give_back(str(error), is_lost=False)
            raise
        return True

    # Claiming

    def _claim(self) -> Claim:
        """The next jobs, once there are any, or that the study is finished."""
        while True:
            self.stop.check()
            if not self._held:
                self._record()
                self._await_nodes()
            owner, group = self.identity.owner, self.identity.group
            claim = self._retrying(self._leases.claim, owner, group, self._decide, self._results)
            self._note_stored(claim.lost)
            self._hold(claim.leases)
            if claim.jobs or claim.is_study_finished:
                return claim
            self._show("waiting")
            self._take_back_from_the_dead()
            time.sleep(IDLE_POLL_S)

    def _decide(self, view: ScheduleView) -> tuple[Job, ...]:
        """The next jobs. The worker that has the tracking store's client loaded is the first to close the study."""
        jobs = next_jobs(view, packing=self._packing)
        is_closing = any(isinstance(job, RefitTrial | WriteReport) for job in jobs)
        is_being_closed = any(task.owner is not None for task in (*view.refits, *view.reports))
        return () if is_closing and not is_being_closed and self._projector.is_elsewhere else jobs

    def _hold(self, leases: tuple[Lease, ...]) -> None:
        self._held = leases
        self._heartbeat.hold(leases)

    def _release(self, lease: Lease) -> None:
        self._hold(tuple(held for held in self._held if held != lease))

    def _give_back(self, what: str, *, is_lost: bool) -> None:
        """Let other workers have what is held. A lease that another worker has already is left alone."""
        self._record()
        for lease in self._held:
            self._leases.give_back(lease, what, is_lost=is_lost)
            self._release(lease)

    def _await_nodes(self) -> None:
        """Claim nothing while a node is missing, so that other workers can."""
        deadline = time.monotonic() + self._patience_s
        while not self.ranks.nodes.are_complete and not self._retrying(self.store.is_finished):
            self._show("waiting")
            if time.monotonic() > deadline:
                raise NodesGoneError(
                    f"worker {self.identity.group}: expected its other nodes, found that one is missing for "
                    f"{self._patience_s:g} s. See what became of it; the sweep goes on without this worker."
                )
            self.stop.check()
            time.sleep(IDLE_POLL_S)

    def _take_back_from_the_dead(self) -> None:
        """Give back the leases of groups that are known to be gone, before they expire."""
        for life in self._retrying(self.store.workers):
            if life.host != self.identity.host or life.group == self.identity.group:
                continue
            # Read first: the group may be started again while it is checked, and its new life keeps what it holds.
            owners = self._retrying(self._leases.owners, life.group)
            if owners and self.is_dead(life.group):
                self._retrying(self._leases.give_back_group, life.group, "its worker died", of=owners)

    # Jobs

    def _train(self, job: TrainFolds, claimed: ClaimedJob) -> None:
        held = {lease.number: lease for lease in claimed.leases}
        space = self._experiment.search.space
        params = {number: decode(space, stored) for number, stored in claimed.params.items()}
        self._world.ensure_ready()
        started_at_ms = self.clock_ms()
        self._show("training", trial=job.pairs[0].trial, fold=job.pairs[0].fold + 1)
        folds = tuple(FoldJob(pair.trial, pair.fold, params[pair.trial]) for pair in job.pairs)
        answered = 0
        try:
            for answers in self._world.train(messages.TrainFolds(folds)):
                self._take_in(answers, held, started_at_ms)
                self._measure(answers, len(folds))
                answered += len(answers)
                if answered < len(folds):
                    self._record()
                started_at_ms = self.clock_ms()
        except WorldLostError:
            if len(folds) > 1:
                # One of them may be at fault, which only shows if each trains alone.
                self._packing = ALONE
            raise

    def _take_in(self, answers: tuple[FoldResult, ...], held: Mapping[int, Lease], started_at_ms: int) -> None:
        """Note the results of folds. One that failed or was stopped ends its trial; the others then do not count."""
        results: list[Result] = []
        ended: list[Lease] = []
        for answer in answers:
            lease = held[answer.trial]
            if lease not in self._held:
                continue
            if isinstance(answer, FoldScored):
                results.append(self._scored(lease, answer, started_at_ms))
                continue
            if isinstance(answer, FoldStopped):
                assert self._stopped is not None, "a fold is stopped by the supervisor"
                scored, reason = self._stopped
                results.append(StoppedFold(lease, answer.fold, reason, scored.value, answer.curves))
                ended.append(lease)
                continue
            reason = f"fold {answer.fold + 1}: {answer.failure.reason}"
            _log.info("trial %d failed, %s", lease.number, reason)
            results.append(FailedFold(lease, reason, self._world.failure(answer.failure)))
            ended.append(lease)
        self._results = tuple(results)
        for lease in ended:
            self._release(lease)

    def _should_stop(self, scored: EpochScored) -> bool:
        """Whether the running fold is to end with this epoch."""
        reason = self._epoch_pruner.should_stop(scored.trial, scored.fold, scored.epoch, scored.value)
        if reason is not None:
            self._stopped = scored, reason
        return reason is not None

    def _record(self) -> None:
        """Store the noted results, unless a claim has stored them."""
        if self._results:
            self._note_stored(self._retrying(self._leases.record, self._results))

    def _note_stored(self, lost: tuple[Lease, ...]) -> None:
        """Note that the results are stored, except those of lost leases."""
        if self._results:
            self._projector.begin()
        self._results = ()
        for lease in lost:
            _log.warning("trial %d was given to another worker meanwhile", lease.number)
            self._release(lease)

    def _measure(self, results: tuple[FoldResult, ...], asked: int) -> None:
        """Learn what a model costs in a job of `asked` models."""
        scored = [result for result in results if isinstance(result, FoldScored)]
        if not scored:
            return
        self._packing = self._packing.measured(asked, statistics.fmean(result.cost for result in scored))
        reason = scored[0].not_packed
        if reason is not None and self._not_packed is None:
            self._not_packed = reason
            _log.info("models train one after another: %s", reason)
            self._retrying(self.store.set_not_packed, reason)

    def _scored(self, lease: Lease, result: FoldScored, started_at_ms: int) -> ScoredFold:
        record = FoldRecord(
            fold=result.fold,
            metrics=result.metrics,
            epochs=result.epochs,
            train_s=result.train_s,
            started_at_ms=started_at_ms,
            ended_at_ms=self.clock_ms(),
            worker=self.identity.group,
            first_step_s=result.first_step_s,
            score_s=result.score_s,
        )
        return ScoredFold(lease, record, result.metrics[self._sweep.metric], result.curves, result.outputs)

    def _refit(self, lease: Lease) -> None:
        trial = self._retrying(self.store.trial, lease.number)
        self._world.ensure_ready()
        self._show("refitting", trial=trial.number)
        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            bundle = str(Path(folder, "bundle"))
            outputs = self._retrying(self.store.out_of_fold, trial.number)
            means: dict[str, float] = {}
            for name, (mean, spread) in (mean_and_spread(trial.folds) if trial.folds else {}).items():
                means |= {name: mean, f"{name}.std": spread or 0.0}
            job = Refit(trial.number, dict(trial.params), means, bundle, outputs, self.store.name)
            answer = self._world.refit(job)
            if isinstance(answer, Failed):
                _log.warning("refit of trial %d failed: %s", trial.number, answer.reason)
                self._retrying(self._leases.finish_task, lease, reason=answer.reason)
            else:
                self._register(lease, trial, answer)
        self._release(lease)

    def _register(self, lease: Lease, trial: TrialRecord, refitted: Refitted) -> None:
        """Register the model, waiting for the tracking store: otherwise the model would be lost."""
        self._projector.flush(30.0)  # this makes the trial's run
        trial, tracker = self._retrying(self.store.trial, trial.number), self.make_tracker()
        scored = replace(trial, holdout=refitted.metrics, holdout_at_ms=self.clock_ms())
        keep = keep_in(self.store, trial)
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                parent = self._parent_run_id(tracker)
                bundle, artifacts = Path(refitted.directory), [Path(path) for path in refitted.artifacts]
                version = tracker.log_bundle(
                    self._sweep, parent, scored, bundle, lambda run_id: self._retrying(keep, run_id), artifacts
                )
                break
            except TrackingUnavailableError as error:
                self.stop.check()
                if time.monotonic() > deadline:
                    self._retrying(self._leases.give_back, lease, f"tracking store away: {error}", is_lost=True)
                    return
                _log.warning("model of trial %d waits for the tracking store: %s", trial.number, error)
                self._show("refitting", trial=trial.number, waits_for=str(error))
                time.sleep(2.0)
        result = {"version": version.version, "metrics": refitted.metrics, "calibration": refitted.calibration}
        self._retrying(self._leases.finish_task, lease, result=result)

    def _report(self, lease: Lease) -> None:
        """Bring the tracking store up to date, then write the sweep's summary and its report."""
        self._projector.flush(30.0)
        # Tags of the sweep's run say what ended it, and why models did not train as one.
        reason, by = self._retrying(self.store.not_packed), self._retrying(self.store.ended_by)
        told = {ENDED_BY: by} | ({} if reason is None else {NOT_PACKED: reason})
        sweep = replace(self._sweep, tags={**self._sweep.tags, **told})
        with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
            report = Path(folder, "report.html")
            self._retrying(self.write_report, self.store, report)
            trials, tracker = self._retrying(self.store.trials), self.make_tracker()
            try:
                tracker.finish_sweep(sweep, self._parent_run_id(tracker), trials, report)
            except TrackingUnavailableError as error:
                _log.warning("the report is not in the tracking store: %s", error)
                self._retrying(self._leases.finish_task, lease, reason=f"tracking store away: {error}")
            else:
                self._retrying(self._leases.finish_task, lease)
        self._release(lease)

    def _parent_run_id(self, tracker: Tracker) -> str:
        """The sweep's run. Raises TrackingUnavailableError."""
        return self._retrying(self.store.parent_run_id) or self._retrying(start_run, self.store, tracker)

    def _show(
        self, state: WorkerState, *, trial: int | None = None, fold: int | None = None, waits_for: str | None = None
    ) -> None:
        status = WorkerStatus(
            worker=self.identity.group,
            state=state,
            trial=trial,
            fold=fold,
            folds=self._sweep.folds,
            epoch=None,
            epochs=None,
            since_ms=self.clock_ms(),
            waits_for=waits_for,
        )
        self._heartbeat.show(status)
