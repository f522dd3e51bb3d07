"""Student's t distribution, without NumPy, which reports do not import."""

from __future__ import annotations

import math
from statistics import NormalDist

_NORMAL_DEGREES = 1000
"""With more degrees of freedom, the normal distribution replaces Student's t."""


def student_cdf(value: float, degrees: int) -> float:
    """P(T <= value) of Student's t with whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    if degrees > _NORMAL_DEGREES:
        return NormalDist().cdf(value)
    angle = math.atan(value / math.sqrt(degrees))
    term = math.cos(angle) if degrees % 2 else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(3 if degrees % 2 else 2, degrees, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    inside = math.sin(angle) * total
    if degrees % 2:
        inside = 2 / math.pi * (angle + inside)
    return min(max((1 + inside) / 2, 0.0), 1.0)
