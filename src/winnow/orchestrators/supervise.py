"""Supervise a study's groups: show progress, restart groups that die, and end what is left.

Several orchestrators may supervise the same study, since every action is safe to repeat: starting a running group
changes nothing, and leases are only taken from lives that are certainly over.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.exit_codes import GroupExit
from winnow.config.next_command import next_command
from winnow.orchestrators.progress import SweepView
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.executor import Executor, GroupSpec, GroupState, GroupStatus
from winnow.study.leases import Failure
from winnow.study.retry import Retry
from winnow.study.status import StudyStatus, WorkerStatus, waiting_lines
from winnow.study.store import StudyStore
from winnow.tracking.records import TrialRecord

POLL_S = 0.25
GRACE_S = 15.0
AT_ONCE = 16
"""Number of groups that are started at the same time."""
LAST_NEWS_S = 60.0
"""How long groups may take to write to the tracking store after the study is done."""
RETRY_S = 30.0
"""Interval at which a refused group is tried again while others run."""
RESTARTS = 3
"""How many times in a row a group is restarted without any fold being finished in between."""


class SweepStoppedError(WinnowError):
    """Another command stopped the sweep's workers."""

    def __init__(self, study: str) -> None:
        super().__init__(f"study {study}: another command stopped its workers. Run the same command to resume.")


class SweepFailedError(WinnowError):
    """The sweep cannot continue: its workers do not start, or keep dying."""


def stop(store: StudyStore, executor: Executor) -> int:
    """End all groups of a study and return their trials to it. Returns the number of groups that were running.

    A group that is over here but still sends heartbeats runs elsewhere, or has just died. It keeps its trials until a
    command that resumes the study finds it dead.
    """
    store.set_stopped(True)
    groups = executor.groups(store.name)
    alive = [group.name for group in groups if not group.state.is_over]
    executor.cancel_all(store.name, GRACE_S)
    leases = store.leases()
    heard = {life.group for life in store.workers() if life.is_heard}
    for group in groups:
        was_stopped = group.name in alive
        if not was_stopped and group.name in heard:
            continue
        what = "it was stopped" if was_stopped else "its worker died"
        leases.give_back_group(group.name, what, is_lost=not was_stopped)
    return len(alive)


def trials_left(store: StudyStore) -> int:
    """How many trials have not ended yet."""
    counts = store.counts()
    return store.target() - counts["complete"] - counts["pruned"] - counts["failed"]


class SweepSupervisor:
    """Show a study's progress and keep its groups running until its report is written.

    The groups then do the other refits on their own. A supervisor that starts after the report waits for those too.
    """

    def __init__(
        self,
        store: StudyStore,
        executor: Executor,
        groups: tuple[GroupSpec, ...],
        view: SweepView,
        poll_s: float = POLL_S,
        retry_every_s: float = RETRY_S,
        start: Callable[[GroupSpec], None] | None = None,
    ) -> None:
        self._start_group = executor.start if start is None else start
        self._poll_s = poll_s
        self._retry_every_s = retry_every_s
        self._polled_at = 0.0
        self._silent_since: float | None = None
        self._store = store
        self._executor = executor
        self._view = view
        self._statuses: Callable[[], tuple[GroupStatus, ...]] = lambda: executor.groups(store.name)
        self._leases = store.leases()
        self._timeout_s = store.header.experiment.execution.storage_patience_s
        self._retrying = Retry(self._timeout_s)
        self._awaits_refits = store.is_done()
        self._groups = groups[: self._useful()]
        self._started_at_ms = time.time_ns() // 1_000_000
        trials = store.trials()
        self._folds_before = sum(len(trial.folds) for trial in trials)
        self._shown = {trial.number for trial in trials if trial.ended_at_ms is not None}
        self._starting: dict[str, int] = {}
        self._refused: dict[str, WinnowError] = {}
        self._refused_at = 0.0
        self._restarts: dict[str, int] = {}
        self._folds_at_restart: dict[str, int] = {}
        self._diagnoses_shown: set[str] = set()
        self._waits_shown: set[tuple[str, int | None]] = set()
        self._stuck_since: float | None = None

    def supervise(self) -> None:
        """Return when the study is done and its groups have ended, or have only refits left.

        Raises:
            WinnowError: no group could be started; this is the first one's error.
            InputError: a group found that the study cannot be trained as it is. All groups were stopped.
            SweepFailedError: the groups do not start, or keep dying.
            SweepStoppedError: another command stopped the groups.
            StudyUnreachableError, UnreachableError: the study's database or the platform did not answer for too long.
        """
        try:
            self._await(self._start_all)
            with contextlib.ExitStack() as held:
                self._await(lambda: self._begin_to_watch(held))
                while not self._is_over((status := self._retrying(self._show)).is_done):
                    self._check_not_refused(status.refusal)
                    self._retrying(self._revive, status.owners)
                    time.sleep(POLL_S)
                if not self._retrying(self._leases.refits_left):
                    self._await_end()
        except SweepStoppedError:
            # The command that stopped the study may have missed groups that were just starting here. If the study was
            # resumed since, its groups belong to another command.
            if self._retrying(self._store.is_stopped):
                self._executor.cancel_all(self._store.name, GRACE_S)
                self._executor.clear(self._store.name)
            raise

    def _useful(self) -> int:
        """How many groups have something to do: as many as there are trials left, or refits at the end."""
        left = trials_left(self._store)
        refits = self._store.header.experiment.refit.top if left > 0 else len(self._leases.refits_left())
        return max(1, left, refits)

    def _is_over(self, is_done: bool) -> bool:
        return is_done and not (self._awaits_refits and self._retrying(self._leases.refits_left))

    # Starting

    def _start_all(self) -> None:
        """Start all groups. Those that the platform refuses are tried again later, unless it refuses all."""
        before = self._running()
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            list(pool.map(self._start, [group for group in self._groups if group.name not in self._starting]))
        if len(self._refused) == len(self._groups):
            # A group may have been refused when half of it was created: leave nothing behind.
            for name in self._refused.keys() & (self._running() - before):
                self._executor.cancel(self._store.name, name, GRACE_S)
            raise self._refused[self._groups[0].name]

    def _running(self) -> frozenset[str]:
        return frozenset(group.name for group in self._executor.groups(self._store.name) if not group.state.is_over)

    def _begin_to_watch(self, held: contextlib.ExitStack) -> None:
        self._statuses = held.enter_context(self._executor.watch(self._store.name))

    def _start(self, group: GroupSpec) -> None:
        """Start a group, or store the error if it is refused. Raises SweepStoppedError, UnreachableError."""
        self._check_not_stopped()
        try:
            self._start_group(group)
        except UnreachableError:
            raise
        except WinnowError as error:
            self._refused.setdefault(group.name, error)
            self._refused_at = time.monotonic()
            return
        self._refused.pop(group.name, None)
        self._starting[group.name] = time.time_ns() // 1_000_000
        self._check_not_stopped()

    def _check_not_stopped(self) -> None:
        if self._retrying(self._store.is_stopped):
            raise SweepStoppedError(self._store.name)

    def _check_not_refused(self, refusal: InputError | None) -> None:
        """If a group found that the study cannot be trained as it is, end all groups and raise its error."""
        if refusal is not None:
            stop(self._store, self._executor)
            raise refusal

    def _retry(self) -> None:
        """Try a refused group again from time to time. If it starts, try the other ones too."""
        if time.monotonic() - self._refused_at < self._retry_every_s:
            return
        for group in self._groups:
            if group.name in self._refused:
                self._start(group)
                if group.name in self._refused:
                    return

    # Showing

    def _show(self) -> StudyStatus:
        """Show the study's progress and return it. What ended last is shown last."""
        status = self._store.status(started_at_ms=self._started_at_ms, folds_before=self._folds_before)
        if status.trials_done > len(self._shown):
            for trial in self._store.ended(self._shown):
                self._show_end(trial, status.best)
        for waiting, line in waiting_lines(status.workers).items():
            if waiting not in self._waits_shown:
                self._waits_shown.add(waiting)
                self._view.note(line)
        self._view.update(self._with_starting(status))
        return status

    def _with_starting(self, status: StudyStatus) -> StudyStatus:
        """The status, with groups that were started but have sent no heartbeat: that takes them some seconds."""
        for worker in status.workers:
            self._starting.pop(worker.worker, None)
        silent = [
            WorkerStatus(name, "starting", None, None, self._store.header.sweep.folds, None, None, since_ms)
            for name, since_ms in self._starting.items()
        ]
        return replace(status, workers=tuple(sorted((*status.workers, *silent), key=lambda worker: worker.worker)))

    def _show_end(self, trial: TrialRecord, best: float | None) -> None:
        if trial.state == "failed":
            failure = self._store.failure(trial.number)
            log, tail = (self._log_of(failure), failure.tail) if failure is not None else (None, ())
            self._view.failure(trial.number, trial.reason or "unknown reason", log, tail)
        else:
            self._view.trial_finished(trial, best)
        self._shown.add(trial.number)

    def _log_of(self, failure: Failure) -> Path | str:
        """The log file if it is on this machine, else the command that prints it."""
        log = Path(failure.log)
        return log if log.is_file() else next_command("logs", study=self._store.name)

    # Keeping up

    def _revive(self, owners: Mapping[str, Collection[str]]) -> None:
        """Check the groups every `poll_s` and restart those that are over.

        `owners`: for each group, its lives that held a lease before this check.
        """
        now = time.monotonic()
        if now - self._polled_at >= self._poll_s:
            self._polled_at = now
            self._attempt(lambda: self._keep_up(owners))

    def _keep_up(self, owners: Mapping[str, Collection[str]]) -> None:
        self._retry()
        seen = {status.name: status for status in self._statuses()}
        for group in self._groups:
            status = seen.get(group.name)
            if group.name not in self._refused and (status is None or status.state.is_over or status.lacks_nodes):
                self._keep_up_group(group, owners.get(group.name, ()))
        # Refused groups count as groups that cannot start. Each error names its group; the first stands for all.
        diagnosis = next(map(_as_diagnosis, self._refused.values()), None)
        for name in self._refused:
            seen[name] = GroupStatus(self._store.name, name, GroupState.RUNNING, diagnosis=diagnosis)
        self._show_diagnosis([seen[group.name] for group in self._groups if group.name in seen])

    def _await(self, act: Callable[[], None]) -> None:
        """Act, repeatedly until the platform answers."""
        while not self._attempt(act):
            time.sleep(self._poll_s)

    def _attempt(self, act: Callable[[], None]) -> bool:
        """Act on the platform and return whether it answered. Groups may keep running while it does not.

        Raises UnreachableError if it has not answered for too long.
        """
        try:
            act()
        except UnreachableError:
            now = time.monotonic()
            if self._silent_since is None:
                self._silent_since = now
                self._view.note("the platform that runs the workers does not answer; waiting for it")
            elif now - self._silent_since > self._timeout_s:
                raise
            return False
        self._silent_since = None
        return True

    def _keep_up_group(self, group: GroupSpec, owners: Collection[str]) -> None:
        status = self._executor.status(group.study, group.name)
        if not status.state.is_over:
            if status.lacks_nodes:
                self._start(group)
            return
        # Every life in `owners` is dead: it held a lease before the group was found to be over. A life that another
        # orchestrator is starting now is not among them.
        if not self._is_over(self._store.is_done()):
            self._check_not_refused(self._store.refusal())
            self._check_not_stopped()
            self._restart(group, status, owners)

    def _show_diagnosis(self, groups: Sequence[GroupStatus]) -> None:
        """Show each reason why groups cannot start once. Raises SweepFailedError if none starts for too long."""
        stuck = [group for group in groups if group.diagnosis is not None and not group.state.is_over]
        for diagnosis in dict.fromkeys(group.diagnosis for group in stuck):
            if diagnosis is not None and diagnosis.reason not in self._diagnoses_shown:
                self._diagnoses_shown.add(diagnosis.reason)
                names = [group.name for group in stuck if group.diagnosis == diagnosis]
                waits = "wait" if len(names) > 1 else "waits"
                what = waits if diagnosis.is_awaited else "cannot start"
                self._view.note(f"{_workers(names)} {what}: {diagnosis}")
        is_hopeless = bool(stuck) and all(
            group.diagnosis is not None and not group.diagnosis.is_awaited and not group.state.is_over
            for group in groups
        )
        if not is_hopeless:
            self._stuck_since = None
            return
        now, timeout_s = time.monotonic(), self._groups[0].start_timeout_s
        self._stuck_since = self._stuck_since if self._stuck_since is not None else now
        if now - self._stuck_since > timeout_s:
            diagnosis = stuck[0].diagnosis
            assert diagnosis is not None
            stop(self._store, self._executor)
            raise SweepFailedError(
                f"study {self._store.name!r}: expected its workers to start, found for {timeout_s:g} s that none "
                f"can: {diagnosis} Then run the same command again."
            )

    def _restart(self, group: GroupSpec, status: GroupStatus, owners: Collection[str]) -> None:
        if status.exit_code in (GroupExit.DONE, GroupExit.ALREADY_RUNNING):
            # More trials were requested as it ended, or another life of it is running that the executor does not know.
            self._start(group)
            return
        what = _describe_end(status, group)
        self._leases.give_back_group(group.name, what, of=owners)
        folds = self._store.status(started_at_ms=self._started_at_ms).folds_done
        if folds > self._folds_at_restart.get(group.name, -1):
            self._restarts[group.name] = 0
        self._folds_at_restart[group.name] = folds
        self._restarts[group.name] += 1
        if status.exit_code == GroupExit.CANNOT_START or self._restarts[group.name] > RESTARTS:
            raise self._give_up(group, f"{what}{_perhaps(status, group)}")
        self._start(group)
        again = "" if group.name in self._refused else "; started again"
        self._view.note(f"worker {group.name}: {what}{_perhaps(status, group)}{again}")

    def _give_up(self, group: GroupSpec, what: str) -> SweepFailedError:
        tail = list(self._executor.log(group.study, group.name))[-30:]
        stop(self._store, self._executor)
        return SweepFailedError(
            f"worker {group.name} of study {group.study!r}: expected it to run, found that {what}. "
            "Its trials were returned to the study. Fix the cause and run the same command again. "
            "The end of its logs:\n" + "\n".join(f"  {line}" for line in tail)
        )

    def _await_end(self) -> None:
        """Let the groups finish writing to the tracking store, then stop those that have not ended."""
        deadline = time.monotonic() + LAST_NEWS_S
        while self._alive():
            if time.monotonic() > deadline:
                stop(self._store, self._executor)
                return
            time.sleep(POLL_S / 5)

    def _alive(self) -> bool:
        try:
            return any(not group.state.is_over for group in self._statuses())
        except UnreachableError:
            return True  # ask again


def _workers(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"worker{'s' if len(names) > 1 else ''} {shown}{more}"


def _as_diagnosis(refused: WinnowError) -> Diagnosis:
    if isinstance(refused, InputError):
        return Diagnosis(refused.found.rstrip("."), refused.remedy)
    return Diagnosis(str(refused).rstrip("."), "Winnow tries again.")


def _describe_end(status: GroupStatus, group: GroupSpec) -> str:
    if status.exit_code == GroupExit.CANNOT_START:
        return "its ranks do not start" if group.nodes == 1 else "its ranks or its other nodes do not start"
    if status.exit_code is None:
        return "it is gone"
    if status.exit_code < 0:
        return f"it was killed by signal {-status.exit_code}"
    return f"it ended with exit code {status.exit_code}"


def _perhaps(status: GroupStatus, group: GroupSpec) -> str:
    """The likely cause of a SIGKILL if there is a memory limit: exceeding it kills the supervisor, too."""
    limit = group.resources.memory_bytes
    if status.exit_code != -signal.SIGKILL or limit is None:
        return ""
    return f", perhaps because it reached its limit of {limit / 2**20:.0f} MiB (execution.resources.memory)"
