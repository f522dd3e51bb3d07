"""`winnow validate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.cli import run

EXPERIMENT = """
name: plans
data: {source: rows.csv, target: left%s}
model: {factory: "winnow.models:mlp"}
search: {metric: {name: accuracy, goal: maximize}, space: {lr: {float: [0.01, 0.1]}}}
"""
ROWS = ["age,plan,left", *(f"{20 + n},{['basic', 'pro'][n % 2]},{['no', 'yes'][n % 3 == 0]}" for n in range(12))]
SCHEMA = """
columns:
  age: {dtype: int64, checks: {less_than: 30}}
  plan: {dtype: str}
checks: {old enough: age >= 20}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    Path("experiment.yaml").write_text(EXPERIMENT % ", schema: rows.yaml")
    Path("rows.csv").write_text("\n".join(ROWS))
    return tmp_path


def test_rows_that_violate_the_schema_are_a_table_and_status_2(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.yaml").write_text(SCHEMA)
    before = sorted(project.iterdir())

    assert run(["validate"]) == 2
    assert capsys.readouterr().out == (
        "rows.csv: 12 rows of 3 columns violate 1 rule of rows.yaml\n"
        "  column  rule           rows  first rows  first value\n"
        "  age     less_than: 30  2     11, 12      30\n"
    )
    assert sorted(project.iterdir()) == before


def test_programs_get_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.yaml").write_text(SCHEMA)

    assert run(["validate", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["violations"] == [
        {"column": "age", "rule": "less_than: 30", "count": 2, "rows": [11, 12], "example": "30"}
    ]


def test_a_schema_that_was_inferred_fits_and_is_not_overwritten(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", "--infer"]) == 0
    assert run(["validate"]) == 0
    assert capsys.readouterr().out == "rows.csv: 12 rows of 3 columns fit rows.yaml\n"

    Path("rows.yaml").write_text(SCHEMA)
    assert run(["validate", "--infer"]) == 2
    assert "rows.yaml: expected a file that does not exist yet, found a schema" in capsys.readouterr().err
    assert Path("rows.yaml").read_text() == SCHEMA
    assert run(["validate", "--infer", "--force"]) == 0
    assert run(["validate"]) == 0


def test_without_a_schema_the_error_says_how_to_write_one(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("experiment.yaml").write_text(EXPERIMENT % "")

    assert run(["validate"]) == 2
    assert "data.schema: expected a schema file to check the rows against, found none" in capsys.readouterr().err
    assert run(["validate", "--infer"]) == 0
    assert Path("schemas/plans.yaml").is_file()


def test_a_page_needs_no_schema_and_shows_no_markup_of_the_data(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("experiment.yaml").write_text(EXPERIMENT % "")
    Path("rows.csv").write_text("\n".join([*ROWS, "40,<b>pro</b>,no"]))

    assert run(["validate", "--html", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert ("&lt;b&gt;pro&lt;/b&gt;" in page, "<b>pro" in page, "<h3>left (target)</h3>" in page) == (True, False, True)
    assert '<h3>age</h3><dl class="facts"><dt>type</dt><dd>BIGINT</dd>' in page
    assert capsys.readouterr().out.startswith("rows.csv: 13 rows of 3 columns, checked against no schema")


def test_with_raw_data_their_ingested_rows_are_checked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = ", schema: rows.yaml, raw: {source: 'exports/*.csv', read: {missing: ['?']}}"
    Path("experiment.yaml").write_text(EXPERIMENT % raw)
    Path("rows.yaml").write_text(SCHEMA)
    Path("exports").mkdir()
    Path("exports/1.csv").write_text("age,plan\n21,pro\n")

    assert run(["validate"]) == 2
    assert "data.raw: expected raw data that have been copied to the home" in capsys.readouterr().err
    assert run(["ingest"]) == run(["validate"]) == 0
    Path("exports/2.csv").write_text("age,plan\nx,pro\n22,?\n")
    assert run(["validate"]) == 0
    capsys.readouterr()
    assert run(["ingest", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["path"]).name == told["ingested"]["digest"][:12]
    assert run(["validate", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], [(each["rule"], each["rows"]) for each in found["violations"]]) == (
        3,
        [("dtype: int64", [2]), ("nullable: false", [3])],
    )
