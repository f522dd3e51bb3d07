"""A synthetic table with its known answer, and the files in which the two are written."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.atomic_write import replacing
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.private import share

if TYPE_CHECKING:
    import pandas as pd

ANSWER_SUFFIX = ".answer.json"


@dataclass(frozen=True, eq=False)
class GeneratedTable:
    """Rows of a yes/no question with what is known about them.

    Attributes:
        frame: the rows with the target.
        target: its column, "yes" or "no".
        metric, best_score: the best score that any model can reach.
        answer: the truth as JSON values.
    """

    frame: pd.DataFrame
    target: str
    metric: str
    best_score: float
    answer: Mapping[str, Any]


def yes_no_table(
    frame: pd.DataFrame, target: str, probabilities: NDArray[np.float64], truth: Mapping[str, Any]
) -> GeneratedTable:
    """The rows of a question of which the probability of "yes" is known, [rows]."""
    best = best_auroc(probabilities)
    answer = {**truth, "best": {"metric": "auroc", "score": best}, "share of yes": float(probabilities.mean())}
    return GeneratedTable(frame, target, "auroc", best, answer)


def write_files(frame: pd.DataFrame, answer: Mapping[str, Any], output: Path, *, force: bool = False) -> Path:
    """Write a table to `output`, .csv or .parquet, and the truth beside it; both appear whole or not at all.

    Returns:
        The path of the answer, `OUTPUT.answer.json`.

    Raises:
        InputError: unknown format, a file that exists (without `force`), or a disk that is full or read-only.
    """
    if output.suffix not in (".csv", ".parquet"):
        expected, remedy = "a name that ends with .csv or .parquet", "Add one of these to the name."
        raise InputError("--output", expected=expected, found=f"'{output}'", remedy=remedy)
    beside = output.with_name(output.name + ANSWER_SUFFIX)
    existing = next((path for path in (output, beside) if path.exists()), None)
    if existing is not None and not force:
        raise occupied(existing, "a path that does not exist", "a file", is_ours=True)
    with _writing(output), replacing(output) as drawn, replacing(beside) as known:
        write_answer(known, answer)
        (frame.to_csv if output.suffix == ".csv" else frame.to_parquet)(drawn, index=False)
        share(drawn)
    return beside


def write_answer(file: Path, answer: Mapping[str, Any]) -> None:
    """Write what is true of generated data."""
    file.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    share(file)


@contextmanager
def drawing(output: Path) -> Iterator[Path]:
    """A folder beside the folder `output` for what will be in it. Raises InputError as `write_files`."""
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
            yield Path(scratch)


def occupied(output: Path, expected: str, found: str, *, is_ours: bool) -> InputError:
    """The error for a path that is taken; what was generated before may be overwritten."""
    flag = f", or overwrite it with {next_flag('force', True)}" if is_ours else ""
    return InputError(
        str(output), expected=expected, found=found, remedy=f"Choose another with {next_flag('output')}{flag}."
    )


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Write `output`. Raises InputError where the disk is full or read-only."""
    try:
        yield
    except OSError as error:
        raise InputError(
            str(output),
            expected="permission and room to write",
            found=f"'{error.strerror or error}'",
            remedy=f"Choose another place with {next_flag('output')}, or make room.",
        ) from error


def check_numbers(rows: int, seed: int) -> None:
    """Refuse fewer than 10 rows, or a negative seed. Raises InputError."""
    for option, value, least in (("rows", rows, 10), ("seed", seed, 0)):
        if value < least:
            remedy = "Change this option."
            raise InputError(f"--{option}", expected=f"at least {least}", found=str(value), remedy=remedy)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(−x))."""
    result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-values))
    return result


def intercept_for(effects: NDArray[np.float64], share: float) -> float:
    """The intercept with which the mean of sigmoid(effects + intercept) is `share`, by bisection."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if sigmoid(effects + middle).mean() > share else (middle, high)
    return round((low + high) / 2, 6)


def best_auroc(probabilities: NDArray[np.float64]) -> float:
    """How often a drawn positive has a higher probability than a drawn negative; equal ones count half."""
    values, place = np.unique(probabilities, return_inverse=True)
    positive = np.bincount(place, weights=probabilities, minlength=len(values))
    negative = np.bincount(place, weights=1.0 - probabilities, minlength=len(values))
    return area_below(positive, negative)


def area_below(positive: NDArray[Any], negative: NDArray[Any]) -> float:
    """The AUROC of the weights of positives and negatives at each score, lowest first."""
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))
