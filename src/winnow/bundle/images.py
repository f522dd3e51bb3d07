"""A PNG or JPEG image to the numbers that a model's graph takes, shared by training and the server.

It fits nothing: means and deviations are part of the graph. Pillow is imported when the first image is decoded, so a
model that takes no images needs none.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG")
IMAGE = "image"
"""The key of a row's image, in base64, in JSON."""
MOST_PIXELS = 50_000_000
"""A larger image is refused before it is decoded, as a small file may unpack to gigabytes."""
_ORIENTATION = 0x0112
_HIGH_BYTE = 1 / 256
"""What makes 8 bits of 16."""
_OF_PYTHON = (OSError, SyntaxError, ArithmeticError, LookupError, ValueError, EOFError, TypeError)
_BROKEN = (*_OF_PYTHON, struct.error, zlib.error)
"""What Pillow raises for a broken file: its own errors, and those of the modules that unpack it."""


class ImageError(ValueError):
    """Bytes that are no image, or one that is broken or too large.

    Attributes:
        expected: what the model takes, as a phrase after "expected".
        found: what there is instead, as a phrase after "found"; nothing of the image itself is part of it.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected, self.found = expected, found


@dataclass(frozen=True)
class ImageInput:
    """How an image becomes one row of the model's input: float32 [channels, height, width].

    Attributes:
        height, width: an image of another size is stretched to this one, by linear interpolation.
        channels: 3 for red, green and blue; 1 for gray. Transparency is ignored.
        scale: what a pixel's 0 to 255 is multiplied by.
    """

    height: int
    width: int
    channels: Literal[1, 3] = 3
    scale: float = 1 / 255

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    def decode(self, data: bytes) -> NDArray[np.float32]:
        """The row of a PNG or JPEG file's bytes: float32 [channels, height, width].

        Raises ImageError where it is none, it is broken, or it has more than `MOST_PIXELS`.
        """
        return self.scaled(self.pixels(data))

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """What `decode` scales: uint8 [channels, height, width], a quarter of the memory; raises as `decode` does."""
        image = _opened(data).convert("RGB" if self.channels == 3 else "L")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), 2)  # Pillow's number for BILINEAR
        pixels = np.asarray(image, dtype=np.uint8).reshape(self.height, self.width, self.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def encode(self, row: NDArray[np.float32]) -> bytes:
        """The PNG file of a row, to the nearest of the 256 levels; `decode` gives the row back."""
        from PIL import Image

        levels = np.clip(np.round(row.reshape(self.shape) / self.scale), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        stream = io.BytesIO()
        Image.fromarray(levels if self.channels == 3 else levels[:, :, 0]).save(stream, "PNG", optimize=True)
        return stream.getvalue()

    def scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Pixels of any shape as the graph takes them."""
        return pixels.astype(np.float32) * np.float32(self.scale)


def _opened(data: bytes) -> Image.Image:
    """The decoded image with 8 bits per channel, turned as its camera was."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise _too_large()
        image.load()
        if image.mode.startswith("I"):
            return image.point(lambda value: value * _HIGH_BYTE).convert("L")
        if image.mode == "P":
            image = image.convert("RGBA")  # Pillow warns where it has to leave out a palette's transparency
        return ImageOps.exif_transpose(image) if _ORIENTATION in image.getexif() else image
    except UnidentifiedImageError:
        raise ImageError("a PNG or JPEG image", "none") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large() from None
    except ImageError:
        raise
    except _BROKEN:
        raise ImageError("a whole PNG or JPEG image", "one that is broken or cut off") from None


def _too_large() -> ImageError:
    return ImageError(f"an image of at most {MOST_PIXELS // 1_000_000} million pixels", "a larger one")
