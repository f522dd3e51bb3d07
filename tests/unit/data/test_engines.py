"""The engines of `winnow prepare` agree on texts, missing values, decimals, times, keys and their order."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tools import installed
from winnow.config.experiment import Engine, Experiment
from winnow.orchestrators.ingest import ingest
from winnow.orchestrators.prepare import prepare

ENGINES = ("duckdb", "polars", pytest.param("spark", marks=pytest.mark.spark))
ROWS = """\
id,code,day,seen,price,weight,is_new,note
3,007,2026-03-01,2026-03-01T00:30:00+02:00,1.10,0.1,true,
1,007,2026-02-28,2026-02-28T23:30:00Z,2.25,0.2,false,"a, ""b"" c"
2,7,,2026-03-01 12:00:00.123456,NA,NaN,,null
4,,2024-02-29,,-0.05,-0.0,TRUE,Ünïcode
5,,2024-02-29,2024-02-29T12:00:00-05:30,12345678901234567890.12,1e300,false,ß
9007199254740993,0010,1969-12-31,1969-12-31T23:59:59Z,0.00,,true,-
9007199254740993,0010,1969-12-31,1969-12-31T23:59:59Z,0.00,,true,-
"""
SCHEMA = """\
columns:
  id: {dtype: int64}
  code: {dtype: str, nullable: true}
  day: {dtype: date, nullable: true}
  seen: {dtype: "datetime64[us]", nullable: true}
  price: {dtype: "decimal(25,2)", nullable: true}
  weight: {dtype: float64, nullable: true}
  is_new: {dtype: bool, nullable: true}
  note: {dtype: str, nullable: true}
"""
BIG = 9007199254740993
LAST = (BIG, "0010", date(1969, 12, 31), datetime(1969, 12, 31, 23, 59, 59), Decimal("0.00"), None, True, None)
TYPED = [
    (1, "007", date(2026, 2, 28), datetime(2026, 2, 28, 23, 30), Decimal("2.25"), 0.2, False, 'a, "b" c'),
    (2, "7", None, datetime(2026, 3, 1, 12, 0, 0, 123456), None, None, None, None),
    (3, "007", date(2026, 3, 1), datetime(2026, 2, 28, 22, 30), Decimal("1.10"), 0.1, True, None),
    (4, None, date(2024, 2, 29), None, Decimal("-0.05"), 0.0, True, "Ünïcode"),
    (5, None, date(2024, 2, 29), datetime(2024, 2, 29, 17, 30), Decimal("12345678901234567890.12"), 1e300, False, "ß"),
    LAST,
    LAST,
]
GROUPED = [
    ("0010", 2, Decimal("0.00"), None, BIG, date(1969, 12, 31), None),
    ("007", 2, Decimal("3.35"), 0.15, 3, date(2026, 2, 28), 'a, "b" c'),
    ("7", 1, None, None, 2, None, None),
    (None, 2, Decimal("12345678901234567890.07"), 5e299, 5, date(2024, 2, 29), "ß"),
]
GROUPS = """\
SELECT code, count(*) AS n, sum(price) AS total, avg(weight) AS mean, max(id) AS last, min(day) AS first_day,
       max(note) AS note
FROM raw GROUP BY code
"""


def prepared(folder: Path, engine: Engine, **how: Any) -> pa.Table:
    """The rows of a raw file that an engine has prepared."""
    if engine == "spark":
        installed("spark")
    (folder / "rows.csv").write_text(ROWS)
    (folder / "schema.yaml").write_text(SCHEMA)
    raw = {"source": str(folder / "rows.csv"), "read": {"missing": ["-"]}}
    data = {"source": "prepared", "raw": raw, "schema": str(folder / "schema.yaml"), "prepare": how}
    search = {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}}
    experiment = Experiment.model_validate({"name": "shop", "data": data, "search": search})
    ingest(experiment, folder / "home", {})
    done = prepare(experiment, folder / "home", engine)
    assert done.path is not None and done.prepared is not None
    return pa.concat_tables([pq.read_table(done.path / file, partitioning=None) for file in done.prepared.files])


def same(found: Any, expected: Any) -> bool:
    """Whether a value is the expected one; floats to 1e-9."""
    is_float = isinstance(found, float) and isinstance(expected, float)
    return math.isclose(found, expected, rel_tol=1e-9) if is_float else bool(found == expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("query", "sort", "expected"),
    [("SELECT * FROM raw", [], TYPED), (GROUPS, ["code"], GROUPED)],
    ids=["rows", "groups"],
)
def test_engines_give_the_same_rows(
    tmp_path: Path, engine: Engine, query: str, sort: list[str], expected: list[tuple[Any, ...]]
) -> None:
    table = prepared(tmp_path, engine, sql=query, sort=sort)
    rows = [tuple(row.values()) for row in table.to_pylist()]
    differences = [
        (number, name, found, wanted)
        for number, (row, values) in enumerate(zip(rows, expected, strict=True))
        for name, found, wanted in zip(table.column_names, row, values, strict=True)
        if not same(found, wanted)
    ]
    assert differences == []


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_give_the_same_types(tmp_path: Path, engine: Engine) -> None:
    found = {
        field.name: str(field.type)
        for query in ("SELECT * FROM raw", GROUPS)
        for field in prepared(tmp_path, engine, sql=query).schema
    }
    assert found == {
        **{"id": "int64", "code": "string", "day": "date32[day]", "seen": "timestamp[us]"},
        **{"price": "decimal128(38, 2)", "weight": "double", "is_new": "bool", "note": "string"},
        **{"n": "int64", "total": "decimal128(38, 2)", "mean": "double", "last": "int64", "first_day": "date32[day]"},
    }
