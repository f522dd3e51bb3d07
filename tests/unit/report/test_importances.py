"""The importances are those that Optuna's own evaluator finds."""

from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from tests.unit.report.sample_study import SPACE, SampleStudy
from winnow.report.axes import choice_text
from winnow.report.facts import facts_of
from winnow.report.importances import importances_of
from winnow.study.view import StudyView

STEPS: Mapping[str, Any] = {
    "lr": {"float": [1e-5, 1.0], "log": True},
    "dropout": {"float": [0.0, 0.95], "step": 0.1},
    "layers": {"int": [1, 8]},
    "width": {"int": [3, 4000], "log": True},
    "even": {"int": [10, 501], "step": 7},
    "depth": {"choice": [2, 3, None, "auto"]},
}


def optunas(view: StudyView) -> dict[str, float]:
    def distribution(parameter: Mapping[str, Any]) -> BaseDistribution:
        if "choice" in parameter:
            return CategoricalDistribution([choice_text(choice) for choice in parameter["choice"]])
        kind = FloatDistribution if "float" in parameter else IntDistribution
        low, high = parameter.get("float") or parameter["int"]
        step = {"step": parameter["step"]} if parameter.get("step") else {}
        return kind(low, high, log=parameter.get("log", False), **step)

    space = {name: distribution(parameter) for name, parameter in view.space.items()}
    study = optuna.create_study(direction=view.sweep.goal)
    for trial in facts_of(view).complete:
        params = {
            name: choice_text(value) if "choice" in view.space[name] else value
            for name, value in trial.record.params.items()
        }
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=trial.mean))
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("goal", ["maximize", "minimize"])
@pytest.mark.parametrize("space", [SPACE, STEPS])
@pytest.mark.parametrize("trials", [9, 40, 400])
def test_importances_are_optunas(trials: int, space: Mapping[str, Any], goal: Any) -> None:
    view = SampleStudy(trials=trials, space=space, goal=goal, diverged=frozenset({4})).view()
    assert importances_of(view, facts_of(view).complete) == pytest.approx(optunas(view), abs=1e-9)


def test_importances_are_sorted_and_add_up_to_one() -> None:
    view = SampleStudy().view()
    shares = list(importances_of(view, facts_of(view).complete).values())
    assert len(shares) == len(SPACE)
    assert sum(shares) == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    "study",
    [
        SampleStudy(space={"lr": SPACE["lr"]}),
        SampleStudy(space={"a": {"choice": ["x"]}, "b": {"float": [0.5, 0.5]}}),
        SampleStudy(space={}),
        SampleStudy(trials=1, refitted=0),
        SampleStudy(trials=0),
    ],
)
def test_parameters_that_explain_nothing_have_no_ranking(study: SampleStudy) -> None:
    view = study.view()
    assert importances_of(view, facts_of(view).complete) == {}
