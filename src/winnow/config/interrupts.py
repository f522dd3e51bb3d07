"""Deliver Ctrl-C again where Python has ignored it."""

from __future__ import annotations

import _thread
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
