"""The usual script: `usual.py NAME TRIALS SEED PROCESSES`, Optuna in one process, or in several on one SQLite study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time

began = time.perf_counter()

import optuna
from work import trial

_STORAGE = "USUAL_STORAGE"


def objective(name: str, proposed: optuna.Trial) -> float:
    """One trial of the work."""
    params = {
        "hidden": proposed.suggest_categorical("hidden", [32, 64, 128]),
        "dropout": proposed.suggest_float("dropout", 0, 0.5),
        "lr": proposed.suggest_float("lr", 5e-4, 2e-2, log=True),
        "weight_decay": proposed.suggest_float("weight_decay", 1e-6, 1e-3, log=True),
    }
    return trial(name, params)


def main(name: str, trials: int, seed: int, processes: int) -> None:
    """Search, and print what it took as JSON."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if _STORAGE in os.environ:
        study = optuna.load_study(study_name="study", storage=os.environ[_STORAGE])
        study.optimize(lambda proposed: objective(name, proposed), n_trials=trials)
        return
    storage = f"sqlite:///{tempfile.mkdtemp()}/study.db"
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(study_name="study", storage=storage, direction="maximize", sampler=sampler)
    trained = time.perf_counter()
    if processes == 1:
        study.optimize(lambda proposed: objective(name, proposed), n_trials=trials)
    else:
        own = [sys.executable, __file__, name, str(trials // processes), str(seed), "1"]
        started = [subprocess.Popen(own, env={**os.environ, _STORAGE: storage}) for _ in range(processes)]
        codes = [process.wait() for process in started]
        assert not any(codes)
    ended = time.perf_counter()
    assert len(study.trials) == trials
    print(json.dumps({"whole_s": ended - began, "training_s": ended - trained, "best": study.best_value}))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
