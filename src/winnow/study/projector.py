"""Writes the study to the tracking store in a thread, so that training never waits for it.

One process of a machine projects a study at a time: the one that holds a lock in the study's folder. When that process
ends, another takes over. The thread asks the study twice a second for what the store lacks, and sends it together. If
the store is unavailable, nothing is lost: the study knows which trials were not sent.

The thread begins after the first fold, because importing MLflow would compete with the start of the ranks for the CPUs.
A trial that lasts less than a few seconds is sent once, when it has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from winnow.config.file_lock import try_locked
from winnow.study.store import StudyStore, Unsent
from winnow.tracking.records import TrialRecord
from winnow.tracking.tracker import Keep, Sent, Tracker, TrackingUnavailableError

_log = logging.getLogger(__name__)

POLL_S = 0.5
PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)
SHOWN_AFTER_S = 5.0
"""A trial that runs for longer gets its run before it ends."""
AT_ONCE = 50
"""At most so many trials are sent in one transaction."""
_AWAY = (TrackingUnavailableError, SQLAlchemyError, StorageInternalError)


@dataclass(eq=False)
class Projector:
    """Sends the trials of one study. Call `start`, `begin` once there is something to send, and `close` at the end.

    Args:
        make_tracker: called on the thread that uses the tracker.
        folder: the study's folder on this machine, with the lock and a folder for each worker group.
        pauses_s: pauses between attempts while the store is unavailable; the last one repeats.
    """

    store: StudyStore
    make_tracker: Callable[[], Tracker]
    folder: Path
    group: str
    pauses_s: tuple[float, ...] = PAUSES_S
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def __post_init__(self) -> None:
        self._lock = self.folder / "projector.lock"
        self._parent: str | None = None
        self._sent: dict[int, Sent] = {}
        self._refused: dict[int, Unsent] = {}
        self._shown: dict[int, Unsent] = {}
        self._condition = threading.Condition()
        self._has_begun = self._is_closing = self._is_projecting = self._sends_all = False
        # Rounds are counted: `flush` waits for one that begins after its call.
        self._begun = self._succeeded = self._asked = 0
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def start(self) -> None:
        """Start the thread, which waits for `begin`."""
        self._thread.start()

    def begin(self) -> None:
        """Begin to send changes."""
        with self._condition:
            self._has_begun = True
            self._condition.notify_all()

    @property
    def is_elsewhere(self) -> bool:
        """Whether another process of this machine projects the study."""
        if self._is_projecting or not self.folder.is_dir():
            return False
        with try_locked(self._lock) as is_free:
            return not is_free

    def flush(self, timeout_s: float) -> bool:
        """Send every ended trial that the store may lack, of all machines; False if the time did not suffice."""
        self._sends_all = True
        self.begin()
        deadline = time.monotonic() + timeout_s
        while self.is_elsewhere and time.monotonic() < deadline:
            # The other process sends them.
            with contextlib.suppress(*_AWAY):
                if not self.store.untracked():
                    return True
            time.sleep(0.05)
        return self._await_round(deadline - time.monotonic())

    def close(self, timeout_s: float) -> bool:
        """Send the rest and end the thread. False if something is left; the next run of the study sends it."""
        is_sent = not self._is_projecting or self._await_round(timeout_s)
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return is_sent

    def _await_round(self, timeout_s: float) -> bool:
        with self._condition:
            self._asked = self._begun + 1
            wanted = self._asked
            self._condition.notify_all()
            return self._condition.wait_for(lambda: self._succeeded >= wanted, timeout_s)

    def _run(self) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._has_begun or self._is_closing)
        while not self._is_closing and self.folder.is_dir():
            with try_locked(self._lock) as is_free:
                if is_free:
                    self._is_projecting = True
                    self._project()
            self._pause(POLL_S)

    def _project(self) -> None:
        tracker = self.make_tracker()
        failures = 0
        while not self._is_closing:
            with self._condition:
                self._begun += 1
            try:
                self._send_changes(tracker)
                failures = 0
            except _AWAY as error:
                _log.warning("tracking store away, trials wait: %s", error)
                failures += 1
            with self._condition:
                self._succeeded = self._begun if failures == 0 else self._succeeded
                self._condition.notify_all()
            seconds = self.pauses_s[min(failures, len(self.pauses_s)) - 1] if failures else POLL_S
            self._pause(seconds, is_cut_short=failures == 0)

    def _pause(self, seconds: float, *, is_cut_short: bool = False) -> None:
        """Wait; `flush` ends a pause that may be cut short."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closing or (is_cut_short and self._asked > self._begun), seconds)

    def _send_changes(self, tracker: Tracker) -> None:
        changes = {each.number: each for each in self._changes()}
        if self._parent is None:
            if not changes and self.store.parent_run_id() is not None:
                # This process takes over from one that has finished the run; starting it would reopen it.
                return
            self._parent = start_run(self.store, tracker)
        numbers = sorted(changes)
        for first in range(0, len(numbers), AT_ONCE):
            records = self.store.trials(numbers[first : first + AT_ONCE])
            sent = self._send(tracker, self._parent, records)
            self._refused |= {each.number: changes[each.number] for each in records if each.number not in sent}
            self._shown |= {number: changes[number] for number in sent}
            self._sent |= sent
            self.store.set_tracked(
                [
                    dataclasses.replace(each, run_id=sent[each.number].run_id)
                    for each in records
                    if each.number in sent and sent[each.number].is_final
                ]
            )

    def _changes(self) -> list[Unsent]:
        """What to send now: trials that have ended, and those that have run for a while."""
        groups = {self.group, *(path.name for path in (self.folder / "groups").glob("*"))}
        unsent = self.store.unsent(None if self._sends_all else groups)
        shown_before_ms = self.clock_ms() - 1000 * SHOWN_AFTER_S
        return [
            each
            for each in unsent
            if (each.is_ended or (each.started_at_ms < shown_before_ms and self._shown.get(each.number) != each))
            and self._refused.get(each.number) != each
        ]

    def _send(self, tracker: Tracker, parent: str, records: Sequence[TrialRecord]) -> Mapping[int, Sent]:
        """Send trials, the new ones in one transaction if the store can; return what it accepted."""
        sweep, sent = self.store.header.sweep, dict(self._add_new(tracker, parent, records))
        for each in records:
            if each.number in sent:
                continue
            known = self._sent.get(each.number, Sent())
            try:
                sent[each.number] = tracker.sync_trial(sweep, parent, each, known, keep_in(self.store, each))
            except _AWAY:
                raise
            except Exception:  # noqa: BLE001 - a trial that the store refuses must not block the others
                _log.warning("the tracking store does not take trial %d", each.number, exc_info=True)
        return sent

    def _add_new(self, tracker: Tracker, parent: str, records: Sequence[TrialRecord]) -> Mapping[int, Sent]:
        new = [each for each in records if each.number not in self._sent]
        try:
            return tracker.add_trials(self.store.header.sweep, parent, new, self.store.keep_run_ids)
        except _AWAY:
            raise
        except Exception:  # noqa: BLE001 - the store's client may refuse a run in any way
            _log.debug("the tracking store does not take all trials at once", exc_info=True)
            return {}


def start_run(store: StudyStore, tracker: Tracker) -> str:
    """Find or make the sweep's run, and keep it in the study; return its id. Raises TrackingUnavailableError."""
    kept = store.parent_run_id()
    keep = functools.partial(store.keep_parent_run_id, instead_of=kept)
    return tracker.start_sweep(store.header.sweep, keep, kept)


def keep_in(store: StudyStore, record: TrialRecord) -> Keep:
    """A `Keep` for the trial's run, unless the trial got another one since `record` was read."""

    def keep(run_id: str) -> str:
        return store.keep_run_ids({record.number: run_id}, instead_of=record.run_id)[record.number]

    return keep
