"""A table of every kind of column, from a CSV file to a selected model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.e2e.sweeps import Sweep
from tests.unit.training import mixed
from winnow.bundle.manifest import EXAMPLE, ONNX, read_manifest

pytestmark = pytest.mark.slow


def test_a_mixed_table_trains_is_selected_and_answers_raw_rows(tmp_path: Path) -> None:
    frame, target = mixed.load()
    frame.assign(churn=target, id=range(len(frame))).to_csv(tmp_path / "rows.csv", index=False)
    space = {"lr": {"float": [0.01, 0.03], "log": True}, "hidden": {"choice": [[16], [32]]}}
    sweep = Sweep(
        *(tmp_path, "quick"),
        data={"source": str(tmp_path / "rows.csv"), "target": "churn"},
        model={"factory": "winnow.models:mlp"},
        search={"space": space, "trials": 3, "metric": {"name": "accuracy"}},
        training={"epochs": 15, "loop": None},
        cross_validation={"folds": 3},
    )
    refused = sweep.run()
    assert refused.returncode == 2
    assert "'id': a different whole number in nearly every row" in refused.stderr
    sweep.file.write_text(sweep.file.read_text().replace("target: churn", "target: churn\n  columns: {id: drop}"))
    trained = sweep.run()
    assert trained.returncode == 0, trained.stderr
    assert max(trial.value or 0 for trial in sweep.trials()) > 0.8
    chosen = sweep.run("--json", verb="select-model")
    assert chosen.returncode == 0, chosen.stderr
    (manifest_file,) = sweep.home.glob("artifacts/**/bundle/manifest.json")
    manifest, bundle = read_manifest(manifest_file.parent), manifest_file.parent
    assert manifest.columns is not None
    assert [column.kind for column in manifest.columns] == [
        *("number", "number", "category", "category"),
        *("date", "date", "boolean"),
    ]
    (example,) = json.loads((bundle / EXAMPLE).read_text())["rows"]
    rows = [example, dict.fromkeys(example), {**example, "city": "nowhere", "plan": "pro"}]
    encoded = [column.encode([row[column.name] for row in rows]) for column in manifest.columns]
    session = onnxruntime.InferenceSession(bundle / ONNX, providers=["CPUExecutionProvider"])
    (answers,) = session.run(["output"], {"input": np.concatenate(encoded, axis=1).astype(np.float32)})
    assert np.isfinite(answers).all()
    assert answers[2].argmax() == manifest.class_names.index("no")  # type: ignore[union-attr]
