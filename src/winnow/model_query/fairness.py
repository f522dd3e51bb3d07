"""Differences of a metric between groups of rows, as Fairlearn's MetricFrame defines them, with bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from winnow import fixed_sample
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.model_query.evidence import Answers, Evidence
from winnow.model_query.measure import FEWEST_ROWS, Estimate, Measure, resample

MOST_GROUPS = 50
MISSING = "(missing)"


@dataclass(frozen=True, eq=False)
class Groups:
    """The group of each row.

    Attributes:
        names: of the groups, sorted.
        of_row: index of a row's group, int64 [rows].
    """

    names: tuple[str, ...]
    of_row: NDArray[np.int64]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Rows by group."""
        return dict(zip(self.names, np.bincount(self.of_row, minlength=len(self.names)).tolist(), strict=True))

    def values(self, found: Measure, evidence: Evidence) -> Mapping[str, float]:
        """The metric by group."""
        return {
            name: found.of(_some(evidence.candidate, self.of_row == index), evidence.target[self.of_row == index])
            for index, name in enumerate(self.names)
        }


def groups_of(evidence: Evidence, column: str, place: str) -> Groups | None:
    """The groups that a column's values make; missing values are a group of their own. None without rows.

    Raises InputError where there is no such column, or it has one value or too many.
    """
    if not len(evidence.target):
        return None
    columns = [str(name) for name in getattr(evidence.rows, "columns", ())]
    if column not in columns:
        raise InputError(
            place,
            expected=f"a column of {evidence.source}",
            found=repr(column),
            remedy=did_you_mean(column, columns)
            or (f"It has {', '.join(columns)}." if columns else "Its rows are no table: leave the gate out."),
        )
    values = evidence.rows[column]
    texts = values.astype(object).where(values.notna(), MISSING).astype(str).to_numpy(dtype=object)
    names, of_row = np.unique(texts, return_inverse=True)
    if not 2 <= len(names) <= MOST_GROUPS:
        raise InputError(
            place,
            expected=f"a column with 2 to {MOST_GROUPS} values, which are the groups",
            found=f"{len(names)} in '{column}'",
            remedy="Name another column, or add one to the data with ranges of this one's values.",
        )
    return Groups(tuple(map(str, names)), of_row.astype(np.int64))


def disparity(
    found: Measure,
    answers: Answers,
    target: NDArray[np.generic],
    groups: Groups,
    alpha: float,
    *,
    is_ratio: bool,
) -> Estimate:
    """The largest difference between two groups, or the ratio of the lowest group to the highest, with bounds.

    The value is that of `fairlearn.metrics.MetricFrame` (`between_groups`). The groups' rows are resampled apart.

    Returns:
        NaN where the metric of a group is not defined. Without bounds where a group has fewer than `FEWEST_ROWS` rows.
    """
    from fairlearn.metrics import MetricFrame

    rows = np.arange(len(target))

    def metric(index: NDArray[np.int64], _: NDArray[np.int64]) -> float:
        return found.of(_some(answers, index), target[np.asarray(index)])

    frame = MetricFrame(metrics=metric, y_true=rows, y_pred=rows, sensitive_features=groups.of_row)
    # MetricFrame leaves groups out whose metric is not defined.
    is_defined = bool(np.isfinite(frame.by_group).all())
    value = float(frame.ratio() if is_ratio else frame.difference()) if is_defined else float("nan")
    if not is_defined or min(groups.sizes.values()) < FEWEST_ROWS:
        return Estimate(value, None, None, len(target))
    draws = [
        resample(found, [_some(answers, groups.of_row == index)], target[groups.of_row == index], seed=index)
        for index in range(len(groups.names))
    ]
    plain, worse = np.stack([each.plain[0] for each in draws]), np.stack([each.worse[0] for each in draws])
    apart, together = ((each.min(0), plain.max(0)) for each in (np.minimum(worse, plain), plain))
    with np.errstate(divide="ignore", invalid="ignore"):
        far, near = (low / high if is_ratio else high - low for low, high in (apart, together))
    bounds = fixed_sample.bootstrap_bounds(*((far, near) if is_ratio else (near, far)), len(target), alpha)
    return Estimate(value, *bounds, len(target))


def _some(answers: Answers, rows: NDArray[np.generic]) -> Answers:
    return replace(answers, outputs=answers.outputs[np.asarray(rows)])
