"""A tracking server goes away, the sweep is killed, and the next run tells MLflow the rest, to the last metric."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.e2e.sweeps import Sweep, end, wait_until
from tests.mlflow_server import free_port, mlflow_server
from tests.unit.tracking.made_up import new_store
from winnow.tracking.run_search import MlflowRunSearch

pytestmark = pytest.mark.slow


def test_a_sweep_killed_during_an_outage_is_told_to_the_last_metric(tmp_path: Path) -> None:
    port, store = free_port(), new_store(tmp_path)
    sweep = Sweep(tmp_path, "slow", tracking_uri=f"http://127.0.0.1:{port}", search={"trials": 3})
    with mlflow_server(tmp_path, store, port):
        orchestrator = sweep.start()
        wait_until(lambda: any(len(trial.folds) >= 1 for trial in sweep.trials()))
    wait_until(lambda: any(trial.state == "complete" for trial in sweep.trials()))
    end(orchestrator, signal.SIGKILL)
    for process in sweep.processes():
        process.kill()
    wait_until(lambda: sweep.processes() == [])
    assert sweep.store.untracked() != []
    with mlflow_server(tmp_path, store, port):
        resumed = sweep.run()
        assert resumed.returncode == 0, resumed.stderr
        trials = sweep.trials()
        assert [trial.state for trial in trials] == ["complete"] * 3
        runs = {run.trial: run for run in MlflowRunSearch(f"http://127.0.0.1:{port}").trials("a-study", [], [])}
        assert sorted(runs) == [0, 1, 2]
        assert {number: run.metrics["f1"] for number, run in runs.items()} == {t.number: t.value for t in trials}
        for trial in trials:
            points = fold_points(port, runs[trial.number].run_id)
            assert points == [(fold.fold, fold.metrics["f1"], fold.ended_at_ms) for fold in trial.folds]
    assert sweep.store.untracked() == []


def fold_points(port: int, run_id: str) -> list[tuple[int, float, int]]:
    from mlflow import MlflowClient

    history = MlflowClient(f"http://127.0.0.1:{port}").get_metric_history(run_id, "f1.fold")
    return sorted((point.step, point.value, point.timestamp) for point in history)


def test_an_unreachable_tracking_server_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quick", tracking_uri=f"http://127.0.0.1:{free_port()}")
    began = time.monotonic()
    refused = sweep.run()
    assert refused.returncode == 2
    assert "MLFLOW_TRACKING_URI" in refused.stderr
    assert time.monotonic() - began < 60
    assert not sweep.home.exists()
