"""Split rows into holdout, training and validation: pure functions of data, settings and seed.

The splitters are scikit-learn's. Each preserves something: class shares (stratified), whole groups (group), the
direction of time (time_series). The holdout and the rows that early stopping watches are split off by the same rule as
the folds. Rows are given by their indexes in the whole data set, in ascending order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
)

from winnow.config.errors import InputError
from winnow.config.experiment import CrossValidationConfig
from winnow.data.dataset import DataSet

Rows = NDArray[np.int64]

SPLITTER = "cross_validation.splitter"
FOLDS = "cross_validation.folds"
HOLDOUT = "data.holdout"
WATCH = "training.early_stopping.fraction"
GROUP_DRAWS = 50
"""How many random splits of whole groups are compared to find the one nearest to the wanted shares."""


class Kind(Enum):
    """The splitters, named as in `cross_validation.splitter`."""

    KFOLD = "kfold"
    STRATIFIED = "stratified"
    GROUP = "group"
    STRATIFIED_GROUP = "stratified_group"
    TIME_SERIES = "time_series"
    REPEATED = "repeated"
    REPEATED_STRATIFIED = "repeated_stratified"


REPEATS = frozenset({Kind.REPEATED, Kind.REPEATED_STRATIFIED})
STRATIFIES = frozenset({Kind.STRATIFIED, Kind.STRATIFIED_GROUP, Kind.REPEATED_STRATIFIED})
GROUPS = frozenset({Kind.GROUP, Kind.STRATIFIED_GROUP})
SPLITTERS: dict[Kind, Any] = {
    Kind.KFOLD: KFold,
    Kind.STRATIFIED: StratifiedKFold,
    Kind.GROUP: GroupKFold,
    Kind.STRATIFIED_GROUP: StratifiedGroupKFold,
    Kind.REPEATED: RepeatedKFold,
    Kind.REPEATED_STRATIFIED: RepeatedStratifiedKFold,
}
"""scikit-learn's splitters for folds that do not depend on time."""


@dataclass(frozen=True, eq=False)
class Holdout:
    """The rows split off before the sweep, and the rest, which is dealt into folds."""

    rest: Rows
    holdout: Rows


@dataclass(frozen=True, eq=False)
class Fold:
    """The training and validation rows of one fold."""

    train: Rows
    validation: Rows


def split_holdout(data: DataSet, share: float, splitter: str, seed: int) -> Holdout:
    """Split off the holdout, which scores refits alone.

    With time_series it is the last rows in time; with groups, whole groups that come near the share and the class
    shares; otherwise a random share, in classification of every class.

    Args:
        share: of all rows, 0 ≤ share < 1; 0 leaves the holdout empty.

    Raises:
        InputError: the splitter does not fit the data, or a part would be empty or miss a class.
    """
    kind = resolve_splitter(data, splitter)
    everything = np.arange(data.rows, dtype=np.int64)
    if share == 0:
        return Holdout(everything, np.empty(0, dtype=np.int64))
    rest, holdout = _part(data, everything, share, kind, seed, HOLDOUT)
    for rows, part in ((holdout, "the holdout"), (rest, "the rows left for the sweep")):
        _refuse_missing_class(data, rows, part)
    return Holdout(rest, holdout)


def deal_folds(data: DataSet, rows: Rows, cross_validation: CrossValidationConfig, seed: int) -> tuple[Fold, ...]:
    """Deal rows into folds; with repeats, one repetition after another.

    `auto` is stratified for classification and kfold for regression; for data with groups, stratified_group and group;
    for data with times, time_series. With time_series a fold trains on all times before the ones it validates, rows of
    one time stay together, and the earliest rows are never validated.

    Args:
        rows: indexes into the whole data set.

    Raises:
        InputError: the splitter does not fit the data, there are fewer rows, groups, times or members of a class than
            folds, or `repeats` is set for a splitter that does not repeat.
    """
    kind = resolve_splitter(data, cross_validation.splitter)
    folds, repeats = cross_validation.folds, cross_validation.repeats
    if repeats > 1 and kind not in REPEATS:
        raise InputError(
            "cross_validation.repeats",
            expected=f"1 with the splitter {kind.value}",
            found=str(repeats),
            remedy="Set `splitter` to repeated or repeated_stratified, or leave `repeats` out.",
        )
    _refuse_too_many_folds(data, rows, kind, folds)
    if kind is Kind.TIME_SERIES:
        assert data.time is not None
        # Over the distinct times, so that rows of one time are never on both sides.
        times, position = np.unique(data.time[rows], return_inverse=True)
        dealt = tuple(
            Fold(np.sort(rows[np.isin(position, train)]), np.sort(rows[np.isin(position, validation)]))
            for train, validation in TimeSeriesSplit(n_splits=folds).split(times)
        )
    else:
        target, groups = data.target[rows], data.groups[rows] if data.groups is not None else None
        options = {"n_repeats": repeats} if kind in REPEATS else {"shuffle": True}
        parts = SPLITTERS[kind](n_splits=folds, random_state=seed, **options).split(rows, target, groups)
        dealt = tuple(Fold(np.sort(rows[train]), np.sort(rows[validation])) for train, validation in parts)
    if kind in GROUPS:
        _refuse_uneven_groups(data, dealt, folds)
    return dealt


def split_watch(data: DataSet, rows: Rows, fraction: float, splitter: str, seed: int) -> tuple[Rows, Rows]:
    """Split training rows into rows to learn from and rows that early stopping watches, both not empty.

    The watched rows are chosen like a holdout, but may miss a rare class.

    Raises:
        InputError: the splitter does not fit the data, or there are too few rows, groups or times to split.
    """
    return _part(data, rows, fraction, resolve_splitter(data, splitter), seed, WATCH)


def resolve_splitter(data: DataSet, splitter: str) -> Kind:
    """The splitter for a name and this data.

    Raises:
        InputError: it needs groups, times or classes that the data does not have, or ignores the data's groups.
    """
    is_classification = data.task == "classification"
    if splitter == "auto":
        if data.groups is not None and data.time is not None:
            raise InputError(
                SPLITTER,
                expected=f"a splitter for '{data.name}', which has both groups and times",
                found="auto",
                remedy="Set group or stratified_group to keep groups whole, or leave out the groups for time_series.",
            )
        if data.groups is not None:
            return Kind.STRATIFIED_GROUP if is_classification else Kind.GROUP
        if data.time is not None:
            return Kind.TIME_SERIES
        return Kind.STRATIFIED if is_classification else Kind.KFOLD
    kind = Kind(splitter)
    if kind in GROUPS and data.groups is None:
        raise _unfit(kind, "rows with groups", "Name their column as `data.group`, or return `groups`.", data)
    if kind is Kind.TIME_SERIES and data.time is None:
        raise _unfit(kind, "rows with times", "Name their column as `data.time`, or return `time`.", data)
    if kind in STRATIFIES and not is_classification:
        instead = {Kind.STRATIFIED: "kfold", Kind.STRATIFIED_GROUP: "group", Kind.REPEATED_STRATIFIED: "repeated"}[kind]
        raise _unfit(kind, "classes to stratify", f"Use {instead} for regression.", data)
    if data.groups is not None and kind not in GROUPS:
        raise InputError(
            SPLITTER,
            expected=f"group or stratified_group, since '{data.name}' has groups that must stay in one fold",
            found=kind.value,
            remedy="Choose one of these, or leave out `data.group` (and `data.drop` its column).",
        )
    return kind


def _part(data: DataSet, rows: Rows, share: float, kind: Kind, seed: int, place: str) -> tuple[Rows, Rows]:
    """Two parts of the rows, in ascending order; the second has about the given share."""
    count = math.ceil(share * len(rows))
    if not 0 < count < len(rows):
        raise _too_few(place, f"{len(rows)} rows", share)
    if kind is Kind.TIME_SERIES:
        first, second = _part_by_time(data, rows, count, share, place)
    elif kind in GROUPS:
        first, second = _part_by_groups(data, rows, share, seed, place)
    elif _can_stratify(data, rows, count):
        splitter = StratifiedShuffleSplit(n_splits=1, test_size=count, random_state=seed)
        first, second = next(splitter.split(rows, data.target[rows]))
    else:
        first, second = next(ShuffleSplit(n_splits=1, test_size=count, random_state=seed).split(rows))
    return np.sort(rows[first]), np.sort(rows[second])


def _part_by_time(data: DataSet, rows: Rows, count: int, share: float, place: str) -> tuple[Rows, Rows]:
    """Positions of the earlier and of the last `count` rows in time; rows of one time stay together."""
    assert data.time is not None
    time = data.time[rows]
    start = np.sort(time)[len(rows) - count]
    is_late = time >= start
    if is_late.all():
        is_late = time > start
    if not is_late.any():
        raise _too_few(place, "a single time", share)
    return np.flatnonzero(~is_late), np.flatnonzero(is_late)


def _part_by_groups(data: DataSet, rows: Rows, share: float, seed: int, place: str) -> tuple[Rows, Rows]:
    """Whole groups: the random draw, of many, in which every class comes nearest to the share."""
    assert data.groups is not None
    groups = data.groups[rows]
    count = len(np.unique(groups))
    if count < 2:
        raise _too_few(place, "a single group", share)
    classes = data.target[rows] if data.task == "classification" else np.zeros(len(rows), dtype=np.int64)
    totals = np.bincount(classes)
    present = totals > 0

    def distance(draw: tuple[Rows, Rows]) -> float:
        found = np.bincount(classes[draw[1]], minlength=len(totals))[present] / totals[present]
        return float(np.square(found - share).sum())

    groups_aside = min(max(1, round(share * count)), count - 1)
    draws = GroupShuffleSplit(n_splits=GROUP_DRAWS, test_size=groups_aside, random_state=seed)
    best: tuple[Rows, Rows] = min(draws.split(rows, groups=groups), key=distance)
    return best


def _can_stratify(data: DataSet, rows: Rows, count: int) -> bool:
    """Whether StratifiedShuffleSplit can put every class into both parts."""
    if data.task != "classification":
        return False
    members = np.unique_counts(data.target[rows]).counts
    return bool(members.min() >= 2) and len(members) <= min(count, len(rows) - count)


def _refuse_missing_class(data: DataSet, rows: Rows, part: str) -> None:
    if data.class_names is None:
        return
    missing = np.setdiff1d(np.arange(len(data.class_names)), data.target[rows])
    if len(missing):
        members = int((data.target == missing[0]).sum())
        raise InputError(
            HOLDOUT,
            expected=f"every class in {part} of '{data.name}'",
            found=f"none of the {members} rows of class '{data.class_names[missing[0]]}' among {len(rows)}",
            remedy="Change `data.holdout` (0 for none), or add rows of this class or leave it out.",
        )


def _refuse_too_many_folds(data: DataSet, rows: Rows, kind: Kind, folds: int) -> None:
    """Each fold needs its own rows, groups or times, and members of every class."""
    if kind in STRATIFIES:
        assert data.class_names is not None
        members = np.bincount(data.target[rows].astype(np.int64), minlength=len(data.class_names))
        rarest = int(members.argmin())
        _refuse_fewer(int(members[rarest]), folds, f"rows of class '{data.class_names[rarest]}'", data)
    if kind in GROUPS and data.groups is not None:
        _refuse_fewer(len(np.unique(data.groups[rows])), folds, "groups", data)
    elif kind is Kind.TIME_SERIES and data.time is not None:
        _refuse_fewer(len(np.unique(data.time[rows])) - 1, folds, "different times after the first", data)
    else:
        _refuse_fewer(len(rows), folds, "rows", data)


def _refuse_fewer(count: int, folds: int, what: str, data: DataSet) -> None:
    if count < folds:
        raise InputError(
            FOLDS,
            expected=f"at most as many folds as '{data.name}' has {what} outside the holdout, {count}",
            found=str(folds),
            remedy="Use fewer folds, a smaller holdout, or more data.",
        )


def _refuse_uneven_groups(data: DataSet, dealt: tuple[Fold, ...], folds: int) -> None:
    """Refuse an empty fold, and a fold whose training rows miss a class because one group holds all its rows."""
    names = data.class_names or ()
    for fold in dealt:
        missing = np.setdiff1d(np.arange(len(names)), data.target[fold.train])
        if len(missing) or not len(fold.validation):
            lost = f"all rows of class '{names[missing[0]]}' in one fold" if len(missing) else ""
            raise InputError(
                FOLDS,
                expected=f"groups of '{data.name}' that leave every fold rows to validate and every class to learn",
                found=lost or f"an empty fold of {folds}",
                remedy="Use fewer folds, or finer groups.",
            )


def _unfit(kind: Kind, needs: str, remedy: str, data: DataSet) -> InputError:
    return InputError(
        SPLITTER,
        expected=f"{needs} for the splitter {kind.value}",
        found=f"none in '{data.name}' ({data.task})",
        remedy=remedy,
    )


def _too_few(place: str, found: str, share: float) -> InputError:
    return InputError(
        place,
        expected=f"enough rows to split off a share of {share:g} and to leave some",
        found=found,
        remedy="Change the share, or add data.",
    )
