import json
from pathlib import Path

import pandas as pd
import pytest

from winnow.bundle.columns import Column
from winnow.config.errors import WinnowError
from winnow.monitoring.evidently_page import write_evidently

COLUMNS = (
    Column("age"),
    Column("plan", "category", "string", ("a", "b")),
    Column("code", "category", "long", ("3", "4")),
    Column("joined", "date", "date"),
    Column("unlogged"),
)
REFERENCE = pd.DataFrame({"age": [1, 2], "plan": ["a", None], "code": [3.0, None], "joined": ["2026-01-01"] * 2})
REFERENCE["unlogged"] = 1.0
LIVE = pd.DataFrame({"age": [1.5, None], "plan": ["c", "a"], "code": [3, 4], "joined": ["2026-02-01"] * 2})


def environment(folder: Path, script: str) -> Path:
    """An environment whose interpreter is a script for the shell: $3 is the folder of rows, $4 the page to write."""
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return python


def test_evidently_gets_the_rows_of_columns_that_both_have_without_dates(tmp_path):
    python = environment(tmp_path, f'cp "$3"/* {tmp_path} && echo "tracking: $DO_NOT_TRACK" > "$4"')
    write_evidently(COLUMNS, REFERENCE, LIVE, tmp_path / "page.html", python)
    assert (tmp_path / "page.html").read_text() == "tracking: 1\n"
    kinds = {"numerical_columns": ["age"], "categorical_columns": ["plan", "code"]}
    assert json.loads((tmp_path / "kinds.json").read_text()) == kinds
    written = [pd.read_parquet(tmp_path / f"{each}.parquet") for each in ("reference", "live")]
    assert [each.astype(object).where(each.notna(), None).to_dict("list") for each in written] == [
        {"age": [1.0, 2.0], "plan": ["a", None], "code": ["3", None]},
        {"age": [1.5, None], "plan": ["c", "a"], "code": ["3", "4"]},
    ]


def test_what_evidently_fails_with_is_told_and_no_page_is_left(tmp_path):
    python = environment(tmp_path, "echo Traceback >&2; echo 'ImportError: pandas' >&2; exit 1")
    with pytest.raises(WinnowError, match="Evidently failed: ImportError: pandas"):
        write_evidently(COLUMNS, REFERENCE, LIVE, tmp_path / "page.html", python)
    assert not (tmp_path / "page.html").exists()
