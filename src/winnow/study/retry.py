"""Retries calls while the study's database is unavailable: it restarts, or its disk is full for a while.

A retried call must be atomic and repeatable, because its answer may be lost after the commit. The transactions of
`leases.py` are both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import InternalError, OperationalError, PendingRollbackError, SQLAlchemyError, TimeoutError

from winnow.config.errors import WinnowError
from winnow.study.database import DatabaseAwayError, first_line

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

LONGEST_PAUSE_S = 5.0


class StudyUnreachableError(WinnowError):
    """The database did not answer in time."""


class Retry:
    """Calls functions again for up to `seconds` while the database is unavailable.

    `check` is called before each pause; an exception that it raises ends the wait.
    """

    def __init__(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        self._seconds = seconds
        self._check = check

    def __call__(self, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Return what `act` returns. Raises StudyUnreachableError."""
        deadline = time.monotonic() + self._seconds
        pause_s = 0.2
        while True:
            try:
                return act(*args, **kwargs)
            except (SQLAlchemyError, StorageInternalError, DatabaseAwayError) as error:
                if not _may_pass(error):
                    raise
                if time.monotonic() + pause_s > deadline:
                    raise StudyUnreachableError(
                        f"the study's storage: expected an answer within {self._seconds:.0f} s, found "
                        f"{first_line(error)!r}. Repair it and run the same command again: nothing is lost."
                    ) from error
                _log.warning("the study does not answer, waiting: %s", first_line(error))
            self._check()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _may_pass(error: Exception) -> bool:
    """Whether the database was unavailable, locked or full. A refused statement stays refused."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    # SQLAlchemy's TimeoutError: no connection became free. PendingRollbackError: Optuna used a connection that was just
    # lost; the next attempt gets another one.
    passing = DatabaseAwayError | OperationalError | InternalError | TimeoutError | PendingRollbackError
    return isinstance(cause, passing) or bool(getattr(cause, "connection_invalidated", False))
