"""A folder of small synthetic images with a known answer: light circles, squares and triangles on dark noise.

Place, size and colours are drawn at random, so that the shape alone tells the classes apart, and it always does: the
best accuracy is 1. Images are PNG files of 32×32 pixels in three channels, a subfolder for each class.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from winnow.config.private import share
from winnow.data.generated import ANSWER_SUFFIX, check_numbers, drawing, occupied, write_answer

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
        found = "a folder" if output.is_dir() else "a file"
        raise occupied(output, "a path that does not exist", found, is_ours=answer.is_file())
    with drawing(output) as scratch:
        drawn = scratch / output.name
        _write_images(drawn, rows, np.random.default_rng(seed))
        share(drawn)
        if output.exists():
            shutil.rmtree(output)
        drawn.rename(output)
        truth = {
            "model": "the class is the shape; place, size and colours are drawn at random",
            "task": "classification",
            "classes": list(CLASSES),
            "best": {"metric": "accuracy", "score": 1.0},
            "recipe": {"rows": rows, "seed": seed, "side": SIDE, "noise": NOISE},
        }
        write_answer(answer, truth)
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
