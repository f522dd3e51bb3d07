"""Try again while the study cannot be reached: its database restarts, or its disk is full for a while.

A call that is tried again must be atomic and safe to repeat, since its answer may be lost after the work was done. The
transactions of `leases.py` are both.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import InternalError, OperationalError, PendingRollbackError, SQLAlchemyError, TimeoutError

from winnow.config.errors import WinnowError
from winnow.study.database import DatabaseAwayError

_log = logging.getLogger(__name__)
_P = ParamSpec("_P")
_T = TypeVar("_T")

LONGEST_PAUSE_S = 5.0


class StudyUnreachableError(WinnowError):
    """The study did not answer within the time that the caller allows."""


class Retry:
    """Calls functions that need the study, and calls them again while it is away.

    Args:
        seconds: how long one call is tried.
        check: called before each pause; an exception that it raises ends the wait.
    """

    def __init__(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        self._seconds = seconds
        self._check = check

    def __call__(self, act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What `act` returns. Raises StudyUnreachableError."""
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
                        f"{_first_line(error)!r}. Mend it and run the same command again: nothing is lost."
                    ) from error
                _log.warning("the study does not answer, waiting: %s", _first_line(error))
            self._check()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _may_pass(error: Exception) -> bool:
    """Whether the database was away, locked or full; a statement that it refuses stays refused."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    # TimeoutError is SQLAlchemy's own: no connection became free. PendingRollbackError is what Optuna meets where it
    # asks again on a connection that was lost a moment before; the next attempt begins with another.
    passing = DatabaseAwayError | OperationalError | InternalError | TimeoutError | PendingRollbackError
    return isinstance(cause, passing) or _is_disconnect(cause)


def _is_disconnect(error: BaseException | None) -> bool:
    return bool(getattr(error, "connection_invalidated", False))


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
