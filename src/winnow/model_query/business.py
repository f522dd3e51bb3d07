"""A number of the user's own, computed from rows and predictions: `function(rows, predictions) -> float`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow import fixed_sample
from winnow.config.errors import InputError
from winnow.config.functions import line_in
from winnow.model_query.evidence import Answers
from winnow.model_query.measure import FEWEST_ROWS, Estimate

RESAMPLES = 400


@dataclass(frozen=True)
class Value:
    """A function of the user's own, whose errors say where it fails.

    Attributes:
        name: as the gate has it.
        place: the gate's key.
    """

    name: str
    function: Callable[..., Any]
    place: str

    def __call__(self, rows: Any, predictions: Any) -> float:
        """Its value for some rows. Raises InputError where it raises, or gives no number."""
        try:
            return float(self.function(rows, predictions))
        except Exception as error:
            raise InputError(
                self.place,
                expected=f"{self.name}(rows, predictions) to give a number for {len(predictions)} rows",
                found=f"{type(error).__name__}: {error}{line_in(inspect.getsourcefile(self.function), error)}",
                remedy="Correct the function.",
            ) from error


def estimate(
    value: Value,
    rows: Any,
    versions: Sequence[Answers],
    confidence: float | None,
    *,
    sign: float = 1.0,
    is_relative: bool = False,
) -> Estimate:
    """A version's number, or by how much the first of two versions is better, with bounds by resampled rows.

    Args:
        versions: one or two.
        confidence: of each bound; None: there are no bounds, and the function is called once a version.
        sign: -1 where less is better.
        is_relative: as a share of the second version's number.
    """
    predictions = [each.predictions for each in versions]

    def number(index: NDArray[np.int64] | None) -> float:
        found = [
            value(rows if index is None else taken(rows, index), each if index is None else each[index])
            for each in predictions
        ]
        if len(found) == 1:
            return found[0]
        gain = sign * (found[0] - found[1])
        return gain if not is_relative else gain / abs(found[1]) if found[1] else float("nan")

    whole, n = number(None), len(predictions[0])
    if confidence is None or n < FEWEST_ROWS:
        return Estimate(whole, None, None, n)
    random = np.random.default_rng(0)
    drawn = np.array([number(random.integers(n, size=n)) for _ in range(RESAMPLES)])
    if np.isnan(drawn).all():
        return Estimate(whole, None, None, n)
    return Estimate(whole, *fixed_sample.bootstrap_bounds(drawn, drawn, n, 1 - confidence), n)


def taken(rows: Any, index: NDArray[np.int64]) -> Any:
    """Some rows of a DataFrame or an array."""
    return rows.take(index) if hasattr(rows, "columns") else rows[index]
