"""Whether a model answers a row by that row alone, or also by the other rows of its batch.

A server answers rows one at a time and in batches of any size, and the same row must get the same answer. Training,
scoring and the comparison of ONNX with torch run equal batches on both sides, so they cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CAUSE = (
    "an operation over the first dimension of a batch, such as mean(0), softmax(0), a view or a squeeze that moves "
    "rows, or BatchNorm left in training mode"
)
ROWS = 16
"""Rows that are asked for alone and together."""

Answer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def dependence(
    answer: Answer, rows: NDArray[np.float32], together: NDArray[np.float32], tolerance: NDArray[np.float64] | float
) -> str | None:
    """How the answer to a row alone differs from the one among the other rows; None where it does not.

    Args:
        answer: a model in eval mode, float32 [rows, *input_shape] to [rows, outputs].
        together: what it answers to all of them at once, [rows, outputs].
        tolerance: how far two answers may be apart, for each output.
    """
    for index in range(len(rows)):
        try:
            alone = answer(rows[index : index + 1])
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            return f"row {index} alone raises {type(error).__name__}: {error}"
        if alone.shape != (1, *together.shape[1:]):
            return f"row {index} alone gives shape {list(alone.shape)} instead of {[1, *together.shape[1:]]}"
        difference = np.abs(alone[0].astype(np.float64) - together[index])
        # A value that is missing on both sides is equal; on one side it is a difference.
        is_within = (difference <= tolerance) | (np.isnan(alone[0]) & np.isnan(together[index]))
        if not is_within.all():
            return f"row {index} alone gives {_short(alone[0])}, among {len(rows)} rows {_short(together[index])}"
    return None


def _short(values: NDArray[np.float32]) -> str:
    shown = ", ".join(f"{value:.4g}" for value in values.ravel()[:4])
    return f"[{shown}{', …' if values.size > 4 else ''}]"
