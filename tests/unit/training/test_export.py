"""A bundle is complete, answers as torch does, or does not exist."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import nn

from winnow.bundle.manifest import EXAMPLE, MANIFEST, ONNX, REFERENCE, WEIGHTS, read_manifest
from winnow.data.dataset import DataSet
from winnow.training.export import Origin, check_independence, check_parity, export
from winnow.training.failures import ExportDiffersError
from winnow.training.fitting import ExportModule

ORIGIN = Origin("wine", 3, {"hidden": [8], "lr": 0.1}, {"f1": 0.9, "holdout.f1": 0.8})


def _table() -> DataSet:
    features = np.random.default_rng(0).normal(20, 3, (40, 2)).astype(np.float32)
    features[0] = (17.99, 10.38)
    return DataSet(
        name="wine",
        task="classification",
        features=features,
        target=np.zeros(40, np.int64),
        groups=None,
        time=None,
        feature_names=("mean radius", "mean texture"),
        class_names=("bad", "good"),
        target_names=("quality",),
        sha256="0" * 64,
    )


class _Differs(nn.Module):
    """Answers otherwise while it is exported, as a network with a branch on its training state may."""

    def forward(self, x):
        return torch.tan(x) * 2 if torch.compiler.is_exporting() else torch.tan(x)


def _model(network: nn.Module) -> ExportModule:
    return ExportModule(nn.Identity(), network, nn.Softmax(-1)).eval()


def test_a_manifest_names_the_model_and_the_study(tmp_path):
    origin = dataclasses.replace(ORIGIN, study="wine-2", model="wine")
    model = _model(nn.Linear(2, 2))
    export(model, _table(), np.arange(40), np.arange(40), origin, tmp_path / "bundle")
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.name, manifest.study) == ("wine", "wine-2")


def test_a_bundle_is_complete_and_answers_as_torch_does(tmp_path):
    torch.manual_seed(0)
    data, directory = _table(), tmp_path / "bundles" / "3"
    model = _model(nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)))
    parity = export(model, data, np.arange(40), np.arange(40), ORIGIN, directory)
    assert parity < 1e-5
    assert {path.name for path in directory.iterdir()} == {MANIFEST, ONNX, WEIGHTS, EXAMPLE, REFERENCE}
    assert [path.name for path in directory.parent.iterdir()] == ["3"]
    manifest = read_manifest(directory)
    assert (manifest.name, manifest.trial, manifest.parity) == ("wine", 3, parity)
    assert manifest.metrics == ORIGIN.metrics
    radius, texture = np.median(data.features, axis=0).astype(np.float32)
    typical = {"mean radius": float(str(radius)), "mean texture": float(str(texture))}
    assert json.loads((directory / EXAMPLE).read_text()) == {"rows": [typical]}
    with np.load(directory / REFERENCE, allow_pickle=False) as reference, torch.no_grad():
        np.testing.assert_array_equal(np.sort(reference["inputs"], axis=0), np.sort(data.features, axis=0))
        answers = model(torch.from_numpy(reference["inputs"])).numpy()
        np.testing.assert_allclose(reference["outputs"], answers, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(reference["outputs"].sum(1), 1, rtol=1e-5)


def test_a_second_export_replaces_the_first(tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "left over").touch()
    export(_model(nn.Linear(2, 2)), _table(), np.arange(1), np.arange(40), ORIGIN, tmp_path / "3")
    assert not (tmp_path / "3" / "left over").exists()
    assert read_manifest(tmp_path / "3").study == "wine"


def test_a_model_whose_export_differs_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ExportDiffersError, match=r"differs from torch in \d+ of 40 rows"):
        export(_model(_Differs()), _table(), np.arange(40), np.arange(40), ORIGIN, tmp_path / "3")
    assert list(tmp_path.iterdir()) == []


class _Mixes(nn.Module):
    """Mixes the rows of a batch, in one of the ways in which a forward may do so by mistake."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.last = how, nn.Linear(4, 2)

    def forward(self, raw):
        x = (raw - 20) / 3
        match self.how:
            case "view":
                return self.last(torch.cat([x, x]).view(x.shape[0], -1))
            case "mean":
                return self.last(torch.cat([x, x - x.mean(0)], 1))
            case "softmax":
                return self.last(torch.cat([x, torch.softmax(x, 0)], 1))
            case "squeeze":
                return self.last(torch.cat([x, x], 1)).squeeze()
            case _:
                return self.last(torch.cat([x, nn.functional.batch_norm(x, None, None, training=True)], 1))


@pytest.mark.parametrize("how", ["view", "mean", "softmax", "squeeze", "batch norm"])
def test_a_model_that_mixes_the_rows_of_a_batch_is_refused_and_leaves_nothing(tmp_path, how):
    with pytest.raises(ExportDiffersError, match="the torch model's answer to a row depends on the other rows"):
        export(_model(_Mixes(how)), _table(), np.arange(40), np.arange(40), ORIGIN, tmp_path / "3")
    assert list(tmp_path.iterdir()) == []


def test_an_onnx_model_that_mixes_rows_is_refused_even_where_torch_does_not():
    with pytest.raises(ExportDiffersError, match=r"^the ONNX model's .* row 1 alone gives \[1\], among 2 rows \[0.5\]"):
        check_independence("ONNX", lambda rows: rows / len(rows), np.array([[0], [1]], np.float32), True)


def test_rounding_is_measured_by_the_size_of_the_outputs():
    values = np.array([[1e6], [-2e6]], np.float32)
    assert check_parity(values, values + 50, is_probability=False) == 50
    with pytest.raises(ExportDiffersError):
        check_parity(values, values + 500, is_probability=False)
    with pytest.raises(ExportDiffersError):
        check_parity(values, np.array([[np.nan], [-2e6]], np.float32), is_probability=False)
    with pytest.raises(ExportDiffersError, match="shape"):
        check_parity(values, values[:, 0], is_probability=False)


def test_models_within_rounding_choose_the_same_class_away_from_ties():
    expected = np.array([[0.5003, 0.4997]], np.float32)
    found = expected + np.array([[-0.9e-4, 0.9e-4]], np.float32)
    check_parity(expected, found, is_probability=True)
    assert found.argmax() == expected.argmax()
