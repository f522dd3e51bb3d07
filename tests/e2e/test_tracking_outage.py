"""A tracking server goes away, the sweep is killed, and the next run tells MLflow the rest, to the last metric."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.sweeps import ROOT, Sweep, end, wait_until
from winnow.tracking.run_search import MlflowRunSearch

pytestmark = pytest.mark.slow


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    folder.mkdir(exist_ok=True)
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder)]
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *store, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answers(port))
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_sweep_killed_during_an_outage_is_told_to_the_last_metric(tmp_path: Path) -> None:
    port = free_port()
    sweep = Sweep(tmp_path, "slow", tracking_uri=f"http://127.0.0.1:{port}", search={"trials": 3})
    with mlflow_server(tmp_path / "server", port):
        orchestrator = sweep.start()
        wait_until(lambda: any(len(trial.folds) >= 1 for trial in sweep.trials()))
    wait_until(lambda: any(trial.state == "complete" for trial in sweep.trials()))
    end(orchestrator, signal.SIGKILL)
    for process in sweep.processes():
        process.kill()
    wait_until(lambda: sweep.processes() == [])
    assert sweep.store.untracked() != []
    with mlflow_server(tmp_path / "server", port):
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
