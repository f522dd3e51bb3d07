"""Sweeps away from this machine's processes, for tests: a real `winnow train` on real data, watched through its study.

What is the same in containers and in pods is here; what there is to look at and to be cruel to, each tier adds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from tests.winnow_command import winnow
from winnow.config.next_command import has_targets, render
from winnow.config.settings import Settings
from winnow.orchestrators.settings import current
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.tracking.records import TrialRecord
from winnow.tracking.run_search import MlflowRunSearch

ROOT = Path(__file__).parents[1]
TIMEOUT_S = 240.0


@dataclass(frozen=True)
class RemoteSweep:
    """One study on a stack of its own, with all that a person has to have for it.

    Attributes:
        env: what the commands are run with: the stack's home, no settings of this machine's own.
        image: the workers', whatever else is built meanwhile.
    """

    env: Mapping[str, str]
    folder: Path
    image: str
    study: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:10]}")
    _opened: list[Database] = field(default_factory=list)

    @property
    def target(self) -> str:
        """The tier's name."""
        raise NotImplementedError

    def left(self) -> list[str]:
        """Names of all that the tier holds for this study."""
        raise NotImplementedError

    @property
    def resources(self) -> dict[str, Any]:
        """What a worker gets."""
        return {"cpu": 1, "memory": "1500Mi"}

    def close(self) -> None:
        """Let go of the study."""
        for database in self._opened:
            database.close()

    @property
    def file(self) -> Path:
        return self.folder / f"{self.study}.yaml"

    def write(self, **changes: Any) -> Self:
        """Write the experiment file: folds of a second or so, on real rows."""
        experiment: dict[str, Any] = {
            "name": self.study,
            "data": {"source": "sklearn:breast_cancer", "holdout": 0.2},
            "model": {"factory": "winnow.models:mlp"},
            "search": {
                "space": {"hidden": {"choice": [[64], [128, 64]]}, "lr": {"float": [1e-4, 1e-2], "log": True}},
                "trials": 4,
                "metric": {"name": "f1"},
                "sampler": "random",
                "pruner": "off",
            },
            "cross_validation": {"folds": 3},
            "training": {"epochs": 64, "batch_size": 16},
            "execution": {"workers": 2, "pack": "off", "resources": self.resources},
            "refit": {"top": 1},
        }
        for key, value in changes.items():
            experiment[key] = {**experiment.get(key, {}), **value}
        self.file.write_text(yaml.safe_dump(experiment))
        return self

    def arguments(self, verb: str, *flags: str) -> list[str]:
        which = ["--config", str(self.file)] if verb in ("train", "select-model") else ["--study", self.study]
        target = ["--platform", self.target, "--image", self.image] if verb == "train" else []
        return [verb, *which, *target, *flags]

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """Start the sweep as a terminal would, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "winnow", *self.arguments("train", *flags)],
            cwd=ROOT,
            env=dict(self.env),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, verb: str = "train", *flags: str) -> subprocess.CompletedProcess[str]:
        return winnow(*self.arguments(verb, *flags), env=self.env, timeout=TIMEOUT_S)

    # What is there

    @property
    def settings(self) -> Settings:
        return current(self.env)

    @property
    def store(self) -> StudyStore:
        if not self._opened:
            self._opened.append(Database(self.settings.storage_url, create=True))
        return StudyStore(self._opened[0], self.study)

    def trials(self) -> tuple[TrialRecord, ...]:
        store = self.store
        return store.trials() if store.exists() else ()

    def folds(self) -> int:
        """How many folds have been scored."""
        return sum(len(trial.folds) for trial in self.trials())

    # What must hold in the end

    def check_nothing_is_lost(self, trials: int, failed: int = 0) -> None:
        """Exactly these trials, each fold once and the same in MLflow, nothing at work and nothing left behind."""
        folds = self.store.header.sweep.folds
        found = self.trials()
        states = [trial.state for trial in found]
        assert (len(found), states.count("complete"), states.count("failed")) == (trials, trials - failed, failed), [
            (trial.number, trial.state, trial.reason) for trial in found
        ]
        complete = [trial for trial in found if trial.state == "complete"]
        assert [[fold.fold for fold in trial.folds] for trial in complete] == [list(range(folds))] * len(complete)
        uri = self.settings.tracking_uri
        runs = list(MlflowRunSearch(uri).trials(self.study, [], []))
        assert sorted(run.trial for run in runs if run.trial is not None) == list(range(trials))
        ids = {run.trial: run.run_id for run in runs}
        for trial in complete:
            points = [(fold.fold, fold.metrics["f1"], fold.ended_at_ms) for fold in trial.folds]
            assert fold_points(uri, ids[trial.number]) == points
        in_mlflow = mlflow_states(uri, self.study)
        assert in_mlflow == {"FINISHED": trials - failed + 1} | ({"FAILED": failed} if failed else {})
        assert self.store.untracked() == []
        assert [refit.version for refit in self.store.refits()] == ["1"]
        assert self.left() == []


def check_ctrl_c_leaves_the_workers_and_cancel_ends_them(sweep: RemoteSweep, trials: int) -> None:
    """The terminal goes and says how to come back, two workers go on; cancelled, the sweep can still be ended."""
    orchestrator = sweep.start()
    wait_until(lambda: sweep.folds() >= 1)
    code, output = end(orchestrator, signal.SIGINT)
    assert code == 130
    assert render("cancel", {"study": sweep.study}, has_targets=has_targets()) in output
    jobs = sweep.run("jobs")
    assert (jobs.stdout.count(sweep.target), jobs.stdout.count("running")) == (2, 2), jobs.stdout
    cancelled = sweep.run("cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert sweep.left() == []
    assert {trial.state for trial in sweep.trials()} <= {"waiting", "complete"}
    assert sweep.store.incidents() == ()
    resumed = sweep.run()
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    sweep.check_nothing_is_lost(trials)


def fold_points(uri: str, run_id: str) -> list[tuple[int, float, int]]:
    """Every point of the folds' metric that MLflow holds, doubled ones included."""
    from mlflow import MlflowClient

    history = MlflowClient(uri).get_metric_history(run_id, "f1.fold")
    return sorted((point.step, point.value, point.timestamp) for point in history)


def mlflow_states(uri: str, study: str) -> dict[str, int]:
    """How many runs of a study are in which of MLflow's own states, the sweep's own run included."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    states = [run.info.status for run in client.search_runs([experiment.experiment_id], max_results=1000)]
    return {state: states.count(state) for state in sorted(set(states))}


def wait_until(fact: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.1)


def end(process: subprocess.Popen[str], how: signal.Signals | None = None) -> tuple[int, str]:
    """Signal a command, if at all, and wait for its end."""
    if how is not None:
        os.kill(process.pid, how)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, output
