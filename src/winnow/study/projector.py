"""Writes the study into the tracking store, without holding up the sweep.

A worker only says which trial has changed. A thread reads that trial from the study and sends what the store does not
hold yet; changes that come faster than the store answers are sent together. Nothing is lost while the store is away:
this module keeps only numbers, and the study knows which trials were not sent (`StudyStore.untracked`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from collections.abc import Callable

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from winnow.study.store import StudyStore
from winnow.tracking.records import TrialRecord
from winnow.tracking.tracker import Keep, Sent, Tracker, TrackingUnavailableError

_log = logging.getLogger(__name__)

PAUSES_S = (0.5, 1.0, 2.0, 5.0, 10.0)


class Projector:
    """Sends changed trials of one study; start it once, say `changed` as often as you like, `close` it at the end.

    Args:
        store: the study.
        tracker: makes the tracking store's client, on the thread that uses it.
        pauses_s: pauses between tries while the store is away; the last one repeats.
    """

    def __init__(
        self, store: StudyStore, tracker: Callable[[], Tracker], pauses_s: tuple[float, ...] = PAUSES_S
    ) -> None:
        self._store = store
        self._make_tracker = tracker
        self._pauses_s = pauses_s
        self._sent: dict[int, Sent] = {}
        self._changed: dict[int, None] = {}
        self._condition = threading.Condition()
        self._is_sending = False
        self._is_closing = False
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def changed(self, number: int) -> None:
        """Have a trial sent as it stands by then. Returns at once."""
        with self._condition:
            self._changed[number] = None
            self._condition.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all is sent; False where it was not within `timeout_s`."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._changed and not self._is_sending, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush and end the thread. False where something is left: the next run of the study sends it."""
        is_flushed = self.flush(timeout_s)
        with self._condition:
            self._is_closing = True
            self._condition.notify_all()
        self._thread.join(timeout_s)
        return is_flushed

    def _run(self) -> None:
        tracker = self._make_tracker()
        while (number := self._next()) is not None:
            try:
                self._send(tracker, number)
                self._failures = 0
            except (TrackingUnavailableError, SQLAlchemyError, StorageInternalError) as error:
                self._put_back(number, error)
            except Exception:  # noqa: BLE001 - the store's client may refuse a run in any way
                # A trial that the store refuses must not hold up the others. The next run of the study tries it again.
                _log.warning("the tracking store does not take trial %d", number, exc_info=True)
            with self._condition:
                self._is_sending = False
                self._condition.notify_all()

    def _next(self) -> int | None:
        with self._condition:
            self._condition.wait_for(lambda: self._changed or self._is_closing)
            if self._is_closing:
                return None
            number = next(iter(self._changed))
            del self._changed[number]
            self._is_sending = True
            return number

    def _send(self, tracker: Tracker, number: int) -> None:
        parent = self._store.parent_run_id()
        if parent is None:
            return
        record = self._store.trial(number)
        sent = self._sent.get(number, Sent())
        sent = tracker.sync_trial(self._store.header.sweep, parent, record, sent, keep_in(self._store, record))
        record = dataclasses.replace(record, run_id=sent.run_id)
        if sent.is_final:
            self._store.set_tracked(record)
        self._sent[number] = sent

    def _put_back(self, number: int, error: Exception) -> None:
        _log.warning("tracking store away, trial %d waits: %s", number, error)
        pause_s = self._pauses_s[min(self._failures, len(self._pauses_s) - 1)]
        self._failures += 1
        with self._condition:
            self._changed[number] = None
            self._condition.wait_for(lambda: self._is_closing, pause_s)


def keep_in(store: StudyStore, record: TrialRecord) -> Keep:
    """A function that keeps a run as the trial's, unless the trial got another one since `record` was read.

    It returns the run that the study keeps.
    """
    return functools.partial(store.keep_run_id, record.number, instead_of=record.run_id)


def reconcile(store: StudyStore, projector: Projector) -> int:
    """Send every ended trial whose last state the tracking store may not hold; return how many those are."""
    numbers = store.untracked()
    for number in numbers:
        projector.changed(number)
    return len(numbers)
