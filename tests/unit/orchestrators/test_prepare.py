"""Prepared rows become versions that say what they are made from; a failure leaves the version before."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from winnow.cli import winnow
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Engine, Experiment
from winnow.config.settings import Settings
from winnow.data.stage.versions import Prepared, RawColumn, current_version, prepared_folder, raw_folder
from winnow.data.tables import read_table
from winnow.orchestrators.data_source import resolve_source
from winnow.orchestrators.ingest import ingest
from winnow.orchestrators.prepare import Preparation, prepare
from winnow.orchestrators.validate import validate

SEARCH = {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}}
ROWS = "id,code,year\n" + "".join(f"{number},{number % 3:03d},{2024 + number % 2}\n" for number in (4, 2, 1, 3))
SCHEMA = "columns:\n  id: {dtype: int64, unique: true}\n  code: {dtype: str}\n  year: {dtype: int64}\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.csv").write_text(ROWS)
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    return tmp_path


def shop(*, raw: bool = True, **how: Any) -> Experiment:
    data: dict[str, Any] = {"source": "prepared", "target": "code", "schema": "schema.yaml"}
    data |= {"raw": {"source": "rows/*.csv"}} if raw else {}
    data |= {"prepare": how} if how else {}
    return Experiment.model_validate({"name": "shop", "data": data, "search": SEARCH})


def prepared(experiment: Experiment, engine: Engine | None = None, *, dry_run: bool = False) -> Preparation:
    return prepare(experiment, Path("home"), engine, {}, dry_run=dry_run)


def ingested(experiment: Experiment) -> Experiment:
    ingest(experiment, Path("home"), {})
    return experiment


def rows_of(done: Preparation) -> list[tuple[Any, ...]]:
    assert done.path is not None and done.prepared is not None
    tables = [pq.read_table(done.path / file, partitioning=None).to_pylist() for file in done.prepared.files]
    return [tuple(row.values()) for table in tables for row in table]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_rows_are_typed_sorted_and_described() -> None:
    done = prepared(ingested(shop(sql="SELECT code, id FROM raw", sort=["id"])))
    assert rows_of(done) == [("001", 1), ("002", 2), ("000", 3), ("001", 4)]
    assert done.state == "new" and done.prepared is not None and done.path is not None
    raw = current_raw()
    assert (done.prepared.rows, done.prepared.columns, done.prepared.files, done.prepared.inputs.raw) == (
        4,
        (RawColumn("code", "string"), RawColumn("id", "int64")),
        ("part-00000.parquet",),
        raw,
    )
    assert done.path == Path("home/data/shop/prepared") / done.prepared.digest[:12]
    assert json.loads((done.path / "prepared.json").read_text())["inputs"]["engine"].startswith("duckdb ")


def current_raw() -> str:
    return (raw_folder(Path("home"), "shop") / "current").read_text().strip()


def test_rows_without_a_sort_are_ordered_by_all_columns() -> None:
    assert rows_of(prepared(ingested(shop(sql="SELECT code, year FROM raw")))) == [
        ("000", 2025),
        ("001", 2024),
        ("001", 2025),
        ("002", 2024),
    ]


def test_the_same_inputs_compute_nothing() -> None:
    experiment = ingested(shop(sql="SELECT * FROM raw"))
    first = prepared(experiment)
    before = contents(Path("home"))
    assert prepared(experiment) == Preparation("unchanged", first.inputs, first.path, first.prepared)
    assert contents(Path("home")) == before


def test_another_query_with_the_same_rows_makes_no_new_version() -> None:
    first = prepared(ingested(shop(sql="SELECT * FROM raw")))
    again = prepared(shop(sql="SELECT * FROM raw WHERE id > 0"))
    assert (again.state, again.path) == ("unchanged", first.path)
    assert prepared(shop(sql="SELECT * FROM raw WHERE id > 0")).inputs == again.inputs != first.inputs


def test_new_raw_rows_make_a_new_version_of_which_three_stay(project: Path) -> None:
    experiment = shop(sql="SELECT * FROM raw")
    versions = []
    for number in range(5, 9):
        (project / "rows" / f"{number}.csv").write_text(f"id,code,year\n{number},9,2024\n")
        versions.append(prepared(ingested(experiment)).path)
    folder = prepared_folder(Path("home"), "shop")
    assert {path for path in folder.iterdir() if path.is_dir()} == set(versions[1:])
    assert current_version(folder, Prepared) is not None


def test_a_dry_run_writes_nothing() -> None:
    experiment = ingested(shop(sql="SELECT * FROM raw"))
    before = contents(Path("home"))
    assert prepared(experiment, dry_run=True).state == "planned"
    assert contents(Path("home")) == before


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"sql": "SELECT id\nFORM raw"}, "data.prepare.sql: expected a query that DuckDB can run, found 'Parser Error"),
        ({"sql": "SELECT id\nFORM raw"}, "in line 2: FORM raw'"),
        ({"sql": "broken.sql"}, "broken.sql: expected a query that DuckDB can run"),
        ({"sql": "missing.sql"}, "data.prepare.sql: expected a text file at"),
        ({"sql": "SELECT sum(price) FROM raw"}, 'Referenced column "price" not found'),
        ({"sql": "DROP VIEW raw"}, "expected one query over the table `raw`, found DROP"),
        ({"sql": "SELECT * FROM read_csv('rows/a.csv')"}, "Read the table `raw` alone"),
        ({"sql": "SELECT CAST(code || 'x' AS INT) AS c FROM raw"}, "Could not convert string '001x' to INT32"),
        ({"sql": "SELECT [id] AS ids FROM raw"}, "in column 'ids', found values of DuckDB's type BIGINT[]"),
        ({"sql": "SELECT id * 1e30::HUGEINT AS id FROM raw"}, "out of range for the destination type INT64"),
        ({"sql": "SELECT * FROM raw WHERE id > 9"}, "expected at least one row, found none"),
        ({"sql": "SELECT * FROM raw", "sort": ["ID"]}, "data.prepare.sort: expected columns of the result, found 'ID'"),
        (
            {"sql": "SELECT * FROM raw", "sort": ["code"]},
            "expected columns that no two rows share, in code, found several rows with code = 001.",
        ),
        ({"sql": "SELECT * FROM raw", "partition_by": ["month"]}, "data.prepare.partition_by: expected columns of the"),
        ({"sql": {"spark": "SELECT 1"}}, "expected a query or a function for the engine duckdb, found one for spark"),
        ({"function": "steps.py:nothing"}, "expected a function 'nothing' in steps.py"),
        ({"function": "steps.py:fails"}, "found KeyError: 'x' (steps.py, line 2). Correct the function."),
        ({"function": "steps.py:number"}, "expected a relation of DuckDB from steps.py:number, found a value of type"),
        ({"sql": "SELECT * FROM raw", "schema": "few.yaml"}, "few.yaml: expected prepared rows that fit it, found"),
        ({"sql": "SELECT * FROM raw", "schema": "few.yaml"}, "violations of 'less_than: 3' of 'id' in 2 rows (3, 4"),
    ],
)
def test_a_failure_leaves_the_version_before(project: Path, how: dict[str, Any], said: str) -> None:
    (project / "broken.sql").write_text("SELEC 1")
    (project / "few.yaml").write_text("columns: {id: {dtype: int64, lt: 3}}\n")
    (project / "steps.py").write_text("def fails(raw):\n    raise KeyError('x')\n\n\ndef number(raw):\n    return 1\n")
    prepared(ingested(shop(sql="SELECT * FROM raw")))
    before = contents(Path("home"))
    with pytest.raises(InputError) as caught:
        prepared(shop(**how))
    assert said in str(caught.value)
    assert contents(Path("home")) == before


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT id FORM raw", "data.prepare.sql: expected rows that Polars can compute, found 'sql parser error"),
        ("SELECT price FROM raw", 'unable to find column "price"'),
        ("SELECT CAST(code || 'x' AS INT) AS c FROM raw", "conversion from `str` to `i32` failed"),
        ("DROP TABLE raw", "expected a query that DuckDB can run"),
    ],
)
def test_polars_says_what_is_wrong_with_a_query(sql: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        prepared(ingested(shop(sql=sql)), "polars")
    assert said in str(caught.value)
    assert list(prepared_folder(Path("home"), "shop").iterdir()) == []


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        (shop(), "data.prepare: expected a section `prepare`, found none"),
        (shop(sql="SELECT 1", raw=False), "data.raw: expected a section `raw`, found none"),
        (shop(sql="SELECT 1"), "found none. Copy them first: `winnow ingest`."),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(experiment: Experiment, said: str) -> None:
    with pytest.raises(InputError) as caught:
        prepared(experiment)
    assert said in str(caught.value)
    assert not Path("home").exists()


def test_raw_rows_that_violate_their_schema_are_refused(project: Path) -> None:
    (project / "rows" / "b.csv").write_text("id,code,year\nx,1,2024\n4,1,2024\n")
    with pytest.raises(InputError) as caught:
        prepared(ingested(shop(sql="SELECT * FROM raw")))
    assert str(caught.value) == (
        "schema.yaml: expected raw rows that fit it, found violations of 'dtype: int64' of 'id' in 1 row (5; the first "
        "is 'x'); violations of 'unique' of 'id' in 1 row (6; the first is '4'). Correct the source or the schema; "
        "`winnow validate` lists all."
    )
    assert not prepared_folder(Path("home"), "shop").exists()


def test_a_sorted_result_may_have_one_row() -> None:
    done = prepared(ingested(shop(sql="SELECT count(*) AS n FROM raw", sort=["n"])))
    assert done.prepared is not None and done.prepared.rows == 1


def test_raw_columns_that_differ_in_capitals_are_refused(project: Path) -> None:
    (project / "rows" / "a.csv").write_text("code,Code\n1,2\n")
    with pytest.raises(InputError) as caught:
        prepared(ingested(shop(sql="SELECT * FROM raw")))
    assert (caught.value.place, caught.value.found) == ("data.raw.source", "'code' and 'Code'")


def test_a_damaged_raw_file_says_how_to_get_it_again() -> None:
    experiment = ingested(shop(sql="SELECT * FROM raw"))
    file = raw_folder(Path("home"), "shop") / current_raw() / "part-00000.parquet"
    file.write_bytes(b"PAR1")
    with pytest.raises(InputError) as caught:
        prepared(experiment)
    assert caught.value.place == "data.raw.source"
    assert caught.value.remedy == f"Remove the folder {file.parent}, and copy them again: `winnow ingest`."


def test_rows_that_were_found_valid_are_not_checked_again() -> None:
    experiment = ingested(shop(sql="SELECT * FROM raw"))
    validate(experiment, Path("home"), None, None)
    kept = raw_folder(Path("home"), "shop") / current_raw() / "valid"
    before = kept.stat().st_mtime_ns
    prepared(experiment)
    assert kept.stat().st_mtime_ns == before


def test_partitions_are_read_back_as_columns() -> None:
    done = prepared(ingested(shop(sql="SELECT * FROM raw", sort=["id"], partition_by=["year", "code"])))
    assert done.prepared is not None and done.path is not None
    assert done.prepared.files == (
        "year=2024/code=001/part-00000.parquet",
        "year=2024/code=002/part-00000.parquet",
        "year=2025/code=000/part-00000.parquet",
        "year=2025/code=001/part-00000.parquet",
    )
    read = read_table(DataConfig.model_validate({"source": str(done.path)})).frame
    assert read.to_dict("list") == {
        "id": [4, 2, 3, 1],
        "year": [2024, 2024, 2025, 2025],
        "code": ["001", "002", "000", "001"],
    }


@pytest.mark.parametrize(
    ("engine", "text"),
    [
        ("duckdb", "def steps(raw):\n    return raw.filter('id > 1')\n"),
        ("polars", "import polars as pl\n\n\ndef steps(raw):\n    return raw.filter(pl.col('id') > 1)\n"),
    ],
)
def test_a_function_prepares_rows_and_its_changed_file_prepares_them_anew(
    project: Path, engine: Engine, text: str
) -> None:
    (project / f"{engine}_steps.py").write_text(text)
    experiment = ingested(shop(function=f"{engine}_steps.py:steps", sort=["id"]))
    done = prepared(experiment, engine)
    assert [row[0] for row in rows_of(done)] == [2, 3, 4]
    (project / f"{engine}_steps.py").write_text(f"{text}# other\n")
    assert prepared(experiment, engine, dry_run=True).state == "planned"


def test_an_engine_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(InputError) as caught:
        prepared(ingested(shop(sql="SELECT * FROM raw")), "polars")
    assert str(caught.value) == (
        "data.prepare.engine: expected an engine that is installed, found polars, which is not. "
        "Install it: `pip install 'winnow[polars]'`."
    )


def test_a_sweep_gets_the_current_version_with_its_lineage(project: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(project / "home")})
    experiment = ingested(shop(sql="SELECT * FROM raw"))
    with pytest.raises(InputError, match="Prepare them first: `winnow prepare`"):
        resolve_source(experiment, settings)
    done = prepared(experiment)
    assert done.prepared is not None
    found, lineage = resolve_source(experiment, settings)
    version = done.prepared.version
    assert found.data.source == str(project / "home" / "data" / "shop" / "prepared" / version / "part-00000.parquet")
    assert {name: value for name, value in lineage.items() if name != "winnow.data.recipe"} == {
        "winnow.data.source": "prepared",
        "winnow.data.version": version,
        "winnow.data.raw": current_raw(),
        "winnow.data.engine": done.inputs.engine,
    }
    assert len(lineage["winnow.data.recipe"]) == 12


def test_a_sweep_refuses_rows_of_another_query(project: Path) -> None:
    prepared(ingested(shop(sql="SELECT * FROM raw")))
    settings = Settings.from_environment({"WINNOW_HOME": str(project / "home")})
    with pytest.raises(InputError, match="which was prepared before it changed"):
        resolve_source(shop(sql="SELECT id, code FROM raw"), settings)


def test_the_verb_shows_the_version_as_text_and_as_json(project: Path) -> None:
    content = shop(sql="SELECT id, code FROM raw").model_dump(mode="json", by_alias=True, exclude_unset=True)
    (project / "shop.yaml").write_text(json.dumps(content))
    environment = {"WINNOW_HOME": str(project / "home")}
    ingested(shop())
    found = CliRunner().invoke(winnow, ["prepare", "--config", "shop.yaml"], env=environment)
    raw, engine = current_raw(), f"duckdb {duckdb.__version__}"
    [version] = [path for path in prepared_folder(project / "home", "shop").iterdir() if path.is_dir()]
    assert found.output.splitlines() == [
        f"computed: raw version {raw} by {engine}",
        f"new version {version.name}: 4 rows, 2 columns",
        "  id: int64",
        "  code: string",
        f"  in {version}",
    ]
    again = CliRunner().invoke(winnow, ["prepare", "--config", "shop.yaml", "--json"], env=environment)
    assert json.loads(again.output)["state"] == "unchanged"
