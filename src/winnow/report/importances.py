"""How much of the metric's variation each parameter explains, by Optuna's own evaluator.

The evaluator wants a study, so one is built in memory from the trials that the report was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from winnow.report.axes import choice_text
from winnow.report.facts import TrialFacts
from winnow.study.view import StudyView

FEWEST_TRIALS = 8
"""Complete trials below which a ranking of parameters would be noise."""


def importances_of(view: StudyView, complete: tuple[TrialFacts, ...]) -> dict[str, float]:
    """Each parameter's share, most important first; shares add up to 1.

    Method: PED-ANOVA (Watanabe et al., "PED-ANOVA", IJCAI 2023), which compares where the best tenth of the trials lie
    with where all of them do. Empty where that says nothing: fewer than `FEWEST_TRIALS` complete trials, one parameter,
    or the same value everywhere.
    """
    space = {name: _distribution(parameter) for name, parameter in view.space.items()}
    rows = [row for trial in complete if (row := _frozen(trial, space)) is not None]
    varied = [name for name in space if len({str(row.params[name]) for row in rows}) > 1]
    if len(rows) < FEWEST_TRIALS or len(varied) < 2 or len({row.value for row in rows}) < 2:
        return {}
    with _quiet_optuna():
        study = optuna.create_study(direction=view.sweep.goal, storage=optuna.storages.InMemoryStorage())
        study.add_trials(rows)
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=varied)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _distribution(parameter: Mapping[str, Any]) -> BaseDistribution:
    log = bool(parameter.get("log", False))
    if "float" in parameter:
        low, high = parameter["float"]
        return FloatDistribution(low, high, log=log, step=parameter.get("step"))
    if "int" in parameter:
        low, high = parameter["int"]
        return IntDistribution(low, high, log=log, step=parameter.get("step") or 1)
    choices = parameter.get("choice", parameter.get("choices", ()))
    return CategoricalDistribution(list(dict.fromkeys(map(choice_text, choices))))


def _frozen(trial: TrialFacts, space: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial | None:
    """The trial as Optuna keeps it, choices as text; None where it does not lie in the space."""
    params = {
        name: choice_text(value) if isinstance(space[name], CategoricalDistribution) else value
        for name, value in trial.record.params.items()
        if name in space
    }
    try:
        return optuna.create_trial(params=params, distributions=dict(space), value=trial.mean)
    except ValueError:
        return None


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Optuna announces every new study; nobody needs to hear of this one."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
