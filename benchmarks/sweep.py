"""The sweep beside its peers: the same work by winnow, by the usual Optuna script and by Ray Tune, one after another.

The work (`peers/work.py`): `small` is breast cancer with an MLP, `digits` a CNN, `large` 10,000 × 30 with an MLP; five
folds and 20 epochs a trial, two workers or processes. winnow tracks, refits, exports and reports besides; its peers do
none of that. Printed are medians over the seeds: seconds of the whole command, from the command to the end of its first
fold, from the first fold's start to the last one's end, and from there to the prompt; the mean best F1 ± its standard
deviation; and how many times the fastest peer's whole command takes as long as ours.

    python benchmarks/sweep.py small 40 --peers PYTHON [--seeds 5] [--without raytune] [--variants] [--device cuda]

PEERS is a Python with torch 2.13.0, optuna, scikit-learn and ray[tune]. `--variants` also runs winnow with racing and
batches switched off one by one. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FACTORY = {"small": "build_mlp", "large": "build_mlp", "digits": "build_cnn"}
BATCH = {"small": 64, "large": 256, "digits": 64}
PEERS: Mapping[str, tuple[str, ...]] = {
    "usual script": ("usual.py", "{name}", "{trials}", "{seed}", "1"),
    "usual script, 2 processes": ("usual.py", "{name}", "{trials}", "{seed}", "2"),
    "Ray Tune, 2 actors": ("raytune.py", "{name}", "{trials}", "{seed}"),
}
VARIANTS: Mapping[str, tuple[str, str]] = {
    "winnow": ("racing", "auto"),
    "winnow, no racing": ("off", "auto"),
    "winnow, only folds as one": ("racing", "5"),
    "winnow, no batches": ("racing", "off"),
    "winnow, neither": ("off", "off"),
}
EXPERIMENT = """
name: bench
data: {{source: "work.py:load_{name}", holdout: 0.2}}
model: {{factory: "work.py:{factory}"}}
search:
  space:
    hidden: {{choice: [32, 64, 128]}}
    dropout: {{float: [0.0, 0.5]}}
    lr: {{float: [5.0e-4, 2.0e-2], log: true}}
    weight_decay: {{float: [1.0e-6, 1.0e-3], log: true}}
  trials: {trials}
  metric: {{name: f1}}
  sampler: tpe
  pruner: {pruner}
  seed: {seed}
cross_validation: {{splitter: stratified, folds: 5}}
training: {{epochs: 20, batch_size: {batch}, optimizer: adam}}
execution: {{workers: 2, pack: {pack}, device: {device}, share_gpus: true}}
"""


@dataclass(frozen=True)
class Took:
    """What one search took, and the best value that it found.

    Attributes:
        first_fold_s: from the command to the end of its first fold; `end_s` from the end of its last fold to the
            prompt. Measured for winnow alone.
    """

    whole_s: float
    training_s: float
    best: float
    first_fold_s: float = math.nan
    end_s: float = math.nan


def main() -> None:
    """Run every side once per seed, taking turns, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(FACTORY), nargs="?", default="small")
    parser.add_argument("trials", type=int, nargs="?", default=40)
    parser.add_argument("--peers", metavar="PYTHON", help="leave it out to run winnow alone")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--without", action="append", default=[], metavar="SCRIPT", help="usual or raytune")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="of every side")
    asked = parser.parse_args()
    sides = list(VARIANTS if asked.variants else ["winnow"])
    if asked.peers is not None:
        sides += [side for side, command in PEERS.items() if command[0].removesuffix(".py") not in asked.without]
    took: dict[str, list[Took]] = {side: [] for side in sides}
    for seed in range(asked.seeds):
        for side in sides:
            took[side].append(run(side, asked.name, asked.trials, seed, asked.device, asked.peers))
            print(f"seed {seed}: {side}: {took[side][-1]}", file=sys.stderr, flush=True)
    print_table(f"{asked.name}, {asked.trials} trials, {asked.seeds} seeds", took)


def run(side: str, name: str, trials: int, seed: int, device: str, peers: str) -> Took:
    """One search."""
    if side in VARIANTS:
        return run_winnow(name, trials, seed, device, *VARIANTS[side])
    command = [part.format(name=name, trials=trials, seed=seed) for part in PEERS[side]]
    env = environment() | {"BENCH_DEVICE": device}
    done = subprocess.run([peers, *command], cwd=HERE / "peers", env=env, check=True, stdout=subprocess.PIPE, text=True)
    return Took(**json.loads(done.stdout.strip().splitlines()[-1]))


def run_winnow(name: str, trials: int, seed: int, device: str, pruner: str, pack: str) -> Took:
    """`winnow train` in an empty home."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as folder:
        shutil.copy(HERE / "peers" / "work.py", folder)
        experiment = Path(folder) / "experiment.yaml"
        filled = {"name": name, "trials": trials, "seed": seed, "pruner": pruner, "pack": pack, "device": device}
        experiment.write_text(EXPERIMENT.format(**filled, factory=FACTORY[name], batch=BATCH[name]), encoding="utf-8")
        command = [sys.executable, "-m", "winnow", "train", "--config", experiment.name]
        env = environment() | {"WINNOW_HOME": f"{folder}/home"}
        began = time.time()
        subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
        ended = time.time()
        await_groups(Path(folder) / "home")
        return read_study(Path(folder) / "home", began, ended)


def await_groups(home: Path) -> None:
    """Wait until the worker groups have ended, which refit in the background after the command has returned."""
    from winnow.config.file_lock import locked

    for lock in home.glob("studies/bench/groups/*/lock"):
        with locked(lock):
            pass


def read_study(home: Path, began: float, ended: float) -> Took:
    """What a finished study took, given when its command began and ended, in seconds since the epoch."""
    from winnow.study.database import Database
    from winnow.study.store import StudyStore

    trials = StudyStore(Database(f"sqlite:///{home / 'studies.db'}"), "bench").trials()
    folds = [fold for trial in trials for fold in trial.folds]
    ends = [fold.ended_at_ms / 1000 for fold in folds]
    training_s = max(ends) - min(fold.started_at_ms for fold in folds) / 1000
    best = max(trial.value for trial in trials if trial.state == "complete")
    return Took(ended - began, training_s, best, min(ends) - began, ended - max(ends))


def environment() -> dict[str, str]:
    """The shell's own, with one thread for every process and an embedded MLflow."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return kept | {"OMP_NUM_THREADS": "1"}


def print_table(title: str, took: Mapping[str, list[Took]]) -> None:
    """Medians over the seeds, as Markdown."""
    print(f"\n{title}\n\n| | whole command, s | first fold, s | training, s | last fold to prompt, s | best f1 |")
    print("|---|---|---|---|---|---|")
    for side, runs in took.items():
        whole, first, training, end = (
            statistics.median(getattr(run, part) for run in runs)
            for part in ("whole_s", "first_fold_s", "training_s", "end_s")
        )
        best = [run.best for run in runs]
        spread = statistics.stdev(best) if len(best) > 1 else 0.0
        cells = (f"{seconds:.1f}" for seconds in (whole, first, training, end))
        print(f"| {side} | {' | '.join(cells)} | {statistics.fmean(best):.4f} ± {spread:.4f} |".replace("nan", "–"))
    peers = [statistics.median(run.whole_s for run in runs) for side, runs in took.items() if side in PEERS]
    if peers:
        ours = statistics.median(run.whole_s for run in took["winnow"])
        print(f"\nThe fastest peer takes {min(peers) / ours:.2f} times as long as winnow.")


if __name__ == "__main__":
    main()
