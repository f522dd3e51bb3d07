"""A table of text, dates, booleans and blanks: trained, stacked, exported, and answered from raw rows."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests.unit.training import mixed
from tests.unit.training.test_jobs import _jobs
from tests.unit.training.test_packs import folds, packed
from winnow.bundle.columns import decode_row
from winnow.bundle.manifest import EXAMPLE, ONNX, REFERENCE, read_manifest
from winnow.bundle.profile import read_profile
from winnow.config.experiment import Experiment
from winnow.data.dataset import DataSet
from winnow.data.inputs import Category, InputPlan
from winnow.models import mlp
from winnow.training.export import Origin, export
from winnow.training.fitting import EmbeddedColumns, ExportModule, build_network
from winnow.training.fold_data import FoldData
from winnow.training.jobs import fit
from winnow.training.messages import FoldJob, FoldScored, Refit
from winnow.training.onnx_graph import graph_of
from winnow.training.preflight import check
from winnow.training.preparation import prepare

SOURCE = f"{mixed.__name__}:load"


def _experiment(factory: str) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "mixed",
            "data": {"source": SOURCE},
            "model": {"factory": factory},
            "search": {"space": {"lr": {"float": [0.01, 0.1]}}, "metric": {"name": "f1"}},
            "training": {"epochs": 10},
        }
    )


def answers(bundle: Any, rows: list[dict[str, Any]]) -> np.ndarray:
    """What a bundle answers to raw rows, by its codec and its graph."""
    manifest = read_manifest(bundle)
    assert manifest.columns is not None
    encoded = np.concatenate(
        [column.encode([row[column.name] for row in rows]) for column in manifest.columns], axis=1
    ).astype(np.float32)
    assert encoded.shape[1:] == manifest.input_shape
    session = onnxruntime.InferenceSession(bundle / ONNX, providers=["CPUExecutionProvider"])
    return session.run(["output"], {"input": encoded})[0]


def test_a_mixed_table_is_learned_and_its_bundle_answers_raw_rows(world, tmp_path):
    jobs = _jobs(world, source=SOURCE, training={"epochs": 40})
    assert jobs.train_fold(FoldJob(0, 1, {"lr": 0.02})).metrics["accuracy"] > 0.75
    refitted = jobs.refit(Refit(0, {"lr": 0.02}, {}, str(tmp_path / "bundle")))
    assert refitted.metrics["accuracy"] > 0.75
    profile = read_profile(tmp_path / "bundle")
    assert profile is not None
    assert {each.kind for each in profile.columns} == {"number", "category", "boolean", "date"}
    assert {each.counts.rows for each in profile.columns} == {profile.rows}
    manifest = read_manifest(tmp_path / "bundle")
    kinds = {column.name: (column.kind, column.dtype, len(column.categories)) for column in manifest.columns}
    assert kinds == {
        "age": ("number", "long", 0),
        "income": ("number", "double", 0),
        "plan": ("category", "string", 3),
        "city": ("category", "string", 25),
        "since": ("date", "date", 0),
        "seen": ("date", "datetime", 0),
        "active": ("boolean", "boolean", 0),
    }
    assert (manifest.feature_names, manifest.input_shape) == (tuple(kinds), (5 + 2 * 4,))
    (example,) = json.loads((tmp_path / "bundle" / EXAMPLE).read_text())["rows"]
    assert {name: type(value) for name, value in example.items()} == {
        **{"age": int, "income": float, "plan": str, "city": str, "since": str, "seen": str, "active": bool}
    }
    blank = dict.fromkeys(example)
    strange = {**example, "plan": "none of them", "city": "nowhere"}
    found = answers(tmp_path / "bundle", [example, blank, strange])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    with np.load(tmp_path / "bundle" / REFERENCE, allow_pickle=False) as reference:
        session = onnxruntime.InferenceSession(tmp_path / "bundle" / ONNX, providers=["CPUExecutionProvider"])
        (again,) = session.run(["output"], {"input": reference["inputs"]})
        np.testing.assert_allclose(again, reference["outputs"], atol=1e-5)


def test_onnx_answers_unknown_and_blank_values_as_torch_does(world, tmp_path):
    experiment = _experiment("winnow.models:mlp")
    prepared = prepare(experiment)
    fitted, _ = fit(
        *(prepared, world, FoldData(prepared, world.device), {"lr": 0.05}, prepared.folds[0].train, 0),
        on_epoch=lambda *_, **__: None,
    )
    model, data = fitted.finished(world), prepared.data
    rows, columns = prepared.folds[0].validation, data.columns
    export(model, data, rows, prepared.folds[0].train, Origin("mixed", 0, {}, {}), tmp_path / "bundle")
    raw = [decode_row(columns, data.features[row].tolist()) for row in rows[:20]]
    strange = {"plan": "none of them", "city": "nowhere", "since": "1999-12-31", "seen": "2030-02-28T23:59:59+02:00"}
    cases = [{**row, name: value} for row in raw for name in row for value in (None, strange.get(name, row[name]))]
    encoded = np.concatenate([column.encode([case[column.name] for case in cases]) for column in columns], axis=1)
    with torch.no_grad():
        expected = model(torch.from_numpy(encoded.astype(np.float32))).numpy()
    np.testing.assert_allclose(answers(tmp_path / "bundle", cases), expected, atol=1e-5)


def test_folds_of_a_mixed_table_train_as_one_and_score_as_alone(world):
    jobs = _jobs(world, source=SOURCE, training={"epochs": 2}, execution={"pack": 5})
    parts = list(jobs.packs(folds(0)))
    assert packed(parts) == [[(0, fold) for fold in range(5)]]
    for job, result in zip(folds(0), parts[0].results, strict=True):
        assert isinstance(result, FoldScored)
        assert result.metrics == pytest.approx(jobs.train_fold(job).metrics, rel=1e-3, abs=1e-3)


def test_the_preflight_builds_networks_for_the_inputs_that_training_has(world):
    data = check(_experiment("tests.unit.training.parts:lazy"), has_gpu=False).data
    assert data.raw_shape == (13,)
    assert data.inputs is not None
    # age, income, since, seen, active; all but age may be missing; cycles of the year and week, and a day's for `seen`.
    assert data.inputs.dense == 5 + 4 + 2 * (2 + 3) + (1 + 3 + 1)
    assert data.input_shape == (data.inputs.dense + data.inputs.embedded[0].dimensions,)


PLAN = InputPlan((0,), (), (), (), (Category(1, 20, has_missing=True), Category(2, 30, has_missing=False)))


def embedding_network() -> EmbeddedColumns:
    torch.manual_seed(0)
    network = EmbeddedColumns(PLAN, mlp((PLAN.width,), 2, hidden=[8]))
    assert [tuple(table.weight.shape) for table in network.tables] == [(22, 9), (31, 11)]
    return network


def test_an_unknown_category_adds_nothing_where_no_rare_one_was_trained():
    network = embedding_network()
    known = torch.tensor([[0.5, 3.0, 4.0], [0.1, 5.0, 4.0], [-1.0, 3.0, 30.0]])
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    before = copy.deepcopy(network.tables)
    for _ in range(5):
        optimizer.zero_grad()
        network(known).square().sum().backward()
        optimizer.step()
    assert not torch.equal(network.tables[0].weight[3], before[0].weight[3])
    for table in network.tables:
        assert table.weight[0].tolist() == [0.0] * table.embedding_dim
    inner = torch.cat([torch.tensor([[0.5]]), torch.zeros(1, PLAN.width - 1)], 1)
    torch.testing.assert_close(network(torch.tensor([[0.5, 0.0, 0.0]])), network.network(inner))


def test_embedded_columns_export_layer_by_layer():
    network = ExportModule(torch.nn.Identity(), embedding_network(), torch.nn.Softmax(-1)).eval()
    rows = torch.tensor([[0.5, 3.0, 4.0], [0.1, 21.0, 0.0], [-1.0, 0.0, 30.0]])
    graph = graph_of(network, rows[:2])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["output"], {"input": rows.numpy()})
    np.testing.assert_allclose(found, network(rows).detach().numpy(), atol=1e-6)


def test_a_network_without_embedded_columns_is_the_factorys_own():
    data = DataSet(
        "", "regression", np.zeros((2, 3), np.float32), np.zeros((2, 1), np.float32), *[None] * 4, ("y",), ""
    )
    assert type(build_network(mlp, data, {})) is torch.nn.Sequential
