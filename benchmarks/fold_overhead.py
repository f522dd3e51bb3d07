"""What a fold costs beside its training: warm workers against a process for every trial.

Both sides train the same trials of `experiments/breast_cancer.yaml` with the same code, all folds one after another
(without racing, and none as a batch), and take turns, so that a slow minute of the machine meets both. Printed is the
median time per fold that was not training:

    winnow    from one fold's start to the next fold's start, less its training: claim, sample, send, prepare the
              fold, score, report, record, project
    cold      a new Python process for every trial, as a runner of one process, container or pod per trial starts it
              (an image's pull and a pod's start come on top): its whole life less the training, over its folds

Run it with `make bench`, or `python benchmarks/fold_overhead.py [--trials N]`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
EXPERIMENT = ROOT / "experiments" / "breast_cancer.yaml"
ROUNDS = 3


def main() -> None:
    """Measure both sides and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="trials per round on the warm side")
    parser.add_argument("--cold", metavar="PARAMS", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.cold is not None:
        train_cold(json.loads(asked.cold))
        return
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as home:
        warm: list[dict[str, float]] = []
        cold: list[float] = []
        for number in range(ROUNDS):
            before = len(warm)
            run_sweep(Path(home), trials=asked.trials * (number + 1))
            folds, params = read_folds(Path(home))
            warm = folds
            cold += [run_cold(params[-1 - i]) for i in range(2)]
            print(f"round {number + 1} of {ROUNDS}: {len(warm) - before} warm folds, 2 cold trials", file=sys.stderr)
    report(warm, cold)


def run_sweep(home: Path, trials: int) -> None:
    """`winnow train` with one worker, up to a number of trials whose folds train one after another."""
    experiment = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8"))
    experiment["search"]["pruner"] = "off"
    experiment["execution"] |= {"pack": "off"}
    (home / "experiment.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    config = str(home / "experiment.yaml")
    winnow = [sys.executable, "-m", "winnow", "train", "--config", config, "--workers", "1"]
    env = {**os.environ, "WINNOW_HOME": str(home)}
    env.pop("MLFLOW_TRACKING_URI", None)
    subprocess.run([*winnow, "--trials", str(trials)], cwd=ROOT, env=env, check=True, capture_output=True)


def read_folds(home: Path) -> tuple[list[dict[str, float]], list[dict[str, Any]]]:
    """Every fold's times, with the wait until the next fold of its worker began, and every trial's parameters."""
    from winnow.study.database import Database
    from winnow.study.store import StudyStore

    trials = StudyStore(Database(f"sqlite:///{home / 'studies.db'}"), "breast-cancer").trials()
    folds = sorted((fold for trial in trials for fold in trial.folds), key=lambda fold: fold.started_at_ms)
    rows = []
    for fold, following in itertools.pairwise(folds):
        whole_s = (following.started_at_ms - fold.started_at_ms) / 1000
        answered_s = (fold.ended_at_ms - fold.started_at_ms) / 1000
        rows.append(
            {
                "schedule": whole_s - answered_s,
                "first step": fold.first_step_s,
                "train": fold.train_s,
                "score and report": answered_s - fold.train_s,
                "overhead": whole_s - fold.train_s,
            }
        )
    return rows, [dict(trial.params) for trial in trials]


def run_cold(params: dict[str, Any]) -> float:
    """Seconds per fold beside the training, of a process of its own for one trial."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, "--cold", json.dumps(params)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    train_s = json.loads(done.stdout.splitlines()[-1])
    return (time.perf_counter() - began - sum(train_s)) / len(train_s)


def train_cold(params: dict[str, Any]) -> None:
    """Train all folds of one trial and print their training times."""
    from winnow.config.loader import load_experiment
    from winnow.training.jobs import Jobs
    from winnow.training.messages import FoldJob
    from winnow.training.preparation import prepare
    from winnow.training.world import World, settle

    os.environ |= {"RANK": "0", "WORLD_SIZE": "1"}
    experiment = load_experiment(EXPERIMENT)
    settle(1, experiment.training)
    jobs = Jobs(prepare(experiment), World(experiment.training.precision, on_cpu=True), send=lambda _message: None)
    folds = experiment.cross_validation.folds
    print(json.dumps([jobs.train_fold(FoldJob(0, fold, params)).train_s for fold in range(folds)]))


def report(warm: list[dict[str, float]], cold: list[float]) -> None:
    """Print the medians, and the figure: how much less a warm worker spends."""
    # The first fold after a start waits for the worker itself, which is paid once, not once a fold.
    steady = [row for row in warm if row["overhead"] < 60 * statistics.median(r["overhead"] for r in warm)]
    for name in ("schedule", "first step", "train", "score and report"):
        print(f"{name:<18} {1000 * statistics.median(row[name] for row in steady):8.1f} ms")
    overhead = statistics.median(row["overhead"] for row in steady)
    cold_s = statistics.median(cold)
    print(f"{'overhead, winnow':<18} {1000 * overhead:8.1f} ms a fold ({len(steady)} folds)")
    print(f"{'overhead, cold':<18} {1000 * cold_s:8.1f} ms a fold ({len(cold)} trials)")
    print(f"ratio: {cold_s / overhead:.0f} times less overhead per fold than a process for every trial")


if __name__ == "__main__":
    main()
