"""`winnow outcomes`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.cli import run

PREDICTION = {
    **{"event": "prediction", "time": 1, "deployment": "cells", "revision": 1, "route": 3, "assigned": 2},
    **{"kind": "fallback", "version": "4", "request_id": "a", "row": 0, "prediction": "yes"},
}
OUTCOME = {"event": "outcome", "time": 2, "deployment": "cells", "request_id": "a", "row": 0, "outcome": "yes"}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [PREDICTION, {**PREDICTION, "request_id": "b"}, OUTCOME, {**OUTCOME, "request_id": "c"}]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_table_shows_what_became_of_each_revisions_predictions(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["outcomes", "--input", str(log), "--output", str(tmp_path / "new" / "joined.parquet")]) == 0

    assert capsys.readouterr().out == (
        "  deployment  revision  version  requests         outcomes  accuracy  95 % interval\n"
        "  cells       2         4        2 (2 by stable)  1         1         0.2065 to 1\n"
        "1 outcomes belong to no prediction in the log: it samples, has not arrived, or ids are wrong\n"
    )
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["joined.parquet"]


def test_programs_get_json(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["outcomes", "--input", str(log), "--name", "cells", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert (found["revisions"][0]["counts"]["outcomes"], found["unknown"]) == (1, 1)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--name", "cell"], "expected lines of logged predictions of deployment 'cell', found none"),
        (["--output", "joined.csv"], "expected a file *.parquet to write, found 'joined.csv'"),
        (["--metric", "recall"], "metric: expected one of accuracy, absolute_error, squared_error, value"),
    ],
)
def test_bad_input_is_one_error(flags: list[str], error: str, log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["outcomes", "--input", str(log), *flags]) == 2
    assert error in capsys.readouterr().err
