"""How many models train as one: what is measured decides, and what is not yet measured gets tried."""

from __future__ import annotations

import pytest

from winnow.study.packing import Packing, Width


def test_models_train_alone_where_packing_is_off() -> None:
    assert Packing.of("off").width(5, 8, is_racing=False) == Width()


def test_a_fixed_number_is_filled_with_folds_first() -> None:
    widths = [Packing.of(most).width(5, 8, is_racing=False) for most in (1, 3, 5, 10, 12, 1000)]
    assert widths == [Width(), Width(3, 1), Width(5, 1), Width(5, 2), Width(5, 2), Width(5, 8)]


def test_a_fixed_number_does_not_depend_on_measurements() -> None:
    fixed = Packing.of(8)
    assert fixed.measured(5, 100.0) == fixed


def test_larger_batches_are_tried_until_a_model_costs_no_less_in_them() -> None:
    packing, tried = Packing.of("auto"), []
    costs = {5: 0.5, 10: 0.4, 20: 0.3, 40: 0.35}
    for _ in range(12):
        width = packing.width(5, 8, is_racing=False)
        models = width.folds * width.trials
        tried.append(models)
        packing = packing.measured(models, costs[models])
    assert tried[-1] == 20
    assert set(tried) <= costs.keys()


def test_larger_jobs_are_not_tried_where_the_first_saved_nothing() -> None:
    packing = Packing.of("auto").measured(5, 1.0)
    assert packing.width(5, 8, is_racing=False) == Width(5, 1)
    assert packing.width(5, 8, is_racing=True) == Width(1, 1)


def test_one_fold_of_several_trials_is_cheaper_only_where_trials_race() -> None:
    flat = Packing(64, shares={4: 0.5, 5: 0.5, 10: 0.5, 20: 0.5, 40: 0.5})
    assert flat.width(5, 8, is_racing=True) == Width(1, 4)
    assert flat.width(5, 8, is_racing=False).folds == 5
    assert flat.width(5, 1, is_racing=True) == Width(5, 1)


@pytest.mark.parametrize(("models", "share"), [(1, 1.0), (2, 0.9), (4, 0.7), (6, 0.5), (11, 0.5), (12, 0.4)])
def test_a_size_that_was_not_measured_costs_what_its_neighbours_do(models: int, share: float) -> None:
    assert Packing(64, shares={6: 0.5}).cost(models) == pytest.approx(share)
