"""Studies to draw and to talk about, as a sweep would have left them: a simulated search on a simulated clock.

Random numbers come from the seed alone, so that a sample is the same in every test and on every machine.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

from winnow.study.view import Champion, Incident, StudyView
from winnow.tracking.records import FoldRecord, SweepRecord, TrialRecord, TrialState

BEGAN_MS = 1_795_000_000_000
SPACE: Mapping[str, Any] = {
    "hidden": {"choice": [[64], [128, 64], [256, 128, 64]]},
    "lr": {"float": [1e-4, 1e-1], "log": True, "step": None},
    "dropout": {"float": [0.0, 0.5], "log": False, "step": None},
    "batch_size": {"int": [16, 256], "log": True, "step": 1},
    "optimizer": {"choice": ["adamw", "sgd"]},
}


@dataclass
class SampleStudy:
    """Builds a `StudyView`; every field has a plausible value, so that a test names only what it is about.

    Attributes:
        pruned, failed, running: numbers of the trials that end so.
        lost: numbers of the trials whose first attempt dies in its third fold.
        pause_before: a trial before which the sweep was stopped for two days.
        diverged: trials whose score is far off.
        refitted: how many of the best have a holdout score.
    """

    trials: int = 30
    folds: int = 5
    workers: int = 2
    metric: str = "f1"
    goal: Literal["maximize", "minimize"] = "maximize"
    space: Mapping[str, Any] = field(default_factory=lambda: SPACE)
    pruned: frozenset[int] = frozenset()
    failed: frozenset[int] = frozenset()
    running: frozenset[int] = frozenset()
    lost: frozenset[int] = frozenset()
    diverged: frozenset[int] = frozenset()
    pause_before: int | None = None
    refitted: int = 3
    study: str = "breast-cancer"
    reason: str = "ValueError: expected 30 inputs, found 31"
    fold_s: float = 0.35
    has_curves: bool = True
    seed: int = 0

    def view(self) -> StudyView:
        """Simulate the sweep."""
        draw = random.Random(self.seed)
        free_at = [BEGAN_MS + 6500 + 400 * worker for worker in range(self.workers)]
        trials: list[TrialRecord] = []
        incidents: list[Incident] = []
        for number in range(self.trials):
            if number == self.pause_before:
                free_at = [max(free_at) + 2 * 86_400_000] * self.workers
            worker = min(range(self.workers), key=lambda each: free_at[each])
            record = self._trial(draw, number, f"group-{worker}", free_at[worker], incidents)
            free_at[worker] = (record.ended_at_ms or max(fold.ended_at_ms for fold in record.folds)) + draw.randint(
                20, 90
            )
            trials.append(record)
        trials, winner = self._refit(draw, trials, max(free_at))
        return StudyView(
            sweep=self._sweep(),
            trials=tuple(trials),
            space=self.space,
            winner=winner,
            generated_at_ms=max(free_at) + 4000,
            target=self.trials,
            incidents=tuple(incidents),
            champion=Champion(self.study, "3", "champion", winner, max(free_at)) if self.refitted and trials else None,
        )

    def _trial(
        self, draw: random.Random, number: int, worker: str, start_ms: int, incidents: list[Incident]
    ) -> TrialRecord:
        params = {name: self._draw(draw, parameter) for name, parameter in self.space.items()}
        state = self._state(number)
        level = self._level(draw, params, number)
        trained = {
            "complete": self.folds,
            "pruned": 1,
            "failed": number % min(3, self.folds),
            "running": min(2, self.folds),
        }
        folds: list[FoldRecord] = []
        now_ms = start_ms
        for fold in range(trained[state]):
            if number in self.lost and fold == min(2, self.folds - 1):
                died_ms = now_ms + round(self.fold_s * 600)
                incidents.append(Incident(number, 1, worker, "killed by signal 9", died_ms, now_ms, fold))
                now_ms = died_ms + 2500
            folds.append(self._fold(draw, fold, worker, now_ms, level))
            now_ms = folds[-1].ended_at_ms + draw.randint(4, 20)
        values = [fold.metrics[self.metric] for fold in folds]
        return TrialRecord(
            study=self.study,
            number=number,
            state=state,
            params=params,
            folds=tuple(folds),
            value=fmean(values) if state == "complete" else None,
            attempts=2 if number in self.lost else 1,
            reason=self.reason
            if state == "failed"
            else "worse than the median after fold 1"
            if state == "pruned"
            else None,
            started_at_ms=start_ms,
            ended_at_ms=None if state == "running" else now_ms + (150 if state == "failed" else 0),
            run_id=f"{number:032x}",
            curves={fold.fold: self._curves(fold, params) for fold in folds} if self.has_curves else {},
        )

    def _state(self, number: int) -> TrialState:
        named: tuple[tuple[frozenset[int], TrialState], ...] = (
            (self.pruned, "pruned"),
            (self.failed, "failed"),
            (self.running, "running"),
        )
        return next((state for numbers, state in named if number in numbers), "complete")

    def _level(self, draw: random.Random, params: Mapping[str, Any], number: int) -> float:
        """How good the parameters are between 0 and 1; later trials search where it is better."""
        distance = abs(math.log10(params["lr"]) + 2.2) / 2.2 if isinstance(params.get("lr"), float) else 0.3
        loss = 0.5 * distance**2 + 0.3 * float(params.get("dropout", 0.1)) ** 2 + 0.02 * draw.random()
        if number in self.diverged:
            return -4.0
        if number in self.pruned:
            return 0.62 + 0.1 * draw.random()
        return 1 - loss * (0.35 + 0.65 * math.exp(-number / max(self.trials / 3, 1)))

    def _fold(self, draw: random.Random, fold: int, worker: str, start_ms: int, level: float) -> FoldRecord:
        shift = (0.01, -0.012, 0.004, -0.006, 0.008)[fold % 5] + draw.gauss(0, 0.006)
        quality = min(0.55 + 0.435 * level + shift, 1.0)
        value = quality if self.goal == "maximize" else 60 * (1.6 - quality)
        took_ms = round(1000 * self.fold_s * draw.uniform(0.8, 1.3))
        metrics = {self.metric: value, "loss": 1.1 - quality}
        return FoldRecord(fold, metrics, 30, took_ms / 1000, start_ms, start_ms + took_ms, worker)

    def _curves(self, fold: FoldRecord, params: Mapping[str, Any]) -> dict[str, tuple[tuple[int, float], ...]]:
        """A loss that falls towards the fold's, faster with a higher learning rate, and rises a little in the end."""
        lr = params.get("lr")
        speed = 40 * lr if isinstance(lr, float) else 0.2
        score, loss = fold.metrics[self.metric], fold.metrics["loss"]
        falls = {epoch: math.exp(-speed * epoch) for epoch in range(1, fold.epochs + 1)}
        return {
            "train_loss": tuple((epoch, 0.6 * loss + 0.8 * left) for epoch, left in falls.items()),
            "val_loss": tuple((epoch, loss + 0.8 * left + 0.002 * epoch) for epoch, left in falls.items()),
            f"val_{self.metric}": tuple((epoch, score * (1 - left / 2)) for epoch, left in falls.items()),
        }

    def _draw(self, draw: random.Random, parameter: Mapping[str, Any]) -> Any:
        if "choice" in parameter:
            return draw.choice(parameter["choice"])
        low, high = parameter.get("float") or parameter["int"]
        share = draw.random()
        value = low * (high / low) ** share if parameter.get("log") else low + (high - low) * share
        if parameter.get("step") and not parameter.get("log"):
            value = low + int((value - low) / parameter["step"]) * parameter["step"]
        return round(value) if "int" in parameter else value

    def _refit(
        self, draw: random.Random, trials: list[TrialRecord], at_ms: int
    ) -> tuple[list[TrialRecord], int | None]:
        done = [trial for trial in trials if trial.value is not None]
        best = sorted(done, key=lambda trial: (trial.value or 0.0) * (-1 if self.goal == "maximize" else 1))
        scores = {trial.number: {self.metric: (trial.value or 0.0) * 0.99} for trial in best[: self.refitted]}
        refitted = [
            TrialRecord(**{**vars(trial), "holdout": scores[trial.number], "holdout_at_ms": at_ms + 1500})
            if trial.number in scores
            else trial
            for trial in trials
        ]
        return refitted, best[0].number if best else None

    def _sweep(self) -> SweepRecord:
        experiment = {
            "name": self.study,
            "data": {"source": "sklearn:breast_cancer", "holdout": 0.2},
            "search": {
                "space": dict(self.space),
                "trials": self.trials,
                "metric": {"name": self.metric, "goal": self.goal},
            },
            "execution": {"workers": self.workers, "env": {"API_TOKEN": "hunter2"}},
        }
        return SweepRecord(
            study=self.study,
            metric=self.metric,
            goal=self.goal,
            experiment=experiment,
            data_name="breast_cancer",
            data_rows=569,
            data_sha256="4f2c9d1e" * 8,
            data_source="sklearn:breast_cancer",
            task="classification" if self.goal == "maximize" else "regression",
            folds=self.folds,
            seed=0,
            environment={
                "git commit": "4de17f5",
                "python": "3.11.9",
                "torch": "2.13.0",
                "winnow": "0.1.0",
                "host": "ada",
            },
            started_at_ms=BEGAN_MS,
        )
