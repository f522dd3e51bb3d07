"""Optuna's pruners over folds, and what they agree on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.unit.study.studies import claim, complete, fold, make_study, record_fold
from winnow.config.experiment import PrunerConfig
from winnow.study.optuna_pruning import FoldPruner
from winnow.study.schedule import ScheduledTrial


def trials(*scores: tuple[float, ...]) -> tuple[ScheduledTrial, ...]:
    """Complete trials, the last of which is still running."""
    last = len(scores) - 1
    return tuple(
        ScheduledTrial(
            number,
            "running" if number == last else "complete",
            tuple(range(len(each))),
            each,
            None if number == last else sum(each) / len(each),
        )
        for number, each in enumerate(scores)
    )


GOOD = ((0.8, 0.9, 0.7, 0.8, 0.9), (0.7, 0.9, 0.8, 0.9, 0.8), (0.9, 0.8, 0.8, 0.7, 0.9))
PRUNERS: list[dict[str, Any]] = [
    {"type": "hyperband", "reduction_factor": 2},
    {"type": "successive_halving", "reduction_factor": 2},
    {"type": "percentile", "n_startup_trials": 2},
    {"type": "median", "n_startup_trials": 2},
    {"type": "patient", "patience": 0, "wrapped_pruner": {"type": "threshold", "lower": 0.5}},
    {"type": "threshold", "lower": 0.5},
    {"type": "wilcoxon", "p_threshold": 0.3, "n_startup_steps": 0},
    {"type": "optuna.pruners:MedianPruner", "n_startup_trials": 2},
    {"type": "winnow:FoldRacing"},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", PRUNERS, ids=lambda config: config["type"])
def test_a_hopeless_trial_stops_and_a_good_one_goes_on(config: dict[str, Any]) -> None:
    def verdicts(last: tuple[float, ...]) -> list[bool]:
        pruner = FoldPruner(PrunerConfig.model_validate(config), "maximize", 5)
        return [pruner.should_prune(12, trials(*4 * GOOD, last[:steps])) for steps in range(1, 5)]

    assert any(verdicts((0.2, 0.15, 0.1, 0.05)))
    assert not any(verdicts((0.95, 0.96, 0.97, 0.98)))


def test_workers_that_were_asked_about_different_trials_agree() -> None:
    config = PrunerConfig.model_validate({"type": "successive_halving", "reduction_factor": 2})
    scores = [(0.1 * number,) * 5 for number in range(8)]
    always = FoldPruner(config, "maximize", 5)
    for number in range(1, 8):
        for steps in range(1, 5):
            shown = trials(*scores[:number], scores[number][:steps])
            assert always.should_prune(number, shown) == FoldPruner(config, "maximize", 5).should_prune(number, shown)


def test_a_repeated_question_gets_the_same_answer() -> None:
    config = PrunerConfig.model_validate({"type": "successive_halving", "reduction_factor": 2})
    pruner = FoldPruner(config, "maximize", 5)
    asked = trials(*GOOD, (0.1,))
    assert [pruner.should_prune(3, asked) for _ in range(3)] == [True] * 3


def test_a_study_whose_pruner_is_not_at_hand_can_be_read(tmp_path: Path) -> None:
    store = make_study(tmp_path, pruner="no_such_file.py:Pruner")
    assert store.refits_left() == ()


def test_folds_differ_so_the_rules_for_single_values_see_means() -> None:
    seen: list[dict[int, float]] = []

    class Recording(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            seen.append(dict(trial.intermediate_values))
            return False

    pruner = FoldPruner(PrunerConfig(type="hyperband"), "maximize", 5)
    pruner._pruner = Recording()
    pruner.should_prune(0, trials((0.5, 1.0)))
    assert seen[-1] == {1: 0.5, 2: 0.75}


def test_a_study_s_pruner_ends_trials(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=4, pruner={"type": "threshold", "lower": 0.5})
    leases = store.leases()
    complete(leases, claim(leases), 0.9)
    hopeless = claim(leases)
    record_fold(leases, hopeless, fold(0, 0.1), 0.1)
    claim(leases)
    trial = store.trial(hopeless.number)
    assert (trial.state, trial.reason, trial.value) == ("pruned", "1 fold: threshold stopped it", 0.1)


def test_median_with_options_is_optuna_s(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=4, pruner={"type": "median", "n_startup_trials": 1})
    leases = store.leases()
    complete(leases, claim(leases), 0.9)
    hopeless = claim(leases)
    record_fold(leases, hopeless, fold(0, 0.1), 0.1)
    claim(leases)
    assert store.trial(hopeless.number).reason == "1 fold: median stopped it"
