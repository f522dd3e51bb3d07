"""PNG and JPEG images as rows: a body that is one image, or base64 in JSON."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np

from winnow.bundle.images import IMAGE, ImageError, ImageInput
from winnow.serving import problems
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.values import Matrix

MEDIA_TYPES = ("image/png", "image/jpeg")
MOST_VALUES = 2**24
"""Numbers in the images of one request, 64 MiB: small files may decode to much more than they take."""


def from_image(body: bytes, images: ImageInput) -> Matrix:
    """One row, float32 [1, channels, height, width].

    Raises ProblemError where the body is no image, or a broken or too large one.
    """
    try:
        return images.decode(body)[np.newaxis]
    except ImageError as error:
        detail = f"Expected {error.expected}, found {error.found}."
        raise ProblemError("malformed-body", detail) from None


def from_objects(items: Sequence[object], images: ImageInput, where: str) -> Matrix:
    """One row per `{"image": "…base64…"}`, float32 [rows, channels, height, width].

    Raises ProblemError where they are too many, or some are something else, or no image.
    """
    most = max(MOST_VALUES // (images.channels * images.height * images.width), 1)
    if len(items) > most:
        detail = f"Expected at most {most} images, found {len(items)}: send them in several requests."
        raise ProblemError("too-large", detail)
    found = np.empty((len(items), *images.shape), dtype=np.float32)
    for row, item in enumerate(items):
        try:
            found[row] = images.decode(_bytes_of(item))
        except ImageError as error:
            detail = f"{where}[{row}]: expected {error.expected}, found {error.found}"
            raise problems.invalid([Finding(detail, row)]) from None
    return found


def _bytes_of(item: object) -> bytes:
    if not isinstance(item, dict) or item.keys() != {IMAGE}:
        raise ImageError(f'an object {{"{IMAGE}": "…base64…"}} as in the first row', "something else")
    text = item[IMAGE]
    if not isinstance(text, str):
        raise ImageError("a PNG or JPEG image in base64", problems.kind_of(text))
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ImageError("a PNG or JPEG image in base64", "another text") from None
