"""Schema files: pandera's YAML, and what is wrong in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.data.stage.schema import Check, ColumnSchema, TableSchema, read_schema, schema_text

OF_PANDERA = """
schema_type: dataframe
version: 0.35.0
columns:
  age:
    title: null
    description: null
    dtype: int64
    nullable: false
    checks:
      greater_than_or_equal_to:
        value: 0
        options: {raise_warning: false, ignore_na: true}
      in_range: {min_value: 0, max_value: 120, include_max: false}
    unique: false
    coerce: false
    required: true
    regex: false
  plan:
    dtype: str
    nullable: true
    checks:
    - value: [basic, pro]
      options: {check_name: isin, raise_warning: false, ignore_na: true}
checks: null
index: null
coerce: false
strict: true
unique: [age, plan]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rows.yaml"
    path.write_text(text)
    return path


def test_a_file_that_pandera_wrote_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, OF_PANDERA)
    bounds = {"min_value": 0, "max_value": 120, "include_max": False}
    assert read_schema(path) == TableSchema(
        (
            ColumnSchema("age", "int64", checks=(Check("greater_than_or_equal_to", 0), Check("in_range", bounds))),
            ColumnSchema("plan", "str", nullable=True, checks=(Check("isin", ["basic", "pro"]),)),
        ),
        strict=True,
        unique=(("age", "plan"),),
        place=str(path),
    )


def test_the_checks_of_another_version_of_pandera_are_the_same(tmp_path: Path) -> None:
    text = """
schema_type: dataframe
api: pandas
columns:
  age: {dtype: int64, greater_than_or_equal_to: 0, in_range: {min_value: 0, max_value: 120}}
  plan: {dtype: "string[python]", required: false, str_length: {min_value: null, max_value: null, exact_value: 3}}
index:
- dtype: int64
"""
    found = read_schema(written(tmp_path, text)).columns
    assert [each.checks for each in found] == [
        (Check("greater_than_or_equal_to", 0), Check("in_range", {"min_value": 0, "max_value": 120})),
        (Check("str_length", {"min_value": None, "max_value": None, "exact_value": 3}),),
    ]


def test_a_written_schema_is_read_as_it_was(tmp_path: Path) -> None:
    columns = (
        ColumnSchema("id", "int64", unique=True),
        ColumnSchema("answer", "str", nullable=True, checks=(Check("isin", ["no", "yes", "007"]),)),
        ColumnSchema(
            "day", "date", checks=(Check("in_range", {"min_value": "2026-01-01", "max_value": "2026-02-01"}),)
        ),
    )
    path = tmp_path / "rows.yaml"
    path.write_text(schema_text(TableSchema(columns), "made by a test"))
    assert read_schema(path) == TableSchema(columns, place=str(path))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ": expected a mapping, found nothing"),
        ("columns: {}", ":1: columns: expected the columns of the table by their names, found none"),
        ("columns:\n  a: {dtype: int63}", ":2: columns.a.dtype: expected one of str, "),
        ("columns:\n  a: {nulable: true}", "found 'nulable'. Did you mean 'nullable'?"),
        ("columns:\n  a: {nullable: 1}", ":2: columns.a.nullable: expected true or false, found 1"),
        ("columns:\n  a: {dtype: int, checks: {at_least: 1}}", "columns.a.checks.at_least: expected one of equal_to"),
        ("columns:\n  a: {dtype: int, checks: {ge: x}}", "columns.a.checks.ge: expected numbers, found 'x'"),
        ("columns:\n  a: {dtype: date, checks: {ge: 30.2.}}", "expected dates or times as 2026-11-21"),
        ("columns:\n  a: {dtype: int, checks: {isin: 1}}", "columns.a.checks.isin: expected a list of values, found 1"),
        ("columns:\n  a: {dtype: int, checks: {in_range: 1}}", "expected a mapping of min_value, max_value"),
        ("columns:\n  a: {dtype: int, checks: {str_matches: x}}", "expected a check of numbers or times"),
        ("columns:\n  a: {checks: {ge: 1}}", "expected a `dtype` for a column with checks, found none"),
        ("columns: {a: }\nunique: [b]", ":2: unique: expected columns of the schema, found 'b'"),
        ("columns: {a: }\nchecks: {positive: 1}", ":2: checks.positive: expected a condition in SQL"),
        ("columns: {a: }\nindex: [{dtype: int, name: id}]", ":2: index: expected columns alone"),
        ("columns: [", "expected YAML"),
    ],
)
def test_a_fault_is_named_with_its_line(text: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_schema(written(tmp_path, text))
    assert error in str(caught.value)


def test_a_missing_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no such file.*INFER=1"):
        read_schema(tmp_path / "rows.yaml")
