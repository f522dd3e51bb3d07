"""What a profile says of the rows that a model was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from winnow.bundle.columns import Column
from winnow.bundle.profile import ColumnCounts, ColumnProfile, Losses, Profile, read_profile, write_profile
from winnow.bundle.row_counter import OTHER, ROW_STATISTICS, Answering
from winnow.config.experiment import Experiment
from winnow.training.out_of_fold import FoldOutputs
from winnow.training.preparation import Prepared, prepare
from winnow.training.profiling import column_profiles, counted_inputs, profile_of

RANDOM = np.random.default_rng(0)


def test_bins_of_numbers_have_about_the_same_number_of_rows() -> None:
    values = RANDOM.normal(size=(10_000, 1)).astype(np.float32)
    (found,) = column_profiles(values, [Column("x")])
    counts = np.histogram(values, [-np.inf, *found.edges, np.inf])[0]
    assert (len(counts), counts.min() >= 499, counts.max() <= 501) == (20, True, True)
    assert abs(found.centre) < 0.05
    assert abs(found.scale - 1) < 0.05
    assert len(found.quantiles) == 9


def test_a_column_of_few_values_has_a_bin_for_each_one_and_one_on_either_side() -> None:
    constant, codes = np.full(100, 3, np.float32), np.arange(100, dtype=np.float32) % 4
    first, second = column_profiles(np.stack([constant, codes], axis=1), [Column("constant"), Column("codes")])
    assert np.digitize([2.9, 3, 3.1], first.edges, right=True).tolist() == [0, 1, 2]
    assert np.digitize([-1, 0, 1, 2, 3, 4], second.edges, right=True).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_value_of_many_rows_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(600), RANDOM.normal(size=400)]).astype(np.float32)[:, None]
    (found,) = column_profiles(values, [Column("x")])
    below, at, above = np.digitize([-1e-6, 0, 1e-6], found.edges, right=True)
    assert (at - below, above - at) == (1, 1)


def test_no_value_of_a_single_row_is_kept() -> None:
    rare, tail, coded = np.full(1000, np.nan), RANDOM.normal(size=1000), np.arange(1000) % 4
    rare[:7] = 123.25 + np.arange(7)
    tail[[3, 500]] = 345.5, -345.5
    coded[[3, 500]] = 567, -567
    rows = np.stack([rare, tail, coded], axis=1).astype(np.float32)
    columns = [Column("rare"), Column("tail"), Column("coded")]
    found = [counted_inputs(column_profiles(rows[:many], columns), rows[:many], columns) for many in (25, 1000)]
    kept = {number for profiles in found for each in profiles for number in numbers_in(each)}
    assert kept.isdisjoint({*(123.25 + np.arange(7)), 345.5, -345.5, 567, -567})
    assert [max(np.abs(found[1][at].edges)) for at in (1, 2)] < [4, 4]
    assert (found[1][0].edges, found[1][0].counts) == ((), ColumnCounts((7,), missing=993))


def numbers_in(profile: ColumnProfile) -> set[float]:
    counts = profile.counts
    return {*profile.edges, *profile.quantiles, profile.centre, counts.total, counts.total + profile.centre}


def test_the_most_frequent_of_many_categories_have_bins_of_their_own() -> None:
    column = Column("town", "category", "string", tuple(f"t{code}" for code in range(80)))
    codes = np.repeat(np.arange(80), np.arange(1, 81)).astype(np.float32)[:, None]
    (found,) = column_profiles(codes, [column])
    assert found.labels == (*(f"t{code}" for code in range(31, 80)), OTHER)


def test_tensors_are_profiled_by_statistics_of_their_rows() -> None:
    experiment = prepared("sklearn:digits", "accuracy", holdout=0.2)
    uniform = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(-1)).eval()
    profile = profile_of(uniform, experiment, Answering(experiment.data.class_names), None, 1.0)
    assert [each.name for each in profile.columns] == list(ROW_STATISTICS)
    assert {each.counts.rows for each in profile.columns} == {profile.rows}
    assert profile.metric == ""


def test_a_profile_of_a_hundred_columns_is_small(tmp_path: Path) -> None:
    columns = [Column(f"a column with quite a long name {index}") for index in range(100)]
    found = column_profiles(RANDOM.normal(1e6, 1e3, size=(5000, 100)).astype(np.float32), columns)
    profile = Profile(5000, tuple(found), (), 0, "holdout")
    write_profile(tmp_path, profile)
    assert read_profile(tmp_path) == profile
    assert (tmp_path / "profile.json").stat().st_size < 100_000


class OfRadius(nn.Module):
    """Probabilities of breast cancer's classes from the first column alone."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        benign = torch.sigmoid(15 - rows[:, :1])
        return torch.cat([1 - benign, benign], dim=1)


def prepared(source: str, metric: str, **data: object) -> Prepared:
    return prepare(
        Experiment.model_validate(
            {
                "name": "profiled",
                "data": {"source": source, **data},
                "model": {"factory": "winnow.models:mlp"},
                "search": {"space": {"lr": {"float": [0.1, 1]}}, "metric": {"name": metric}},
            }
        )
    )


def test_outputs_are_those_of_the_holdout_and_the_column_that_decides_is_the_important_one() -> None:
    experiment = prepared("sklearn:breast_cancer", "accuracy", holdout=0.2)
    classes = experiment.data.class_names
    profile = profile_of(OfRadius(), experiment, Answering(classes), None, 1.0)
    rows, target = experiment.holdout.holdout, experiment.data.target
    is_benign = experiment.data.features[rows, 0] < 15
    assert (profile.rows, profile.output_rows, profile.output_source) == (455, 114, "holdout")
    assert profile.outputs[0].labels == classes
    assert profile.outputs[0].counts.bins == ((~is_benign).sum(), is_benign.sum())
    right = (is_benign == (target[rows] == 1)).mean()
    assert profile.losses == {"accuracy": Losses(114, right, pytest.approx(right * (1 - right)))}
    first, *others = [each.importance for each in profile.columns]
    assert (profile.metric, first is not None and first > 0.1, set(others)) == ("accuracy", True, {0.0})
    assert profile.columns[0].counts.rows == 455


def test_without_a_holdout_outputs_are_those_of_the_folds() -> None:
    experiment = prepared("sklearn:breast_cancer", "log_loss", holdout=0.0)
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    folds = [FoldOutputs(0, np.arange(3), logits, torch.tensor([0, 0, 1]))]
    profile = profile_of(OfRadius(), experiment, Answering(experiment.data.class_names), folds, 2.0)
    assert (profile.output_rows, profile.output_source) == (3, "folds")
    assert profile.outputs[0].counts.bins == (1, 2)
    assert profile.losses["accuracy"].mean == pytest.approx(2 / 3)


def test_a_regression_has_the_losses_of_its_target() -> None:
    experiment = prepared("sklearn:diabetes", "rmse", holdout=0.2)
    model = nn.Sequential(nn.Linear(10, 1), nn.Flatten())
    nn.init.zeros_(model[0].weight)
    nn.init.constant_(model[0].bias, 150)
    profile = profile_of(model.eval(), experiment, Answering(None), None, 1.0)
    distance = experiment.data.target[experiment.holdout.holdout, 0].astype(float) - 150
    assert profile.losses["squared_error"].mean == pytest.approx((distance**2).mean())
    assert profile.losses["absolute_error"].mean == pytest.approx(abs(distance).mean())
    assert [each.name for each in profile.outputs] == list(experiment.data.target_names)
    assert {each.importance for each in profile.columns} == {0.0}
