"""The join of logged predictions with their outcomes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.unit.data.s3_bucket import s3_bucket
from winnow.config.errors import InputError
from winnow.monitoring.outcomes import join_outcomes, outcome_counts
from winnow.routing import OutcomeCounts


def predicted(request_id: str, prediction: object, *, at: float = 1.0, **further: Any) -> dict[str, Any]:
    line = {"event": "prediction", "time": at, "deployment": "cells", "revision": 1, "route": 3, "assigned": 1}
    return {**line, "kind": "assigned", "request_id": request_id, "row": 0, "prediction": prediction, **further}


def known(request_id: str, outcome: object, *, at: float = 2.0, **further: Any) -> dict[str, Any]:
    return {"event": "outcome", "time": at, "request_id": request_id, "row": 0, "outcome": outcome, **further}


def written(path: Path, *lines: dict[str, Any] | str) -> str:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return str(path)


def counts(*lines: dict[str, Any] | str, path: Path, metric: str = "accuracy", **where: Any) -> tuple[Any, ...]:
    return outcome_counts([written(path / "log.jsonl", *lines)], metric, **where)


def test_outcomes_are_joined_by_request_though_another_replica_took_them_before_the_prediction_was_read(
    tmp_path: Path,
) -> None:
    first = written(tmp_path / "a.jsonl", known("y", "no"), predicted("x", "yes"))
    other = written(tmp_path / "b.jsonl", known("x", "yes"), predicted("y", "yes"), predicted("z", "no"))

    assert outcome_counts([first, other], "accuracy") == (OutcomeCounts(1, 3, 2, 1.0, 1.0),)
    assert outcome_counts([str(tmp_path / "*.jsonl")], "accuracy") == outcome_counts([str(tmp_path)], "accuracy")


def test_repeated_lines_count_once_and_the_latest_outcome_counts(tmp_path: Path) -> None:
    lines = [predicted("x", "yes"), predicted("x", "yes", at=9.0), known("x", "no"), known("x", "no")]

    assert counts(*lines, path=tmp_path) == (OutcomeCounts(1, 1, 1, 0.0, 0.0),)
    assert counts(*lines, known("x", "yes", at=3.0), path=tmp_path) == (OutcomeCounts(1, 1, 1, 1.0, 1.0),)


def test_a_fallback_counts_for_the_assigned_revision_by_the_answer_that_the_client_saw(tmp_path: Path) -> None:
    late = predicted("x", "no", revision=2, assigned=2)
    instead = predicted("x", "yes", at=1.5, revision=1, assigned=2, kind="fallback")

    assert counts(late, instead, known("x", "yes"), path=tmp_path) == (OutcomeCounts(2, 1, 1, 1.0, 1.0),)


def test_copies_chosen_revisions_and_earlier_routes_do_not_count(tmp_path: Path) -> None:
    lines = [
        predicted("x", "yes"),
        predicted("x", "no", revision=2, assigned=2, kind="mirrored"),
        predicted("y", "no", revision=2, assigned=2, kind="chosen"),
        predicted("z", "no", route=None),
        predicted("w", "no", route=2),
        predicted("u", "yes", route=4),
        predicted("v", "no", deployment="other"),
        *(known(each, "yes") for each in "xyzwuv"),
    ]

    assert counts(*lines, path=tmp_path, since_route=3, deployment="cells") == (OutcomeCounts(1, 2, 2, 2.0, 2.0),)
    assert counts(*lines, path=tmp_path, deployment="cells") == (OutcomeCounts(1, 4, 4, 2.0, 2.0),)


def test_the_rows_of_a_request_are_one_observation(tmp_path: Path) -> None:
    rows = [predicted("x", "yes", row=row) for row in range(4)]
    outcomes = [known("x", "yes", row=0), known("x", "no", row=2)]

    assert counts(*rows, *outcomes, path=tmp_path) == (OutcomeCounts(1, 1, 1, 0.5, 0.25),)


@pytest.mark.parametrize(("metric", "total"), [("absolute_error", 2.0), ("squared_error", 4.0), ("value", 5.0)])
def test_numbers_have_errors_and_values(metric: str, total: float, tmp_path: Path) -> None:
    found = counts(predicted("x", 3.0), known("x", 5), path=tmp_path, metric=metric)

    assert found == (OutcomeCounts(1, 1, 1, total, total**2),)


def test_classes_are_compared_as_texts(tmp_path: Path) -> None:
    assert counts(predicted("x", "1"), known("x", 1), path=tmp_path) == (OutcomeCounts(1, 1, 1, 1.0, 1.0),)


def test_lines_of_other_programs_are_skipped(tmp_path: Path) -> None:
    others = ["2026-11-29 INFO serving at http://127.0.0.1", '{"event": "prediction", "ti', "[1, 2]", "", '"text"']
    broken: list[dict[str, Any]] = [{"event": "prediction", "time": "noon"}, predicted("y", None)]

    found = counts(*others, predicted("x", "yes"), *broken, known("x", "yes"), path=tmp_path)

    assert found == (OutcomeCounts(1, 1, 1, 1.0, 1.0),)


def test_a_log_without_lines_has_no_counts(tmp_path: Path) -> None:
    assert counts(path=tmp_path) == ()


def test_what_cannot_be_joined_is_one_error(tmp_path: Path) -> None:
    log = written(tmp_path / "log.jsonl", predicted("x", "yes"), known("x", "yes"))
    with pytest.raises(InputError, match=r"expected one of accuracy, .* found 'acuracy'. Did you mean"):
        outcome_counts([log], "acuracy")
    with pytest.raises(InputError, match="expected outcomes that are numbers"):
        outcome_counts([log], "squared_error")
    with pytest.raises(InputError, match=r"--input: expected files of the prediction log, found none at"):
        join_outcomes([str(tmp_path / "none*.jsonl")], "accuracy", place="--input")
    with pytest.raises(InputError, match="expected lines of logged predictions, found none"):
        join_outcomes([written(tmp_path / "no.jsonl", known("x", "yes"))], "accuracy", place="--input")


def test_outcomes_for_unknown_requests_are_counted_and_refused_where_there_are_no_others(tmp_path: Path) -> None:
    wrong = known("who", "yes")
    found = join_outcomes(
        [written(tmp_path / "a.jsonl", predicted("x", "yes"), known("x", "yes"), wrong)], "accuracy", place="--input"
    )

    assert (found.unknown, found.corrected, found.repeated, found.chosen) == (1, 0, 0, 0)
    with pytest.raises(InputError, match="found 1 outcomes, none for a request in the log"):
        join_outcomes([written(tmp_path / "b.jsonl", predicted("x", "yes"), wrong)], "accuracy", place="--input")


def test_a_joined_table_has_a_row_for_each_prediction(tmp_path: Path) -> None:
    lines = [
        predicted("x", "yes", probability=0.75, fields={"age": 61.0}, version="4"),
        predicted("x", "no", revision=2, assigned=2, kind="mirrored"),
        known("x", "yes"),
    ]
    output = tmp_path / "joined.parquet"

    found = join_outcomes([written(tmp_path / "log.jsonl", *lines)], "accuracy", output=output, place="--input")

    shown = [(each.counts.revision, each.is_mirrored, each.version, each.estimate) for each in found.revisions]
    assert shown == [(1, False, "4", 1.0), (2, True, "", 0.0)]
    table = pq.read_table(output).sort_by("revision").to_pylist()
    assert [(row["prediction"], row["outcome"], row["value"], row["fields"]) for row in table] == [
        ("yes", "yes", 1.0, '{"age":61.0}'),
        ("no", "yes", 0.0, None),
    ]
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of s3://logs."""
    with s3_bucket(tmp_path, "logs", monkeypatch) as folder:
        yield folder


def test_lines_are_read_from_s3_and_compressed_files(bucket: Path) -> None:
    (bucket / "cells").mkdir()
    written(bucket / "cells" / "1.jsonl", predicted("x", "yes"), predicted("y", "yes"))
    (bucket / "cells" / "2.jsonl.gz").write_bytes(gzip.compress(json.dumps(known("x", "yes")).encode()))
    written(bucket / "other.jsonl", known("y", "yes"))

    assert outcome_counts(["s3://logs/cells/"], "accuracy") == (OutcomeCounts(1, 2, 1, 1.0, 1.0),)
    assert outcome_counts(["s3://logs/cells/*", "s3://logs/other.jsonl"], "accuracy")[0].outcomes == 2


def test_a_bucket_without_the_object_is_one_error(bucket: Path) -> None:
    for path in ("s3://logs/none.jsonl", "s3://logs/none/*.jsonl", "s3://logs/none/"):
        with pytest.raises(InputError, match=r"^outcomes: expected"):
            outcome_counts([path], "accuracy")
