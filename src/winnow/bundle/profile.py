"""The reference profile: what a model was trained on, as counts and quantiles, to compare live requests with.

A bundle has it as `profile.json`; bundles of older versions have none. It has no rows. Servers count requests into the
same bins (`serving.live_counts`), and `winnow.monitoring` compares the two.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from winnow.bundle.columns import Kind

PROFILE = "profile.json"
"""The file's name in the bundle."""
QUANTILES: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""The shares of `ColumnProfile.quantiles`."""
PREDICTION, CONFIDENCE = "prediction", "confidence"
"""Outputs of a classifier: the predicted class, and its probability."""


class ColumnCounts(Struct, frozen=True, forbid_unknown_fields=True):
    """How the values of one column, or of one output, are distributed.

    Attributes:
        bins: rows in each bin. Of numbers: bin i has the values above `edges[i - 1]` and up to `edges[i]`; the first
            and the last bin are open. Of categories, booleans and classes: one bin for each code.
        missing: rows without a value.
        unknown: rows with a category that has no code.
        total, square_total: sums of the present values' distances from the column's `centre`, and of their squares; a
            distance counts as 1000 times the `scale` at most. 0 for columns without edges.
    """

    bins: tuple[int, ...]
    missing: int = 0
    unknown: int = 0
    total: float = 0.0
    square_total: float = 0.0

    @property
    def rows(self) -> int:
        """All rows, also those without a value."""
        return sum(self.bins) + self.missing + self.unknown


class ColumnProfile(Struct, frozen=True, forbid_unknown_fields=True):
    """One column of the training rows, or one output of the model.

    Attributes:
        name: the column's; of tensors a statistic of the row. Of outputs: `PREDICTION` and `CONFIDENCE` for a
            classifier, the targets' names for regression.
        kind: as in the column codec; classes are a category. Dates are counted by day.
        edges: inner bounds of the bins, rising; empty for categories, and where fewer than 20 rows have a value.
        labels: a text for each bin of a category, boolean or class.
        centre, scale: the median and the standard deviation of the present values; 0 and 1 without edges.
        quantiles: of the present values, at `QUANTILES`, though with at least five rows on either side; empty without
            edges.
        importance: how much worse the model's objective is on rows whose values of this column are permuted, in the
            metric's units; None for outputs, and where it was not measured.
        importance_std: of the repetitions.
    """

    name: str
    kind: Kind
    counts: ColumnCounts
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    centre: float = 0.0
    scale: float = 1.0
    quantiles: tuple[float, ...] = ()
    importance: float | None = None
    importance_std: float | None = None


class Losses(Struct, frozen=True, forbid_unknown_fields=True):
    """How well the model answered the rows of `Profile.outputs`, by one metric of single rows.

    Attributes:
        rows: those with a target.
        mean, variance: of the metric's value for each row; the variance divides by `rows`.
    """

    rows: int
    mean: float
    variance: float


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model was trained on, and what it answered on rows that it was not trained on.

    Attributes:
        rows: training rows that were counted: 100,000 at most, spread over all, and fewer of large ones.
        columns: of the training rows; at most `MOST_COLUMNS`, those with the largest importance.
        outputs: of `output_rows` rows: the holdout, else out-of-fold predictions, else the training rows, as
            `output_source` says ("holdout", "folds" or "training").
        losses: what live outcomes are compared with, of the same rows as `outputs`: `accuracy` for a classifier (1 for
            a right class, else 0), `absolute_error` and `squared_error` for a regression of one target.
        left_out: columns that are not among `columns`.
        metric: the name of the metric of the importances; empty where they were not measured.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    outputs: tuple[ColumnProfile, ...]
    output_rows: int
    output_source: str
    losses: dict[str, Losses] = {}
    left_out: int = 0
    metric: str = ""
    format: int = 1

    def column(self, name: str) -> ColumnProfile | None:
        """The column of that name; None where it has none."""
        return next((each for each in self.columns if each.name == name), None)


MOST_COLUMNS = 200


def write_profile(directory: Path, profile: Profile) -> None:
    """Write `profile.json` into a bundle's folder."""
    (directory / PROFILE).write_bytes(msgspec.json.encode(profile) + b"\n")


def read_profile(directory: Path) -> Profile | None:
    """The profile of a bundle whose files have been checked; None for a bundle of an older version.

    Raises ValueError where it is not one that this version reads.
    """
    path = directory / PROFILE
    return msgspec.json.decode(path.read_bytes(), type=Profile) if path.is_file() else None
