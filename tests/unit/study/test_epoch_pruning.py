"""Pruning by epoch, from learning curves alone."""

import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.search import faults_in_search
from winnow.study.epoch_pruning import EpochPruner, FoldCurves, stepped


def experiment(every: int = 1, **pruner: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "a",
            "data": {"source": "sklearn:iris"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {
                "space": {"lr": {"float": [0.1, 1]}},
                "metric": {"name": "f1"},
                "pruner": {"every": "epoch", **pruner},
            },
            "training": {"epochs": 9, "curves": {"every": every}},
        }
    )


def curve(trial: int, *values: float, fold: int = 0, is_scored: bool = True) -> FoldCurves:
    return FoldCurves(trial, fold, {"val_f1": tuple(enumerate(values, start=1))}, is_scored)


def test_a_fold_stops_where_it_is_worse_than_the_median_of_the_others_on_the_same_fold() -> None:
    others = [curve(trial, 0.5, 0.6, 0.7) for trial in range(5)]
    elsewhere = [curve(trial, 0.1, 0.1, 0.1, fold=1) for trial in range(5)]
    pruner = EpochPruner(experiment(type="median"), "f1", "maximize", lambda: (*others, *elsewhere))
    assert pruner.should_stop(7, 0, 1, 0.5) is None
    assert pruner.should_stop(7, 0, 2, 0.4) == "fold 1, epoch 2: median stopped it"
    assert pruner.should_stop(7, 1, 1, 0.4) is None


def test_it_needs_others_that_trained_the_fold_to_its_end() -> None:
    others = [curve(trial, 0.5, 0.6, is_scored=trial < 3) for trial in range(8)]
    pruner = EpochPruner(experiment(type="median"), "f1", "maximize", lambda: tuple(others))
    assert pruner.should_stop(9, 0, 1, 0.1) is None


def test_halving_keeps_the_best_at_its_rungs() -> None:
    others = [curve(trial, *[0.5 + trial / 10] * 9) for trial in range(4)]
    halving = experiment(type="successive_halving", reduction_factor=2)
    pruner = EpochPruner(halving, "f1", "maximize", lambda: tuple(others))
    assert pruner.should_stop(5, 0, 1, 0.1) == "fold 1, epoch 1: successive_halving stopped it"
    assert pruner.should_stop(6, 0, 1, 0.9) is None


def test_epochs_are_counted_in_measurements_and_missing_ones_have_the_value_before() -> None:
    assert stepped({2: 0.1, 4: 0.2, 9: 0.5}, every=2) == (0.1, 0.2, 0.2, 0.2)
    assert stepped({1: 0.1, 2: 0.2, 5: 0.5}, every=1) == (0.1, 0.2, 0.2, 0.2, 0.5)


@pytest.mark.parametrize("kind", ["auto", "off", "racing", "wilcoxon"])
def test_a_pruner_that_compares_folds_is_refused_for_epochs(kind: str) -> None:
    faults = [fault for fault in faults_in_search(experiment(type=kind)) if isinstance(fault, InputError)]
    assert [fault.place for fault in faults] == ["search.pruner.type"]
