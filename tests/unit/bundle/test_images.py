from __future__ import annotations

import io
import random
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from winnow.bundle.images import ImageError, ImageInput

PIXELS = np.random.default_rng(0).integers(0, 255, (8, 6, 3), dtype=np.uint8)
COLOR = Image.fromarray(PIXELS)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_an_image_is_its_scaled_pixels_by_channel() -> None:
    found = ImageInput(8, 6).decode(saved(COLOR))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, PIXELS.transpose(2, 0, 1) / 255, rtol=1e-6)


def test_an_image_of_another_size_is_resized() -> None:
    even = saved(Image.new("RGB", (30, 50), (255, 0, 51)))
    expected: NDArray[np.float32] = np.array([1, 0, 0.2], dtype=np.float32)[:, None, None] * np.ones((3, 8, 6))
    np.testing.assert_allclose(ImageInput(8, 6).decode(even), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["RGBA", "P", "1", "L", "LA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_becomes_the_channels_of_the_model(mode: str, channels: int) -> None:
    found = ImageInput(8, 6, channels).pixels(saved(COLOR.convert(mode)))  # type: ignore[arg-type]
    assert found.shape == (channels, 8, 6)


def test_sixteen_bits_become_eight() -> None:
    levels = np.arange(48, dtype=np.uint16).reshape(8, 6) * 1000
    found = ImageInput(8, 6, 1).pixels(saved(Image.fromarray(levels)))
    np.testing.assert_array_equal(found[0], levels // 256)


def test_a_photograph_is_turned_upright() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned by 90 degrees
    found = ImageInput(6, 8).pixels(saved(COLOR, "PNG", exif=turned))
    np.testing.assert_array_equal(found, np.rot90(PIXELS, -1).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a PNG or JPEG image, found none"),
        (b"not an image", "expected a PNG or JPEG image, found none"),
        (saved(COLOR, "GIF"), "expected a PNG or JPEG image, found none"),
        (saved(COLOR)[:100], "expected a whole PNG or JPEG image, found one that is broken or cut off"),
        (saved(COLOR, "JPEG")[:-30], "expected a whole PNG or JPEG image, found one that is broken or cut off"),
        (saved(Image.new("1", (9000, 9000))), "expected an image of at most 50 million pixels, found a larger one"),
    ],
    ids=["empty", "text", "GIF", "cut PNG", "cut JPEG", "bomb"],
)
def test_what_is_no_image_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageInput(8, 6).decode(data)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_file_of_a_row_has_its_pixels(channels: Literal[1, 3]) -> None:
    form = ImageInput(8, 6, channels)
    row = form.decode(saved(COLOR))
    np.testing.assert_array_equal(form.decode(form.encode(row)), row)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_damaged_image_raises_nothing_else(kind: str) -> None:
    chance = random.Random(0)
    whole = saved(COLOR, kind)
    for _ in range(500):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            ImageInput(4, 4).decode(bytes(damaged))
        except ImageError:
            continue
