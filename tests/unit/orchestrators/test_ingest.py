"""Raw data become versions of Parquet parts: nothing is guessed, nothing is read twice, and failures change nothing."""

from __future__ import annotations

import gzip
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.unit.data.s3_bucket import s3_bucket
from winnow.cli import winnow
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Experiment
from winnow.data.sources import load_data
from winnow.data.stage.row_digest import digest_of_rows
from winnow.data.stage.versions import Ingested, RawColumn, current_version, raw_folder
from winnow.orchestrators.ingest import Ingestion, ingest

SEARCH = {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}}


def read(home: Path, source: Any, *, dry_run: bool = False, **raw: Any) -> Ingestion:
    data = {"source": "sklearn:iris", "raw": {"source": source, **raw}}
    experiment = Experiment.model_validate({"name": "shop", "data": data, "search": SEARCH})
    return ingest(experiment, home, {"PW": "s3cret"}, dry_run=dry_run)


def rows_of(done: Ingestion) -> list[dict[str, Any]]:
    assert done.path is not None and done.ingested is not None
    parts = [pq.read_table(done.path / part.file) for part in done.ingested.parts]
    rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    return rows


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "a.csv").write_text("id,code\n1,007\n2,\n")
    return folder


# Files


def test_columns_of_csv_files_stay_text(home: Path, rows: Path) -> None:
    (rows / "b.csv").write_text("code;id\n1.0;3\n?;NA\n")
    done = read(home, str(rows), read={"missing": ["?"]})
    assert done.ingested is not None
    assert done.ingested.columns == (RawColumn("id", "string"), RawColumn("code", "string"))
    assert rows_of(done) == [
        {"id": "1", "code": "007"},
        {"id": "2", "code": None},
        {"id": "3", "code": "1.0"},
        {"id": "NA", "code": None},
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_texts_are_those_of_the_file(home: Path, tmp_path: Path, encoding: str) -> None:
    text = 'id,note\r\n1,"é, ""x""\r\n"\r\n\r\n2,""\r\n3,' + "z" * 100_000 + "\r\n"
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(text.encode(encoding), 1))
    notes = [row["note"] for row in rows_of(read(home, str(tmp_path / "rows.csv.gz"), read={"encoding": encoding}))]
    assert notes == ['é, "x"\r\n', None, "z" * 100_000]


@pytest.mark.parametrize("write", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_are_read_with_plain_types(home: Path, tmp_path: Path, write: Any) -> None:
    table = pa.table(
        {"kind": pa.array(["a", None, "a"]).dictionary_encode(), "text": pa.array(["x", "", None], pa.large_string())}
    )
    with write(tmp_path / "rows.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    done = read(home, str(tmp_path / "rows.arrow"))
    assert done.ingested is not None
    assert [column.type for column in done.ingested.columns] == ["string", "string"]
    assert rows_of(done) == table.to_pylist()


def test_the_same_input_twice_changes_nothing(home: Path, rows: Path) -> None:
    first = read(home, str(rows))
    before = files_in(home)
    again = read(home, str(rows))
    assert (first.state, first.read, first.kept) == ("new", (str(rows / "a.csv"),), 0)
    assert again == Ingestion("unchanged", (), 1, first.path, first.ingested)
    assert files_in(home) == before


def test_only_new_and_changed_files_are_read(home: Path, rows: Path) -> None:
    for name in ("b", "c"):
        (rows / f"{name}.csv").write_text(f"id,code\n{name},1\n")
    read(home, str(rows))
    (rows / "b.csv").write_text("id,code\nchanged,1\n")
    (rows / "d.csv").write_text("id,code\nnew,1\n")
    done = read(home, str(rows))
    assert (done.read, done.kept) == ((str(rows / "b.csv"), str(rows / "d.csv")), 2)
    assert [row["id"] for row in rows_of(done)] == ["1", "2", "changed", "c", "new"]


def test_the_rows_of_a_removed_file_are_gone_from_the_next_version(home: Path, rows: Path) -> None:
    (rows / "b.csv").write_text("id,code\n3,1\n")
    read(home, str(rows))
    (rows / "a.csv").unlink()
    done = read(home, str(rows))
    assert (done.state, done.read, rows_of(done)) == ("new", (), [{"id": "3", "code": "1"}])


def test_a_touched_file_is_read_once_and_makes_no_version(home: Path, rows: Path) -> None:
    first = read(home, str(rows))
    os.utime(rows / "a.csv", ns=(1, 1))
    states = [(done.state, done.kept, done.path) for done in (read(home, str(rows)), read(home, str(rows)))]
    assert states == [("unchanged", 0, first.path), ("unchanged", 1, first.path)]


def test_another_way_of_reading_reads_every_file_again(home: Path, rows: Path) -> None:
    read(home, str(rows))
    done = read(home, str(rows), read={"missing": ["007"]})
    assert (done.state, done.kept, rows_of(done)[0]) == ("new", 0, {"id": "1", "code": None})


def test_rows_have_the_same_version_in_one_file_and_in_several(home: Path, rows: Path, tmp_path: Path) -> None:
    (rows / "b.csv").write_text("id,code\n3,1\n")
    (tmp_path / "whole.csv").write_text("id,code\n1,007\n2,\n3,1\n")
    first = read(home, str(rows))
    done = read(home, str(tmp_path / "whole.csv"))
    assert (done.state, done.path) == ("unchanged", first.path)


def test_types_of_parquet_files_are_kept_and_widened(home: Path, tmp_path: Path) -> None:
    day = datetime(2026, 1, 2)
    pq.write_table(pa.table({"n": pa.array([1], pa.int32()), "at": [day], "x": [None]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": [0.5], "n": pa.array([2**40]), "at": [day]}), tmp_path / "b.parquet")
    done = read(home, [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")])
    assert done.ingested is not None
    assert done.ingested.columns == (
        RawColumn("n", "int64"),
        RawColumn("at", "timestamp[us]"),
        RawColumn("x", "double"),
    )
    assert rows_of(done) == [{"n": 1, "at": day, "x": None}, {"n": 2**40, "at": day, "x": 0.5}]


def test_folders_give_their_rows_a_column(home: Path, tmp_path: Path) -> None:
    for year in ("2025", "__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / "rows" / f"year={year}").mkdir(parents=True)
        (tmp_path / "rows" / f"year={year}" / "x.csv").write_text("id\n1\n")
    assert rows_of(read(home, str(tmp_path / "rows"))) == [{"id": "1", "year": "2025"}, {"id": "1", "year": None}]


def test_a_version_is_trained_on_as_its_files_are(home: Path, rows: Path) -> None:
    lines = [f"{row % 7}.5,{'ab'[row % 2]},{row % 3},{'' if row % 5 else 'yes'}\n" for row in range(40)]
    (rows / "a.csv").write_text("".join(["size,kind,y,note\n", *lines]))
    done = read(home, str(rows))
    digests = [load_data(DataConfig(source=str(path), target="y")).sha256 for path in (rows / "a.csv", done.path)]
    assert digests[0] == digests[1]


def test_three_versions_are_kept(home: Path, rows: Path) -> None:
    paths = []
    for number in range(5):
        (rows / "a.csv").write_text(f"id,code\n{'1' * (number + 1)},0\n")
        paths.append(read(home, str(rows)).path)
    assert {path for path in paths if path is not None and path.exists()} == set(paths[2:])


def test_rows_that_come_back_have_their_old_version(home: Path, rows: Path) -> None:
    first = read(home, str(rows))
    (rows / "b.csv").write_text("id,code\n3,1\n")
    read(home, str(rows))
    (rows / "b.csv").unlink()
    done = read(home, str(rows))
    assert (done.state, done.path, rows_of(done)[0]["id"]) == ("new", first.path, "1")


def test_a_version_with_a_part_that_was_cut_off_is_read_again(home: Path, rows: Path) -> None:
    before = read(home, str(rows))
    assert before.path is not None
    whole = rows_of(before)
    part = before.path / "part-00000.parquet"
    content = part.read_bytes()
    part.unlink()  # other versions may have links to the same file
    part.write_bytes(content[:-20])

    assert rows_of(read(home, str(rows))) == whole


@pytest.mark.parametrize("file", ["part-00000.parquet", "ingested.json", "../current"])
def test_a_version_with_a_lost_file_is_read_again(home: Path, rows: Path, file: str) -> None:
    first = read(home, str(rows))
    assert first.path is not None
    before = files_in(home)
    (first.path / file).unlink()
    assert read(home, str(rows)) == first
    assert files_in(home) == before


def test_a_description_of_another_form_is_written_again(home: Path, rows: Path) -> None:
    first = read(home, str(rows))
    assert first.path is not None
    before = files_in(home)
    (first.path / "ingested.json").write_text('{"digest": "0"}')
    assert read(home, str(rows)) == first
    assert files_in(home) == before


def test_a_dry_run_creates_nothing(home: Path, rows: Path) -> None:
    assert read(home, str(rows), dry_run=True) == Ingestion("planned", (str(rows / "a.csv"),), 0, None, None)
    assert not home.exists()


# Failures


def test_types_of_the_schema_are_kept_beside_those_of_the_parts(home: Path, rows: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.yaml"
    data = {"source": "sklearn:iris", "raw": {"source": str(rows / "a.csv")}, "schema": str(schema)}
    experiment = Experiment.model_validate({"name": "shop", "data": data, "search": SEARCH})
    before = ingest(experiment, home, {})
    schema.write_text("columns: {id: {dtype: int64}, code: {}, other: {dtype: str, required: false}}\n")
    after = ingest(experiment, home, {})
    assert before.ingested is not None and after.ingested is not None
    assert (before.ingested.dtypes, after.ingested.dtypes) == ({}, {"id": "int64"})
    assert (after.state, after.path) == ("unchanged", before.path)
    assert current_version(raw_folder(home, "shop"), Ingested) == (after.path, after.ingested)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"id\n3\n", "no column 'code' in"),
        (b"id,code,x\n3,1,2\n", "'x' too in"),
        (b"id,code\n3\n", "1 field in line 2 for a header of 2"),
        (b"id,code\n\xe9,1\n", "the byte 0xe9"),
        (b"id,\n3,1\n", "none for column 2"),
        (b"id,id\n3,1\n", "two columns named 'id'"),
        (b"", "an empty file"),
    ],
)
def test_a_damaged_file_leaves_the_current_version(home: Path, rows: Path, content: bytes, found: str) -> None:
    read(home, str(rows))
    before = files_in(home)
    (rows / "b.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(home, str(rows))
    assert (caught.value.place, found in caught.value.found) == ("data.raw.source", True)
    assert files_in(home) == before


@pytest.mark.parametrize(
    ("source", "raw", "place", "found"),
    [
        ("none.csv", {}, "data.raw.source", "no such file"),
        ("sklearn:iris", {}, "data.raw.source", "'sklearn:iris'"),
        (["rows", "sqlite:shop.db"], {}, "data.raw.source", "2 sources"),
        (["rows/a.csv", "rows/*.csv"], {}, "data.raw.source", "rows/a.csv twice"),
        ("rows", {"by": "id"}, "data.raw.by", "it for files"),
        ("rows", {"query": "SELECT 1"}, "data.raw.query", "it for files"),
        ("sqlite:shop.db", {"read": {"encoding": "cp1252"}}, "data.raw.read.encoding", "it for a database"),
        ("postgresql://me:${OTHER}@host/db", {}, "data.raw.source", "that the variable is not set"),
    ],
)
def test_what_cannot_be_read_creates_nothing(
    source: Any, raw: Any, place: str, found: str, home: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(rows.parent)
    with pytest.raises(InputError) as caught:
        read(home, source, **raw)
    assert (caught.value.place, caught.value.found) == (place, found)
    assert not home.exists()


def test_what_a_killed_process_left_is_removed(home: Path, rows: Path) -> None:
    first = read(home, str(rows))
    before = files_in(home)
    draft = raw_folder(home, "shop") / ".draft"
    draft.mkdir()
    (draft / "part-00000.parquet").write_bytes(b"PAR1")
    (rows / "a.csv").touch()
    assert (read(home, str(rows)).path, set(files_in(home))) == (first.path, set(before))


def test_raw_data_are_no_part_of_what_a_study_computes() -> None:
    experiments = [
        Experiment.model_validate({"name": "shop", "data": {"source": "sklearn:iris", "raw": raw}, "search": SEARCH})
        for raw in (None, {"source": "rows/"})
    ]
    assert experiments[0].definition() == experiments[1].definition()


def test_sources_without_rows_are_refused(home: Path, rows: Path) -> None:
    (rows / "a.csv").write_text("id,code\n")
    with pytest.raises(InputError, match="expected rows, found none"):
        read(home, str(rows))
    assert files_in(home) == {}


# Databases


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    connection.execute("CREATE TABLE sales (id INTEGER, at TEXT, price REAL)")
    connection.execute("INSERT INTO sales VALUES (2, '10:30', NULL), (1, '10:15', NULL)")
    yield connection
    connection.close()


QUERY = "SELECT * FROM sales WHERE at LIKE '1%' AND at > '10:00';"


def test_only_rows_above_the_last_value_are_read(home: Path, database: sqlite3.Connection, tmp_path: Path) -> None:
    source = f"sqlite:{tmp_path}/shop.db"
    first = read(home, source, query=QUERY, by="id")
    database.execute("DELETE FROM sales WHERE id = 1")  # what was read is not read again
    database.execute("INSERT INTO sales VALUES (3, '11:00', 0.5)")
    done = read(home, source, query=QUERY, by="id")
    again = read(home, source, query=QUERY, by="id")
    assert first.ingested is not None and done.ingested is not None
    assert (first.ingested.watermark, done.ingested.watermark, done.ingested.columns[2].type) == ("2", "3", "double")
    assert [row["id"] for row in rows_of(done)] == [1, 2, 3]
    assert (again.state, again.ingested) == ("unchanged", done.ingested)


def test_without_a_column_all_rows_are_read_each_time(home: Path, database: sqlite3.Connection, tmp_path: Path) -> None:
    read(home, f"sqlite:{tmp_path}/shop.db", query="sales")
    database.execute("DELETE FROM sales WHERE id = 1")
    assert [row["id"] for row in rows_of(read(home, f"sqlite:{tmp_path}/shop.db", query="sales"))] == [2]


def test_a_column_whose_type_has_changed_in_the_database_is_refused(
    home: Path, database: sqlite3.Connection, tmp_path: Path
) -> None:
    read(home, f"sqlite:{tmp_path}/shop.db", query="sales", by="id")
    database.execute("DROP TABLE sales")
    database.execute("CREATE TABLE sales (id INTEGER, at INTEGER, price REAL)")
    database.execute("INSERT INTO sales VALUES (3, 5, 0.5)")
    before = files_in(home)
    with pytest.raises(InputError, match=r"found int64 in sqlite:.* and string in the rows before"):
        read(home, f"sqlite:{tmp_path}/shop.db", query="sales", by="id")
    assert files_in(home) == before


@pytest.mark.parametrize(
    ("query", "by", "place", "found"),
    [
        ("sales", "ID2", "data.raw.by", "'ID2'"),
        ("sales", "price", "data.raw.by", "a null"),
        ("SELECT 1 AS a UNION ALL SELECT 'x'", None, "data.raw.query", "'tried to convert to int64'"),
        ("sale", None, "data.raw.query", "'sale'"),
        (None, None, "data.raw.query", "nothing"),
    ],
)
def test_a_query_that_gives_no_table_is_refused(
    query: str | None, by: str | None, place: str, found: str, home: Path, database: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        read(home, f"sqlite:{tmp_path}/shop.db", query=query, by=by)
    assert caught.value.place == place
    assert found.strip("'") in caught.value.found
    assert files_in(home) == {}


# URLs


@pytest.fixture
def serve() -> Iterator[Callable[[bytes, int], str]]:
    """Serves content at a URL, with a length that may be more than there is."""
    servers = []

    def start(content: bytes, length: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/rows.csv"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_url_is_copied(home: Path, serve: Callable[[bytes, int], str]) -> None:
    done = read(home, serve(b"id\n1\n2\n", 7))
    assert rows_of(done) == [{"id": "1"}, {"id": "2"}]


def test_a_transfer_that_breaks_off_is_refused(home: Path, serve: Callable[[bytes, int], str]) -> None:
    with pytest.raises(InputError, match="broke off 3 bytes before its end"):
        read(home, serve(b"id\n1\n2\n", 10))
    assert files_in(home) == {}


def test_objects_of_s3_are_read_only_when_they_have_changed(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_bucket(tmp_path, "exports", monkeypatch) as bucket:
        for name in ("a", "b"):
            (bucket / f"{name}.csv").write_text(f"id\n{name}\n")
        read(home, "s3://exports/*.csv")
        (bucket / "b.csv").write_text("id\nB\n")
        done = read(home, "s3://exports/*.csv")
    assert (done.read, done.kept) == (("s3://exports/b.csv",), 1)
    assert [row["id"] for row in rows_of(done)] == ["a", "B"]


def test_files_of_fsspec_are_read_only_when_they_have_changed(home: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for name in ("a", "b"):
        store.pipe(f"/winnow-ingest/{name}.csv", f"id\n{name}\n".encode())
    first = read(home, "memory://winnow-ingest/*.csv")
    store.pipe("/winnow-ingest/b.csv", b"id\nchanged\n")
    done = read(home, "memory://winnow-ingest/*.csv")
    assert [row["id"] for row in rows_of(first)] == ["a", "b"]
    assert (done.read, done.kept) == (("memory:///winnow-ingest/b.csv",), 1)


# The digest


def test_the_digest_depends_on_rows_and_types_and_not_on_batches() -> None:
    table = pa.table(
        {
            "n": [1, None, 3, 4],
            "text": ["a", "", None, "bc"],
            "flag": [True, None, False, True],
            "list": [["x"], [], None, ["y", None]],
            "both": [{"a": 1, "b": "u"}, None, {"a": None, "b": "v"}, {"a": 2, "b": ""}],
        }
    )

    def digest(given: pa.Table, rows: int) -> tuple[str, int]:
        return digest_of_rows(given.schema, given.to_batches(max_chunksize=rows))

    assert digest(table, 1) == digest(table, 3) == digest(table, 4)
    others = [
        table.take([1, 0, 2, 3]),
        table.set_column(1, "text", pa.array([None, "", "a", "bc"])),
        table.set_column(1, "text", pa.array(["ab", "", None, "c"])),
        table.set_column(0, "n", pa.array([1, None, 3, 4], pa.int32())),
        table.rename_columns(["m", "text", "flag", "list", "both"]),
        table.set_column(3, "list", pa.array([["x"], ["y"], None, [None]])),
    ]
    assert len({digest(each, 4)[0] for each in [table, *others]}) == 1 + len(others)


# The verb


def test_the_verb_says_what_was_read(home: Path, rows: Path, tmp_path: Path) -> None:
    config = tmp_path / "shop.yaml"
    config.write_text(
        f"name: shop\ndata: {{source: 'sklearn:iris', raw: {{source: {rows}}}}}\n"
        "search: {space: {lr: {float: [0.1, 0.2]}}, trials: 1, metric: f1}\n"
    )
    done = CliRunner().invoke(winnow, ["ingest", "--config", str(config)], env={"WINNOW_HOME": str(home)})
    assert (done.exit_code, done.stderr) == (0, "")
    current = current_version(raw_folder(home, "shop"), Ingested)
    assert current is not None
    assert done.stdout.splitlines() == [
        f"read: {rows / 'a.csv'}",
        f"new version {current[1].version}: 2 rows, 2 columns",
        "  id: string",
        "  code: string",
        f"  in {current[0]}",
    ]
