"""Which alarms begin, hold and end from look to look."""

from __future__ import annotations

from tests.unit.monitoring.watched import AGE, counted
from winnow.config.monitoring import RuleConfig
from winnow.finding import Finding, Result
from winnow.monitoring.alarms import DRIFT, AlarmChanges, Judged, changes, of_drift, of_rules, still_holding
from winnow.monitoring.report import Alarm, ColumnDrift

PASS, FAIL, NOT_ENOUGH = Result.PASS, Result.FAIL, Result.NOT_ENOUGH_DATA
SLOW = RuleConfig.model_validate({"name": "Slow", "metric": "latency", "above": "1 s", "wait": "5m"})


def alarm(since: float = 100.0, version: str = "3", summary: str = "It moved.", name: str = DRIFT) -> Alarm:
    return Alarm(name, "age", summary, since, version)


def judged(result: Result, **fields: object) -> Judged:
    return Judged(alarm(**fields), result)  # type: ignore[arg-type]


def finding(result: Result, name: str = "Slow") -> Finding:
    return Finding(name, 2.0, (None, None), 10, 1.0, "above 1 s", result, "It is 2 s.")


def test_an_alarm_begins_once_holds_and_ends_once() -> None:
    assert changes((), [judged(FAIL)], "3", ()) == AlarmChanges((alarm(),), (alarm(),), ())
    later = alarm(summary="It moved further.")
    found = changes((alarm(),), [judged(FAIL, since=900.0, summary="It moved further.")], "3", ())
    assert found == AlarmChanges((later,), (), ())
    assert changes((later,), [judged(PASS)], "3", ()) == AlarmChanges((), (), (later,))
    assert changes((), [judged(PASS)], "3", ()) == AlarmChanges((), (), ())


def test_a_look_that_cannot_judge_changes_nothing() -> None:
    assert changes((alarm(),), [judged(NOT_ENOUGH, summary="Too few.")], "3", ()) == AlarmChanges((alarm(),), (), ())
    assert changes((alarm(),), [], "3", ()) == AlarmChanges((alarm(),), (), ())


def test_an_alarm_about_another_version_ends_and_its_own_may_begin() -> None:
    found = changes((alarm(),), [judged(FAIL, version="4")], "4", ())
    assert found == AlarmChanges((alarm(version="4"),), (alarm(version="4"),), (alarm(),))


def test_an_alarm_of_a_rule_that_is_gone_ends() -> None:
    slow = alarm(name="Slow")
    assert changes((slow,), [], "3", (SLOW,)) == AlarmChanges((slow,), (), ())
    assert changes((slow,), [], "3", ()) == AlarmChanges((), (), (slow,))


def test_a_rule_fires_once_it_has_failed_for_as_long_as_it_waits() -> None:
    holding = still_holding([finding(FAIL)], {}, 1000.0)
    assert holding == {"Slow": 1000.0}
    assert [each.result for each in of_rules([SLOW], [finding(FAIL)], holding, "3", 1299.0)] == [NOT_ENOUGH]
    assert still_holding([finding(NOT_ENOUGH)], holding, 1100.0) == holding
    fired = of_rules([SLOW], [finding(FAIL)], still_holding([finding(FAIL)], holding, 1300.0), "3", 1300.0)
    assert fired == [Judged(Alarm("Slow", "", "It is 2 s.", 1000.0, "3", is_about_answers=True), FAIL)]
    assert still_holding([finding(PASS)], holding, 1300.0) == {}


def test_an_alarm_about_a_column_has_the_words_of_its_largest_drift() -> None:
    def moved(name: str, estimate: float, result: Result) -> Finding:
        return Finding(name, estimate, (None, None), 500, 0.1, "", result, f"{name} is {estimate}.")

    findings = (moved("psi", 0.2, FAIL), moved("missing", 0.05, PASS), moved("wasserstein", 0.3, FAIL))
    drift = ColumnDrift("age", "number", False, 0.2, AGE.counts, counted().columns["age"], findings, since=50.0)
    assert of_drift([drift], None, "3", 90.0) == [
        Judged(Alarm(DRIFT, "age", "age: wasserstein is 0.3.", 50.0, "3", "ticket"), FAIL)
    ]
