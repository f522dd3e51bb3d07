"""The space in Optuna's terms and back, what is proposed, and when a trial is hopeless."""

from __future__ import annotations

import json
import warnings
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.study.studies import experiment
from winnow.config.experiment import ChoiceParameter, Experiment, FloatParameter, IntParameter, SamplerConfig
from winnow.study.schedule import should_prune
from winnow.study.space import Proposer, decode, derive_seed, distributions
from winnow.training.messages import FoldJob

finite = st.floats(-1e6, 1e6, allow_nan=False)
plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
choices = st.lists(plain | st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=5)


def distinct(values: list[Any]) -> list[Any]:
    return list({json.dumps([type(v).__name__, v]): v for v in values}.values())


@settings(deadline=None, max_examples=50)
@given(values=choices)
def test_every_choice_survives_storage(values: list[Any]) -> None:
    values = distinct(values)
    if len({json.dumps(v) if isinstance(v, list) else v for v in values}) < len(values):
        return  # A list and the same text in JSON, or 1 and true: refused, see below.
    space = {"x": ChoiceParameter(choices=tuple(values))}
    stored = distributions(space)["x"]
    assert isinstance(stored, optuna.distributions.CategoricalDistribution)
    assert [decode(space, {"x": choice})["x"] for choice in stored.choices] == values


@pytest.mark.parametrize(
    ("low", "high", "step", "highest"),
    [
        (0.0, 0.9, 0.3, 0.9),
        (0.01, 0.1, 0.01, 0.1),
        (0.0, 0.45, 0.15, 0.45),
        (0.0, 1.0, 0.3, 0.9),
        (0.0, 0.5, 0.1, 0.5),
        (-0.3, 0.6, 0.3, 0.6),
        (1e-5, 3e-5, 1e-5, 3e-5),
        (2.0, 2.0, 0.5, 2.0),
    ],
)
def test_a_step_that_divides_the_range_keeps_the_upper_bound(
    low: float, high: float, step: float, highest: float
) -> None:
    space = {"x": FloatParameter(bounds=(low, high), step=step)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna warns where it corrects an upper bound.
        found = distributions(space)["x"]
    assert isinstance(found, optuna.distributions.FloatDistribution)
    assert found.high == highest
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    stored = [study.ask({"x": found}).params["x"] for _ in range(100)]
    assert max(decode(space, {"x": value})["x"] for value in stored) == highest


def test_values_on_a_grid_are_the_decimals_that_are_written() -> None:
    space = {"x": FloatParameter(bounds=(0.0, 0.9), step=0.3)}
    assert [decode(space, {"x": 0.3 * steps})["x"] for steps in range(4)] == [0.0, 0.3, 0.6, 0.9]


@settings(deadline=None, max_examples=30)
@given(low=st.integers(-50, 50), width=st.integers(0, 50), step=st.integers(1, 7), seed=st.integers(0, 2**31 - 1))
def test_proposals_stay_within_bounds_and_on_the_grid(low: int, width: int, step: int, seed: int) -> None:
    space = {
        "n": IntParameter(bounds=(low, low + width), step=step),
        "x": FloatParameter(bounds=(1e-5, 1.0), log=True),
        "y": FloatParameter(bounds=(0.0, 1.0), step=0.25),
    }
    study = optuna.create_study()
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    proposed = Proposer(space, SamplerConfig(type="random"), seed).propose(study, trial, {})
    assert low <= proposed["n"] <= low + width
    assert (proposed["n"] - low) % step == 0
    assert 1e-5 <= proposed["x"] <= 1.0
    assert proposed["y"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_tpe_finds_what_random_search_does_not() -> None:
    def best_of(sampler: Any) -> float:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study()
        parameters = {"x": FloatParameter(bounds=(-10.0, 10.0)), "y": FloatParameter(bounds=(-10.0, 10.0))}
        space = distributions(parameters)
        for _ in range(60):
            trial = study.ask()
            frozen = study.get_trials()[-1]
            proposed = Proposer(parameters, SamplerConfig(type=sampler), 1).propose(study, frozen, {})
            study._storage.set_trial_param(trial._trial_id, "x", proposed["x"], space["x"])
            study._storage.set_trial_param(trial._trial_id, "y", proposed["y"], space["y"])
            study.tell(trial, (proposed["x"] - 3) ** 2 + (proposed["y"] + 2) ** 2)
        return study.best_value

    assert best_of("tpe") < best_of("random")


def test_values_that_are_given_are_kept() -> None:
    study = optuna.create_study()
    trial = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING)
    space = {"x": FloatParameter(bounds=(0.0, 1.0))}
    assert Proposer(space, SamplerConfig(), 0).propose(study, trial, {"x": 0.25}) == {"x": 0.25}


def test_neighbouring_trials_and_seeds_share_no_seed() -> None:
    seeds = {derive_seed(seed, number) for seed in range(50) for number in range(50)}
    assert len(seeds) == 2500


@given(scores=st.lists(finite, min_size=1, max_size=5), others=st.lists(st.lists(finite, max_size=5), max_size=4))
def test_nothing_should_prune_before_there_are_enough_trials(scores: list[float], others: list[list[float]]) -> None:
    assert not should_prune(scores, others, "maximize")


@given(score=st.floats(0, 1), others=st.lists(st.floats(0, 1), min_size=5, max_size=20))
def test_the_better_half_goes_on(score: float, others: list[float]) -> None:
    folds = [[other] * 5 for other in others]
    better = sum(other > score for other in others)
    stops = should_prune([score], folds, "maximize")
    assert stops or 2 * better <= len(others)
    assert not stops or 2 * better >= len(others)
    assert not (stops and should_prune([score], folds, "minimize"))


def test_means_are_compared_after_as_many_folds() -> None:
    others = [[0.1, 0.9]] * 5
    assert not should_prune([0.2], others, "maximize")
    assert should_prune([0.2, 0.2], others, "maximize")


def test_parameters_travel_to_the_ranks_as_json() -> None:
    space = Experiment.model_validate(experiment().model_dump(by_alias=True)).search.space
    decoded = decode(space, {"lr": 0.1, "hidden": "[128, 64]"})
    assert FoldJob(trial=0, fold=0, params=decoded).params["hidden"] == [128, 64]
