"""Writes the files that make a bundle an MLflow model: MLmodel, signature, input example, requirements.

    MLmodel, requirements.txt, python_env.yaml, input_example.json, serving_input_example.json
    code/winnow_pyfunc.py        loads the model without winnow
    code/winnow_columns.py       the column codec
    bundle/…                     the bundle itself; the caller uploads it

The requirements are those of `pyfunc`, pinned to the installed versions. MLflow would start Python to infer them.
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from winnow.bundle import columns
from winnow.bundle.example import example_row
from winnow.bundle.manifest import Manifest

BUNDLE = "bundle"
"""The bundle's folder in the model's artifacts."""

_LOADER, _CODEC = "winnow_pyfunc", "winnow_columns"
_REQUIREMENTS = ("mlflow", "numpy", "onnxruntime", "pandas")


def write_surroundings(directory: Path, bundle: Path, manifest: Manifest, *, run_id: str, model_id: str) -> None:
    """Write everything but the bundle into the empty `directory`."""
    from mlflow.models import Model
    from mlflow.utils.environment import _PythonEnv

    requirements = [f"{name}=={version(name)}" for name in _REQUIREMENTS]
    (directory / "requirements.txt").write_text("\n".join(requirements) + "\n")
    _PythonEnv.current().to_yaml(str(directory / "python_env.yaml"))
    code = directory / "code"
    code.mkdir()
    loader = Path(__file__).with_name("pyfunc.py").read_text(encoding="utf-8")
    (code / f"{_LOADER}.py").write_text(loader.replace("winnow.bundle.columns", _CODEC), encoding="utf-8")
    (code / f"{_CODEC}.py").write_bytes(Path(columns.__file__).read_bytes())
    model = Model(
        run_id=run_id,
        model_id=model_id,
        model_uuid=model_id,
        utc_time_created=manifest.created_at,
        signature=_signature(manifest),
        saved_input_example_info=_write_example(directory, bundle, manifest),
        model_size_bytes=sum(file.stat().st_size for file in bundle.iterdir()),
        metadata=_metadata(manifest),
    )
    model.add_flavor(
        "python_function",
        loader_module=_LOADER,
        data=BUNDLE,
        code="code",
        env={"virtualenv": "python_env.yaml"},
        python_version=platform.python_version(),
    )
    model.save(str(directory / "MLmodel"))


def _signature(manifest: Manifest) -> Any:
    """Typed where MLflow takes whatever training takes, which is where all columns are of the type double.

    It refuses whole numbers for `double`, missing values for `long` and `boolean`, pandas' categories for `string`, and
    text for `datetime`. So a table with such columns has the type `any` throughout, and the codec checks the values.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    if manifest.table is None:
        inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, *manifest.input_shape))])
    elif all(column.dtype == "double" for column in manifest.table):
        # "double", because MLflow refuses to convert Python floats to float32; the loader converts them.
        inputs = Schema([ColSpec("double", column.name) for column in manifest.table])
    else:
        inputs = Schema([ColSpec(AnyType(), column.name) for column in manifest.table])
    if manifest.class_names is None:
        return ModelSignature(inputs, Schema([ColSpec("float", name) for name in manifest.target_names]))
    probabilities = [ColSpec("float", f"probability.{name}") for name in manifest.class_names]
    return ModelSignature(inputs, Schema([ColSpec("string", "prediction"), *probabilities]))


def _metadata(manifest: Manifest) -> dict[str, Any]:
    types = {column.name: column.dtype for column in manifest.table or ()}
    known = {"study": manifest.study, "trial": manifest.trial, "data_sha256": manifest.data_sha256}
    return {**known, "columns": types} if types else known


def _write_example(directory: Path, bundle: Path, manifest: Manifest) -> dict[str, str]:
    """Write the bundle's example as MLflow's input example; return its entry in MLmodel."""
    rows = [example_row(bundle, manifest)]
    example: Any
    if manifest.feature_names is None:
        kind, example, serving = {"type": "ndarray"}, rows, {"inputs": rows}
    else:
        kind = {"type": "dataframe", "pandas_orient": "split"}
        example = {"columns": list(manifest.feature_names), "data": rows}
        serving = {"dataframe_split": example}
    paths = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    (directory / paths["artifact_path"]).write_bytes(msgspec.json.encode(example))
    (directory / paths["serving_input_path"]).write_text(json.dumps(serving, indent=2))
    return kind | paths
