"""Rows that stay in a file give what the same rows in memory give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.data.dataset import DataSet
from winnow.data.labelled import rows_of_study
from winnow.data.preprocessing import fit_scaling
from winnow.data.rows import ArrayRows, RowSource, select
from winnow.data.sources import load_data

ROWS = 50
IMAGES = np.random.default_rng(0).integers(0, 256, (ROWS, 3, 4, 5), dtype=np.uint8)
LABELS = np.arange(ROWS) % 2


def from_files(folder: Path, features: Any = IMAGES, target: Any = LABELS, **config: Any) -> DataSet:
    np.save(folder / "x.npy", features)
    np.save(folder / "y.npy", target)
    return load_data(DataConfig(source=str(folder / "x.npy"), target=str(folder / "y.npy"), **config))


def test_a_mapped_file_is_the_same_data_fetched_or_in_memory(tmp_path: Path) -> None:
    lazy, whole = from_files(tmp_path, load="lazy"), from_files(tmp_path)
    assert isinstance(lazy.features, RowSource)
    assert isinstance(whole.features, np.ndarray)
    assert (lazy.sha256, lazy.rows, lazy.input_shape) == (whole.sha256, ROWS, (3, 4, 5))
    index = np.array([7, 49, 0, 7])
    assert np.array_equal(lazy.features[index], whole.features[index])
    assert np.array_equal(lazy.features[3:9], whole.features[3:9])


def test_a_mapped_file_of_one_number_a_row_is_one_column(tmp_path: Path) -> None:
    features = np.random.default_rng(1).normal(size=ROWS)
    lazy = from_files(tmp_path, features, load="lazy")
    assert (lazy.feature_names, lazy.sha256) == (("x0",), from_files(tmp_path, features).sha256)


def test_a_digest_does_not_depend_on_missing_values_or_the_size_of_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = np.random.default_rng(1).normal(size=(ROWS, 6))
    features[3, 2], features[4] = np.nan, -0.0
    monkeypatch.setattr("winnow.data.rows.BLOCK_BYTES", 100)
    assert from_files(tmp_path, features, load="lazy").sha256 == from_files(tmp_path, features).sha256


def test_a_large_mapped_array_stays_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.data.features.IN_MEMORY_BYTES", 4 * IMAGES.size - 1)
    assert isinstance(from_files(tmp_path).features, RowSource)
    assert isinstance(from_files(tmp_path, load="memory").features, np.ndarray)


def test_statistics_of_fetched_rows_are_those_of_the_chosen_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winnow.data.preprocessing.BLOCK_ELEMENTS", 200)
    chosen = np.arange(5, ROWS, 3)
    fetched = fit_scaling(select(ArrayRows(IMAGES), chosen), "standard").state_dict()
    whole = fit_scaling(IMAGES[chosen].astype(np.float32), "standard").state_dict()
    assert {name: values.tolist() for name, values in fetched.items()} == {
        name: values.tolist() for name, values in whole.items()
    }


def test_an_npz_holds_all_parts(tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, X=np.arange(40.0).reshape(20, 2), outcome=np.arange(20) % 2, groups=np.arange(20) // 4)
    data = load_data(DataConfig(source=str(path), target="outcome"))
    assert data.features.tolist() == np.arange(40.0).reshape(20, 2).tolist()
    assert data.groups is not None
    assert (data.groups.tolist(), data.target_names) == ((np.arange(20) // 4).tolist(), ("outcome",))


@pytest.mark.parametrize(
    ("features", "config", "place", "found"),
    [
        (np.full((20, 2), np.inf), {"load": "lazy"}, "data.source", "an infinite one in row 1"),
        (np.full((20, 2), np.nan), {"load": "lazy"}, "data.source", "none in column 'x0'"),
        (np.array([["a", "b"]] * 20), {"load": "lazy"}, "data.source", "values of type <U1"),
        (np.empty((0, 2)), {"load": "lazy"}, "data.source", "0 rows of shape (2,)"),
        (np.arange(40).reshape(20, 2) + 2**40, {"load": "lazy"}, "data.source", "20 different values"),
        (np.zeros((20, 2)), {"target": None}, "data.target", "nothing"),
        (np.zeros((20, 2)), {"target": "outcome"}, "data.target", "'outcome'"),
        (np.zeros((20, 2)), {"source": "missing.npy"}, "data.source", "'No such file or directory'"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, features: Any, config: dict[str, Any], place: str, found: str
) -> None:
    np.save(tmp_path / "x.npy", features)
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    files = {"source": str(tmp_path / "x.npy"), "target": str(tmp_path / "y.npy")}
    with pytest.raises(InputError) as caught:
        load_data(DataConfig(**{**files, **config}))
    assert caught.value.place == place
    assert found in caught.value.found


def test_rows_of_a_dataset_that_stay_where_they_are_have_no_named_columns() -> None:
    config = DataConfig(source="tests.unit.data.functions_for_sources:images", load="lazy")
    assert rows_of_study(config) is None
    with pytest.raises(InputError) as caught:
        load_data(config.model_copy(update={"group": "patient"}))
    assert (caught.value.place, caught.value.found) == ("data.group", "features without names")
