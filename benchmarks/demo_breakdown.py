"""Where the demo's time goes, after set-up: one run of `winnow demo` in an empty home, split by what was waited for.

The sweep is split by the study's own records: `start-up` until the first fold begins, `trials` until the last one ends,
`refit` until the report is written. Printed are seconds and shares; on another machine compare the shares.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Run the demo once and print its parts."""
    with tempfile.TemporaryDirectory(prefix="winnow-bench-") as home:
        env = {**os.environ, "WINNOW_HOME": home}
        env.pop("MLFLOW_TRACKING_URI", None)
        began_ms = time.time() * 1000
        done = subprocess.run(
            [sys.executable, "-m", "winnow", "demo"], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        )
        whole_s = time.time() - began_ms / 1000
        steps = [float(seconds) for seconds in re.findall(r"took ([0-9.]+) s", done.stdout)]
        first_ms, last_ms = fold_times(Path(home))
    train_s, select_s, serve_s, predict_s = steps
    startup_s = (first_ms - began_ms) / 1000
    trials_s = (last_ms - first_ms) / 1000
    parts = {
        "start-up": startup_s,
        "trials": trials_s,
        "refit, report": train_s - startup_s - trials_s,
        "select": select_s,
        "serve": serve_s,
        "predict": predict_s,
        "stop": whole_s - sum(steps),
    }
    for name, seconds in parts.items():
        print(f"{name:<14} {seconds:6.1f} s  {seconds / whole_s:4.0%}")
    print(f"{'whole':<14} {whole_s:6.1f} s")


def fold_times(home: Path) -> tuple[int, int]:
    """When the first fold began and the last one ended, milliseconds since the epoch."""
    from winnow.study.database import Database
    from winnow.study.store import StudyStore

    trials = StudyStore(Database(f"sqlite:///{home / 'studies.db'}"), "breast-cancer").trials()
    folds = [fold for trial in trials for fold in trial.folds]
    return min(fold.started_at_ms for fold in folds), max(fold.ended_at_ms for fold in folds)


if __name__ == "__main__":
    main()
