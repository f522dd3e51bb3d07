"""Time, as a value that tests replace; whoever waits takes one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`now` in seconds since any moment, never going back; `sleep` for so many."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
