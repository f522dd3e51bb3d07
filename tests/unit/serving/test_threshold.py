"""A model's decision threshold names the class, in every protocol alike."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import MANIFEST, read_manifest, sha256_of, write_manifest
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.tracking.pyfunc import BundleModel

ROWS = [[0.1, 1.0, 2.0], [1.0, 0.5, 0.1], [3.0, 1.0, 0.2]]


def with_threshold(folder: Path, positive: str, threshold: float | None) -> Path:
    bundle = bundles.classification(folder)
    decided = msgspec.structs.replace(read_manifest(bundle), positive=positive, threshold=threshold)
    write_manifest(bundle, decided)
    return bundle


@pytest.mark.parametrize("positive", bundles.CLASSES)
@pytest.mark.parametrize("threshold", [None, 0.2, 0.5, 0.9])
def test_every_protocol_names_the_positive_class_from_the_threshold_on(
    tmp_path: Path, positive: str, threshold: float | None
) -> None:
    bundle = with_threshold(tmp_path / "cells", positive, threshold)
    predictor = Predictor(bundle)
    outputs = predictor.outputs(np.array(ROWS, dtype=np.float32))
    place, other = bundles.CLASSES.index(positive), bundles.CLASSES[1 - bundles.CLASSES.index(positive)]
    expected = [positive if p >= (threshold or 0.5) else other for p in outputs[:, place].tolist()]

    signature = predictor.signature
    predict, invocations, inference = PredictCodec(signature), InvocationsCodec(signature), InferenceCodec(signature)
    rows = json.dumps({"rows": ROWS}).encode()
    data = json.dumps({"instances": ROWS}).encode()
    tensor = {"name": "input", "shape": [3, 3], "datatype": "FP32", "data": ROWS}
    tensors = json.dumps({"inputs": [tensor]}).encode()

    def answer(codec: PredictCodec | InvocationsCodec | InferenceCodec, body: bytes) -> dict[str, list[object]]:
        request = codec.decode(body, "application/json")
        found: dict[str, list[object]] = json.loads(codec.encode(request, outputs, "id"))
        return found

    assert answer(predict, rows)["predictions"] == expected
    assert [row["prediction"] for row in answer(invocations, data)["predictions"]] == expected  # type: ignore[index,call-overload]
    assert answer(inference, tensors)["outputs"][1]["data"] == expected  # type: ignore[index,call-overload]
    assert BundleModel(bundle).predict(np.array(ROWS))["prediction"].tolist() == expected


def test_a_threshold_for_a_class_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongModelError, match="expected a threshold for one of two classes"):
        Predictor(with_threshold(tmp_path / "cells", "cured", 0.3))


def test_a_manifest_of_an_older_version_keeps_its_digest(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "cells")
    written = json.loads((bundle / MANIFEST).read_text())
    assert written.keys().isdisjoint({"columns", "positive", "threshold"})
    assert read_manifest(bundle).digest == sha256_of(bundle / MANIFEST)
