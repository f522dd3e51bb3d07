"""A folder of images as rows, `images:DIR`: a subfolder for each class, as in torchvision's `ImageFolder`.

Classes are in the order of their names, and images in the order of their paths. An image is decoded as the server
decodes it (`winnow.bundle.images`).
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.images import FORMATS, MOST_PIXELS, ImageError, ImageInput
from winnow.config.errors import InputError
from winnow.config.functions import IMAGES
from winnow.config.nearest import did_you_mean
from winnow.data.raw import RawData
from winnow.data.rows import RowSource

SUFFIXES = (".png", ".jpg", ".jpeg")
OPTIONS = ("size", "mode")
MODES: dict[str, Literal[1, 3]] = {"RGB": 3, "L": 1}
GRAY = ("L", "1", "LA", "I", "I;16")
"""Pillow's modes of images without colours."""
THREADS = 4


class ImageRows(RowSource):
    """Images of one size, decoded when they are fetched: float32 [rows, channels, height, width], 0 to 1.

    Attributes:
        fingerprint: sha256 of the files, and of how they are decoded.
    """

    def __init__(self, paths: Sequence[Path], form: ImageInput) -> None:
        self._paths, self._form = paths, form
        self.shape = (len(paths), *form.shape)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self._form).encode())
        for path in self._paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def fetch(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Decode images. Raises InputError for one that is broken."""
        pixels = np.empty((len(index), *self.shape[1:]), dtype=np.uint8)
        # Pillow decodes without Python's global lock.
        with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            for place, image in enumerate(pool.map(self._pixels, index)):
                pixels[place] = image
        return self._form.scaled(pixels)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        path = self._paths[index]
        try:
            return self._form.pixels(path.read_bytes())
        except ImageError as error:
            raise _refused(path, error.expected, error.found) from error
        except OSError as error:
            raise _refused(path, "a file that can be read", f"'{error.strerror or error}'") from error


def load_images(source: str, options: Mapping[str, Any]) -> RawData:
    """Find the images of `images:DIR`; they are decoded when they are fetched.

    Args:
        options: `size`, pixels or [height, width], by default that of the images; `mode`, RGB or L (gray), by default
            that of the images.

    Raises:
        InputError: there is no such folder, or it has no classes or no images; images of several sizes or modes without
            an option that says which; a broken image.
    """
    folder = Path(source.removeprefix(IMAGES)).expanduser()
    size, mode = _checked_options(options)
    paths = _paths(folder)
    classes = tuple(sorted({path.relative_to(folder).parts[0] for path in paths}))
    form = _form(paths, folder, size, mode)
    target = np.array([path.relative_to(folder).parts[0] for path in paths])
    return RawData(folder.name, ImageRows(paths, form), target, class_names=classes, images=form)


def _checked_options(options: Mapping[str, Any]) -> tuple[tuple[int, int] | None, str | None]:
    unknown = next((name for name in options if name not in OPTIONS), None)
    if unknown is not None:
        expected = f"some of {', '.join(OPTIONS)} for images"
        remedy = did_you_mean(unknown, OPTIONS) or "Leave it out."
        raise InputError(f"data.options.{unknown}", expected=expected, found=f"'{unknown}'", remedy=remedy)
    size, mode = options.get("size"), options.get("mode")
    sides = [size, size] if isinstance(size, int) else list(size) if isinstance(size, list | tuple) else []
    is_whole = len(sides) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if size is not None and not (is_whole and min(sides) > 0 and sides[0] * sides[1] <= MOST_PIXELS):
        expected, remedy = "pixels, such as 32, or [height, width]", "Write `size: 32` or `size: [24, 32]`."
        raise InputError("data.options.size", expected=expected, found=repr(size), remedy=remedy)
    if mode is not None and mode not in MODES:
        expected, remedy = "RGB, or L for gray", did_you_mean(str(mode), list(MODES)) or "Choose one of these."
        raise InputError("data.options.mode", expected=expected, found=repr(mode), remedy=remedy)
    return ((sides[0], sides[1]) if sides else None), mode


def _paths(folder: Path) -> list[Path]:
    """The images of all classes; hidden files and those that are no images are left out."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        raise _refused(folder, "a folder with a subfolder of images for each class", found)
    classes = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes:
        files = sum(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
        found = f"no subfolder, and {files} images in the folder itself" if files else "an empty folder"
        raise _refused(folder, "a subfolder of PNG or JPEG images for each class", found)
    paths: list[Path] = []
    for one in classes:
        images = [path for path in sorted(one.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file()]
        images = [path for path in images if not path.name.startswith(".")]
        if not images:
            raise _refused(one, "PNG or JPEG images of this class", "none")
        paths += images
    return paths


def _form(paths: Sequence[Path], folder: Path, size: tuple[int, int] | None, mode: str | None) -> ImageInput:
    """How the images are decoded: as they are, where they agree, and otherwise as the options say."""
    sizes: dict[tuple[int, int], Path] = {}
    modes: dict[str, Path] = {}
    for path in paths if size is None or mode is None else ():
        own_size, own_mode = _header(path)
        sizes.setdefault(own_size, path)
        modes.setdefault("L" if own_mode in GRAY else "RGB", path)
    if size is None and len(sizes) > 1:
        raise _several("size", {"×".join(map(str, one)): path for one, path in sizes.items()}, folder, "size: 32")
    if mode is None and len(modes) > 1:
        raise _several("mode", modes, folder, "mode: RGB")
    height, width = size or next(iter(sizes))
    return ImageInput(height, width, MODES[mode or next(iter(modes))])


def _several(option: str, found: Mapping[str, Path], folder: Path, remedy: str) -> InputError:
    shown = [f"{value} in {path.relative_to(folder)}" for value, path in found.items()]
    return InputError(
        f"data.options.{option}",
        expected=f"a {option}, since the images in {folder} have several",
        found=", ".join(shown[:2]),
        remedy=f"Set `data.options: {{{remedy}}}`, to which all are converted.",
    )


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Height and width as the camera was held, and Pillow's mode; the image is not decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
            width, height = image.size
            is_turned = image.getexif().get(0x0112, 1) >= 5
            return ((width, height) if is_turned else (height, width)), image.mode
    except Exception as error:
        raise _refused(path, "a PNG or JPEG image", "one that is broken, or none") from error


def _refused(path: Path, expected: str, found: str) -> InputError:
    remedy = "Correct the path, or what the folder holds."
    return InputError("data.source", expected=expected, found=f"{found} at '{path}'", remedy=remedy)
