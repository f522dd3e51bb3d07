from __future__ import annotations

import os
import threading
import time
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from tests.mlflow_server import free_port, mlflow_server
from tests.unit.tracking.made_up import STUDY, bundle, new_store, sweep, trial
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import MlflowRunSearch
from winnow.tracking.store import prepare
from winnow.tracking.tracker import Sent, TrackingUnavailableError


class _Counting(ThreadingHTTPServer):
    """Passes requests on to `target` and counts those to the API."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _PassOn)
        self.target = target
        self.count = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _PassOn(BaseHTTPRequestHandler):
    server: _Counting

    def _pass_on(self) -> None:
        if "/api/" in self.path and "/mlflow-artifacts/" not in self.path:
            self.server.count += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kept = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "accept-encoding")}
        request = urllib.request.Request(self.server.target + self.path, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
            error.close()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        pass


def load(uri: str, model: str) -> mlflow.pyfunc.PyFuncModel:
    """As a person does; MLflow's default store, which it also writes to the environment, is put back afterwards."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        return mlflow.pyfunc.load_model(model)
    finally:
        mlflow.set_registry_uri(None)
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.mark.slow
def test_every_request_to_a_server_is_counted_and_a_trial_stays_within_its_budget(tmp_path: Path) -> None:
    with mlflow_server(tmp_path, new_store(tmp_path), free_port()) as url, _Counting(url) as counting:
        prepare(counting.url)
        counting.count = 0
        tracker, record = MlflowTracker(counting.url), sweep()
        parent = tracker.start_sweep(record)
        assert counting.count == tracker.calls + 1  # to upload a file, the client asks where to
        before = counting.count
        whole = trial(0)
        sent = tracker.sync_trial(record, parent, trial(0, (), "running", value=None), Sent())
        for done in range(1, 6):
            running = replace(whole, state="running", folds=whole.folds[:done], value=None, ended_at_ms=None)
            sent = tracker.sync_trial(record, parent, running, sent)
        tracker.sync_trial(record, parent, whole, sent)
        assert counting.count - before == tracker.calls - 6
        assert counting.count - before <= 6 + 5
        refitted = replace(whole, holdout={"f1": 0.95}, holdout_at_ms=whole.ended_at_ms)
        version = tracker.log_bundle(record, parent, refitted, bundle(tmp_path / "bundle", refitted))
        copy = Registry(counting.url).download_bundle(version, tmp_path / "copy")
        assert (copy / "model.onnx").read_bytes() == (tmp_path / "bundle" / "model.onnx").read_bytes()
        counting.shutdown()


def test_a_dead_server_is_noticed_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(TrackingUnavailableError):
        MlflowTracker(f"http://127.0.0.1:{free_port()}").start_sweep(sweep())
    assert time.monotonic() - started < 10


def test_a_run_that_somebody_deletes_is_written_anew(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    whole = trial(0)
    running = replace(whole, state="running", folds=whole.folds[:2], value=None, ended_at_ms=None)
    sent = tracker.sync_trial(record, parent, running, Sent())
    mlflow.MlflowClient(uri).delete_run(sent.run_id)
    again = tracker.sync_trial(record, parent, whole, sent)
    assert again.run_id != sent.run_id
    (found,) = MlflowRunSearch(uri).trials(STUDY, [], [])
    assert (found.run_id, found.metrics["f1"]) == (again.run_id, whole.value)


def test_a_deleted_experiment_comes_back_with_its_runs(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    record = sweep()
    parent = MlflowTracker(uri).start_sweep(record)
    client = mlflow.MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name(STUDY).experiment_id)
    assert MlflowTracker(uri).start_sweep(record) == parent


def test_a_first_call_that_failed_halfway_makes_no_second_run(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    begun = trial(0, (), "running", value=None)
    file = Path(uri.removeprefix("sqlite:///"))
    tracker.sync_trial(record, parent, begun, Sent())  # as if its answer had been lost
    other = MlflowTracker(uri)
    file.rename(file.with_suffix(".away"))
    with pytest.raises(TrackingUnavailableError):
        other.sync_trial(record, parent, begun, Sent())
    file.with_suffix(".away").rename(file)
    other.sync_trial(record, parent, begun, Sent())
    assert len(list(MlflowRunSearch(uri).trials(STUDY, [], []))) == 1


def test_a_registered_model_answers_its_own_input_example(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    refitted = trial(0)
    version = tracker.log_bundle(record, parent, refitted, bundle(tmp_path / "bundle", refitted))
    Registry(uri).crown(version, "the only one")
    model = load(uri, f"models:/{STUDY}@champion")
    answer = model.predict(model.input_example)
    assert list(answer.columns) == ["prediction", "probability.benign", "probability.malignant"]
    assert set(answer["prediction"]) <= {"benign", "malignant"}
    np.testing.assert_allclose(answer.iloc[:, 1:].sum(axis=1), 1.0, rtol=1e-5)
    assert model.metadata.signature.inputs.input_names() == [f"column {index}" for index in range(4)]
    shuffled = model.input_example[["column 3", "column 0", "column 2", "column 1"]]
    pd.testing.assert_frame_equal(model.predict(shuffled), answer)


def test_a_model_of_tensors_takes_tensors(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    refitted = trial(0)
    version = tracker.log_bundle(record, parent, refitted, bundle(tmp_path / "bundle", refitted, features=(1, 8, 8)))
    model = load(uri, f"models:/{STUDY}/{version.version}")
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert len(model.predict(np.zeros((3, 1, 8, 8), dtype=np.float32))) == 3


def test_the_models_page_has_its_metrics_and_its_version(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    refitted = trial(0, holdout={"f1": 0.95}, holdout_at_ms=trial(0).ended_at_ms)
    tracker.log_bundle(record, parent, refitted, bundle(tmp_path / "bundle", refitted))
    client = mlflow.MlflowClient(uri)
    (model,) = client.search_logged_models([client.get_experiment_by_name(STUDY).experiment_id])
    assert str(model.status) == "READY"
    metrics = {metric.key: metric.value for metric in model.metrics}
    assert (metrics["f1"], metrics["holdout.f1"]) == (refitted.value, 0.95)
    assert model.params["hidden"] == "[64, 32]"
    assert model.tags["mlflow.modelVersions"] == f'[{{"name": "{STUDY}", "version": 1}}]'
    (version,) = client.search_model_versions(f"name = '{STUDY}'")
    assert version.description == (
        "trial 000 of made-up, refitted on all but the holdout; f1 0.94 ± 0.01 over 5 folds; 0.95 on the holdout."
    )
