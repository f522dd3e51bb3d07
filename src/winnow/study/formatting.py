"""Formats numbers, durations and parameters for the terminal and the report."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Sequence
from typing import Any

_ESCAPE_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def score(value: float | None) -> str:
    """A metric: four decimals if that is meaningful, else three to five significant digits; "–" for None."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    magnitude = abs(value)
    if magnitude != 0 and (magnitude < 1e-3 or magnitude >= 1e6):
        return f"{value:.3g}"
    return f"{value:.4f}" if magnitude < 10 else f"{value:.2f}" if magnitude < 1000 else f"{value:.0f}"


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two values, or one that is not finite."""
    return statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else None


def setting(value: Any) -> str:
    """A parameter's value on one line: floats to four significant digits, lists as JSON, text as it is."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def duration(seconds: float) -> str:
    """A measured time in its two largest units: "0.8 s", "42 s", "3 min 05 s", "2 h 14 min", "3 d 4 h"."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def estimate(seconds: float | None) -> str:
    """A remaining time, rounded like an estimate: "35 s", "3 min", "2 h 10 min"; "–" for None."""
    if seconds is None:
        return "–"
    if seconds < 115:
        step = 5 if seconds < 55 else 10
        return f"{max(step * math.ceil(seconds / step), step)} s"
    if seconds < 3600:
        return f"{max(round(seconds / 60), 1)} min"
    tens = round(seconds / 600)
    return f"{tens // 6} h {tens % 6 * 10:02d} min" if tens < 6 * 48 else f"{round(seconds / 86400)} d"


def one_line(text: str) -> str:
    """Text without line breaks, escape sequences and control characters."""
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """Text without escape sequences and control characters, except line breaks and tabs.

    Of a line that a progress bar overwrote with carriage returns, only the last version is kept.
    """
    lines = _ESCAPE_SEQUENCE.sub("", text).replace("\r\n", "\n").split("\n")
    return "\n".join(_CONTROL.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]) for line in lines)
