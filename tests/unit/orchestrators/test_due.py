"""A retraining is due by the data, by alarms about the champion, and by the schedule; it pauses after failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from winnow.config.experiment import Experiment
from winnow.orchestrators.due import Champion, Decision, Facts, decide, next_study
from winnow.tracking.history import AlertRecord, RetrainRecord

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
CHAMPION = Champion("3", NOON - timedelta(days=2), OLD)
QUIET = (
    "the data are those of version 3 (sha256 aaaaaaaaaaaa)",
    "no alarm about version 3 began since 2026-11-27 12:00 UTC",
    "there is no `retrain.schedule`",
)


def ago(hours: float) -> datetime:
    return NOON - timedelta(hours=hours)


def experiment(retrain: Any = None, rules: Any = ()) -> Experiment:
    space = {"lr": {"float": [0.001, 0.1]}}
    return Experiment.model_validate(
        {
            "name": "churn",
            "data": {"source": "sklearn:wine"},
            "search": {"space": space, "trials": 2, "metric": {"name": "f1"}},
            "monitoring": {"rules": list(rules)},
            "retrain": retrain or {},
        }
    )


def alert(status: Any = "firing", version: str = "3", name: str = "WinnowDrift", subject: str = "age") -> AlertRecord:
    return AlertRecord(version, "churn", status, name, subject, "age has moved by 1.2 standard deviations")


def decided(retrain: Any = None, rules: Any = (), **facts: Any) -> Decision:
    made = {"now": NOON, "champion": CHAMPION, "data_sha256": OLD} | facts
    return decide(Facts(**made), experiment(retrain, rules))


def attempt(state: Any, hours: float, study: str = "churn-2", data: str = NEW) -> tuple[datetime, RetrainRecord]:
    return ago(hours), RetrainRecord(study, state, "the data have changed", "", data)


def test_nothing_is_due_while_nothing_has_changed() -> None:
    assert decided() == Decision((), QUIET)


def test_without_a_champion_the_first_training_is_due() -> None:
    assert decided(champion=None) == Decision(("there is no champion yet",))


def test_a_first_version_that_gates_refused_is_no_reason_until_the_data_change() -> None:
    refused = [attempt("started", 2, "churn", OLD), attempt("refused", 1, "churn", OLD)]
    same = decided(champion=None, retrainings=refused)
    why = "there is no champion yet; churn was trained on these data (sha256 aaaaaaaaaaaa) and ended refused"
    assert same == Decision((), (why,))
    assert decided(champion=None, data_sha256=NEW, retrainings=refused).reasons == ("there is no champion yet",)


def test_changed_data_are_a_reason_unless_the_file_says_otherwise() -> None:
    changed = "the data have changed: sha256 bbbbbbbbbbbb instead of aaaaaaaaaaaa"
    assert decided(data_sha256=NEW) == Decision((changed,), QUIET[1:])
    assert decided({"on_data": False}, data_sha256=NEW).reasons == ()


def test_an_alarm_about_the_champion_that_is_newer_than_its_training_is_a_reason() -> None:
    began = "WinnowDrift about age began at 2026-11-29 11:00 UTC: age has moved by 1.2 standard deviations"
    assert decided(alerts=[(ago(1), alert())]) == Decision((began,), (QUIET[0], QUIET[2]))
    assert decided({"on_alert": False}, alerts=[(ago(1), alert())]).reasons == ()


@pytest.mark.parametrize(
    "alerts",
    [
        [(ago(72), alert())],
        [(ago(1), alert(version="2"))],
        [(ago(2), alert()), (ago(1), alert("resolved"))],
        [(ago(1), alert(name="SlowAnswers", subject=""))],
    ],
    ids=["before its training", "about another version", "resolved", "nothing that training mends"],
)
def test_other_alarms_are_no_reason(alerts: list[tuple[datetime, AlertRecord]]) -> None:
    slow = {"name": "SlowAnswers", "metric": "latency", "above": "250 ms"}
    assert decided(rules=[slow], alerts=alerts).reasons == ()


def test_an_alarm_of_a_rule_about_the_data_is_a_reason() -> None:
    rule = {"name": "AgeIsMissing", "metric": "missing", "column": "age", "above": "5 %"}
    assert decided(rules=[rule], alerts=[(ago(1), alert(name="AgeIsMissing"))]).reasons != ()


def test_where_the_champion_was_sent_away_alarms_about_what_answers_instead_count() -> None:
    sent_away = Champion("3", NOON - timedelta(days=2), OLD, is_rejected=True)
    assert decided(champion=sent_away, alerts=[(ago(1), alert(version="2"))]).reasons != ()


def test_a_schedule_that_was_due_since_the_training_is_a_reason() -> None:
    assert decided("0 3 * * *").reasons == ("the schedule `0 3 * * *` was due at 2026-11-29 03:00 UTC",)
    later = decided("0 3 1 * *")
    assert (later.reasons, later.against[-1]) == ((), "the schedule `0 3 1 * *` is due next at 2026-12-01 03:00 UTC")


def test_a_retraining_that_gates_refused_answers_the_same_data_alarms_and_schedule() -> None:
    ended = [attempt("started", 2), attempt("refused", 1)]
    found = decided("0 3 * * *", data_sha256=NEW, alerts=[(ago(3), alert())], retrainings=ended)
    assert found == Decision(
        (),
        (
            "churn-2 was trained on these data (sha256 bbbbbbbbbbbb) and ended refused",
            "no alarm about version 3 began since 2026-11-29 10:00 UTC",
            "the schedule `0 3 * * *` is due next at 2026-11-30 03:00 UTC",
        ),
    )


def test_an_alarm_that_began_after_a_refused_retraining_is_a_reason_again() -> None:
    ended = [attempt("started", 2), attempt("refused", 1)]
    newer = {"alerts": [(ago(0.5), alert())], "data_sha256": "c" * 64, "retrainings": ended}
    assert [reason.partition(" ")[0] for reason in decided(**newer).reasons] == ["the", "WinnowDrift"]


def test_an_alarm_is_no_reason_to_train_on_the_same_data_again_and_again() -> None:
    ended = [attempt("started", 2), attempt("deployed", 1)]
    champion = Champion("4", ago(1.1), NEW)
    found = decided(champion=champion, alerts=[(ago(0.5), alert(version="4"))], data_sha256=NEW, retrainings=ended)
    began = "WinnowDrift about age began at 2026-11-29 11:30 UTC"
    assert (found.reasons, found.against[1]) == (
        (),
        f"{began}, but the data have not changed since churn-2 was trained",
    )


def test_an_interrupted_retraining_goes_on_at_once() -> None:
    assert decided(retrainings=[attempt("started", 0.1)]) == Decision(
        ("churn-2 was interrupted; it was started because the data have changed",), (), "churn-2"
    )


@pytest.mark.parametrize(
    ("attempts", "waits_h"),
    [
        (["started", "failed"], 1),
        (["started", "failed", "started", "failed"], 2),
        (["started", "failed", "started"], 1),
        (["started", "started"], 1),
        (["started", "started", "started"], 2),
        (["started", "failed"] * 20, 7 * 24),
    ],
)
def test_pauses_double_with_each_failure_up_to_a_week(attempts: list[str], waits_h: float) -> None:
    history = [attempt(state, 0.001 * (len(attempts) - place)) for place, state in enumerate(attempts)]
    found = decided({"backoff": "1h"}, data_sha256=NEW, retrainings=history)
    assert (found.waits_until, found.study) == (history[-1][0] + timedelta(hours=waits_h), "churn-2")


def test_after_the_pause_the_failed_study_goes_on() -> None:
    found = decided({"backoff": "1h"}, data_sha256=NEW, retrainings=[attempt("started", 3), attempt("failed", 2)])
    assert (found.waits_until, found.study, len(found.reasons)) == (None, "churn-2", 1)


def test_a_failure_is_forgotten_once_a_retraining_has_ended() -> None:
    history = [attempt("started", 4), attempt("failed", 3), attempt("started", 2), attempt("deployed", 1)]
    assert decided(data_sha256="c" * 64, retrainings=history).waits_until is None


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ([], "churn"),
        (["churn"], "churn-2"),
        (["churn", "churn-9", "churn-10", "churners", "churn-x", "churn-02", "other-40"], "churn-11"),
        (["churn-3"], "churn-4"),
    ],
)
def test_the_next_study_has_the_next_number(taken: list[str], name: str) -> None:
    assert next_study("churn", taken) == name
