"""Racing of folds (`racing.py`) as a pruner for any Optuna study, not only winnow's."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from winnow.study.racing import THRESHOLD, reference


class FoldRacing(BasePruner):
    """Stops a cross-validated trial that can hardly become the best one.

        study = optuna.create_study(direction="maximize", pruner=winnow.FoldRacing())

    The objective reports each fold's score as one step, on the same folds in every trial, raises TrialPruned if
    `trial.should_prune()`, and returns the mean score. After each fold the trial is compared with the finished ones,
    fold by fold; `winnow.study.racing` documents the rule, its assumptions and sources. No trial is stopped before
    three have finished, or because of a score that is not finite.

    Args:
        threshold: the probability of beating the best trial below which a trial stops; more than 0, less than 0.5.

    Raises:
        ValueError: the threshold is outside this range.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        if not 0 < threshold < 0.5:
            raise ValueError(f"FoldRacing(threshold=…): expected more than 0 and less than 0.5, found {threshold!r}")
        self._threshold = threshold

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether to stop the trial; Optuna calls this."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        steps = max((tuple(sorted(one.intermediate_values)) for one in complete), key=len, default=())
        finished = {
            one.number: [one.intermediate_values[step] for step in steps]
            for one in complete
            if one.intermediate_values.keys() == set(steps)
        }
        known = reference(finished, "maximize" if study.direction.name == "MAXIMIZE" else "minimize")
        if known is None or not trial.intermediate_values.keys() <= set(steps):
            return False
        chance = known.chance({steps.index(step): score for step, score in trial.intermediate_values.items()})
        return chance is not None and chance < self._threshold
