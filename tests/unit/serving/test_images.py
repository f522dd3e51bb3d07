"""A model that takes images, by their bytes and in JSON."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.unit.serving.asgi import call
from tests.unit.serving.bundles import IMAGES
from winnow.serving import codec, image_rows
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.serving.problems import ProblemError
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings

PIXELS = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)


def saved(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind)
    return stream.getvalue()


def in_base64(data: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(data).decode()}


@pytest.fixture(scope="module")
def app(bundle_folder: Path) -> Any:
    return load_app(bundle_folder / "images", "3", ServingSettings())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_has_the_answer_of_its_pixels(app: Any, kind: str) -> None:
    tensor = IMAGES.decode(saved(kind)).tolist()
    expected = call(app, "POST", "/predict", {"rows": [tensor]}).json["probabilities"]
    image = call(app, "POST", "/predict", saved(kind), {"content-type": f"image/{kind.lower()}"})
    assert (image.status, image.json["probabilities"]) == (200, expected)
    two = call(app, "POST", "/predict", {"rows": [in_base64(saved(kind))] * 2})
    assert two.json["probabilities"] == expected * 2
    instances = call(app, "POST", "/invocations", {"instances": [in_base64(saved(kind))]})
    assert instances.status == 200


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"image": "bm8gaW1hZ2U="}, "rows[1]: expected a PNG or JPEG image, found none"),
        ({"image": "no base64"}, "rows[1]: expected a PNG or JPEG image in base64, found another text"),
        ({"image": 5}, "rows[1]: expected a PNG or JPEG image in base64, found a number"),
        (in_base64(saved("PNG")[:60]), "rows[1]: expected a whole PNG or JPEG image, found one that is broken"),
        ({"picture": ""}, 'rows[1]: expected an object {"image": "…base64…"} as in the first row'),
    ],
)
def test_what_is_no_image_is_named_by_its_row(app: Any, row: object, detail: str) -> None:
    answer = call(app, "POST", "/predict", {"rows": [in_base64(saved("PNG")), row]})
    assert (answer.status, answer.json["row"]) == (422, 1)
    assert answer.json["detail"].startswith(detail)


def test_a_body_that_is_no_image_is_refused(app: Any) -> None:
    answer = call(app, "POST", "/predict", b"no image", {"content-type": "image/png"})
    assert (answer.status, answer.json["detail"]) == (400, "Expected a PNG or JPEG image, found none.")
    gif = call(app, "POST", "/predict", b"", {"content-type": "image/gif"})
    assert gif.status == 415


def test_more_images_than_memory_holds_are_refused(bundle_folder: Path) -> None:
    predictor = Predictor(bundle_folder / "images", most_rows=10**6)
    most = image_rows.MOST_VALUES // 48
    with pytest.raises(ProblemError, match=f"at most {most} images"):
        PredictCodec(predictor.signature).decode(
            msgspec.json.encode({"rows": [{"image": ""}] * (most + 1)}), codec.JSON
        )


def test_the_documentation_takes_a_file(app: Any) -> None:
    page = call(app, "GET", "/docs").body.decode()
    assert '<input id="image" type="file" accept="image/png,image/jpeg">' in page
    content = call(app, "GET", "/openapi.json").json["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "image/png", "image/jpeg"}
    for example in content["application/json"]["examples"].values():
        assert call(app, "POST", "/predict", example["value"]).status == 200


def test_a_table_takes_no_images(bundle_folder: Path) -> None:
    mixed = load_app(bundle_folder / "mixed", "3", ServingSettings())
    answer = call(mixed, "POST", "/predict", saved("PNG"), {"content-type": "image/png"})
    assert answer.status == 415
