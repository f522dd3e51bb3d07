"""Loads a bundle as an MLflow Python function. Every registered model contains a copy of this file and of the codec.

`mlflow.pyfunc.load_model("models:/NAME@champion")` needs numpy, pandas and ONNX Runtime, but not winnow, so this module
imports nothing of winnow's but the column codec, which imports numpy alone.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd

from winnow.bundle.columns import Column, encode_frame


class BundleModel:
    """Predicts one row for each row of a DataFrame (tabular models) or of an array [rows, *input_shape].

    Classification: `prediction` (the class name) and `probability.CLASS` for every class. Regression: the targets.
    """

    def __init__(self, bundle: Path) -> None:
        self._manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        self._columns = _columns_of(self._manifest)
        self._session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict. MLflow passes `params`; they are ignored."""
        if isinstance(model_input, pd.DataFrame) and self._columns is not None:
            inputs = encode_frame(self._columns, model_input)
        else:
            inputs = np.asarray(model_input, dtype=np.float32)
        inputs = inputs.reshape(-1, *self._manifest["input_shape"])
        (outputs,) = self._session.run(["output"], {"input": inputs})
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        classes = self._manifest["class_names"]
        if classes is None:
            return pd.DataFrame(outputs, columns=self._manifest["target_names"], index=index)
        answer = pd.DataFrame(outputs, columns=[f"probability.{name}" for name in classes], index=index)
        answer.insert(0, "prediction", np.asarray(classes)[self._indexes(outputs, classes)])
        return answer

    def _indexes(self, outputs: Any, classes: list[str]) -> Any:
        """The predicted class of each row: the likeliest, or of two the positive one from the threshold on."""
        threshold = self._manifest.get("threshold")
        if threshold is None:
            return outputs.argmax(axis=1)
        positive = classes.index(self._manifest["positive"])
        return np.where(outputs[:, positive] >= threshold, positive, 1 - positive)


def _columns_of(manifest: dict[str, Any]) -> list[Column] | None:
    """The codec of a table's columns; bundles from before there was one have numbers alone. None for tensors."""
    if manifest.get("columns") is None:
        names = manifest["feature_names"]
        return None if names is None else [Column(name) for name in names]
    return [Column(**{**column, "categories": tuple(column["categories"])}) for column in manifest["columns"]]


def _load_pyfunc(path: str) -> BundleModel:
    """MLflow's entry point; `path` is the bundle."""
    return BundleModel(Path(path))
