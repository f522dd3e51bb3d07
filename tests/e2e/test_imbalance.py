"""A rare positive class, from a CSV file to labels: the threshold decides in every protocol and in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.e2e.sweeps import Sweep
from winnow.bundle.manifest import read_manifest
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.training.out_of_fold import PARQUET

pytestmark = pytest.mark.slow


def _rows(path: Path) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=1500).round(3) for name in "ab"})
    frame["plan"] = random.choice(["basic", "pro"], 1500)
    chance = 1 / (1 + np.exp(-(1.6 * frame["a"] - 3 + 0.8 * (frame["plan"] == "basic"))))
    frame["left"] = np.where(random.random(1500) < chance, "yes", "no")
    frame.to_csv(path, index=False)
    return frame


def test_the_served_label_uses_the_threshold(tmp_path: Path) -> None:
    import mlflow

    frame = _rows(tmp_path / "rows.csv")
    sweep = Sweep(
        *(tmp_path, "quick"),
        data={"source": str(tmp_path / "rows.csv"), "target": "left", "positive": "yes"},
        model={"factory": "winnow.models:mlp"},
        search={"space": {"lr": {"float": [0.003, 0.03], "log": True}}, "trials": 2, "metric": {"name": "f1"}},
        training={"epochs": 12, "loop": None},
        cross_validation={"folds": 4},
        refit={"top": 1},
    )
    trained = sweep.run()
    assert trained.returncode == 0, trained.stderr
    (manifest_file,) = sweep.home.glob("artifacts/**/bundle/manifest.json")
    manifest = read_manifest(manifest_file.parent)
    assert manifest.positive == "yes"
    assert manifest.threshold is not None and 0.1 < manifest.threshold < 0.5
    assert manifest.metrics["calibration.f1.after"] > manifest.metrics["calibration.f1.before"]
    (table,) = sweep.home.glob(f"artifacts/**/{PARQUET}")
    assert len(pd.read_parquet(table)) == 1200

    rows = frame.drop(columns="left").head(200)
    records = rows.to_dict("records")
    predictor = Predictor(manifest_file.parent)
    predict, signature = PredictCodec(predictor.signature), predictor.signature
    request = predict.decode(json.dumps({"rows": records}).encode(), "application/json")
    outputs = predictor.outputs(request.matrix)
    answered = json.loads(predict.encode(request, outputs, "id"))["predictions"]
    assert answered == ["yes" if p >= manifest.threshold else "no" for p in outputs[:, 1].tolist()]
    assert answered.count("yes") > int((outputs[:, 1] >= 0.5).sum()) > 0

    split = {"dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy(dtype=object).tolist()}}
    invocations = InvocationsCodec(signature)
    request = invocations.decode(json.dumps(split).encode(), "application/json")
    again = json.loads(invocations.encode(request, predictor.outputs(request.matrix), "id"))["predictions"]
    assert [row["prediction"] for row in again] == answered

    kinds = {"a": "FP64", "b": "FP64", "plan": "BYTES"}
    tensors = [
        {"name": name, "datatype": kind, "shape": [200], "data": rows[name].tolist()} for name, kind in kinds.items()
    ]
    inference = InferenceCodec(signature)
    request = inference.decode(json.dumps({"inputs": tensors}).encode(), "application/json")
    both = json.loads(inference.encode(request, predictor.outputs(request.matrix), "id"))["outputs"]
    assert next(each["data"] for each in both if each["name"] == "prediction") == answered

    model = mlflow.pyfunc.load_model(str(manifest_file.parent.parent))
    assert model.predict(rows)["prediction"].tolist() == answered
