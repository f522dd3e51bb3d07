"""Rows that are fetched for each batch train as rows in memory do, in little memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.config.experiment import Experiment
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob, FoldScored, Refit
from winnow.training.packs import Alone
from winnow.training.preparation import prepare
from winnow.training.world import World

ROWS = 300


def experiment(folder: Path, load: str, **training: Any) -> Experiment:
    random = np.random.default_rng(0)
    features = random.integers(0, 256, (ROWS, 1, 6, 6), dtype=np.uint8)
    np.save(folder / "x.npy", features)
    np.save(folder / "y.npy", (features[:, 0, :3].mean((1, 2)) > features[:, 0, 3:].mean((1, 2))).astype(int))
    return Experiment.model_validate(
        {
            "name": "fetched",
            "data": {"source": str(folder / "x.npy"), "target": str(folder / "y.npy"), "load": load},
            "model": {"factory": "winnow.models:cnn", "options": {"channels": [4]}},
            "search": {"space": {"lr": {"float": [1e-3, 1e-1]}}, "metric": {"name": "accuracy"}, "trials": 1},
            "cross_validation": {"folds": 2},
            "training": {"epochs": 3, "batch_size": 32, **training},
        }
    )


def jobs(folder: Path, world: World, load: str, **training: Any) -> Jobs:
    return Jobs(prepare(experiment(folder, load, **training)), world, lambda _message: None)


def scored(folder: Path, world: World, load: str, **training: Any) -> FoldScored:
    return jobs(folder, world, load, **training).train_fold(FoldJob(trial=0, fold=1, params={"lr": 0.01}))


@pytest.mark.parametrize("training", [{}, {"early_stopping": {"patience": 1}, "accumulation": 2}])
def test_fetched_rows_train_to_the_same_metrics(tmp_path: Path, world: World, training: dict[str, Any]) -> None:
    lazy, whole = (scored(tmp_path, world, load, **training) for load in ("lazy", "memory"))
    assert lazy.epochs == whole.epochs
    assert lazy.metrics == pytest.approx(whole.metrics, abs=1e-5)


def test_fetched_rows_are_exported_as_rows_in_memory_are(tmp_path: Path, world: World) -> None:
    bundles = {load: tmp_path / load for load in ("lazy", "memory")}
    refitted = [
        jobs(tmp_path, world, load).refit(Refit(trial=0, params={"lr": 0.01}, metrics={}, directory=str(bundle)))
        for load, bundle in bundles.items()
    ]
    assert refitted[0].metrics == pytest.approx(refitted[1].metrics, abs=1e-5)
    example = {load: (bundle / "input_example.json").read_text() for load, bundle in bundles.items()}
    assert example["lazy"] == example["memory"]


def test_fetched_rows_form_no_stack(tmp_path: Path, world: World) -> None:
    members = [FoldJob(trial=0, fold=fold, params={"lr": 0.01}) for fold in range(2)]
    found = list(jobs(tmp_path, world, "lazy").packs(members))
    assert found == [Alone(member, "rows that do not lie in memory") for member in members]


SMALL_MEMORY = """
import resource, sys
import numpy as np
from winnow.config.experiment import Experiment
from winnow.training import export, jobs, onnx_graph
from winnow.training.messages import FoldJob, Refit
from winnow.training.preparation import prepare
from winnow.training.world import World, settle

experiment = Experiment.model_validate_json(sys.argv[1])
settle(1, experiment.training)
world = World("no", on_cpu=True)
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + int(sys.argv[2]), used + int(sys.argv[2])))
work = jobs.Jobs(prepare(experiment), world, lambda message: None)
work.train_fold(FoldJob(trial=0, fold=0, params={"lr": 0.01}))
work.refit(Refit(trial=0, params={"lr": 0.01}, metrics={}, directory=sys.argv[3]))
"""


def in_small_memory(experiment: Experiment, limit_bytes: int, bundle: Path) -> str:
    """What a process says that trains and exports a model, and may take so much memory beyond its imports."""
    arguments = [experiment.model_dump_json(by_alias=True), str(limit_bytes), str(bundle)]
    command = [sys.executable, "-c", SMALL_MEMORY, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits a process's data")
def test_data_train_in_a_third_of_their_size(tmp_path: Path) -> None:
    small, rows = experiment(tmp_path, "auto"), 15_000
    # A sparse file: 150 MB that take up no disk, and 600 MB as float32.
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (rows, 1, 100, 100))
    mapped[:ROWS, 0, :6, :6] = 200
    np.save(tmp_path / "y.npy", np.arange(rows) % 2)
    training = small.training.model_copy(update={"epochs": 1, "batch_size": 128})
    model = small.model.model_copy(update={"factory": "winnow.models:linear", "options": {}})
    lazy = small.model_copy(update={"training": training, "model": model})
    assert in_small_memory(lazy, 200 * 10**6, tmp_path / "bundle") == ""
    assert (tmp_path / "bundle" / "manifest.json").is_file()
    whole = lazy.model_copy(update={"data": lazy.data.model_copy(update={"load": "memory"})})
    assert "MemoryError" in in_small_memory(whole, 200 * 10**6, tmp_path / "bundle")
