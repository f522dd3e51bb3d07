"""Tables as they are: dialects of CSV, several files, Parquet, Arrow, databases and URLs give the same rows."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, ReadConfig
from winnow.data.dataset import DataSet
from winnow.data.sources import load_data
from winnow.data.table_files import local_files
from winnow.data.tables import read_table

ROWS = 60
FRAME = pd.DataFrame(
    {
        "size": np.linspace(0, 1, ROWS).round(3) + 0.25,
        "count": np.arange(ROWS) % 7,
        "place": [["Köln", "Paris", "Rome"][row % 3] for row in range(ROWS)],
        "outcome": ["good" if row % 2 else "bad" for row in range(ROWS)],
    }
)


def load(source: str | list[str], **config: Any) -> DataSet:
    return load_data(DataConfig(source=source, target="outcome", **config))


def refused(source: str | list[str], **config: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        load(source, **config)
    return caught.value


def csv_text(**how: Any) -> str:
    return FRAME.to_csv(index=False, **how)


@pytest.fixture
def expected(tmp_path: Path) -> str:
    """The digest of FRAME from a plain CSV file."""
    path = tmp_path / "plain.csv"
    path.write_text(csv_text(), encoding="utf-8")
    return load(str(path)).sha256


# Dialects of CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_the_delimiter_and_a_decimal_comma_are_recognized(
    delimiter: str, decimal: str, tmp_path: Path, expected: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(sep=delimiter, decimal=decimal), encoding="utf-8")
    given = {"decimal": decimal} if delimiter == decimal else {}
    assert load(str(path), read=given).sha256 == expected


@pytest.mark.parametrize(
    ("delimiter", "read"), [("#", {"delimiter": "#"}), (";", {"delimiter": ";"}), ("\t", {"delimiter": "tab"})]
)
def test_a_delimiter_that_is_set_is_taken(delimiter: str, read: dict[str, str], tmp_path: Path, expected: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(sep=delimiter), encoding="utf-8")
    assert load(str(path), read=read).sha256 == expected


def test_a_comma_in_quotes_does_not_separate(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('"a;b";y\n' + "".join(f'"{row % 3};x, z, w";{row % 2}\n' for row in range(20)))
    frame = read_table(DataConfig(source=str(path), target="y")).frame
    assert (list(frame.columns), frame["a;b"][1]) == (["a;b", "y"], "1;x, z, w")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16"])
def test_an_encoding_that_is_set_is_taken(encoding: str, tmp_path: Path, expected: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(), encoding=encoding)
    assert load(str(path), read={"encoding": encoding}).sha256 == expected


@pytest.mark.parametrize(("written", "named", "remedy"), [("cp1252", "utf-8", "cp1252"), ("utf-16", "utf-8", "utf-16")])
def test_bytes_of_another_encoding_are_told_with_its_name(
    written: str, named: str, remedy: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(), encoding=written)
    error = refused(str(path), read={"encoding": named})
    assert "which is not UTF-8" in error.found
    assert f"data.read: {{encoding: {remedy}}}" in error.remedy


def test_more_texts_may_stand_for_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,y\n" + "?,0\n-999,1\n" + "1.5,0\n2.5,1\n" * 9)
    frame = read_table(DataConfig(source=str(path), target="y", read=ReadConfig(missing=("?", "-999")))).frame
    assert frame["a"].isna().tolist() == [True, True] + [False] * 18
    assert frame["a"].dtype == "Float64"


def test_a_target_with_decimal_commas_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a;price\n" + "".join(f"{row},5;{row * 3},25\n" for row in range(30)))
    for read in ({}, {"decimal": ","}):
        data = load_data(DataConfig(source=str(path), target="price", read=ReadConfig(**read)))
        assert (data.task, data.target[2].tolist(), data.features[2].tolist()) == ("regression", [6.25], [2.5])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a;b;y\n1,5;2.5;0\n2,5;3.5;1\n", "commas in column 'a' and points in column 'b'"),
        ("a\ty\n1,234\t0\n12\t1\n", "'1,234' in column 'a', where the comma may separate thousands"),
    ],
)
def test_a_decimal_mark_that_is_not_clear_is_refused(text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load_data(DataConfig(source=str(tmp_path / "rows.csv"), target="y"))
    assert caught.value.found == found


def test_a_comma_after_a_zero_is_a_decimal_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a;y\n0,125;0\n0,250;1\n")
    assert load_data(DataConfig(source=str(path), target="y")).features.tolist() == [[0.125], [0.25]]


def test_lists_with_commas_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a;y\n1,2,3;0\n4,5;1\n")
    assert read_table(DataConfig(source=str(path), target="y")).frame["a"].tolist() == ["1,2,3", "4,5"]


def _zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("rows.csv", content)


COMPRESSORS: dict[str, Callable[[Path, bytes], object]] = {
    ".gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    ".bz2": lambda path, content: path.write_bytes(bz2.compress(content)),
    ".xz": lambda path, content: path.write_bytes(lzma.compress(content)),
    ".zip": _zipped,
    ".zst": lambda path, content: path.write_bytes(pa.compress(content, "zstd", asbytes=True)),
}


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_compressed_files_are_read(suffix: str, tmp_path: Path, expected: str) -> None:
    path = tmp_path / f"rows.csv{suffix}"
    COMPRESSORS[suffix](path, csv_text(sep=";", decimal=",").encode())
    assert load(str(path)).sha256 == expected


@pytest.mark.parametrize(
    ("read", "place"),
    [
        ({"delimiter": ";;"}, "data.read.delimiter"),
        ({"encoding": "klingon"}, "data.read.encoding"),
        ({"decimal": "'"}, "data.read.decimal"),
    ],
)
def test_settings_that_cannot_be_are_refused(read: dict[str, str], place: str) -> None:
    with pytest.raises(ValueError, match=place.rpartition(".")[2]):
        ReadConfig(**read)  # type: ignore[arg-type]


# Several files


def parts(folder: Path, suffix: str = ".csv") -> Path:
    folder.mkdir()
    for index in range(3):
        part = FRAME.iloc[20 * index : 20 * (index + 1)]
        path = folder / f"part-{index}{suffix}"
        part.to_csv(path, index=False) if suffix == ".csv" else part.to_parquet(path, index=False)
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-0.csv.crc").write_text("x")
    return folder


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_folder_a_pattern_and_a_list_of_parts_are_one_table(suffix: str, tmp_path: Path, expected: str) -> None:
    folder = parts(tmp_path / "rows", suffix)
    named = [str(folder / f"part-{index}{suffix}") for index in range(3)]
    for source in (str(folder), str(folder / f"*{suffix}"), f"{tmp_path}/**/part-*{suffix}", named):
        assert load(source).sha256 == expected
    assert load(str(folder)).name == "rows"
    assert load(named).name == f"part-0{suffix} and 2 more"


def test_columns_may_stand_in_another_order(tmp_path: Path, expected: str) -> None:
    folder = parts(tmp_path / "rows")
    second = pd.read_csv(folder / "part-1.csv")
    second[second.columns[::-1]].to_csv(folder / "part-1.csv", index=False)
    assert load(str(folder)).sha256 == expected


def test_a_text_in_one_file_makes_the_column_text_in_all(tmp_path: Path) -> None:
    for name, values in (("a", ["1", "2"]), ("b", ["", ""]), ("c", ["007", "x"])):
        rows = "".join(f"{value},{index % 2}\n" for index, value in enumerate(values))
        (tmp_path / f"{name}.csv").write_text(f"code,y\n{rows}")
    frame = read_table(DataConfig(source=str(tmp_path), target="y")).frame
    assert frame["code"].tolist()[:2] == ["1", "2"]
    assert frame["code"].isna().tolist() == [False, False, True, True, False, False]
    assert frame["code"].tolist()[4:] == ["007", "x"]


def test_folders_named_column_equals_value_are_columns(tmp_path: Path) -> None:
    for year, place in ((2024, "Rome"), (2025, "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / f"year={year}" / f"place={place}"
        folder.mkdir(parents=True)
        FRAME[["size", "outcome"]].to_parquet(folder / "rows.parquet", index=False)
    frame = read_table(DataConfig(source=str(tmp_path), target="outcome")).frame
    assert frame["year"].tolist() == [2024] * ROWS + [2025] * ROWS
    assert (frame["place"][0], frame["place"].isna().sum()) == ("Rome", ROWS)


def test_files_with_other_columns_are_told_with_file_and_column(tmp_path: Path) -> None:
    folder = parts(tmp_path / "rows")
    pd.read_csv(folder / "part-2.csv").drop(columns="size").to_csv(folder / "part-2.csv", index=False)
    assert refused(str(folder)).found == f"no column 'size' in {folder}/part-2.csv"
    pd.read_csv(folder / "part-1.csv").assign(more=1).to_csv(folder / "part-1.csv", index=False)
    assert refused(str(folder)).found == f"'more' too in {folder}/part-1.csv"


def test_parquet_files_with_other_types_are_told_with_files_and_column(tmp_path: Path) -> None:
    folder = parts(tmp_path / "rows", ".parquet")
    FRAME.assign(count="x").to_parquet(folder / "part-1.parquet")
    error = refused(str(folder))
    assert error.expected == "values of one type in column 'count'"
    assert error.found == f"numbers in {folder}/part-0.parquet and other values in {folder}/part-1.parquet"


def test_a_damaged_line_is_told_with_its_file(tmp_path: Path) -> None:
    folder = parts(tmp_path / "rows")
    with (folder / "part-1.csv").open("a") as file:
        file.write("1,2\n")
    error = refused(str(folder))
    assert "in part-1.csv" in error.expected
    assert error.found == "2 fields in line 22 for a header of 4"


def test_folders_and_patterns_without_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert refused(str(tmp_path / "none")).found == "an empty folder"
    (tmp_path / "none" / "notes.txt").write_text("")
    assert refused(str(tmp_path / "none")).found == "1 files, of which none is one"
    assert refused(str(tmp_path / "none" / "*.csv")).found == "none"


@pytest.mark.parametrize("source", ["rows", "rows/*.csv"])
def test_a_link_to_a_file_that_is_gone_is_not_passed_over(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows").mkdir()
    Path("rows/a.csv").write_text("x,y\n1,2\n")
    Path("rows/b.csv").symlink_to("gone.csv")
    with pytest.raises(InputError, match=r"rows/b.csv"):
        local_files([source])


def test_files_of_several_formats_are_refused(tmp_path: Path) -> None:
    folder = parts(tmp_path / "rows")
    FRAME.to_parquet(folder / "part-3.parquet")
    assert refused(str(folder)).found == "part-0.csv and part-3.parquet"


def test_a_format_that_is_set_reads_files_of_any_name(tmp_path: Path, expected: str) -> None:
    path = tmp_path / "rows.data"
    path.write_text(csv_text(sep=";"), encoding="utf-8")
    assert "data.read: {format: csv}" in refused(str(path)).remedy
    assert load(str(path), read={"format": "csv"}).sha256 == expected


def test_settings_of_csv_files_are_refused_for_others(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "rows.parquet")
    error = refused(str(tmp_path / "rows.parquet"), read={"delimiter": ";"})
    assert (error.place, error.found) == ("data.read.delimiter", "`delimiter` for parquet files")


# Arrow


def test_feather_files_are_read(tmp_path: Path, expected: str) -> None:
    pyarrow.feather.write_feather(FRAME, str(tmp_path / "rows.feather"))
    assert load(str(tmp_path / "rows.feather")).sha256 == expected


@pytest.mark.parametrize("new", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams_are_read(new: Any, tmp_path: Path, expected: str) -> None:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    with new(str(tmp_path / "rows.arrow"), table.schema) as writer:
        writer.write_table(table)
    assert load(str(tmp_path / "rows.arrow")).sha256 == expected


def test_an_arrow_stream_may_have_other_categories_in_each_batch(tmp_path: Path) -> None:
    batches = [
        pa.record_batch({"kind": pa.array(kinds * 10).dictionary_encode(), "outcome": pa.array(["a", "b", "a"] * 10)})
        for kinds in (["p", "q", "p"], ["q", "r", "s"])
    ]
    with pa.ipc.new_stream(str(tmp_path / "rows.arrow"), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    data = load(str(tmp_path / "rows.arrow"))
    assert data.columns is not None
    assert [each.categories for each in data.columns] == [("p", "q", "r", "s")]


def test_a_damaged_arrow_file_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "rows.arrow").write_bytes(b"ARROW1 and nothing else")
    assert "a table with one row of names" in refused(str(tmp_path / "rows.arrow")).expected


# Databases


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as connection:
        FRAME.to_sql("orders", connection, index=False)
        connection.execute("CREATE VIEW large AS SELECT * FROM orders WHERE size > 2")
    connection.close()
    return path


@pytest.mark.parametrize("query", ["SELECT * FROM orders ORDER BY rowid", "orders"])
@pytest.mark.parametrize("form", ["sqlite:{}", "sqlite:///{}"])
def test_a_query_and_a_table_are_read_from_sqlite(form: str, query: str, database: Path, expected: str) -> None:
    data = load(form.format(database), query=query)
    assert (data.name, data.sha256) == ("shop.db", expected)


def test_a_query_may_hold_percent_signs_and_colons(database: Path) -> None:
    query = "SELECT *, ':x' AS colon FROM orders WHERE place LIKE 'P%'"
    assert read_table(DataConfig(source=f"sqlite:{database}", query=query)).frame["place"].unique().tolist() == [
        "Paris"
    ]


@pytest.mark.parametrize(
    ("query", "place", "found"),
    [
        (None, "data.query", "nothing"),
        ("SELECT * FROM orders WHERE size > 99", "data.query", "a query that returns nothing"),
        ("large", "data.query", "a query that returns nothing"),
        ("SELECT * FROM order_lines", "data.query", "'no such table: order_lines'"),
        ("SELECT weight FROM orders", "data.query", "'no such column: weight'"),
        ("SELEKT 1", "data.query", "'near \"SELEKT\": syntax error'"),
        ("order", "data.query", "'order'"),
        ("DELETE FROM orders", "data.query", "'attempt to write a readonly database'"),
        ("SELECT 1 AS a, 2 AS a", "data.source", "two columns named 'a'"),
    ],
)
def test_queries_that_give_no_table_are_refused(query: str | None, place: str, found: str, database: Path) -> None:
    error = refused(f"sqlite:{database}", query=query)
    assert (error.place, error.found) == (place, found)


def test_the_nearest_table_and_all_tables_are_told(database: Path) -> None:
    assert refused(f"sqlite:{database}", query="order").remedy == "Did you mean 'orders'?"
    assert refused(f"sqlite:{database}", query="customers").remedy == "Correct the name. It has large, orders."
    assert "SELECT … FROM large" in refused(f"sqlite:{database}").remedy


def test_a_database_that_is_none_or_missing_is_told_and_not_created(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, but a text of some length " * 9)
    assert refused(f"sqlite:{tmp_path}/text.db", query="SELECT * FROM a").found == "'file is not a database'"
    error = refused(f"sqlite:{tmp_path}/none.db", query="SELECT 1")
    assert (error.place, error.found) == ("data.source", "no such file")
    assert not (tmp_path / "none.db").exists()


def test_a_server_that_does_not_answer_is_told_without_the_password() -> None:
    config = DataConfig(source="postgresql://me:${PW}@127.0.0.1:1/shop", query="SELECT 1", target="y")
    with pytest.raises(InputError) as caught:
        read_table(config, environment={"PW": "s3cret"})
    assert (caught.value.place, caught.value.expected) == ("data.source", "to connect to shop")
    assert "s3cret" not in str(caught.value)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(InputError) as caught:
        read_table(DataConfig(source="postgresql://me:${DB_PW}@host/shop", query="SELECT 1"), environment={})
    assert caught.value.remedy == "Export DB_PW, and pass it on to the workers: `execution.secrets: [DB_PW]`."


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("nosuch://host/shop", "Install the package that adds `nosuch` to SQLAlchemy."),
        ("postgresql+asyncpg://host/shop", "Install it: pip install asyncpg."),
    ],
)
def test_a_driver_that_is_not_installed_is_named(source: str, remedy: str) -> None:
    assert refused(source, query="SELECT 1").remedy == remedy


def test_a_query_for_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(csv_text(), encoding="utf-8")
    assert refused(str(tmp_path / "rows.csv"), query="SELECT 1").place == "data.query"


@pytest.mark.parametrize(
    "source", ["postgresql://me:s3cret@host/shop", "postgresql://host/shop?user=me&password=s3cret"]
)
def test_a_password_in_the_source_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"write \$\{NAME\} in its place"):
        DataConfig(source=source)


@pytest.mark.parametrize(
    "source", ["postgresql://me:${PW}@host/shop", "postgresql://me@host:5432/shop", "https://host:80/a@b/rows.csv"]
)
def test_addresses_without_a_password_are_taken(source: str) -> None:
    assert DataConfig(source=source).sources == (source,)


# fsspec


def test_other_schemes_are_read_by_fsspec(tmp_path: Path, expected: str) -> None:
    folder = parts(tmp_path / "rows")
    assert load(f"file://{tmp_path}/plain.csv").sha256 == expected
    for source in (f"file://{folder}/", f"file://{folder}/*.csv"):
        assert load(source).sha256 == expected


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        ("gs://bucket/rows.csv", "Install it: pip install gcsfs."),
        ("abfs://bucket@account/rows.csv", "Install it: pip install adlfs."),
        ("sftp://host/rows.csv", "Install it: pip install paramiko."),
    ],
)
def test_a_package_that_a_scheme_needs_is_named(source: str, remedy: str) -> None:
    assert refused(source).remedy == remedy


def test_a_missing_file_of_fsspec_is_one_clear_error(tmp_path: Path) -> None:
    error = refused(f"file://{tmp_path}/none.csv")
    assert error.expected == f"to fetch file://{tmp_path}/none.csv"
    assert refused(f"file://{tmp_path}/*.csv").found == "none"
