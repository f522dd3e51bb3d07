"""Amounts of memory and CPUs in Kubernetes' notation, on every platform, and durations."""

from __future__ import annotations

import re

from winnow.config.errors import InputError

QUANTITY = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def bytes_of(quantity: str) -> int:
    """Bytes of a quantity such as `512Mi` or `2G`. Raises ValueError for any other text."""
    if re.fullmatch(QUANTITY, quantity) is None:
        raise ValueError(f"expected a quantity such as 512Mi, found {quantity!r}")
    number = quantity.rstrip("kKMGTi")
    return int(float(number) * _UNITS[quantity.removeprefix(number)])


def cpus_of(quantity: str) -> float:
    """CPUs of a quantity such as `500m` or `0.5`. Raises ValueError for any other text."""
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def memory_text(amount: int) -> str:
    """Bytes as a quantity, in the largest unit that gives a whole number."""
    return next(
        (f"{amount // _UNITS[unit]}{unit}" for unit in ("Gi", "Mi", "Ki") if amount % _UNITS[unit] == 0), str(amount)
    )


def cpu_text(cpus: float) -> str:
    """CPUs as a quantity: `2`, or `1500m`, in thousandths."""
    return str(int(cpus)) if cpus == int(cpus) else f"{round(1000 * cpus)}m"


DURATION = r"^([0-9]+[dhms])+$"
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def seconds_of(duration: str) -> float:
    """Seconds of a duration such as `90m` or `1h30m`. Raises ValueError for any other text."""
    if re.fullmatch(DURATION, duration) is None:
        raise ValueError(f"expected a duration such as 90m or 1h30m, found {duration!r}")
    return float(sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", duration)))


def whole_percent(share: float, place: str, splitter: str) -> int:
    """A share as percent, for what splits requests by whole percents. Raises InputError where it is none."""
    found = round(share * 100)
    if abs(found - share * 100) > 1e-6 or not 0 <= found <= 100:
        raise InputError(
            place,
            expected=f"whole percents, such as 0.05, by which {splitter} splits requests",
            found=f"{share:g}",
            remedy="Round it in `serving.rollout`.",
        )
    return found
