"""A folder of small synthetic images with a known answer: light circles, squares and triangles on dark noise.

Place, size and colours are drawn at random, so that the shape alone tells the classes apart, and it always does: the
best accuracy is 1. Images are PNG files of 32×32 pixels in three channels, a subfolder for each class.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.private import share
from winnow.data.generated import ANSWER_SUFFIX, check_numbers, writing

SIDE = 32
CLASSES = ("circle", "square", "triangle")
NOISE = 25.0
"""Standard deviation of each pixel, of 255."""


def write_shapes(output: Path, rows: int, seed: int, *, force: bool = False) -> Path:
    """Write `rows` images, dealt evenly over the classes, into the folder `output`, and the truth beside it.

    Returns:
        The path of the answer, `OUTPUT.answer.json`.

    Raises:
        InputError: a number out of range, a folder that exists (without `force`, or that this function did not write),
            or a disk that is full or read-only.
    """
    check_numbers(rows, seed)
    answer = output.with_name(output.name + ANSWER_SUFFIX)
    if output.exists() and not (force and answer.is_file()):
        flag = f", or overwrite it with {next_flag('force', True)}" if answer.is_file() else ""
        raise InputError(
            str(output),
            expected="a path that does not exist",
            found="a folder" if output.is_dir() else "a file",
            remedy=f"Choose another with {next_flag('output')}{flag}.",
        )
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
            drawn = Path(scratch) / output.name
            _write_images(drawn, rows, np.random.default_rng(seed))
            share(drawn)
            if output.exists():
                shutil.rmtree(output)
            drawn.rename(output)
        answer.write_text(json.dumps(_truth(rows, seed), indent=2) + "\n", encoding="utf-8")
        share(answer)
    return answer


def draw_shape(name: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """An image of a class, uint8 [32, 32, 3]."""
    radius = random.uniform(7, 11)
    y, x = np.mgrid[:SIDE, :SIDE] - random.uniform(radius, SIDE - 1 - radius, 2)[:, None, None]
    inside = {
        "circle": x**2 + y**2 <= radius**2,
        "square": np.maximum(abs(x), abs(y)) <= 0.85 * radius,
        "triangle": (abs(y) <= radius) & (abs(x) <= (y + radius) / 2),
    }[name]
    dark, light = random.uniform(0, 80, 3), random.uniform(150, 255, 3)
    pixels = np.where(inside[..., None], light, dark) + random.normal(0, NOISE, (SIDE, SIDE, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _write_images(folder: Path, rows: int, random: np.random.Generator) -> None:
    from PIL import Image

    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for row in range(rows):
        name = CLASSES[row % len(CLASSES)]
        Image.fromarray(draw_shape(name, random)).save(folder / name / f"{row:05}.png")


def _truth(rows: int, seed: int) -> dict[str, Any]:
    return {
        "model": "the class is the shape; place, size and colours are drawn at random",
        "task": "classification",
        "classes": list(CLASSES),
        "best": {"metric": "accuracy", "score": 1.0},
        "recipe": {"rows": rows, "seed": seed, "side": SIDE, "noise": NOISE},
    }
