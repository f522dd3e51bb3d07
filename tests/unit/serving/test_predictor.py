from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import EXAMPLE, ONNX, REFERENCE, read_manifest, sha256_of, write_manifest
from winnow.serving.predictor import Predictor, WrongModelError, inline_limit
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings


def _resign(bundle: Path) -> None:
    """Make the manifest agree with changed files again, as somebody who means it would."""
    text = msgspec.json.decode((bundle / "manifest.json").read_bytes())
    text["files"] = {name: sha256_of(bundle / name) for name in text["files"]}
    (bundle / "manifest.json").write_bytes(msgspec.json.encode(text))


def test_outputs_are_those_of_the_model(classifier: Predictor) -> None:
    matrix = np.array([[1, 2, 3], [np.nan, 0, 1]], dtype=np.float32)
    expected = bundles.softmax(bundles.imputed(matrix) @ bundles.CLASS_WEIGHTS)
    np.testing.assert_allclose(classifier.outputs(matrix), expected, rtol=1e-6)


def test_a_model_with_other_answers_than_at_export_is_not_served(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "changed")
    other = bundles.classification(tmp_path / "other", scale=2.0)
    (bundle / ONNX).write_bytes((other / ONNX).read_bytes())
    with pytest.raises(WrongModelError, match="expected sha256"):
        Predictor(bundle)
    _resign(bundle)
    with pytest.raises(WrongModelError, match="answered differently than at export"):
        Predictor(bundle)


def test_reference_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    rows = np.ones((2, 3), dtype=np.float32)
    np.savez(bundle / REFERENCE, inputs=rows, outputs=np.ones((2, 5), dtype=np.float32))
    _resign(bundle)
    with pytest.raises(WrongModelError, match="expected 2 outputs for each of 2 reference rows"):
        Predictor(bundle)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match="No such file"):
        Predictor(tmp_path)


def test_what_is_no_onnx_model_is_refused(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    (bundle / ONNX).write_bytes(b"text")
    _resign(bundle)
    with pytest.raises(WrongModelError, match="cannot load it"):
        Predictor(bundle)


def test_an_example_that_the_model_refuses_is_refused(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    (bundle / EXAMPLE).write_bytes(b'{"rows": [[1]]}')
    _resign(bundle)
    with pytest.raises(WrongModelError, match="the input example is refused"):
        load_app(bundle, None, ServingSettings())


def test_a_server_may_be_told_which_bundle_to_serve(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    load_app(bundle, None, ServingSettings(), digest=Predictor(bundle).manifest.digest).close()
    with pytest.raises(WrongModelError, match=f"expected the model with sha256 {'a' * 64}, found "):
        load_app(bundle, None, ServingSettings(), digest="a" * 64)


def test_names_that_contradict_the_shape_are_refused(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "bundle")
    manifest = read_manifest(bundle)
    write_manifest(bundle, msgspec.structs.replace(manifest, feature_names=("a", "a", "b")))
    with pytest.raises(WrongModelError, match="one distinct name per column"):
        Predictor(bundle)


def test_without_a_version_the_digest_stands_for_it(bundle_folder: Path) -> None:
    predictor = Predictor(bundle_folder / "classification")
    assert predictor.signature.version == predictor.manifest.digest[:12]


def test_small_models_answer_on_the_loop_and_slow_ones_do_not() -> None:
    assert inline_limit(0.00002, 0.00005, 32, 30) == 65_536
    assert inline_limit(0.0005, 0.0085, 33, 64) == 7 * 2 * 64
    assert inline_limit(0.003, 0.1, 32, 64) == 0
