"""What asking for several trials at once costs the search: the schedule with wide batches against one trial at a time.

Both sides run winnow's own schedule and sampler with two workers on known functions of four to six parameters, with
noise like that of a cross-validated score. No model trains, so that many seeds are cheap. Printed is the mean of the
best true value after N trials over the seeds, its standard error, and how often the wide side was better.

    python benchmarks/packed_search.py [--seeds 40] [--trials 40 100]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from winnow.study.packing import Packing
from winnow.study.schedule import FinishTrial, ScheduledTrial, ScheduleRules, ScheduleView, TrainFolds, next_jobs

FOLDS, WORKERS = 5, 2
RULES = ScheduleRules(FOLDS, "score", "maximize", pruner="off", refit_top=1, workers=WORKERS)


def hartmann(x: Mapping[str, Any]) -> float:
    """Hartmann's function of six parameters, to be maximized: 3.32 at best."""
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    a = np.array(
        [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    )
    p = 1e-4 * np.array(
        [
            [1312, 1696, 5569, 124, 8283, 5886],
            [2329, 4135, 8307, 3736, 1004, 9991],
            [2348, 1451, 3522, 2883, 3047, 6650],
            [4047, 8828, 8732, 5743, 1091, 381],
        ]
    )
    point = np.array([x[f"x{number}"] for number in range(6)])
    return float(alpha @ np.exp(-(a * (point - p) ** 2).sum(axis=1)))


def network(x: Mapping[str, Any]) -> float:
    """Like a small network's score: a ridge in learning rate and width, little from weight decay and dropout."""
    width = {32: 0.0, 64: 0.5, 128: 0.8}[x["hidden"]]
    best_lr = -2.0 - 0.6 * width
    fit = 1.5 * (math.log10(x["lr"]) - best_lr) ** 2 + 0.5 * (x["dropout"] - 0.2 * width) ** 2
    return width * 0.3 - fit - 0.02 * (math.log10(x["weight_decay"]) + 4) ** 2


FUNCTIONS: Mapping[str, tuple[Callable[[Mapping[str, Any]], float], dict[str, BaseDistribution], float]] = {
    "hartmann": (hartmann, {f"x{number}": FloatDistribution(0, 1) for number in range(6)}, 0.05),
    "network": (
        network,
        {
            "hidden": CategoricalDistribution([32, 64, 128]),
            "dropout": FloatDistribution(0, 0.5),
            "lr": FloatDistribution(5e-4, 2e-2, log=True),
            "weight_decay": FloatDistribution(1e-6, 1e-3, log=True),
        },
        0.02,
    ),
}


def main() -> None:
    """Compare both sides on every function."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, nargs="+", default=[40, 100])
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| function | trials | one at a time | wide batches | wide is better |\n|---|---|---|---|---|")
    for name in FUNCTIONS:
        for trials in asked.trials:
            alone = [search(name, trials, seed, Packing()) for seed in range(asked.seeds)]
            wide = [search(name, trials, seed, Packing(64, is_fixed=True)) for seed in range(asked.seeds)]
            better = sum(w > a for a, w in zip(alone, wide, strict=True)) / asked.seeds
            print(f"| {name} | {trials} | {shown(alone)} | {shown(wide)} | {better:.0%} |", flush=True)


def shown(values: list[float]) -> str:
    """Mean and standard error."""
    return f"{statistics.fmean(values):.3f} ± {statistics.stdev(values) / math.sqrt(len(values)):.3f}"


def search(name: str, target: int, seed: int, packing: Packing) -> float:
    """The best true value of a search in which two workers take turns, each with one job under way."""
    function, space, noise = FUNCTIONS[name]
    random = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    view = ScheduleView(RULES, "", target)
    asked: list[optuna.Trial] = []
    jobs: dict[str, TrainFolds] = {}
    while len(view.trials) < target or jobs:
        for owner in ("w0", "w1"):
            view = carry_out(view, owner, jobs.pop(owner, None), asked, function, noise, random)
            view, job = claim(view, owner, packing, study, asked, space)
            if job is not None:
                jobs[owner] = job
    return max(function(trial.params) for trial in study.trials)


def claim(
    view: ScheduleView,
    owner: str,
    packing: Packing,
    study: optuna.Study,
    asked: list[optuna.Trial],
    space: dict[str, BaseDistribution],
) -> tuple[ScheduleView, TrainFolds | None]:
    """End the owner's trials that are done, and begin its next job."""
    train = None
    for job in next_jobs(dataclasses.replace(view, owner=owner), packing):
        if isinstance(job, FinishTrial):
            study.tell(asked[job.trial], job.value)
            view = changed(view, job.trial, state="complete", value=job.value, owner=None)
        elif isinstance(job, TrainFolds):
            train = job
    for number in dict.fromkeys(pair.trial for pair in train.pairs) if train is not None else ():
        if number == len(view.trials):
            asked.append(study.ask(space))
            new = ScheduledTrial(number, "running", owner=owner)
            view = dataclasses.replace(view, trials=(*view.trials, new))
    return view, train


def carry_out(
    view: ScheduleView,
    owner: str,
    job: TrainFolds | None,
    asked: list[optuna.Trial],
    function: Callable[[Mapping[str, Any]], float],
    noise: float,
    random: np.random.Generator,
) -> ScheduleView:
    """Score the folds of a job."""
    for pair in job.pairs if job is not None else ():
        trial = view.trials[pair.trial]
        score = function(asked[pair.trial].params) + random.normal(0, noise)
        view = changed(view, pair.trial, folds=(*trial.folds, pair.fold), scores=(*trial.scores, score), owner=owner)
    return view


def changed(view: ScheduleView, number: int, **changes: Any) -> ScheduleView:
    """The view with one trial changed."""
    trials = list(view.trials)
    trials[number] = dataclasses.replace(trials[number], **changes)
    return dataclasses.replace(view, trials=tuple(trials))


if __name__ == "__main__":
    main()
