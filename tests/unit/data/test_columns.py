"""What the columns of a table are taken for, how they are encoded, and which are refused."""

from __future__ import annotations

import decimal
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from winnow.bundle.columns import Column, decode_row
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.data.columns import recognize
from winnow.data.features import convert_features
from winnow.data.sources import load_data

ROWS = 60


def column_of(values: Any, kind: Any = None) -> Column:
    """What one column `c` is taken for."""
    (column,) = recognize(pd.DataFrame({"c": values}), {} if kind is None else {"c": kind}, "rows.csv")
    return column


def refused(values: Any, kind: Any = None) -> InputError:
    with pytest.raises(InputError) as caught:
        converted = convert_features(pd.DataFrame({"c": values}), None, "rows.csv", {} if kind is None else {"c": kind})
        pytest.fail(f"taken for {converted.columns}")
    return caught.value


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([0.5, 1.5, None], Column("c")),
        ([1, 2, 2], Column("c", dtype="long")),
        (pd.array([1, None, 2], dtype="Int64"), Column("c", dtype="long")),
        (pd.array([1, 2, 2], dtype="int64[pyarrow]"), Column("c", dtype="long")),
        ([decimal.Decimal("1.5"), None, 2], Column("c")),
        (["1.5", "2", "1e3"], Column("c")),
        (["1", "2", "3"], Column("c", dtype="long")),
        (["1", "2", "NA"], Column("c", dtype="long")),
        ([True, False, True], Column("c", "boolean", "boolean")),
        ([True, None, False], Column("c", "boolean", "boolean")),
        (["True", "false", ""], Column("c", "boolean", "boolean")),
        (["b", "a", "b"], Column("c", "category", "string", ("a", "b"))),
        (["b", "", None], Column("c", "category", "string", ("b",))),
        (pd.array(["b", "a", None], dtype="string"), Column("c", "category", "string", ("a", "b"))),
        (pd.array(["b", "a", None], dtype="string[pyarrow]"), Column("c", "category", "string", ("a", "b"))),
        (pd.Categorical(["b", "a", None], categories=["z", "b", "a"]), Column("c", "category", "string", ("a", "b"))),
        (pd.Categorical([10, 9, 10]), Column("c", "category", "long", ("9", "10"))),
        (["1", "2", "A"] * 10, Column("c", "category", "string", ("1", "2", "A"))),
        (["2026-01-31", "2026-02-01", None], Column("c", "date", "date")),
        (["2026-01-31T10:00", "2026-02-01", "2026-02-01T00:00:00Z"], Column("c", "date", "datetime")),
        (pd.to_datetime(["2026-01-31", "2026-02-01", None]), Column("c", "date", "date")),
        (
            pd.to_datetime(["2026-01-31T01:00", "2026-02-01"], utc=True, format="ISO8601"),
            Column("c", "date", "datetime"),
        ),
        ([date(2026, 1, 31), None, date(2026, 2, 1)], Column("c", "date", "date")),
        ([datetime(2026, 1, 31, 5), None, date(2026, 2, 1)], Column("c", "date", "datetime")),
    ],
)
def test_a_column_is_recognized_from_its_values(values: Any, column: Column) -> None:
    assert column_of(values) == column


@pytest.mark.parametrize(
    ("values", "kind", "column"),
    [
        ([3, 1, 3], "category", Column("c", "category", "long", ("1", "3"))),
        ([10.0, None, 9.0], "category", Column("c", "category", "long", ("9", "10"))),
        ([0.5, 1.0], "category", Column("c", "category", "string", ("0.5", "1"))),
        ([True, False], "category", Column("c", "category", "boolean", ("false", "true"))),
        ([0, 1, 1], "boolean", Column("c", "boolean", "boolean")),
        ([f"person {row}" for row in range(ROWS)], "category", None),
        (list(range(ROWS)), "number", Column("c", dtype="long")),
    ],
)
def test_the_experiment_file_may_say_what_a_column_holds(values: Any, kind: str, column: Column | None) -> None:
    found = column_of(values, kind)
    assert found == (column or Column("c", "category", "string", tuple(sorted(values))))


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([None, None], None, "none in column 'c'"),
        (["", "NA"], None, "none in column 'c'"),
        ([*(f"{row}.5" for row in range(30)), "?"], None, "text: '?' in row 31"),
        ([1.5, "x", 2.5], None, "text: 'x' in row 2"),
        (["2026-02-28", "2026-02-30"], None, "text: '2026-02-30' in row 2"),
        (["19.05.2021", "3.5.2021"], None, "text: '19.05.2021' in row 1"),
        (["03/04/2026", "05/04/2026"], None, "text: '03/04/2026' in row 1"),
        (["2026-1-31", "2026-02-28"], None, "text: '2026-1-31' in row 1"),
        ([1j, 2j], None, "values of type complex"),
        ([b"x", b"y"], None, "values of type bytes"),
        ([[1], [2]], None, "values of type list"),
        (pd.to_timedelta([1, 2], "D"), None, "values of type Timedelta"),
        (["red", "blue"], "number", "text: 'red' in row 1"),
        (["yes", "no"], "boolean", "text: 'yes' in row 1"),
        (["2026-01-01", "soon"], "date", "text: 'soon' in row 2"),
        ([20260101, 20260102], "date", "int64 values: '20260101' in row 1"),
        ([[1], [2]], "category", "values of type list"),
    ],
)
def test_what_no_column_holds_is_refused(values: Any, kind: str | None, found: str) -> None:
    error = refused(values, kind)
    assert error.found == found
    assert "drop" in error.remedy


def test_all_columns_that_cannot_be_used_are_refused_at_once() -> None:
    frame = pd.DataFrame(
        {
            "id": np.arange(ROWS),
            "age": np.arange(ROWS) % 40,
            "size": np.arange(ROWS) / 3,
            "code": [str(row) for row in range(ROWS)],
            "a comment": [f"comment {row}" for row in range(ROWS)],
        }
    )
    with pytest.raises(InputError) as caught:
        recognize(frame, {"age": "category"}, "rows.csv")
    assert caught.value.place == "data.columns"
    assert caught.value.found == (
        "'id': a different whole number in nearly every row; 'code': a different whole number in nearly every row; "
        "'a comment': text with 60 different values in 60 rows"
    )
    pasted = "`columns: {age: category, id: drop, code: drop, a comment: drop}`"
    assert caught.value.remedy.startswith(f"Write {pasted} under `data:`.")
    kinds: Any = {"id": "number", "code": "category", "a comment": "category"}
    assert [column.kind for column in recognize(frame, kinds, "rows.csv")] == [
        *("number", "number", "number"),
        *("category", "category"),
    ]


def test_whole_numbers_in_the_order_of_time_are_no_identifier() -> None:
    frame, hours = pd.DataFrame({"meter": np.arange(ROWS)[::-1] ** 2}), np.arange(ROWS)
    assert recognize(frame, {}, "rows.csv", hours) == (Column("meter", dtype="long"),)
    with pytest.raises(InputError, match="'meter': a different whole number"):
        recognize(frame, {}, "rows.csv", np.random.default_rng(0).permutation(hours))


def test_columns_are_encoded_as_the_codec_encodes_their_values() -> None:
    frame = pd.DataFrame(
        {
            "age": [30, 41, 30],
            "plan": ["pro", None, "basic"],
            "since": ["2026-01-31", "2025-12-24", None],
            "seen": pd.to_datetime(["2026-01-31T10:30", None, "2026-02-01T00:00"], format="ISO8601", utc=True),
            "active": [True, None, False],
            "grade": pd.array([2, None, 10], dtype="Int64"),
        }
    )
    found = convert_features(frame, None, "rows.csv", {"grade": "category"})
    assert found.columns is not None
    rows = frame.astype(object).to_numpy()
    expected = [column.encode(rows[:, index]) for index, column in enumerate(found.columns)]
    np.testing.assert_array_equal(found.values, np.concatenate(expected, axis=1).astype(np.float32))
    assert decode_row(found.columns, found.values[0].tolist()) == {
        "age": 30,
        "plan": "pro",
        "since": "2026-01-31",
        "seen": "2026-01-31T10:30:00",
        "active": True,
        "grade": 2,
    }


def test_columns_of_a_file_are_overridden_and_left_out_by_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"zip": ["01", "20", "01", "300"] * 5, "id": range(20), "y": ["a", "b"] * 10})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    source = str(tmp_path / "rows.csv")
    data = load_data(DataConfig(source=source, target="y", columns={"zip": "category", "id": "drop"}))
    assert data.columns == (Column("zip", "category", "string", ("01", "20", "300")),)
    assert data.features[:4, 0].tolist() == [0, 1, 0, 2]
    data = load_data(DataConfig(source=source, target="y", columns={"id": "category"}, drop=("zip",)))
    assert data.columns == (Column("id", "category", "long", tuple(map(str, range(20)))),)


@pytest.mark.parametrize(
    ("columns", "place", "remedy"),
    [
        ({"plam": "category"}, "data.columns", "Did you mean 'plan'?"),
        ({"y": "category"}, "data.columns.y", "Remove one of the two."),
        ({"plan": "number"}, "data.source", "data.columns: {plan: category}"),
    ],
)
def test_a_column_that_is_no_feature_cannot_be_overridden(
    tmp_path: Path, columns: Any, place: str, remedy: str
) -> None:
    frame = pd.DataFrame({"plan": ["basic", "pro"] * 10, "y": ["a", "b"] * 10})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(InputError) as caught:
        load_data(DataConfig(source=str(tmp_path / "rows.csv"), target="y", columns=columns))
    assert caught.value.place == place
    assert remedy in caught.value.remedy


def test_the_digest_covers_categories_and_not_the_type_that_holds_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"plan": ["basic", "pro"] * 10, "y": ["a", "b"] * 10})

    def digest(frame: pd.DataFrame, name: str) -> str:
        frame.to_csv(tmp_path / name, index=False) if name.endswith("csv") else frame.to_parquet(tmp_path / name)
        return load_data(DataConfig(source=str(tmp_path / name), target="y")).sha256

    as_category = frame.assign(plan=frame["plan"].astype("category"))
    renamed = frame.assign(plan=frame["plan"].replace("pro", "team"))
    assert digest(frame, "a.csv") == digest(as_category, "a.parquet")
    assert digest(frame, "a.csv") != digest(renamed, "b.csv")
