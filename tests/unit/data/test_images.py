"""Image folders: what they hold, and one clear error for what cannot be trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from winnow.api import generate_data
from winnow.bundle.images import ImageInput
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.data.dataset import DataSet
from winnow.data.rows import RowSource
from winnow.data.sources import load_data


def draw(path: Path, color: Any, mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path)


def folder(root: Path) -> Path:
    for index in range(3):
        draw(root / "cat" / f"{index}.png", (255, 10 * index, 0))
        draw(root / "dog" / "deep" / f"{index}.JPG", (0, 0, 200))
    (root / "cat" / "notes.txt").write_text("no image")
    draw(root / ".cache" / "x.png", (0, 0, 0))
    return root


def loaded(root: Path, **config: Any) -> DataSet:
    return load_data(DataConfig(source=f"images:{root}", **config))


def test_a_folder_gives_a_class_for_each_subfolder(tmp_path: Path) -> None:
    data = loaded(folder(tmp_path))
    assert (data.class_names, data.target.tolist(), data.input_shape) == (("cat", "dog"), [0, 0, 0, 1, 1, 1], (3, 4, 6))
    assert data.images == ImageInput(4, 6)
    assert np.allclose(data.features[1:2][0, :, 0, 0], [1, 10 / 255, 0])


def test_images_are_the_same_fetched_or_in_memory(tmp_path: Path) -> None:
    whole, lazy = loaded(folder(tmp_path)), loaded(tmp_path, load="lazy")
    assert isinstance(lazy.features, RowSource)
    index = np.array([4, 0, 1])
    assert np.array_equal(whole.features[index], lazy.features[index])
    draw(tmp_path / "cat" / "1.png", (1, 2, 3))
    assert loaded(tmp_path, load="lazy").sha256 != lazy.sha256


def test_images_are_converted_to_the_size_and_mode_that_is_asked_for(tmp_path: Path) -> None:
    draw(folder(tmp_path) / "cat" / "gray.png", 128, mode="L", size=(9, 9))
    data = loaded(tmp_path, options={"size": 8, "mode": "L"})
    assert data.input_shape == (1, 8, 8)


def add(root: Path, name: str, **image: Any) -> None:
    draw(root / name, **image)


def breaks(root: Path) -> None:
    path = root / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:45])


FAULTS: list[tuple[Callable[[Path], Any], dict[str, Any], str, str]] = [
    (
        lambda root: add(root, "cat/gray.png", color=1, mode="L"),
        {},
        "data.options.mode",
        "RGB in cat/0.png, L in cat/gray",
    ),
    (
        lambda root: add(root, "dog/a.png", color=1, size=(9, 9)),
        {},
        "data.options.size",
        "4×6 in cat/0.png, 9×9 in dog/a",
    ),
    (breaks, {}, "data.source", "cat/1.png'"),
    (breaks, {"load": "lazy"}, "data.source", "cat/1.png'"),
    (breaks, {"options": {"size": 8, "mode": "L"}}, "data.source", "cat/1.png'"),
    (lambda root: (root / "eel").mkdir(), {}, "data.source", "none at"),
    (lambda root: None, {"options": {"sise": 8}}, "data.options.sise", "'sise'"),
    (lambda root: None, {"options": {"size": 0}}, "data.options.size", "0"),
    (lambda root: None, {"options": {"mode": "CMYK"}}, "data.options.mode", "'CMYK'"),
    (lambda root: None, {"target": "cat"}, "data.target", "'cat'"),
]


@pytest.mark.parametrize(("fault", "config", "place", "found"), FAULTS)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, fault: Callable[[Path], Any], config: dict[str, Any], place: str, found: str
) -> None:
    fault(folder(tmp_path))
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, **config)
    assert caught.value.place == place
    assert found in caught.value.found


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (None, "no such folder"),
        ([], "an empty folder"),
        (["a.png"], "1 images in the folder itself"),
        (["a/b.png"], "only 'a'"),
    ],
)
def test_a_folder_without_two_classes_is_refused(tmp_path: Path, names: list[str] | None, found: str) -> None:
    root = tmp_path / "shapes"
    if names is not None:
        root.mkdir()
    for name in names or []:
        draw(root / name, 0)
    with pytest.raises(InputError) as caught:
        loaded(root)
    assert found in caught.value.found


def test_drawn_shapes_are_a_folder_with_a_known_answer(tmp_path: Path) -> None:
    made = generate_data(tmp_path / "shapes", kind="images", rows=31, seed=2)
    data = loaded(made.path)
    assert (data.rows, data.class_names, data.input_shape) == (31, ("circle", "square", "triangle"), (3, 32, 32))
    assert (made.metric, made.best_score, json.loads(made.answer.read_text())["recipe"]["rows"]) == (
        "accuracy",
        1.0,
        31,
    )
    again = generate_data(tmp_path / "again" / "shapes", kind="images", rows=31, seed=2)
    assert loaded(again.path).sha256 == data.sha256
    with pytest.raises(InputError):
        generate_data(made.path, kind="images")
    assert loaded(generate_data(made.path, kind="images", rows=12, force=True).path).rows == 12


def test_a_folder_that_was_not_drawn_is_never_overwritten(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        generate_data(folder(tmp_path / "mine"), kind="images", force=True)
    assert loaded(tmp_path / "mine").rows == 6
