"""What is told of one version, of all that happened to its model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from winnow.study.story import AliasChange, Asked, GateVerdict, ModelStory, Origin, events_of
from winnow.tracking.history import (
    AlertRecord,
    CommitRecord,
    GateRecord,
    RejectedRecord,
    RetrainRecord,
    RolloutRecord,
)


def at(minute: int) -> datetime:
    return datetime(2026, 11, 29, 8, minute, tzinfo=UTC)


ORIGIN = Origin(
    name="wine",
    version="2",
    semantic="1.1.0",
    run_id="r2",
    digest="d" * 64,
    created_at=at(5),
    study="wine-2",
    trial=7,
    params={"lr": 0.01},
    metrics={"f1": 0.9, "f1.std": 0.01, "holdout.f1": 0.88},
    data_name="wine.csv",
    data_source="data/wine.csv",
    data_sha256="a" * 64,
    data_rows=1234,
    lineage={
        "winnow.data.version": "0acf482b8e54",
        "winnow.data.source": "prepared",
        "winnow.data.sha256": "a" * 64,
        "winnow.data.dvc": "22e4c1d09b7f" + "0" * 20 + ".dir",
    },
    tags={"airflow.dag": "wine_training", "team": "ml"},
    git_commit="c0ffee" * 6,
    has_changes=True,
    environment={"user": "ada", "python": "3.11.7"},
    study_started_at=at(0),
)
CHANGES = [
    AliasChange(at(1), "champion", "1", "the first"),
    AliasChange(at(7), "champion", "2", "passed all gates"),
    AliasChange(at(30), "champion", "3", "passed all gates"),
    AliasChange(at(31), "champion", "4", "passed all gates"),
]
VERDICT = GateVerdict(at(6), "production", "version 2 passed the gate", (("f1", "pass", "0.9 is above 0.8."),))
GIT = ("main", "git.example.com/manifests")
RECORDS = [
    (at(6), GateRecord("2", "production", True, "version 2 passed the gate")),
    (at(6), GateRecord("3", "production", False, "version 3 did not pass")),
    (at(4), RetrainRecord("wine-2", "started", "the data have changed")),
    (at(4), RetrainRecord("wine-3", "started", "an alert")),
    (
        at(8),
        RolloutRecord("2", "wine", "local", "1", "canary", "promoted", "All steps passed.", tags={"airflow.run": "7"}),
    ),
    (at(9), AlertRecord("2", "wine", "firing", "WinnowDrift", "age", "age moved")),
    (at(9), AlertRecord("1", "wine", "resolved", "WinnowDrift", "age", "age is back")),
    (at(20), RejectedRecord("2", "wine", "ada rolled it back")),
    (at(20), RolloutRecord("1", "wine", "local", "2", "rolling", "promoted", "version 2 was sent away")),
    (at(40), RolloutRecord("3", "wine", "local", "1", "canary", "aborted", "errors")),
    (at(50), CommitRecord("1", "production", "", False, "a" * 40, *GIT, "passed")),
    (at(51), CommitRecord("2", "production", "1", False, "b" * 40, *GIT, "passed")),
    (at(52), CommitRecord("1", "production", "2", True, "c" * 40, *GIT, "ada rolled it back")),
]


def test_the_time_line_of_a_version_leaves_out_what_is_about_others() -> None:
    found = events_of(ORIGIN, CHANGES, RECORDS, {"1": "1 (1.0.0)", "3": "3 (2.0.0)"})
    assert [(each.at.minute, each.kind, each.text) for each in found] == [
        (0, "trained", "study wine-2 was started by ada"),
        (4, "retrain", "training by study wine-2 started: the data have changed"),
        (5, "trained", "trial 7 was trained on all rows but the holdout and registered"),
        (6, "gates", "gates of production: version 2 passed the gate"),
        (7, "alias", "became @champion in place of version 1 (1.0.0): passed all gates"),
        (8, "rollout", "answers all requests to wine on local in place of version 1 (1.0.0) after a rollout (canary): "
         "All steps passed. (airflow.run=7)"),
        (9, "alert", "WinnowDrift (age) began: age moved"),
        (20, "rejected", "was sent away from wine: ada rolled it back"),
        (20, "rollout", "version 1 (1.0.0) took its place in wine on local: version 2 was sent away"),
        (30, "alias", "version 3 (2.0.0) became @champion in its place: passed all gates"),
        (51, "commit", "commit bbbbbbbbbbbb on main of git.example.com/manifests puts it into the manifests of "
         "production in place of version 1 (1.0.0): passed"),
        (52, "commit", "commit cccccccccccc on main of git.example.com/manifests takes it out of the manifests of "
         "production for version 1 (1.0.0): ada rolled it back"),
    ]  # fmt: skip


def test_the_tables_say_where_a_version_comes_from() -> None:
    origin, gates, _ = ModelStory(ORIGIN, ("champion",), (VERDICT,), ()).sheets()
    facts = dict(origin.rows)
    assert origin.title == "Where wine version 2 (1.1.0) comes from"
    assert facts["cross-validation"] == "f1 0.9000 ± 0.0100"
    assert facts["holdout"] == "f1 0.8800"
    assert facts["data"] == "wine.csv (data/wine.csv), 1,234 rows, sha256 aaaaaaaaaaaa"
    assert facts["lineage"] == "dvc 22e4c1d09b7f.dir, source prepared, version 0acf482b8e54"
    assert facts["tags"] == "airflow.dag=wine_training, team=ml"
    assert facts["code"] == "commit c0ffeec0ffee, with changes"
    assert gates.rows == (("production", "f1", "pass", "0.9 is above 0.8."),)


def test_a_version_whose_study_is_gone_has_what_its_bundle_says() -> None:
    alone = replace(ORIGIN, data_source="", data_rows=None, environment={}, study_started_at=None, git_commit="")
    facts = dict(ModelStory(alone, (), (), events_of(alone, [], [], {})).sheets()[0].rows)
    assert (facts["data"], facts["code"]) == ("wine.csv, sha256 aaaaaaaaaaaa", "no commit known")
    assert (facts["made with"], facts["aliases"]) == ("not known", "none")


def test_a_request_comes_first_with_what_turned_out_to_be_true() -> None:
    asked = Asked(at(10), "id-1", 0, "wine", 3, "fallback", "2", "red", 0.75, None)
    sheet = ModelStory(ORIGIN, (), (), (), (asked,)).sheets()[0]
    assert sheet.title == "Request id-1"
    expected = ("2026-11-29 08:10:00", "0", "wine", "3", "2", "fallback", "red", "0.7500", "not known")
    assert sheet.rows == (expected,)
