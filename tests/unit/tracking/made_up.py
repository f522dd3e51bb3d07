"""A made-up study, its bundles and stores to put them in, for the tests of tracking and selection."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from winnow.bundle.manifest import EXAMPLE, ONNX, REFERENCE, WEIGHTS, Manifest, sha256_of, write_manifest
from winnow.tracking.records import FoldRecord, SweepRecord, TrialRecord, TrialState
from winnow.tracking.store import prepare

START_MS = 1_795_000_000_000
STUDY = "made-up"
SHA256 = "ab12" * 16


def sweep(study: str = STUDY, **changes: Any) -> SweepRecord:
    values: dict[str, Any] = {
        "study": study,
        "metric": "f1",
        "goal": "maximize",
        "experiment": {
            "name": study,
            "data": {"source": "sklearn:breast_cancer", "holdout": 0.2},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": {"lr": {"float": [1e-4, 1e-1], "log": True}}, "trials": 12, "seed": 7},
        },
        "data_name": "sklearn:breast_cancer",
        "data_rows": 569,
        "data_sha256": SHA256,
        "data_source": "sklearn:breast_cancer",
        "task": "classification",
        "folds": 5,
        "seed": 7,
        "environment": {"git_commit": "74d0cfd", "user": "ada", "python": "3.11.7"},
        "started_at_ms": START_MS,
        "tags": {"team": "oncology"},
    }
    return SweepRecord(**(values | changes))


def fold(number: int, f1: float, **changes: Any) -> FoldRecord:
    values: dict[str, Any] = {
        "fold": number,
        "metrics": {"f1": f1, "loss": 1 - f1},
        "epochs": 30,
        "train_s": 0.5,
        "started_at_ms": START_MS + 1000 * number,
        "ended_at_ms": START_MS + 1000 * number + 900,
        "worker": "worker-0",
    }
    return FoldRecord(**(values | changes))


def trial(
    number: int = 0,
    scores: tuple[float, ...] = (0.90, 0.92, 0.94, 0.96, 0.98),
    state: TrialState = "complete",
    study: str = STUDY,
    **changes: Any,
) -> TrialRecord:
    """A trial with one fold per score; complete unless said otherwise."""
    ended = state in ("complete", "pruned", "failed")
    values: dict[str, Any] = {
        "study": study,
        "number": number,
        "state": state,
        "params": {"lr": 0.01, "hidden": [64, 32], "activation": "relu", "bias": True},
        "folds": tuple(fold(index, score) for index, score in enumerate(scores)),
        "value": sum(scores) / len(scores) if state == "complete" else None,
        "attempts": 1,
        "reason": None,
        "started_at_ms": START_MS + 10 * number,
        "ended_at_ms": START_MS + 10_000 if ended else None,
    }
    return TrialRecord(**(values | changes))


def bundle(
    directory: Path, of: TrialRecord, *, features: int | tuple[int, ...] = 4, scale: float = 1.0, name: str = ""
) -> Path:
    """A bundle around a small real ONNX model: softmax(flattened input · weights); columns where `features` is one
    number, a tensor where it is a shape."""
    directory.mkdir(parents=True)
    shape = (features,) if isinstance(features, int) else features
    width = int(np.prod(shape))
    weights = np.linspace(-scale, scale, width * 2, dtype=np.float32).reshape(width, 2)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["output"], axis=1),
        ],
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel().tolist())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, str(directory / ONNX))
    (directory / WEIGHTS).write_bytes(weights.tobytes())
    row = np.full(shape, 0.5).tolist()
    columns = {f"column {index}": 0.5 for index in range(width)}
    (directory / EXAMPLE).write_text(json.dumps({"rows": [columns if isinstance(features, int) else row]}))
    inputs = np.random.default_rng(0).random((6, *shape), dtype=np.float32)
    np.savez(directory / REFERENCE, inputs=inputs, outputs=np.full((6, 2), 0.5, dtype=np.float32))
    manifest = Manifest(
        name=name or of.study,
        task="classification",
        input_shape=shape,
        feature_names=tuple(f"column {index}" for index in range(width)) if isinstance(features, int) else None,
        class_names=("benign", "malignant"),
        target_names=("diagnosis",),
        study=of.study,
        trial=of.number,
        params=dict(of.params),
        metrics={"f1": of.value or 0.0, "f1.std": 0.01, "holdout.f1": 0.95},
        parity=1e-7,
        data_name="sklearn:breast_cancer",
        data_sha256=SHA256,
        git_commit="74d0cfd",
        created_at="2026-11-21T12:00:00+00:00",
        files={name: sha256_of(directory / name) for name in (ONNX, WEIGHTS, EXAMPLE, REFERENCE)},
    )
    write_manifest(directory, manifest)
    return directory


@functools.cache
def _empty_store() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="winnow-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    prepare(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


_numbers = itertools.count()


def new_store(directory: Path) -> str:
    """Address of an empty store of its own; a copy, for making one takes a second."""
    file = directory / f"mlflow-{next(_numbers)}.db"
    shutil.copy(_empty_store(), file)
    return f"sqlite:///{file}"
