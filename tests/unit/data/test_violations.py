"""Rows that violate a schema: which rule, how many, and the first row numbers."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, ReadConfig
from winnow.data.stage.infer import infer_schema
from winnow.data.stage.rows import open_rows
from winnow.data.stage.schema import Check, ColumnSchema, TableSchema
from winnow.data.stage.summary import Suspect, summarize
from winnow.data.stage.violations import Violation, find_violations


def checked(source: Path, *columns: ColumnSchema, read: ReadConfig | None = None, **schema: Any) -> list[Violation]:
    config = DataConfig(source=str(source), target="y", **({} if read is None else {"read": read}))
    with open_rows(config) as connection:
        return list(find_violations(connection, TableSchema(columns, **schema), config.read.missing))


def csv(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def parquet(tmp_path: Path, **columns: Any) -> Path:
    path = tmp_path / "rows.parquet"
    pa.parquet.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("dtype", "right", "wrong"),
    [
        ("int64", ["7", "-3", "007", "+1"], ["1.5", "1e3", "x", "99999999999999999999"]),
        ("uint8", ["0", "255"], ["-1", "256"]),
        ("float64", ["1", "1.5", "-1e-3"], ["x", "1,5"]),
        ("decimal(4,2)", ["1", "12.34", "12.3400"], ["1.234", "123.45", "x"]),
        ("bool", ["true", "False"], ["1", "yes"]),
        ("date", ["2026-02-28"], ["2026-02-30", "28.2.2026", "2026-02-28T10:00"]),
        ("datetime64[ns]", ["2026-02-28T10:00", "2026-02-28 10:00:00.5+01:00"], ["2026-02-28T25:00", "x"]),
        ("str", ["007", "x"], []),
    ],
)
def test_a_text_has_a_type_only_if_nothing_of_it_is_lost(
    dtype: str, right: list[str], wrong: list[str], tmp_path: Path
) -> None:
    source = csv(tmp_path, "a;b", *(f"{value};1" for value in [*right, *wrong]))
    first = tuple(range(len(right) + 1, len(right) + len(wrong) + 1))
    expected = [Violation("a", f"dtype: {dtype}", len(wrong), first, wrong[0])] if wrong else []
    assert checked(source, ColumnSchema("a", dtype), read=ReadConfig(decimal=".")) == expected


def test_types_of_a_file_are_not_turned_into_others(tmp_path: Path) -> None:
    source = parquet(tmp_path, code=[7, 8], whole=[1.0, 2.5], when=[date(2026, 1, 1)] * 2, exact=[1.0, float("nan")])
    columns = [ColumnSchema("code", "str"), ColumnSchema("whole", "int64"), ColumnSchema("when", "datetime64[ns]")]
    assert checked(source, *columns, ColumnSchema("exact", "float64")) == [
        Violation("code", "dtype: str", 2, (1, 2), "7"),
        Violation("whole", "dtype: int64", 1, (2,), "2.5"),
        Violation("exact", "nullable: false", 1, (2,)),
    ]


def test_only_the_first_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    source = csv(tmp_path, "a", *map(str, range(1000)))
    found = checked(source, ColumnSchema("a", "int64", checks=(Check("less_than", 900),)))
    assert found == [Violation("a", "less_than: 900", 100, (901, 902, 903, 904, 905), "900")]


@pytest.mark.parametrize(
    ("dtype", "check", "rows"),
    [
        ("int64", Check("equal_to", 2), (1, 3, 4)),
        ("int64", Check("not_equal_to", 2), (2,)),
        ("int64", Check("in_range", {"min_value": 1, "max_value": 3, "include_min": False}), (1, 4)),
        ("int64", Check("isin", [1, 2]), (3, 4)),
        ("int64", Check("notin", [1, 2]), (1, 2)),
        ("str", Check("greater_than_or_equal_to", 2), (1, 4)),
        ("str", Check("str_matches", "[12]"), (3,)),
        ("str", Check("str_contains", "0"), (1, 2, 3)),
        ("str", Check("str_startswith", "1"), (2, 3)),
        ("str", Check("str_endswith", "0"), (1, 2, 3)),
        ("str", Check("str_length", {"max_value": 1}), (4,)),
        ("str", Check("str_length", {"exact_value": 2}), (1, 2, 3)),
    ],
)
def test_checks_of_a_column(dtype: str, check: Check, rows: tuple[int, ...], tmp_path: Path) -> None:
    source = csv(tmp_path, "a,b", "1,x", "2,x", "3,x", "10,x", ",x")
    found = checked(source, ColumnSchema("a", dtype, nullable=True, checks=(check,)))
    assert [each.rows for each in found] == [rows]


def test_dates_are_compared_as_dates(tmp_path: Path) -> None:
    source = csv(tmp_path, "day", "2026-01-31", "2025-12-31")
    found = checked(source, ColumnSchema("day", "date", checks=(Check("greater_than", "2026-01-01"),)))
    assert found == [Violation("day", "greater_than: 2026-01-01", 1, (2,), "2025-12-31")]


def test_a_usual_text_for_missing_is_none_where_it_is_a_category(tmp_path: Path) -> None:
    source = csv(tmp_path, "country,size,code", "NA,NA,?", "DE,1,x")
    countries = ColumnSchema("country", "str", checks=(Check("isin", ["NA", "DE"]),))
    found = checked(
        source, countries, ColumnSchema("size", "int64"), ColumnSchema("code", "str"), read=ReadConfig(missing=("?",))
    )
    assert found == [Violation("size", "nullable: false", 1, (1,)), Violation("code", "nullable: false", 1, (1,))]


def test_rows_that_repeat_earlier_ones_are_named(tmp_path: Path) -> None:
    source = csv(tmp_path, "a,b", "1,x", "2,x", "1,x", "1,y", ",x", ",x")
    columns = (ColumnSchema("a", "int64", nullable=True, unique=True), ColumnSchema("b", "str"))
    assert checked(source, *columns, unique=(("a", "b"),)) == [
        Violation("a", "unique", 2, (3, 4), "1"),
        Violation("a, b", "unique", 1, (3,), "1, x"),
    ]


def test_columns_that_are_missing_or_unknown_are_named(tmp_path: Path) -> None:
    source = csv(tmp_path, "a,b", "1,x")
    columns = (ColumnSchema("a"), ColumnSchema("c"), ColumnSchema("d", required=False))
    assert checked(source, *columns, strict=True) == [
        Violation("c", "required", 1),
        Violation("b", "strict: not in the schema", 1),
    ]


def test_conditions_in_sql_see_the_types_of_the_schema(tmp_path: Path) -> None:
    source = csv(tmp_path, "began,ended", "9,10", "10,9", "10,")
    columns = (ColumnSchema("began", "int64"), ColumnSchema("ended", "int64", nullable=True))
    found = checked(source, *columns, checks=(("in order", "ended >= began -- as numbers"),))
    assert found == [Violation("", "in order: ended >= began -- as numbers", 1, (2,))]


def test_a_condition_over_other_columns_is_an_error_about_the_schema(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"s.yaml: checks.x: expected a condition in SQL over the columns"):
        checked(csv(tmp_path, "a", "1"), ColumnSchema("a"), checks=(("x", "b > 1"),), place="s.yaml")


def test_rows_are_numbered_over_all_files(tmp_path: Path) -> None:
    for name, values in (("a", [1, 2, 3]), ("b", [4, -5])):
        pd.DataFrame({"n": values}).to_csv(tmp_path / f"{name}.csv", index=False)
        pd.DataFrame({"n": values}).to_parquet(tmp_path / f"{name}.parquet")
    column = ColumnSchema("n", "int64", checks=(Check("greater_than", 0),))
    expected = [Violation("n", "greater_than: 0", 1, (5,), "-5")]
    assert checked(tmp_path / "*.csv", column) == expected
    assert checked(tmp_path / "*.parquet", column) == expected


def test_a_source_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected files or a database whose rows have a schema"):
        checked(Path("sklearn:iris"), ColumnSchema("a"))
    with pytest.raises(InputError, match="expected at least one row, found none"):
        checked(csv(tmp_path, "a,b"), ColumnSchema("a"))


def test_what_is_inferred_fits_the_rows_and_keeps_codes(tmp_path: Path) -> None:
    lines = [
        f"{n},0{n % 3},{n / 8},{'yes' if n % 2 else 'no'},2026-01-0{1 + n % 9},{'' if n % 4 else n}" for n in range(40)
    ]
    config = DataConfig(source=str(csv(tmp_path, "id,code,size,y,day,gap", *lines)), target="y")
    with open_rows(config) as connection:
        found = infer_schema(connection)
        assert find_violations(connection, found) == ()
    assert found.columns == (
        ColumnSchema("id", "int64", unique=True),
        ColumnSchema("code", "str", checks=(Check("isin", ["00", "01", "02"]),)),
        ColumnSchema("size", "float64", checks=(Check("in_range", {"min_value": 0.0, "max_value": 4.875}),)),
        ColumnSchema("y", "str", checks=(Check("isin", ["no", "yes"]),)),
        ColumnSchema(
            "day", "date", checks=(Check("in_range", {"min_value": "2026-01-01", "max_value": "2026-01-09"}),)
        ),
        ColumnSchema("gap", "int64", nullable=True, checks=(Check("in_range", {"min_value": 0, "max_value": 36}),)),
    )


@pytest.mark.parametrize("is_measured", [False, True])
def test_a_column_that_knows_the_answer_is_a_suspect(is_measured: bool, tmp_path: Path) -> None:
    rows = range(2000)
    answer = [float((n * 37) % 1000) if is_measured else ["no", "yes"][(n * 37) % 1000 > 700] for n in rows]
    source = parquet(
        tmp_path,
        row=list(rows),
        other=[float((n * 61) % 997) for n in rows],
        later=[float((n * 37) % 1000) * 2 + 1 for n in rows],
        y=answer,
    )
    with open_rows(DataConfig(source=str(source), target="y")) as connection:
        find_violations(connection, TableSchema(()))
        found = summarize(connection, "y")
    assert [each.column for each in found.suspects] == ["later"]
    assert found.suspects[0] == Suspect("later", pytest.approx(1.0, abs=0.02))
    assert found.columns[0].bins == (100,) * 20
    assert found.correlations == ((("later", "y", pytest.approx(1.0)),) if is_measured else ())


def test_columns_may_have_any_names(tmp_path: Path) -> None:
    names = ["v", "n", "p", "part", "answer", "first", "count", "select", 'a "b"', "it's", "rows", "y"]
    source = parquet(tmp_path, **{name: [n % 7 for n in range(100)] for name in names})
    with open_rows(DataConfig(source=str(source), target="y")) as connection:
        schema = infer_schema(connection)
        assert [each.name for each in schema.columns] == names
        assert find_violations(connection, schema) == ()
        found = summarize(connection, "y", dropped=["v"])
        unique = TableSchema(tuple(ColumnSchema(name, unique=True) for name in names))
        assert [each.count for each in find_violations(connection, unique)] == [93] * len(names)
    assert [each.name for each in found.columns] == names
    assert [each.column for each in found.suspects] == names[1:-1]


def test_a_date_that_only_some_rows_have_is_a_suspect_if_they_are_those_of_a_class(tmp_path: Path) -> None:
    rows = range(400)
    source = parquet(
        tmp_path,
        cancelled=[None if n % 4 else date.fromordinal(738_000 + n) for n in rows],
        remark=[None if n % 4 else f"remark {n}" for n in rows],
        name=[f"name {n}" for n in rows],
        y=["no" if n % 4 else "yes" for n in rows],
    )
    with open_rows(DataConfig(source=str(source), target="y")) as connection:
        find_violations(connection, TableSchema(()))
        found = summarize(connection, "y")
    assert found.suspects == (Suspect("cancelled", 1.0), Suspect("remark", 1.0))


def test_bounds_of_many_digits_are_exact(tmp_path: Path) -> None:
    values = [0.1234567890123456789, 1 / 3, 2 / 3e-7, float("-inf")]
    with open_rows(DataConfig(source=str(parquet(tmp_path, size=values)), target="y")) as connection:
        assert find_violations(connection, infer_schema(connection)) == ()


def test_a_file_that_is_no_table_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"data\.source: expected rows that can be read, found"):
        checked(tmp_path / "rows.parquet", ColumnSchema("a"))


def test_names_that_differ_only_in_capitals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names of columns that differ in more than capitals, found 'Age' and 'age'"):
        checked(csv(tmp_path, "Age,age", "1,2"), ColumnSchema("age"))
