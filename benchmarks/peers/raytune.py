"""Ray Tune: `raytune.py NAME TRIALS SEED`, two trials at a time, actors reused."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

began = time.perf_counter()
os.environ |= {
    "RAY_DEDUP_LOGS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "RAY_memory_monitor_refresh_ms": "0",
}

import ray
from ray import tune

HERE, NAME = str(Path(__file__).parent), sys.argv[1]


def objective(params: dict[str, Any]) -> None:
    """One trial of the work."""
    sys.path.insert(0, HERE)
    from work import trial

    tune.report({"f1": trial(NAME, params)})


def main(trials: int, seed: int) -> None:
    """Search, and print what it took as JSON."""
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, object_store_memory=200 * 2**20, **quiet)
    trained = time.perf_counter()
    space = {
        "hidden": tune.choice([32, 64, 128]),
        "dropout": tune.uniform(0, 0.5),
        "lr": tune.loguniform(5e-4, 2e-2),
        "weight_decay": tune.loguniform(1e-6, 1e-3),
    }
    search = tune.search.basic_variant.BasicVariantGenerator(random_state=seed)
    config = tune.TuneConfig(
        num_samples=trials, max_concurrent_trials=2, metric="f1", mode="max", reuse_actors=True, search_alg=search
    )
    stored = tune.RunConfig(verbose=0, storage_path=tempfile.mkdtemp())
    tuner = tune.Tuner(
        tune.with_resources(objective, {"cpu": 1}), param_space=space, tune_config=config, run_config=stored
    )
    results = tuner.fit()
    ended = time.perf_counter()
    assert results.num_errors == 0
    best = results.get_best_result().metrics["f1"]
    print(json.dumps({"whole_s": ended - began, "training_s": ended - trained, "best": best}))
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[2:]))
