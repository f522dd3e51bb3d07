"""Compares two answers to one request. Pure: bodies in, a comparison out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

RELATIVE, ABSOLUTE = 0.01, 1e-6
"""Numbers agree within 1 % of the larger one, or within the second."""


class Comparison(NamedTuple):
    """Two answers to one request.

    Attributes:
        is_agreed: every row has the same class, or numbers that agree.
        is_flip: a row has different classes.
        distance: the largest absolute difference, over the rows, of the first number: the probability of the first
            class, or the first target; 0 where the answers have no numbers.
    """

    is_agreed: bool
    is_flip: bool
    distance: float


class Row(NamedTuple):
    """One prediction: the class, None where there is none; the probabilities or values."""

    label: Any
    numbers: Sequence[float]


def compare(path: str, stable: bytes, candidate: bytes, *, is_classifier: bool) -> Comparison:
    """Compare the bodies of two answers of the protocol of `path`.

    Raises ValueError where one is no answer of that protocol, or they have different numbers of rows.
    """
    ours, theirs = (rows_of(path, body, is_classifier=is_classifier) for body in (stable, candidate))
    pairs = list(zip(ours, theirs, strict=True))
    is_flip = any(mine.label != other.label for mine, other in pairs)
    is_agreed = not is_flip
    if any(mine.label is None for mine in ours):
        is_agreed = is_agreed and all(_agree(mine.numbers, other.numbers) for mine, other in pairs)
    distances = [abs(mine.numbers[0] - other.numbers[0]) for mine, other in pairs if mine.numbers and other.numbers]
    return Comparison(is_agreed, is_flip, max(distances, default=0.0))


def rows_of(path: str, body: bytes, *, is_classifier: bool) -> list[Row]:
    """The predictions in an answer. Raises ValueError where it is no answer of the protocol of `path`."""
    try:
        content = msgspec.json.decode(body)
        if path == "/predict":
            numbers = content["probabilities" if is_classifier else "values"]
            labels = content["predictions"] if is_classifier else [None] * len(numbers)
            return [Row(label, tuple(row.values())) for label, row in zip(labels, numbers, strict=True)]
        if path == "/invocations":
            found = []
            for row in map(dict, content["predictions"]):
                label = row.pop("prediction") if is_classifier else None
                found.append(Row(label, tuple(row.values())))
            return found
        return _tensors({each["name"]: each for each in content["outputs"]})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer to {path}: {error!r}") from error


def _tensors(outputs: dict[str, Any]) -> list[Row]:
    """The rows of an Open Inference answer, which may have one of its outputs alone."""
    labels = outputs["prediction"]["data"] if "prediction" in outputs else None
    if "output" not in outputs:
        return [Row(label, ()) for label in labels or ()]
    data, (count, width) = outputs["output"]["data"], outputs["output"]["shape"]
    numbers = [data[start : start + width] for start in range(0, count * width, width)]
    return [Row(label, row) for label, row in zip(labels or [None] * count, numbers, strict=True)]


def _agree(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    return len(ours) == len(theirs) and all(
        math.isclose(mine, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for mine, other in zip(ours, theirs, strict=True)
    )
