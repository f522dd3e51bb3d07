"""Sources: what each kind gives, and one clear error for everything that cannot be trained on."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.loader import located
from winnow.data.dataset import DataSet
from winnow.data.sources import load_data
from winnow.data.urls import fetch

ROWS = 40
FRAME = pd.DataFrame(
    {
        "size": np.linspace(0, 1, ROWS) ** 3,
        "count": np.arange(ROWS),
        "is_new": np.arange(ROWS) % 3 == 0,
        "customer": [f"c{index // 5}" for index in range(ROWS)],
        "day": pd.date_range("2026-01-01", periods=ROWS, freq="D").strftime("%Y-%m-%d"),
        "outcome": np.where(np.arange(ROWS) % 2 == 0, "good", "bad"),
        "price": np.linspace(5, 9, ROWS),
    }
)
CSV: dict[str, Any] = {"target": "outcome", "group": "customer", "time": "day", "drop": ("price",)}


def saved(frame: pd.DataFrame, path: Path) -> str:
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return str(path)


def from_csv(folder: Path, changed: dict[str, Any] | None = None, **config: Any) -> DataSet:
    frame = FRAME.assign(**(changed or {}))
    return load_data(DataConfig(source=saved(frame, folder / "rows.csv"), **{**CSV, **config}))


def from_function(name: str, **config: Any) -> DataSet:
    return load_data(DataConfig(source=f"tests.unit.data.functions_for_sources:{name}", **config))


def refused(load: Any, *args: Any, **kwargs: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        load(*args, **kwargs)
    return caught.value


def replaced(column: str, row: int, value: Any) -> dict[str, Any]:
    """A column of FRAME with one value changed; `row` counts from 0."""
    values = FRAME[column].astype(object).copy()
    values.iloc[row] = value
    return {column: values}


# What sources give


@pytest.mark.parametrize(
    ("name", "task", "shape", "outputs", "target_name"),
    [
        ("breast_cancer", "classification", (569, 30), 2, "diagnosis"),
        ("digits", "classification", (1797, 1, 8, 8), 10, "digit"),
        ("diabetes", "regression", (442, 10), 1, "progression"),
        ("iris", "classification", (150, 4), 3, "species"),
        ("wine", "classification", (178, 13), 3, "cultivar"),
    ],
)
def test_a_bundled_set_has_its_shape_and_names(
    name: str, task: str, shape: tuple[int, ...], outputs: int, target_name: str
) -> None:
    data = load_data(DataConfig(source=f"sklearn:{name}"))
    assert (data.name, data.task, data.features.shape, data.outputs) == (name, task, shape, outputs)
    assert data.target_names == (target_name,)
    assert (data.features.dtype, data.target.dtype.kind) == (np.float32, "i" if task == "classification" else "f")
    assert (data.feature_names is None) == (name == "digits")
    assert (data.class_names is None) == (task == "regression")


def test_digits_are_images_with_values_from_0_to_1() -> None:
    data = load_data(DataConfig(source="sklearn:digits"))
    assert (data.features.min(), data.features.max()) == (0, 1)


def test_a_csv_gives_numbers_classes_groups_and_times(tmp_path: Path) -> None:
    data = from_csv(tmp_path)
    assert (data.name, data.task, data.rows, data.input_shape) == ("rows.csv", "classification", ROWS, (3,))
    assert data.feature_names == ("size", "count", "is_new")
    assert (data.class_names, data.target_names) == (("bad", "good"), ("outcome",))
    assert data.target[:3].tolist() == [1, 0, 1]
    assert data.features[3].tolist() == pytest.approx([FRAME["size"][3], 3, 1])
    assert data.groups is not None and data.groups[:6].tolist() == ["c0"] * 5 + ["c1"]
    assert data.time is not None and data.time[1] - data.time[0] == np.timedelta64(1, "D")


def test_the_same_rows_have_the_same_digest_from_csv_and_parquet(tmp_path: Path) -> None:
    typed = FRAME.assign(
        count=FRAME["count"].astype("int16"),
        is_new=FRAME["is_new"].astype("boolean"),
        customer=FRAME["customer"].astype("category"),
        outcome=FRAME["outcome"].astype("category"),
        day=pd.to_datetime(FRAME["day"]),
    )
    source = saved(typed, tmp_path / "typed.parquet")
    parquet = load_data(DataConfig(source=source, **CSV))
    csv = from_csv(tmp_path)
    assert parquet.sha256 == csv.sha256
    compressed = tmp_path / "rows.csv.gz"
    FRAME.to_csv(compressed, index=False)
    assert load_data(DataConfig(source=str(compressed), **CSV)).sha256 == csv.sha256


def test_the_digest_covers_values_order_target_groups_time_and_names(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        replaced("size", 7, 0.5),
        replaced("outcome", 7, "good"),
        replaced("customer", 7, "c0"),
        replaced("day", 7, "2025-01-01"),
    ]
    digests = [from_csv(tmp_path, change).sha256 for change in changes]
    digests.append(load_data(DataConfig(source=saved(FRAME[::-1], tmp_path / "r.csv"), **CSV)).sha256)
    renamed = FRAME.rename(columns={"size": "mass"})
    digests.append(load_data(DataConfig(source=saved(renamed, tmp_path / "n.csv"), **CSV)).sha256)
    digests.append(from_csv(tmp_path, group=None, drop=("price", "customer")).sha256)
    assert len(set(digests)) == len(digests)


def test_the_digest_of_a_bundled_set_never_changes_between_machines() -> None:
    assert load_data(DataConfig(source="sklearn:iris")).sha256.startswith("417f4dcb")


def test_a_missing_feature_stays_missing(tmp_path: Path) -> None:
    data = from_csv(tmp_path, {**replaced("size", 4, None), **replaced("is_new", 5, None)})
    assert np.isnan(data.features[4, 0]) and np.isnan(data.features[5, 2])
    assert np.isnan(data.features).sum() == 2


def test_a_column_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none in column 'size'"):
        from_csv(tmp_path, {"size": [None] * 40})


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        ([0, 1] * 20, "classification"),
        ([0.0, 1.0] * 20, "classification"),
        ([1, 5, 9, 11] * 10, "classification"),
        (list(range(20)) * 2, "regression"),
        ([0.5, 1.5] * 20, "regression"),
        (list(range(40)), "regression"),
    ],
)
def test_auto_takes_text_booleans_and_few_whole_numbers_for_classes(tmp_path: Path, target: Any, task: str) -> None:
    assert from_csv(tmp_path, {"outcome": target}).task == task


@pytest.mark.parametrize(
    ("target", "names", "first"),
    [
        ([10, 2] * 20, ("2", "10"), 1),
        ([2.0, 1.0] * 20, ("1", "2"), 1),
        (["10", "x"] * 20, ("10", "x"), 0),
        ([True, False] * 20, ("False", "True"), 1),
    ],
)
def test_class_labels_become_codes_and_names(tmp_path: Path, target: Any, names: tuple[str, ...], first: int) -> None:
    data = from_csv(tmp_path, {"outcome": target})
    assert (data.class_names, data.target[0], data.target.dtype) == (names, first, np.int64)


def test_a_task_that_is_set_is_taken(tmp_path: Path) -> None:
    assert from_csv(tmp_path, {"outcome": [0, 1] * 20}, task="regression").target.shape == (ROWS, 1)
    data = from_csv(tmp_path, {"outcome": [0.5, 1.5] * 20}, task="classification")
    assert data.class_names == ("0.5", "1.5")


@pytest.mark.parametrize("name", ["pair", "tensors", "dataset", "numbers_in_objects"])
def test_a_data_function_may_return_arrays_tensors_or_a_dataset(name: str) -> None:
    data = from_function(name)
    assert (data.name, data.task, data.features.shape) == (name, "classification", (20, 2))
    assert data.features[3].tolist() == [6, 7]
    assert (data.feature_names, data.class_names) == (("x0", "x1"), ("0", "1"))


def test_a_data_function_gets_its_options() -> None:
    assert from_function("pair", options={"rows": 12}).rows == 12


def test_a_data_function_may_be_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own_data_source.py"
    path.write_text("def load(rows=30):\n    return [[i, -i] for i in range(rows)], [i * 1.5 for i in range(rows)]\n")
    data = load_data(DataConfig(source=f"{path}:load"))
    assert (data.task, data.features.shape, data.target.shape) == ("regression", (30, 2), (30, 1))


def test_a_mapping_may_bring_groups_times_and_names() -> None:
    data = from_function("mapping")
    assert data.groups is not None and data.time is not None
    assert (data.feature_names, data.class_names) == (("a", "b"), ("no", "yes"))


def test_columns_of_a_returned_frame_can_be_named() -> None:
    data = from_function("frames", group="who", drop=("a",))
    assert (data.feature_names, data.target_names) == (("b",), ("label",))
    assert data.groups is not None and data.groups[:5].tolist() == [0, 0, 0, 0, 1]


def test_columns_of_a_bundled_set_can_be_dropped() -> None:
    data = load_data(DataConfig(source="sklearn:iris", drop=("petal width (cm)",)))
    assert data.input_shape == (3,)


def test_images_of_a_dataset_keep_their_shape_and_classes() -> None:
    data = from_function("images")
    assert (data.input_shape, data.class_names, data.feature_names) == ((1, 4, 4), ("cat", "dog"), None)


def test_several_targets_are_a_regression_with_their_names() -> None:
    data = from_function("two_targets")
    assert (data.task, data.target.shape, data.target_names) == ("regression", (20, 2), ("height", "width"))


def test_given_class_names_set_the_order() -> None:
    data = from_function("named_text_classes")
    assert (data.class_names, data.target[:2].tolist()) == (("low", "high"), [0, 1])


def test_loading_arrays_imports_no_torch() -> None:
    program = (
        "import sys; from winnow.config.experiment import DataConfig; from winnow.data.sources import load_data\n"
        "import winnow.data.splits; load_data(DataConfig(source='sklearn:iris')); print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


# URLs


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_behind_a_url_is_fetched(tmp_path: Path, address: str) -> None:
    expected = from_csv(tmp_path)
    data = load_data(DataConfig(source=f"{address}/rows.csv?version=1", **CSV))
    assert (data.name, data.sha256) == ("rows.csv", expected.sha256)


def test_a_url_that_cannot_be_fetched_is_told_with_the_answer(address: str) -> None:
    error = refused(load_data, DataConfig(source=f"{address}/none.csv", target="y"))
    assert error.place == "data.source" and error.found.startswith("'404 ")
    assert "refused" in refused(load_data, DataConfig(source="http://127.0.0.1:1/none.csv", target="y")).found


def test_an_unknown_scheme_is_refused() -> None:
    error = refused(load_data, DataConfig(source="ftq://host/rows.csv", target="y"))
    assert error.expected == "a URL that begins with http://, https://, s3:// or another scheme of fsspec"


S3 = """
import sys
{before}
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.data.sources import load_data
try:
    print(load_data(DataConfig(source="s3://bucket/folder/rows.csv", target="outcome", drop=("customer", "day"))).rows)
except InputError as error:
    print(error)
"""


def run_s3(before: str, **environ: str) -> str:
    secret = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    fast = {"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"}
    ended = subprocess.run(
        [sys.executable, "-c", S3.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
        env={**secret, **fast, **environ},
    )
    return ended.stdout.strip()


def test_an_s3_url_without_its_package_names_it() -> None:
    printed = run_s3("sys.modules['boto3'] = None")
    assert "pip install boto3" in printed and printed.startswith("data.source: expected the package boto3")


def test_an_s3_object_is_fetched_from_the_endpoint_that_is_set(tmp_path: Path, address: str) -> None:
    pytest.importorskip("boto3")
    (tmp_path / "bucket" / "folder").mkdir(parents=True)
    saved(FRAME, tmp_path / "bucket" / "folder" / "rows.csv")
    assert run_s3("", AWS_ENDPOINT_URL=address) == str(ROWS)


def test_a_missing_s3_object_is_one_clear_error(address: str) -> None:
    pytest.importorskip("boto3")
    assert "expected to fetch s3://bucket/folder/rows.csv, found 'An error" in run_s3("", AWS_ENDPOINT_URL=address)


# Refusals


def test_an_unknown_bundled_set_is_told_with_the_nearest() -> None:
    error = refused(load_data, DataConfig(source="sklearn:breast_canser"))
    assert (error.place, error.remedy) == ("data.source", "Did you mean 'sklearn:breast_cancer'?")


def test_a_missing_file_is_told_with_the_nearest(tmp_path: Path) -> None:
    from_csv(tmp_path)
    error = refused(load_data, DataConfig(source=str(tmp_path / "row.csv"), target="y"))
    assert (error.place, error.found, error.remedy) == ("data.source", "no such file", "Did you mean 'rows.csv'?")


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("empty.csv", b"", "an empty file"),
        ("header.csv", b"a,b,y\n", "0 rows of shape (2,)"),
        ("ragged.csv", b"a,y\n1,2\n1,2,3,4\n", "4 fields in line 3 for a header of 2"),
        ("shifted.csv", b"a,y\n1,2,3\n4,5,6\n", "3 fields in line 2 for a header of 2"),
        ("bytes.csv", b"a,y\n\xff\xfe\x00,1\n", "the byte 0xff, which is not UTF-8"),
        ("short.csv", b"a,b,y\n1,2,0\n\n1,0.5", "2 fields in line 4 for a header of 3"),
        ("repeated.csv", b"a,y\n1,0\na,y\n2,1\n", "the header again in line 3"),
        ("quote.csv", b'a,y\n1,0\n"2,1\n3,0\n', "'unexpected end of data' in the row that ends with line 4"),
        ("nul.csv", b"a,y\n1,0\n2\0,1\n", "a NUL byte in line 3"),
        ("latin1.csv", b"a,y\n1,caf\xe9\n", "the byte 0xe9, which is not UTF-8"),
        ("double.csv", b"a,y,y\n1,0,0\n", "two columns named 'y'"),
        (
            "spaces.csv",
            b"a, a,y\n1,2,0\n",
            "names that differ only in white space or invisible characters: 'a' and ' a'",
        ),
        ("blank.csv", b"a, , ,y\n1,2,3,0\n", "a name of white space only"),
        ("broken.csv.xz", b"not xz at all", "Input format not supported by decoder"),
        ("broken.parquet", b"not parquet at all", "Parquet magic bytes not found"),
        ("empty.parquet", b"", "Parquet file size is 0 bytes"),
        ("broken.csv.gz", b"not gzip at all", "Not a gzipped file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path, name: str, content: bytes, found: str) -> None:
    (tmp_path / name).write_bytes(content)
    error = refused(load_data, DataConfig(source=str(tmp_path / name), target="y"))
    assert error.place == "data.source"
    assert found in error.found


@pytest.mark.parametrize("source", ["rows.xlsx", "rows", "data.csv.txt", "sklearn"])
def test_another_format_is_refused(source: str) -> None:
    error = refused(load_data, DataConfig(source=source, target="y"))
    assert ".csv, .parquet or .arrow file" in error.expected


def test_a_table_without_a_target_asks_for_one_of_its_columns(tmp_path: Path) -> None:
    error = refused(from_csv, tmp_path, target=None)
    assert (error.place, error.found) == ("data.target", "nothing")
    assert "size, count, is_new, customer, day, outcome, price" in error.remedy


@pytest.mark.parametrize(
    ("place", "config"),
    [
        ("data.target", {"target": "outcom"}),
        ("data.group", {"group": "custmer"}),
        ("data.time", {"time": "dya"}),
        ("data.drop", {"drop": ("pric",)}),
    ],
)
def test_a_missing_column_is_told_with_the_nearest(tmp_path: Path, place: str, config: dict[str, Any]) -> None:
    error = refused(from_csv, tmp_path, **config)
    assert error.place == place
    nearest = {"data.target": "outcome", "data.group": "customer", "data.time": "day", "data.drop": "price"}[place]
    assert error.remedy == f"Did you mean '{nearest}'?"


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("price", replaced("price", 6, None), "1 missing, the first in row 7"),
        ("outcome", replaced("outcome", 6, None), "1 missing, the first in row 7"),
        ("price", {"price": [np.nan] * 3 + [1.5] * 37}, "3 missing, the first in row 1"),
        ("price", replaced("price", 9, np.inf), "1 infinite, the first in row 10"),
        ("price", replaced("price", 9, 1e300), "1 infinite, the first in row 10"),
        ("outcome", {"outcome": "good"}, "only 'good' in all 40 rows"),
        ("price", {"price": 2.5}, "the same value in all 40 rows"),
        ("price", {"price": 2}, "only '2' in all 40 rows"),
    ],
)
def test_a_target_that_cannot_be_learned_is_refused(
    tmp_path: Path, column: str, values: dict[str, Any], found: str
) -> None:
    drop = ("price",) if column == "outcome" else ("outcome",)
    error = refused(from_csv, tmp_path, values, target=column, drop=drop)
    assert (error.place, error.found) == ("data.target", found)


def test_text_is_no_target_for_regression(tmp_path: Path) -> None:
    error = refused(from_csv, tmp_path, task="regression")
    assert (error.place, error.found) == ("data.target", "text: 'good' in row 1")


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (replaced("size", 8, "red"), "text: 'red' in row 9"),
        (replaced("size", 8, np.inf), "1 infinite in column 'size', the first in row 9"),
        (replaced("size", 8, 1e39), "1 infinite in column 'size', the first in row 9"),
    ],
)
def test_a_feature_that_is_no_finite_number_is_refused(tmp_path: Path, changed: dict[str, Any], found: str) -> None:
    error = refused(from_csv, tmp_path, changed)
    assert error.place == "data.source"
    assert found in error.found
    if "text" in error.found:
        assert "data.columns: {size: drop}" in error.remedy


@pytest.mark.parametrize(
    ("changed", "place", "found"),
    [
        (replaced("customer", 2, None), "data.group", "1 missing, the first in row 3"),
        (replaced("day", 2, None), "data.time", "1 missing, the first in row 3"),
        ({"day": "next week"}, "data.time", "'next week' in row 1"),
    ],
)
def test_groups_and_times_must_be_there(tmp_path: Path, changed: dict[str, Any], place: str, found: str) -> None:
    error = refused(from_csv, tmp_path, changed)
    assert (error.place, error.found) == (place, found)


def test_a_saved_index_is_no_feature_unless_it_is_named(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "rows.csv")
    config = DataConfig(source=str(tmp_path / "rows.csv"), **CSV)
    assert refused(load_data, config).found == "none for column 1"
    dropped = config.model_copy(update={"drop": ("price", "Unnamed: 0")})
    assert load_data(dropped).feature_names == ("size", "count", "is_new")


def test_a_named_index_of_a_parquet_file_is_a_column(tmp_path: Path) -> None:
    source = saved(FRAME.set_index("day"), tmp_path / "rows.parquet")
    assert load_data(DataConfig(source=source, **CSV)).sha256 == from_csv(tmp_path).sha256


def test_a_table_needs_features(tmp_path: Path) -> None:
    error = refused(from_csv, tmp_path, drop=("price", "size", "count", "is_new"))
    assert "40 rows of shape (0,)" in error.found


@pytest.mark.parametrize(
    ("name", "place", "found"),
    [
        ("raises", "data.source", "KeyError: 'the column that I wanted' (functions_for_sources.py, line"),
        ("returns_none", "data.source", "None"),
        ("returns_three", "data.source", "a tuple of 3"),
        ("without_y", "data.source", "a mapping with X, target, without y"),
        ("unknown_key", "data.source", "the unknown key 'group'"),
        ("lengths_differ", "data.target", "19"),
        ("group_lengths_differ", "data.group", "18"),
        ("no_rows", "data.source", "0 rows of shape (2,)"),
        ("ragged_rows", "data.source", "inhomogeneous"),
        ("single_value", "data.source", "a single value of type int"),
        ("ragged_dataset", "data.source", "(1, 4, 5) in item 7"),
        ("single_dataset", "data.source", "a value of type ndarray as item 0 of a Dataset"),
        ("stream", "data.source", "has no length"),
        ("text_in_objects", "data.source", "text: 'red' in row 2"),
        ("mixed_target", "data.target", "a mixture of int, str"),
        ("date_target", "data.target", "values of type datetime64[D]"),
        ("too_many_names", "data.target", "3 names: a, b, c for 0, 1"),
        ("too_few_feature_names", "data.source", "1 names for rows of shape (2,)"),
        ("names_as_text", "data.source", "a text instead of a list as class_names"),
        ("two_group_columns", "data.group", "shape (20, 2)"),
        ("double_feature_names", "data.source", "two columns named 'a'"),
        ("double_columns", "data.source", "two columns named 'a'"),
        ("target_among_features", "data.source", "its column 'label' in X and in y"),
        ("column_without_a_name", "data.source", "none for column 2"),
        ("empty_label", "data.target", "10 missing, the first in row 2 (empty)"),
        ("complex_numbers", "data.source", "complex128 values: '1j' in row 1"),
        ("masked_target", "data.target", "1 missing, the first in row 4"),
        ("lazy_frame", "data.source", "a LazyFrame of tests"),
        ("epochs_in_sequences", "data.source", "20 different values, of which float32 can tell 1 apart"),
    ],
)
def test_a_data_function_that_breaks_its_contract_is_told_how(name: str, place: str, found: str) -> None:
    error = refused(from_function, name)
    assert error.place == place
    assert found in error.found


def test_one_hot_rows_are_no_classes() -> None:
    assert "argmax" in refused(from_function, "one_hot", task="classification").remedy


def test_options_that_a_function_does_not_take_are_shown() -> None:
    error = refused(from_function, "pair", options={"row": 3})
    assert "unexpected keyword argument 'row'" in error.found
    assert "data.options" in error.remedy


def test_a_parquet_file_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array([1.0, 2.0]), pa.array([0, 1]), pa.array([0, 1])], names=["a", "y", "y"])
    pq.write_table(table, tmp_path / "rows.parquet")
    error = refused(load_data, DataConfig(source=str(tmp_path / "rows.parquet"), target="y"))
    assert (error.place, error.found) == ("data.source", "two columns named 'y'")


def written(folder: Path, target: list[str], *, name: str = "rows.csv", values: list[str] | None = None) -> str:
    """A CSV file with the columns `a` and `y` as these texts."""
    path = folder / name
    firsts = values or [str(index / 2) for index in range(len(target))]
    path.write_text("a,y\n" + "".join(f"{first},{label}\n" for first, label in zip(firsts, target, strict=True)))
    return str(path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["01", "02", "03"], ("01", "02", "03")),
        (["+1", "-1"], ("+1", "-1")),
        (["1e3", "2e3"], ("1e3", "2e3")),
        (["1_000", "2_000"], ("1_000", "2_000")),
        ([" 1", " 2"], (" 1", " 2")),
        (["0x1F", "0x2F"], ("0x1F", "0x2F")),
        (["-0", "5"], ("-0", "5")),
        (["9223372036854775808", "5"], ("5", "9223372036854775808")),
        (["9223372036854775807", "5"], ("5", "9223372036854775807")),
        (["9007199254740993", "9007199254740992"], ("9007199254740992", "9007199254740993")),
        (["10", "9"], ("9", "10")),
        (["10.0", "9.0"], ("9", "10")),
        (["true", "false"], ("false", "true")),
        (["None", "Mild"], ("Mild", "None")),
        (["NA", "EU"], ("EU", "NA")),
        (["null", "n/a", "nan"], ("n/a", "nan", "null")),
    ],
)
def test_a_class_is_called_what_the_csv_file_calls_it(
    tmp_path: Path, labels: list[str], names: tuple[str, ...]
) -> None:
    data = load_data(DataConfig(source=written(tmp_path, labels * 20), target="y"))
    assert (data.task, data.class_names) == ("classification", names)
    assert data.target[: len(labels)].tolist() == [names.index(label.removesuffix(".0")) for label in labels]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (["1", "01"], "'01' and '1', which are the same number"),
        (["1", "1.0"], "'1' and '1.0', which are the same number"),
        (["1", " 1"], "' 1' and '1', which are the same number"),
        (["yes", "yes "], "'yes' and 'yes ', which differ only in white space or invisible characters"),
        (["", "yes"], "20 missing, the first in row 1"),
    ],
)
def test_labels_that_may_be_one_class_or_two_are_refused(tmp_path: Path, labels: list[str], found: str) -> None:
    error = refused(load_data, DataConfig(source=written(tmp_path, labels * 20), target="y"))
    assert (error.place, error.found) == ("data.target", found)


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (["1", "1.0"], "'1' and '1.0', which are the same number"),
        (["1", "2", "NA", "3"], "10 missing, the first in row 3: 'NA' among numbers"),
        (["ann", "ann "], "'ann' and 'ann ', which differ only in white space or invisible characters"),
    ],
)
def test_groups_that_may_be_one_or_two_are_refused(tmp_path: Path, groups: list[str], found: str) -> None:
    error = refused(from_csv, tmp_path, {"customer": groups * (ROWS // len(groups))})
    assert (error.place, error.found) == ("data.group", found)


def test_an_error_of_the_data_names_the_file_and_the_line_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\ndata:\n  source: none.csv\n  target: y\n")
    with pytest.raises(InputError) as caught, located(path):
        load_data(DataConfig(source=written(tmp_path, ["1", "01"] * 20), target="y"))
    assert caught.value.place == f"{path}:4: data.target"


def test_zero_padded_codes_are_classes_however_many_there_are(tmp_path: Path) -> None:
    codes = [f"{number:05}" for number in range(30)]
    data = load_data(DataConfig(source=written(tmp_path, codes * 2), target="y"))
    assert data.class_names == tuple(codes)


def test_a_regression_target_is_numeric_however_it_is_written(tmp_path: Path) -> None:
    source = written(tmp_path, ["1e3", "+2.50", "007", " 4"] * 5)
    data = load_data(DataConfig(source=source, target="y", task="regression"))
    assert data.target[:4, 0].tolist() == [1000, 2.5, 7, 4]
    data = load_data(DataConfig(source=written(tmp_path, ["0.50", "1.25", "3.10"] * 5), target="y"))
    assert (data.task, data.target[:3, 0].tolist()) == ("regression", [0.5, 1.25, pytest.approx(3.1)])
    source = written(tmp_path, ["true", "FALSE"] * 5)
    data = load_data(DataConfig(source=source, target="y", task="regression"))
    assert data.target[:2, 0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("target", "task", "found"),
    [
        (["1", "2", "NA"], "auto", "20 missing, the first in row 3: 'NA' among numbers"),
        ([f"{index}.5" for index in range(20)] + ["?"], "auto", "text: '?' in row 21"),
        ([f"{index}.5" for index in range(20)] + ["?"], "regression", "text: '?' in row 21"),
    ],
)
def test_a_text_among_the_numbers_of_a_target_is_told_with_its_row(
    tmp_path: Path, target: list[str], task: Any, found: str
) -> None:
    config = DataConfig(source=written(tmp_path, target * (20 if len(target) == 3 else 1)), target="y", task=task)
    error = refused(load_data, config)
    assert (error.place, error.found) == ("data.target", found)


@pytest.mark.parametrize("mistake", ["?", "-", "1,234", "1_000", "0x1F", "True"])
def test_the_value_that_is_no_number_is_told_and_not_the_first_one(tmp_path: Path, mistake: str) -> None:
    values = [f"{index}.25" for index in range(20)]
    values[5] = f'"{mistake}"'
    error = refused(load_data, DataConfig(source=written(tmp_path, ["0", "1"] * 10, values=values), target="y"))
    assert (error.place, error.found) == ("data.source", f"text: {mistake!r} in row 6")


def test_whole_numbers_of_64_bits_are_the_same_groups_in_csv_and_parquet(tmp_path: Path) -> None:
    frame = FRAME.assign(customer=2**60 + np.arange(ROWS) // 5)
    csv, parquet = (
        load_data(DataConfig(source=saved(frame, tmp_path / f"rows{suffix}"), **CSV)) for suffix in (".csv", ".parquet")
    )
    assert csv.groups is not None and csv.groups[5] == 2**60 + 1
    assert csv.sha256 == parquet.sha256


def test_groups_of_a_csv_file_that_differ_as_text_stay_apart(tmp_path: Path) -> None:
    FRAME.assign(customer=["1", "01", "NA", "x"] * 10).to_csv(tmp_path / "rows.csv", index=False)
    data = load_data(DataConfig(source=str(tmp_path / "rows.csv"), **CSV))
    assert data.groups is not None and data.groups[:4].tolist() == ["1", "01", "NA", "x"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_times_in_milliseconds_that_float32_merges_are_refused(tmp_path: Path, suffix: str) -> None:
    times = pd.Series(1764200000000 + 1000 * np.arange(ROWS))
    source = saved(FRAME.assign(count=times), tmp_path / f"rows{suffix}")
    error = refused(load_data, DataConfig(source=source, **CSV))
    assert error.expected.startswith("values in column 'count' of rows")
    assert error.found == "40 different values, of which float32 can tell 1 apart"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_ids_beyond_float64_beside_a_missing_one_are_refused(tmp_path: Path, suffix: str) -> None:
    ids = pd.Series([None, *(2**60 + index for index in range(1, ROWS))], dtype="Int64")
    error = refused(load_data, DataConfig(source=saved(FRAME.assign(count=ids), tmp_path / f"rows{suffix}"), **CSV))
    assert error.found == "39 different values, of which float32 can tell 1 apart"


def test_a_regression_target_with_a_large_offset_is_refused(tmp_path: Path) -> None:
    error = refused(from_csv, tmp_path, {"price": 1e9 + np.arange(ROWS)}, target="price", drop=("outcome",))
    assert (error.place, error.found) == ("data.target", "40 different values, of which float32 can tell 2 apart")


def test_decimals_of_a_parquet_file_are_numbers(tmp_path: Path) -> None:
    decimals = [Decimal(index) / 4 for index in range(ROWS)]
    data = load_data(DataConfig(source=saved(FRAME.assign(count=decimals), tmp_path / "rows.parquet"), **CSV))
    assert data.features[:4, 1].tolist() == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("name", ["masked", "masked_integers"])
def test_masked_values_are_missing(name: str) -> None:
    data = from_function(name)
    assert np.isnan(data.features).tolist() == [[row == 3, False] for row in range(20)]


def test_a_frame_of_another_library_is_taken_as_pandas_has_it() -> None:
    data = from_function("frame_of_another_library")
    assert (data.feature_names, data.features[3].tolist(), data.class_names) == (("a", "b"), [6, 7], ("0", "1"))


def test_numbers_in_the_types_of_arrow_are_taken() -> None:
    assert from_function("arrow_decimals").features[:3, 0].tolist() == [0, 1, 2]
    table = from_function("arrow_table")
    assert (table.feature_names, np.isnan(table.features[:, 0]).sum(), table.class_names) == (("a",), 1, ("0", "1"))


def test_ids_beyond_float64_of_another_library_are_refused() -> None:
    assert refused(from_function, "arrow_ids").found == "19 different values, of which float32 can tell 1 apart"


def test_a_polars_frame_is_taken(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    path = tmp_path / "polars_source.py"
    path.write_text(
        "import polars\ndef load():\n    x = polars.DataFrame({'a': [1.0, None] * 9})\n    return x, [0, 1] * 9\n"
    )
    data = load_data(DataConfig(source=f"{path}:load"))
    assert (data.feature_names, np.isnan(data.features).sum()) == (("a",), 9)


@pytest.mark.parametrize("config", [{"options": {"rows": 3}}, {"target": "y"}])
def test_settings_that_a_source_has_no_use_for_are_refused(config: dict[str, Any]) -> None:
    error = refused(load_data, DataConfig(source="sklearn:iris", **config))
    assert error.place == f"data.{next(iter(config))}"


def test_columns_of_arrays_without_names_cannot_be_named() -> None:
    assert refused(from_function, "pair", group="who").place == "data.group"
    assert refused(load_data, DataConfig(source="sklearn:digits", drop=("x",))).place == "data.drop"


def test_a_file_that_a_store_of_fsspec_lacks_is_said_plainly() -> None:
    with pytest.raises(InputError) as refused:
        fetch("memory://rows/none.csv")
    assert refused.value.found == "'no such file'"
