"""What Ctrl-C and SIGTERM do."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from typing import Any

AGAIN_AFTER_S = 0.05
"""Long enough for a garbage collection's callbacks to end."""


def repeat_ignored_interrupts() -> None:
    """Deliver Ctrl-C again if it falls into a garbage collection's callback, where Python ignores all exceptions.

    https://docs.python.org/3/library/sys.html#sys.unraisablehook
    """
    usual = sys.unraisablehook

    def hook(ignored: Any, /) -> None:
        if ignored.exc_type is not KeyboardInterrupt:
            usual(ignored)
            return
        again = threading.Timer(AGAIN_AFTER_S, _thread.interrupt_main)
        again.daemon = True
        again.start()

    sys.unraisablehook = hook


def is_interrupted_query(error: BaseException) -> bool:
    """Whether Ctrl-C ended a query of DuckDB, which then raises this in place of KeyboardInterrupt."""
    return isinstance(error, RuntimeError) and str(error) == "Query interrupted"


def treat_sigterm_as_interrupt() -> None:
    """Make SIGTERM, as from a shutdown or an eviction, do what Ctrl-C does: leave things safe, and end."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
