"""Optuna's pruners, and users' own, over folds: a step is a fold. By epoch (`epoch_pruning`), it is an epoch of one.

The verdict depends only on the scores of the trials. What a pruner remembers of a trial (the rungs of halving, say) is
found by asking it about every earlier fold again; so workers agree, and nothing needs to be stored.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.pruners import BasePruner
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from winnow.config.experiment import PrunerConfig
from winnow.config.search import PRUNERS
from winnow.study.optuna_classes import make_pruner
from winnow.study.optuna_tables import OPTUNA_STATES, Goal, SampledStorage

if TYPE_CHECKING:
    from winnow.study.schedule import ScheduledTrial

_NAME = "pruned"
_REMEMBERING = frozenset({"hyperband", "successive_halving"})


class FoldPruner:
    """A pruner that is asked after each fold.

    At step k it sees the mean over a trial's first k folds: its rules compare single values, and those of different
    folds differ. `wilcoxon`, which pairs the folds, and users' own pruners see each fold's score. By epoch, they all
    see the values after each epoch.
    """

    def __init__(self, config: PrunerConfig, goal: Goal, steps: int, *, by_epoch: bool = False) -> None:
        """`steps`: folds of a trial, or epochs of a fold."""
        self.name = config.type
        self._make = functools.partial(make_pruner, config, steps)
        is_own = config.type not in PRUNERS
        self._sees_means = not (by_epoch or is_own or config.type == "wilcoxon")
        self._remembers = is_own or config.type in _REMEMBERING
        self._notes: dict[int, dict[str, Any]] = {}
        self._asked: dict[int, tuple[float, ...]] = {}
        self._verdicts: dict[int, bool] = {}
        self._shown: Mapping[int, FrozenTrial] = {}
        self._storage = SampledStorage(lambda: self._shown.values(), keeps_notes=True)
        optuna.create_study(storage=self._storage, study_name=_NAME, direction=goal)

    @functools.cached_property
    def _pruner(self) -> BasePruner:
        """Made when it is first asked: commands that only read the study may lack a user's file or package."""
        return self._make()

    def should_prune(self, number: int, trials: Sequence[ScheduledTrial]) -> bool:
        """Whether trial `number` is not worth another step, given all trials of the study."""
        self._shown = {trial.number: self._frozen(trial, len(trial.scores)) for trial in trials}
        if self._remembers:
            for each in trials:
                self._ask_again(each)
            return self._verdicts.get(number, False)
        trial = next(trial for trial in trials if trial.number == number)
        return self._ask(trial, len(trial.scores))

    def _ask_again(self, trial: ScheduledTrial) -> None:
        """Ask about each step that was not asked about; a second answer about one could differ from the first."""
        asked = self._asked.get(trial.number, ())
        if trial.scores[: len(asked)] != asked:  # other code has trained it since
            self._notes.get(trial.number, {}).clear()
            asked = ()
        for step in range(len(asked) + 1, len(trial.scores) + 1):
            self._verdicts[trial.number] = self._ask(trial, step)
            self._asked[trial.number] = trial.scores[:step]

    def _ask(self, trial: ScheduledTrial, steps: int) -> bool:
        study = optuna.Study(_NAME, self._storage, sampler=RandomSampler(), pruner=self._pruner)
        return bool(self._pruner.prune(study, self._frozen(trial, steps)))

    def _frozen(self, trial: ScheduledTrial, steps: int) -> FrozenTrial:
        """The trial after so many folds, as Optuna's pruners see it."""
        scores: Sequence[float] = trial.scores[:steps]
        if self._sees_means:
            scores = [total / (index + 1) for index, total in enumerate(itertools.accumulate(scores))]
        return FrozenTrial(
            number=trial.number,
            state=OPTUNA_STATES[trial.state] if steps == len(trial.scores) else TrialState.RUNNING,
            value=trial.value,
            datetime_start=None,
            datetime_complete=None,
            params={},
            distributions={},
            user_attrs={},
            system_attrs=self._notes.setdefault(trial.number, {}),
            intermediate_values=dict(enumerate(scores, start=1)),
            trial_id=trial.number,
        )
