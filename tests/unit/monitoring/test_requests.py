"""Finding a request in the prediction log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.monitoring.requests import LoggedRow, find_request

PREDICTED = {
    "event": "prediction",
    "time": 10.0,
    "deployment": "wine",
    "model": "wine",
    "version": "2",
    "revision": 3,
    "kind": "assigned",
    "request_id": "it's",
    "row": 0,
    "prediction": "red",
    "probability": 0.75,
}
LINES = [
    {**PREDICTED, "kind": "mirrored", "version": "3", "time": 9.0},
    PREDICTED,
    {**PREDICTED, "row": 1, "prediction": 3.5, "probability": None},
    {**PREDICTED, "request_id": "other"},
    {"event": "outcome", "time": 20.0, "request_id": "it's", "row": 0, "outcome": "white"},
    {"event": "outcome", "time": 30.0, "request_id": "it's", "row": 0, "outcome": "red"},
    {"event": "outcome", "time": 30.0, "request_id": "other", "row": 1, "outcome": "red"},
]


@pytest.fixture
def log(tmp_path: Path) -> str:
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in LINES))
    return str(tmp_path / "*.jsonl")


def test_the_rows_of_a_request_come_with_their_latest_outcome_and_copies_last(log: str) -> None:
    assert find_request([log], "it's", "logs") == (
        LoggedRow(10.0, 0, "wine", 3, "assigned", "wine", "2", "red", 0.75, "red"),
        LoggedRow(10.0, 1, "wine", 3, "assigned", "wine", "2", 3.5, None, None),
        LoggedRow(9.0, 0, "wine", 3, "mirrored", "wine", "3", "red", 0.75, "red"),
    )


def test_an_unknown_request_is_one_error(log: str) -> None:
    with pytest.raises(InputError, match="request 'none': expected the x-request-id of an answer"):
        find_request([log], "none", "logs")
