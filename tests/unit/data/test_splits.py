"""Splits: what every splitter promises, for any data it takes, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.config.experiment import CrossValidationConfig
from winnow.data.dataset import DataSet
from winnow.data.splits import Fold, Kind, deal_folds, resolve_splitter, split_holdout, split_watch

quickly = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**31 - 1)


def classes(target: Any, groups: Any = None, time: Any = None) -> DataSet:
    codes = np.asarray(target, dtype=np.int64)
    names = tuple("abcdefghij"[: int(codes.max()) + 1])
    return data_set("classification", codes, names, groups, time)


def values(rows: int, groups: Any = None, time: Any = None) -> DataSet:
    return data_set("regression", np.arange(rows, dtype=np.float32).reshape(-1, 1), None, groups, time)


def data_set(task: Any, target: Any, names: Any, groups: Any, time: Any) -> DataSet:
    return DataSet(
        name="rows",
        task=task,
        features=np.zeros((len(target), 1), dtype=np.float32),
        target=target,
        groups=None if groups is None else np.asarray(groups),
        time=None if time is None else np.asarray(time),
        feature_names=("x",),
        class_names=names,
        target_names=("y",),
        sha256="",
    )


def deal(data: DataSet, splitter: Any = "auto", folds: int = 3, seed: int = 0, **more: Any) -> tuple[Fold, ...]:
    rows = more.pop("rows", np.arange(data.rows))
    return deal_folds(data, rows, CrossValidationConfig(splitter=splitter, folds=folds, **more), seed)


def listed(folds: tuple[Fold, ...]) -> list[tuple[list[int], list[int]]]:
    return [(fold.train.tolist(), fold.validation.tolist()) for fold in folds]


def refused(call: Any, *args: Any, **kwargs: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return caught.value


def assert_partition(folds: tuple[Fold, ...], rows: NDArray[np.int64]) -> None:
    """Every row is validated once, and trained on in all other folds."""
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.validation for fold in folds])), rows)
    for fold in folds:
        assert len(fold.validation) and len(fold.train)
        np.testing.assert_array_equal(np.sort(np.concatenate([fold.train, fold.validation])), rows)


@st.composite
def classified(draw: st.DrawFn) -> tuple[DataSet, int]:
    """Classes with at least as many members as folds, in any order."""
    folds = draw(st.integers(2, 5))
    counts = draw(st.lists(st.integers(folds, 15), min_size=2, max_size=4))
    target = np.repeat(np.arange(len(counts)), counts)
    return classes(np.random.default_rng(draw(seeds)).permutation(target)), folds


@st.composite
def grouped(draw: st.DrawFn) -> tuple[DataSet, int]:
    """Groups of uneven size, as numbers or text."""
    folds = draw(st.integers(2, 4))
    sizes = draw(st.lists(st.integers(1, 6), min_size=2 * folds, max_size=12))
    groups = np.random.default_rng(draw(seeds)).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return values(len(groups), groups.astype(str) if draw(st.booleans()) else groups), folds


@st.composite
def timed(draw: st.DrawFn) -> tuple[DataSet, int]:
    """Times in any order, some of them shared."""
    folds = draw(st.integers(2, 4))
    times = draw(st.lists(st.integers(0, 30), min_size=10, max_size=40))
    assume(len(set(times)) > folds)
    return values(len(times), time=times), folds


# What every splitter promises


@quickly
@given(classified(), seeds)
def test_stratified_folds_partition_the_rows_and_share_every_class_evenly(case: tuple[DataSet, int], seed: int) -> None:
    data, count = case
    folds = deal(data, "stratified", count, seed)
    assert_partition(folds, np.arange(data.rows))
    per_fold = np.array([np.bincount(data.target[fold.validation], minlength=data.outputs) for fold in folds])
    assert (per_fold.max(axis=0) - per_fold.min(axis=0) <= 1).all()
    assert (per_fold > 0).all()


@quickly
@given(st.integers(6, 60), st.integers(2, 6), seeds)
def test_kfold_partitions_the_rows_into_folds_of_even_size(rows: int, count: int, seed: int) -> None:
    folds = deal(values(rows), "kfold", count, seed)
    assert_partition(folds, np.arange(rows))
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1


@quickly
@given(grouped(), seeds)
def test_groups_never_straddle_a_fold_the_holdout_or_the_watched_rows(case: tuple[DataSet, int], seed: int) -> None:
    data, count = case
    assert data.groups is not None
    folds = deal(data, "group", count, seed)
    assert_partition(folds, np.arange(data.rows))
    holdout = split_holdout(data, 0.3, "group", seed)
    learned, watched = split_watch(data, holdout.rest, 0.2, "group", seed)
    parts = [(fold.train, fold.validation) for fold in folds]
    for first, second in [*parts, (holdout.rest, holdout.holdout), (learned, watched)]:
        assert len(first) and len(second)
        assert not set(data.groups[first]) & set(data.groups[second])


@quickly
@given(timed(), seeds)
def test_time_never_looks_ahead(case: tuple[DataSet, int], seed: int) -> None:
    data, count = case
    assert data.time is not None
    holdout = split_holdout(data, 0.2, "time_series", seed)
    parts = [(holdout.rest, holdout.holdout)]
    parts += [(fold.train, fold.validation) for fold in deal(data, "time_series", count, seed)]
    if len(np.unique(data.time[holdout.rest])) > 1:
        parts.append(split_watch(data, holdout.rest, 0.2, "time_series", seed))
    for before, after in parts:
        assert data.time[before].max() < data.time[after].min()


@quickly
@given(classified(), st.floats(0.2, 0.5), seeds)
def test_the_holdout_is_disjoint_from_the_rest_and_from_every_fold(
    case: tuple[DataSet, int], share: float, seed: int
) -> None:
    data, _ = case
    assume(np.bincount(data.target).min() * share >= 1)
    holdout = split_holdout(data, share, "stratified", seed)
    both = np.concatenate([holdout.rest, holdout.holdout])
    np.testing.assert_array_equal(np.sort(both), np.arange(data.rows))
    assert len(holdout.holdout) == np.ceil(share * data.rows)
    assume(np.bincount(data.target[holdout.rest]).min() >= 2)
    folds = deal(data, "stratified", 2, seed, rows=holdout.rest)
    assert_partition(folds, holdout.rest)


@quickly
@given(classified(), st.floats(0.05, 0.49), seeds)
def test_watched_rows_come_from_the_training_rows_alone(case: tuple[DataSet, int], fraction: float, seed: int) -> None:
    data, count = case
    train = deal(data, "auto", count, seed)[0].train
    learned, watched = split_watch(data, train, fraction, "auto", seed)
    assert len(learned) and len(watched)
    np.testing.assert_array_equal(np.sort(np.concatenate([learned, watched])), train)


@quickly
@given(classified(), st.integers(1, 3), seeds)
def test_repeats_are_partitions_one_after_another(case: tuple[DataSet, int], repeats: int, seed: int) -> None:
    data, count = case
    for splitter in ("repeated", "repeated_stratified"):
        folds = deal(data, splitter, count, seed, repeats=repeats)
        assert len(folds) == repeats * count
        for start in range(0, len(folds), count):
            assert_partition(folds[start : start + count], np.arange(data.rows))


@quickly
@given(classified(), seeds)
def test_the_same_seed_gives_the_same_splits(case: tuple[DataSet, int], seed: int) -> None:
    data, _ = case
    by_group = values(data.rows, groups=np.arange(data.rows) // 2)
    for rows, splitter in ((data, "kfold"), (data, "stratified"), (by_group, "group"), (data, "repeated_stratified")):
        assert listed(deal(rows, splitter, 2, seed)) == listed(deal(rows, splitter, 2, seed))
        first, again = (split_holdout(rows, 0.4, splitter, seed) for _ in range(2))
        assert first.holdout.tolist() == again.holdout.tolist()


@quickly
@given(seeds)
def test_stratified_groups_keep_groups_whole_and_every_class_learned(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(20), random.integers(3, 9, 20))
    data = classes(random.permutation(np.arange(len(groups)) % 3), groups)
    folds = deal(data, "stratified_group", 4, seed)
    assert_partition(folds, np.arange(data.rows))
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
        assert set(data.target[fold.train]) == {0, 1, 2}


def test_another_seed_gives_other_splits() -> None:
    data = classes(np.arange(60) % 3)
    assert listed(deal(data, seed=0)) != listed(deal(data, seed=1))


def test_rows_count_in_the_whole_data_set() -> None:
    rows = np.arange(30, 60)
    folds = deal(classes(np.arange(60) % 2), rows=rows)
    assert_partition(folds, rows)
    assert folds[0].train.dtype == np.int64


def test_time_orders_rows_whatever_their_place_in_the_file() -> None:
    days = np.array(["2026-01-04", "2026-01-02", "2026-01-03", "2026-01-01"], dtype="datetime64[us]")
    data = values(4, time=days)
    assert listed(deal(data, "time_series", 2)) == [([1, 3], [2]), ([1, 2, 3], [0])]
    assert split_holdout(data, 0.25, "time_series", 0).holdout.tolist() == [0]


def test_no_holdout_leaves_all_rows() -> None:
    holdout = split_holdout(classes([0, 1] * 5), 0.0, "auto", 0)
    assert (holdout.rest.tolist(), holdout.holdout.tolist()) == (list(range(10)), [])


def test_a_holdout_of_groups_is_near_its_share_of_rows_and_classes() -> None:
    groups = np.repeat(np.arange(30), np.arange(30) % 7 + 1)
    data = classes((np.arange(len(groups)) % 5 == 0).astype(int), groups)
    holdout = split_holdout(data, 0.2, "auto", 0).holdout
    assert len(holdout) / data.rows == pytest.approx(0.2, abs=0.04)
    assert data.target[holdout].mean() == pytest.approx(data.target.mean(), abs=0.05)


def test_a_class_too_rare_to_watch_is_still_learned_from() -> None:
    data = classes([0] * 40 + [1] * 40 + [2])
    learned, watched = split_watch(data, np.arange(81), 0.1, "stratified", 0)
    assert (len(learned), len(watched)) == (72, 9)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (classes([0, 1]), Kind.STRATIFIED),
        (values(2), Kind.KFOLD),
        (classes([0, 1], groups=[1, 2]), Kind.STRATIFIED_GROUP),
        (values(2, groups=[1, 2]), Kind.GROUP),
        (values(2, time=[1, 2]), Kind.TIME_SERIES),
        (classes([0, 1], time=[1, 2]), Kind.TIME_SERIES),
    ],
)
def test_auto_protects_what_the_data_has(data: DataSet, kind: Kind) -> None:
    assert resolve_splitter(data, "auto") is kind


# What is refused


def test_more_folds_than_members_of_a_class_names_the_class_and_its_count() -> None:
    error = refused(deal, classes([0] * 20 + [1] * 4), "stratified", 5)
    assert error.place == "cross_validation.folds"
    assert "rows of class 'b' outside the holdout, 4" in error.expected
    assert error.found == "5"


@pytest.mark.parametrize(
    ("data", "splitter", "what"),
    [
        (values(4), "kfold", "rows outside the holdout, 4"),
        (values(4), "repeated", "rows outside the holdout, 4"),
        (values(20, groups=np.arange(20) % 4), "group", "groups outside the holdout, 4"),
        (classes([0, 1] * 10, groups=np.arange(20) % 4), "stratified_group", "groups outside the holdout, 4"),
        (values(20, time=np.arange(20) % 5), "time_series", "different times after the first outside the holdout, 4"),
    ],
)
def test_more_folds_than_there_is_to_deal_is_refused(data: DataSet, splitter: str, what: str) -> None:
    error = refused(deal, data, splitter, 5)
    assert error.place == "cross_validation.folds"
    assert what in error.expected


@pytest.mark.parametrize(
    ("data", "splitter", "remedy"),
    [
        (values(20), "group", "data.group"),
        (classes([0, 1] * 10), "stratified_group", "data.group"),
        (values(20), "time_series", "data.time"),
        (values(20), "stratified", "Use kfold"),
        (values(20), "repeated_stratified", "Use repeated"),
        (values(20, groups=np.arange(20)), "stratified_group", "Use group"),
        (values(20, groups=np.arange(20)), "kfold", "data.group"),
        (values(20, groups=np.arange(20), time=np.arange(20)), "auto", "keep groups whole"),
    ],
)
def test_a_splitter_that_does_not_fit_the_data_is_refused(data: DataSet, splitter: str, remedy: str) -> None:
    for error in (
        refused(deal, data, splitter),
        refused(split_holdout, data, 0.2, splitter, 0),
        refused(split_watch, data, np.arange(20), 0.2, splitter, 0),
    ):
        assert error.place == "cross_validation.splitter"
        assert remedy in error.remedy


def test_repeats_need_a_splitter_that_repeats() -> None:
    error = refused(deal, classes([0, 1] * 10), "stratified", repeats=2)
    assert (error.place, error.found) == ("cross_validation.repeats", "2")


def test_a_holdout_that_leaves_a_class_out_is_refused() -> None:
    error = refused(split_holdout, classes([0] * 90 + [1] * 9 + [2]), 0.2, "stratified", 0)
    assert error.place == "data.holdout"
    assert "class 'c'" in error.found
    late = classes([1, 0] * 10 + [0] * 10, time=np.arange(30))
    assert "class 'b'" in refused(split_holdout, late, 0.2, "time_series", 0).found


@pytest.mark.parametrize(
    ("data", "splitter"),
    [(values(1), "kfold"), (values(9, groups=np.zeros(9)), "group"), (values(9, time=np.zeros(9)), "time_series")],
)
def test_what_cannot_be_parted_is_refused(data: DataSet, splitter: str) -> None:
    assert refused(split_holdout, data, 0.2, splitter, 0).place == "data.holdout"
    rows = np.arange(data.rows)
    assert refused(split_watch, data, rows, 0.2, splitter, 0).place == "training.early_stopping.fraction"


def test_a_class_that_only_one_group_has_cannot_be_cross_validated() -> None:
    data = classes([0, 1] * 12 + [2] * 6, groups=np.arange(30) // 6)
    error = refused(deal, data, "group", 5)
    assert error.found == "all rows of class 'c' in one fold"
