"""Time as a value that waiting code receives, so that tests can replace it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """`now` returns seconds since an arbitrary moment and never goes back; `sleep` takes seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
