"""Writing a result: the rows, their types and their digest do not depend on the way."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from winnow.config.errors import InputError
from winnow.data.stage.engines.duckdb_engine import wrong_query
from winnow.data.stage.finish import write_sorted

RESULT = """
CREATE TEMP VIEW result AS
SELECT number % 7 AS part, number AS key, sum(number) OVER (ORDER BY number) AS total, number / 3 AS third,
       CAST(number AS DECIMAL(20, 2)) / 4 AS price, CASE WHEN number % 5 > 0 THEN 'ß' || number END AS word,
       TIMESTAMP '2026-01-01' + number * INTERVAL 1 HOUR AS at_hour, number % 2 = 0 AS is_even,
       CASE WHEN number % 3 > 0 THEN 'nan'::DOUBLE ELSE -0.0 END AS odd
FROM range(1000) AS numbers(number)
"""


def test_rows_that_are_stored_before_they_are_sorted_are_the_same(tmp_path: Path) -> None:
    found = []
    for name, unsorted in (("at_once", None), ("stored", tmp_path / "unsorted.parquet")):
        with duckdb.connect() as connection:
            connection.execute(RESULT)
            rows = write_sorted(connection, tmp_path / name, ["part", "key"], [], "query", unsorted=unsorted)
        found.append((rows, pq.read_table(tmp_path / name).to_pydict()))
    assert found[0] == found[1]
    assert found[0][0].rows == 1000


def test_a_query_that_lacks_memory_is_not_called_wrong() -> None:
    error = wrong_query(duckdb.OutOfMemoryException("could not allocate block"), "prepare.sql")
    assert isinstance(error, InputError)
    assert str(error).startswith("prepare.sql: expected a query that DuckDB can run within its memory limit, found")
