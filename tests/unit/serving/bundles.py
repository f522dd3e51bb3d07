"""Bundles for tests, made with the onnx package alone: small models whose answers can be computed by hand."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from winnow.bundle.columns import Column, width_of
from winnow.bundle.images import ImageInput
from winnow.bundle.manifest import EXAMPLE, ONNX, REFERENCE, Manifest, sha256_of, write_manifest

Array = NDArray[np.float32]
COLUMNS = ("mean radius", "mean texture", 'odd "name", here')
CLASSES = ("malignant", "benign")
CLASS_WEIGHTS = np.array([[1.0, -1.0], [0.5, 0.25], [-0.75, 0.5]], dtype=np.float32)
TARGET_WEIGHTS = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]], dtype=np.float32)
MEANS = np.array([1.0, 2.0, 3.0], dtype=np.float32)
TENSOR_SHAPE = (2, 3)
IMAGES = ImageInput(4, 4)
TABLE = (
    Column("plan", "category", "string", ("basic", "pro", 'the "big" one, €')),
    Column("seats", "category", "long", ("1", "3", "10")),
    Column("trial", "category", "boolean", ("false", "true")),
    Column("paid", "boolean", "boolean"),
    Column("signup", "date", "date"),
    Column("last seen", "date", "datetime"),
    Column("spent", "number", "double"),
    Column("calls", "number", "long"),
)
TABLE_ROW: dict[str, Any] = {
    "plan": "pro",
    "seats": 3,
    "trial": False,
    "paid": True,
    "signup": "2024-02-29",
    "last seen": "2026-11-21T09:30:00",
    "spent": 12.5,
    "calls": 4,
}


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def imputed(matrix: Array) -> Array:
    return np.where(np.isnan(matrix), MEANS, matrix).astype(np.float32)


def classification(directory: Path, *, name: str = "cells", scale: float = 1.0) -> Path:
    """Three columns, two classes; a missing value is replaced by its column's mean."""
    weights = CLASS_WEIGHTS * np.float32(scale)
    return write_bundle(
        directory,
        _graph(
            (3,), 2, weights, nodes=[*_impute(), *_linear("filled"), _node("Softmax", ["scores"], ["output"], axis=1)]
        ),
        lambda x: softmax(imputed(x) @ weights),
        name=name,
        input_shape=(3,),
        columns=COLUMNS,
        classes=CLASSES,
        targets=("diagnosis",),
    )


def regression(directory: Path, *, targets: int = 2) -> Path:
    """Three columns, one or two targets; a missing value has no answer."""
    weights = TARGET_WEIGHTS[:, :targets]
    return write_bundle(
        directory,
        _graph((3,), targets, weights, nodes=[_node("MatMul", ["input", "weights"], ["output"])]),
        lambda x: x @ weights,
        name="progression",
        input_shape=(3,),
        columns=COLUMNS,
        classes=None,
        targets=("first", "second")[:targets],
    )


def tensors(directory: Path) -> Path:
    """Rows of shape [2, 3], three classes, no column names."""
    weights = np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3)
    flat = _node("Flatten", ["input"], ["filled"], axis=1)
    return write_bundle(
        directory,
        _graph(
            TENSOR_SHAPE, 3, weights, nodes=[flat, *_linear("filled"), _node("Softmax", ["scores"], ["output"], axis=1)]
        ),
        lambda x: softmax(x.reshape(len(x), 6) @ weights),
        name="digits",
        input_shape=TENSOR_SHAPE,
        columns=None,
        classes=("zero", "one", "two"),
        targets=("digit",),
    )


def mixed(directory: Path) -> Path:
    """A column of every kind, two classes; a missing number counts as none."""
    width = width_of(TABLE)
    weights = np.linspace(-1, 1, width * 2, dtype=np.float32).reshape(width, 2) / np.float32(1000)
    means = numpy_helper.from_array(np.zeros(width, dtype=np.float32), "means")
    nodes = [*_impute(), *_linear("filled"), _node("Softmax", ["scores"], ["output"], axis=1)]
    return write_bundle(
        directory,
        _model((width,), 2, nodes, [numpy_helper.from_array(weights, "weights"), means]),
        lambda x: softmax(np.nan_to_num(x) @ weights),
        name="churn",
        input_shape=(width,),
        columns=tuple(column.name for column in TABLE),
        classes=("yes", "no"),
        targets=("left",),
        table=TABLE,
        example=TABLE_ROW,
    )


def images(directory: Path) -> Path:
    """Color images of 4 × 4 pixels, two classes."""
    weights = np.linspace(-1, 1, 96, dtype=np.float32).reshape(48, 2)
    flat = _node("Flatten", ["input"], ["filled"], axis=1)
    nodes = [flat, *_linear("filled"), _node("Softmax", ["scores"], ["output"], axis=1)]
    return write_bundle(
        directory,
        _graph(IMAGES.shape, 2, weights, nodes=nodes),
        lambda x: softmax(x.reshape(len(x), 48) @ weights),
        name="photos",
        input_shape=IMAGES.shape,
        columns=None,
        classes=("cat", "dog"),
        targets=("animal",),
        images=IMAGES,
        example={"image": base64.b64encode(IMAGES.encode(np.full(IMAGES.shape, 0.5, dtype=np.float32))).decode()},
    )


def crashing(directory: Path) -> Path:
    """Raises for a row whose first column is above 1,000: a Gather beyond its table."""
    table = numpy_helper.from_array(np.arange(1000, dtype=np.float32).reshape(500, 2), "weights")
    nodes = [
        _node("Cast", ["input"], ["whole"], to=TensorProto.INT64),
        _node("Gather", ["whole", "zero"], ["first"], axis=1),
        _node("Gather", ["weights", "first"], ["output"], axis=0),
    ]
    zero = numpy_helper.from_array(np.array(0, dtype=np.int64), "zero")
    return write_bundle(
        directory,
        _model((3,), 2, nodes, [table, zero]),
        lambda x: np.arange(1000, dtype=np.float32).reshape(500, 2)[x[:, 0].astype(np.int64)],
        name="fragile",
        input_shape=(3,),
        columns=COLUMNS,
        classes=None,
        targets=("first", "second"),
    )


def write_bundle(
    directory: Path,
    model: onnx.ModelProto,
    answer: Callable[[Array], Array],
    *,
    name: str,
    input_shape: tuple[int, ...],
    columns: tuple[str, ...] | None,
    classes: tuple[str, ...] | None,
    targets: tuple[str, ...],
    table: tuple[Column, ...] | None = None,
    images: ImageInput | None = None,
    example: object = None,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    reference = np.random.default_rng(0).uniform(0, 5, (8, *input_shape)).astype(np.float32)
    onnx.save(model, directory / ONNX)
    np.savez(directory / REFERENCE, inputs=reference, outputs=answer(reference))
    row = reference[0].tolist()
    shown = example or (dict(zip(columns, row, strict=True)) if columns else row)
    (directory / EXAMPLE).write_bytes(msgspec.json.encode({"rows": [shown]}))
    manifest = Manifest(
        name=name,
        task="regression" if classes is None else "classification",
        input_shape=input_shape,
        feature_names=columns,
        columns=table,
        images=images,
        class_names=classes,
        target_names=targets,
        study=name,
        trial=7,
        params={"lr": 0.01, "hidden": [64, 32]},
        metrics={"f1": 0.97, "f1.std": 0.01, "holdout.f1": 0.96},
        parity=1e-7,
        data_name="sklearn:breast_cancer",
        data_sha256="0f" * 32,
        git_commit="c0ffee" * 6 + "c0ff",
        created_at="2026-11-21T12:00:00+00:00",
        files={file: sha256_of(directory / file) for file in (ONNX, REFERENCE, EXAMPLE)},
    )
    write_manifest(directory, manifest)
    return directory


def _graph(input_shape: tuple[int, ...], outputs: int, weights: Array, nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(MEANS, "means")]
    used = {name for node in nodes for name in node.input}
    return _model(input_shape, outputs, nodes, [each for each in constants if each.name in used])


def _model(
    input_shape: tuple[int, ...], outputs: int, nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", outputs])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _impute() -> list[onnx.NodeProto]:
    return [_node("IsNaN", ["input"], ["gaps"]), _node("Where", ["gaps", "means", "input"], ["filled"])]


def _linear(source: str) -> list[onnx.NodeProto]:
    return [_node("MatMul", [source, "weights"], ["scores"])]


def _node(kind: str, inputs: list[str], outputs: list[str], **attributes: int) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, outputs, **attributes)
