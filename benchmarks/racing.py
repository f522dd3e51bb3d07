"""How many fold trainings racing saves, and how often the winner stays the same.

Real trainings give a matrix per seed: the scores of 40 configurations on the same K folds, where each seed shuffles its
own folds and draws its own configurations (`racing_scores.py`). They are computed once, in about ten minutes of one
CPU, and kept. A replay goes through the configurations in a random order as a study would; each rule sees the folds one
by one, and may stop the configuration between two of them. It is scored by the share of fold trainings that it has
spent, and by whether it ends with the winner of the study that trains all folds.

    full          every fold of every configuration
    racing        winnow.FoldRacing
    wilcoxon      optuna.pruners.WilcoxonPruner
    median        optuna.pruners.MedianPruner
    forgiving     stop below the worst fold of the best configuration so far (Bergman et al., AutoML 2024)

A second part searches instead of replaying: TPE proposes support vector machines, with racing and without, until a
number of fold trainings is spent. TPE sees an estimate of what a stopped trial would have come to, as in winnow.

The rule of racing was designed on wine, breast_cancer and digits (`--design` replays them), and
confirmed on the data sets that are replayed by default. These need `pip install 'winnow[bench]'`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.pruners import BasePruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from racing_scores import DESIGN, FRESH, Goal, Scores, Table, scores_of
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.svm import SVC, SVR

import winnow
from winnow.study.racing import THRESHOLD, reference

CONFIGURATIONS = 40
TREES = ("diabetes", "penguins")
"""Fresh data sets on which trees are trained beside perceptrons."""


BUDGET = 150
SEARCHED = ("penguins", "diabetes", "iris")


@dataclass(frozen=True)
class Replay:
    """What a rule did in one study."""

    spent: float
    regret: float
    """How much worse its winner is, in standard deviations between configurations."""

    @property
    def has_same_winner(self) -> bool:
        """Whether its winner is the best configuration, or one whose mean differs from the best by rounding alone."""
        return self.regret < 1e-9


class Replayed:
    """As much of an Optuna study as pruners read."""

    def __init__(self, goal: Goal) -> None:
        self.direction = StudyDirection.MAXIMIZE if goal == "maximize" else StudyDirection.MINIMIZE
        self.trials: list[FrozenTrial] = []

    @property
    def best_trial(self) -> FrozenTrial:
        """The complete trial with the best value. Raises ValueError where there is none."""
        complete = self.get_trials(states=(TrialState.COMPLETE,))
        sign = -1 if self.direction is StudyDirection.MAXIMIZE else 1
        return min(complete, key=lambda trial: sign * trial.values[0])

    def get_trials(self, deepcopy: bool = True, states: Iterable[TrialState] = ()) -> list[FrozenTrial]:
        """The trials in these states."""
        return [trial for trial in self.trials if trial.state in states]


class Wilcoxon(WilcoxonPruner):
    """Optuna's, asked only where it can fire: after n folds p is at least 2^-n, below 0.1 from the fourth on."""

    def prune(self, study: Any, trial: FrozenTrial) -> bool:
        """Whether to stop the trial."""
        return len(trial.intermediate_values) >= 4 and super().prune(study, trial)


class Forgiving(BasePruner):
    """Stop a trial whose mean so far is worse than the worst fold of the best trial.

    Bergman, Purucker, Hutter: Don't waste your time: early stopping cross-validation (AutoML 2024).
    """

    def prune(self, study: Any, trial: FrozenTrial) -> bool:
        """Whether to stop the trial."""
        if not study.get_trials(states=(TrialState.COMPLETE,)):
            return False
        mean, best = statistics.fmean(trial.intermediate_values.values()), study.best_trial.intermediate_values.values()
        return mean < min(best) if study.direction is StudyDirection.MAXIMIZE else mean > max(best)


PRUNERS: Mapping[str, Callable[[], BasePruner]] = {
    "full": NopPruner,
    "racing": winnow.FoldRacing,
    "wilcoxon": Wilcoxon,
    "median": MedianPruner,
    "forgiving": Forgiving,
}


def main() -> None:
    """Compute what is missing, replay, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(tempfile.gettempdir()) / "winnow-racing"
    parser.add_argument("--cache", type=Path, default=default, metavar="FOLDER", help=f"keeps scores ({default})")
    parser.add_argument("--orders", type=int, default=2, help="orders of the configurations of a seed")
    parser.add_argument("--design", action="store_true", help="replay the data sets on which the rule was designed")
    asked = parser.parse_args()
    if not asked.design and any(find_spec(name) is None for name in ("palmerpenguins", "statsmodels")):
        print("racing: skipped, it needs the data sets of `pip install 'winnow[bench]'`; --design goes without")
        return
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    pairs = [(data, "mlp") for data in (DESIGN if asked.design else FRESH)]
    pairs += [(data, "trees") for data in (DESIGN if asked.design else TREES)]
    seeds = range(20) if asked.design else range(100, 120)
    replays: dict[tuple[str, ...], dict[str, list[Replay]]] = {}
    for data, model in pairs:
        for folds in (5, 10):
            for scores in scores_of(data, model, folds, seeds, CONFIGURATIONS, asked.cache):
                cell = replays.setdefault((data, model, scores.metric, str(folds)), {name: [] for name in PRUNERS})
                for order in range(asked.orders):
                    for name, make in PRUNERS.items():
                        cell[name].append(replay(scores, order, make()))
    print_table(replays)
    if not asked.design:
        print(f"\nTPE with racing and without, {BUDGET} fold trainings each, K = 5, twelve seeds:")
        for data in SEARCHED:
            compare_searches(data)


def replay(scores: Scores, order: int, pruner: BasePruner) -> Replay:
    """One study over the configurations of a seed, in one of their orders."""
    study, matrix = Replayed(scores.goal), scores.matrix
    configurations, folds = matrix.shape
    drawn = np.random.default_rng([scores.seed, order]).permutation(configurations)
    for number, configuration in enumerate(drawn):
        seen: dict[int, float] = {}
        for fold in range(folds):
            seen[fold] = float(matrix[configuration, fold])
            running = _trial(number, TrialState.RUNNING, seen)
            if fold + 1 < folds and pruner.prune(study, running):  # type: ignore[arg-type]
                break
        study.trials.append(_trial(number, TrialState.COMPLETE if len(seen) == folds else TrialState.PRUNED, seen))
    means = (matrix if scores.goal == "maximize" else -matrix).mean(axis=1)
    found = means[drawn[study.best_trial.number]]
    spent = sum(len(trial.intermediate_values) for trial in study.trials) / matrix.size
    return Replay(spent, float((means.max() - found) / means.std()))


def _trial(number: int, state: TrialState, seen: Mapping[int, float]) -> FrozenTrial:
    value = None if state is TrialState.RUNNING else statistics.fmean(seen.values())
    trial = create_trial(state=TrialState.COMPLETE, value=0.0, intermediate_values=dict(seen))
    trial.number, trial.state, trial.values = number, state, None if value is None else [value]
    return trial


def compare_searches(data: str) -> None:
    """Print how much better the winner is where folds race, over seeds."""
    table, gains, trials = FRESH[data](), [], []
    for seed in range(200, 212):
        (whole, _), (raced, count) = (search(table, seed, is_racing=is_racing) for is_racing in (False, True))
        gains.append(raced - whole)
        trials.append(count)
    better, worse = sum(gain > 1e-12 for gain in gains), sum(gain < -1e-12 for gain in gains)
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    print(
        f"{data:>12}: {statistics.fmean(trials):.0f} trials in place of {BUDGET // 5}; the winner is better with "
        f"{better} seeds, worse with {worse}; mean gain {statistics.fmean(gains):+.4f} ± {error:.4f} (standard error)"
    )


def search(table: Table, seed: int, *, is_racing: bool) -> tuple[float, int]:
    """Let TPE search until the budget is spent; return the winner's mean score and the number of trials."""
    splitter = (StratifiedKFold if table.classes else KFold)(5, shuffle=True, random_state=seed)
    parts = list(splitter.split(table.inputs, table.target))
    study = optuna.create_study(direction="maximize", sampler=TPESampler(seed=seed))
    finished: dict[int, list[float]] = {}
    spent = 0
    while spent + len(parts) <= BUDGET:
        trial = study.ask()
        settings = {
            "C": trial.suggest_float("C", 1e-3, 1e3, log=True),
            "gamma": trial.suggest_float("gamma", 1e-5, 10, log=True),
        }
        known = reference(finished, "maximize") if is_racing else None
        scores: dict[int, float] = {}
        for fold, (train, validation) in enumerate(parts):
            model = (SVC if table.classes else SVR)(**settings).fit(table.inputs[train], table.target[train])
            scores[fold] = float(model.score(table.inputs[validation], table.target[validation]))
            chance = known.chance(scores) if known is not None else None
            if chance is not None and chance < THRESHOLD:
                break
        spent += len(scores)
        if len(scores) == len(parts):
            finished[trial.number] = list(scores.values())
        study.tell(trial, statistics.fmean(scores.values()) if known is None else known.finished.estimate(scores))
    return max(map(statistics.fmean, finished.values())), len(study.trials)


def print_table(replays: Mapping[tuple[str, ...], Mapping[str, Sequence[Replay]]]) -> None:
    """Each cell by rule, then all of them."""
    print(f"{'':34}" + "".join(f"{name:>22}" for name in PRUNERS if name != "full"))
    for cell, found in replays.items():
        _print_line(" ".join(cell), found)
    for folds in ("5", "10"):
        _print_line(f"all, K = {folds}", _merged([found for cell, found in replays.items() if cell[3] == folds]))
    whole = _merged(replays.values())
    _print_line("all", whole)
    for name, found in whole.items():
        same = sum(one.has_same_winner for one in found)
        regret = statistics.fmean(one.regret for one in found)
        print(
            f"{name:>12}: {statistics.fmean(one.spent for one in found):.3f} of the fold trainings, the same winner in "
            f"{same} of {len(found)} replays ({same / len(found):.2%}, Wilson's lower 95 % bound "
            f"{lower_bound(same, len(found)):.2%}), regret {regret:.5f} sd"
        )


def _print_line(name: str, found: Mapping[str, Sequence[Replay]]) -> None:
    cells = (
        f"{statistics.fmean(one.spent for one in replays):.2f} / "
        f"{statistics.fmean(one.has_same_winner for one in replays):.1%}"
        for rule, replays in found.items()
        if rule != "full"
    )
    print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))


def _merged(cells: Iterable[Mapping[str, Sequence[Replay]]]) -> dict[str, list[Replay]]:
    kept = list(cells)
    return {name: [one for found in kept for one in found[name]] for name in PRUNERS}


def lower_bound(successes: int, trials: int) -> float:
    """Lower bound of Wilson's 95 % interval for a share."""
    z, share = 1.959964, successes / trials
    middle = share + z**2 / (2 * trials)
    margin = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return (middle - margin) / (1 + z**2 / trials)


if __name__ == "__main__":
    main()
