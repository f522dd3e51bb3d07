"""Keeps a worker's leases alive and its line on the terminal fresh, from a thread beside the work.

The work itself may be one long training step: a heartbeat shows that the supervisor is alive, not that the training
advances. A worker notices a lost lease when it next writes to the study.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from winnow.study.leases import Lease, LeaseLostError, Leases
from winnow.study.status import WorkerStatus
from winnow.study.store import StudyStore

_log = logging.getLogger(__name__)

SHOW_EVERY_S = 0.5
RENEW_EVERY_S = 10.0
HEARD_FOR_S = 30.0


@dataclass(frozen=True)
class Identity:
    """Which worker this is: `group` for every life of it, `owner` for this one."""

    group: str
    owner: str
    host: str


class Heartbeat:
    """A context manager; while it is open its worker counts as alive."""

    def __init__(self, store: StudyStore, leases: Leases, identity: Identity) -> None:
        self._store = store
        self._leases = leases
        self._identity = identity
        self._status: WorkerStatus | None = None
        self._shown: WorkerStatus | None = None
        self._held: tuple[Lease, ...] = ()
        self._spoke_at = 0.0
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._is_closing.set()
        self._thread.join()
        if self._status is not None:
            self._speak(replace(self._status, state="stopped"), ttl_s=0.0)

    def hold(self, leases: tuple[Lease, ...]) -> None:
        """Renew these leases from now on, and no others."""
        self._held = leases

    def show(self, status: WorkerStatus) -> None:
        """Show what the worker does now."""
        self._status = status

    def epoch(self, epoch: int, epochs: int) -> None:
        """Show how far the worker's fold is."""
        if self._status is not None:
            self._status = replace(self._status, epoch=epoch, epochs=epochs)

    def _run(self) -> None:
        self._beat()
        while not self._is_closing.wait(SHOW_EVERY_S):
            self._beat()

    def _beat(self) -> None:
        status = self._status
        is_due = time.monotonic() - self._spoke_at > RENEW_EVERY_S
        if status is not None and (status != self._shown or is_due):
            self._speak(status, ttl_s=HEARD_FOR_S)
        if is_due:
            for lease in self._held:
                try:
                    self._leases.renew(lease)
                except LeaseLostError:
                    _log.warning("%s %d was given to another worker", lease.kind, lease.number)
                except (SQLAlchemyError, StorageInternalError) as error:
                    _log.warning("the lease could not be renewed: %s", error)
            self._spoke_at = time.monotonic()

    def _speak(self, status: WorkerStatus, ttl_s: float) -> None:
        try:
            self._store.hear(self._identity.owner, self._identity.group, self._identity.host, status, ttl_s)
            self._shown = status
        except (SQLAlchemyError, StorageInternalError) as error:
            _log.warning("the study did not take the heartbeat: %s", error)
