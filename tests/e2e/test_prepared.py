"""A sweep trains on the version of prepared rows that is current when its study is made, and keeps it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.sweeps import Sweep


def rows(first: int, last: int) -> str:
    return "id,code,size\n" + "".join(f"{each},{each % 2:03d},{each * 7 % 11}.5\n" for each in range(first, last))


def test_a_study_keeps_its_version_and_says_that_there_is_a_newer_one(tmp_path: Path) -> None:
    raw, schema, query = tmp_path / "raw", tmp_path / "schema.yaml", tmp_path / "prepare.sql"
    raw.mkdir()
    (raw / "a.csv").write_text(rows(0, 60))
    schema.write_text("columns: {id: {dtype: int64}, code: {dtype: str}, size: {dtype: 'decimal(9,1)'}}\n")
    query.write_text("SELECT id, code, size, size * size AS area FROM raw\n")
    data = {
        "source": "prepared",
        "target": "code",
        "drop": ["id"],
        "schema": str(schema),
        "raw": {"source": str(raw)},
        "prepare": {"sql": str(query), "sort": ["id"]},
    }
    sweep = Sweep(tmp_path, "quick", data=data)
    first = _prepared(sweep)
    assert sweep.run("--trials", "1").returncode == 0
    assert sweep.store.header.sweep.lineage["winnow.data.version"] == first
    (raw / "b.csv").write_text(rows(60, 70))
    second = _prepared(sweep)
    resumed = sweep.run("--trials", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert f"study a-study: keeps version {first} of the prepared rows; version {second} is newer" in resumed.stderr
    assert sweep.store.header.sweep.data_rows == 60
    assert len(sweep.store.trials()) == 2


def _prepared(sweep: Sweep) -> str:
    """The version that raw rows become."""
    ingested = sweep.run(verb="ingest")
    assert ingested.returncode == 0, ingested.stderr
    found = sweep.run("--json", verb="prepare")
    assert found.returncode == 0, found.stderr
    return str(json.loads(found.stdout)["prepared"]["digest"][:12])
