"""Windows of counts from look to look."""

from __future__ import annotations

from msgspec import json, structs

from tests.unit.monitoring.test_exposition import of_replica
from tests.unit.monitoring.watched import DIGEST
from winnow.monitoring.exposition import ReplicaCounts
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.state import MonitoringState, looked

CELLS = LiveCounts("cells", "3", DIGEST, 0.0, 0.0, 0, {}, {})


def look(state: MonitoringState, at: float, lookback_s: float = 600.0, **replicas: ReplicaCounts) -> MonitoringState:
    return looked(state, replicas, CELLS, at, lookback_s)


def rows_at(at: float, rows: int, started: float = 1000.0) -> ReplicaCounts:
    return of_replica(rows, started=started, at=at)


def test_the_first_window_begins_when_the_replicas_did() -> None:
    state = look(MonitoringState(), 2000.0, a=rows_at(2000.0, 10), b=rows_at(2000.0, 5, started=1900.0))
    assert (state.window.since, state.window.until, state.window.rows, state.window.replicas) == (1000.0, 2000.0, 15, 2)


def test_a_window_grows_until_it_is_judged_whatever_becomes_of_replicas() -> None:
    state = look(MonitoringState(), 2000.0, a=rows_at(2000.0, 10))
    state = structs.replace(state, judged=state.sums[-1])
    state = look(state, 2100.0, a=rows_at(2100.0, 14), b=rows_at(2100.0, 3, started=2050.0))
    state = look(state, 2200.0, b=rows_at(2200.0, 6, started=2050.0))
    state = look(state, 2300.0, b=rows_at(2300.0, 2, started=2250.0))
    assert (state.window.since, state.window.rows, state.window.replicas) == (2000.0, 4 + 3 + 3 + 2, 1)
    assert state.window.columns["age"].bins == (12, 0)
    assert state.window.columns["age"].total == 12.0


def test_a_rule_looks_back_to_the_latest_look_that_is_old_enough() -> None:
    state = MonitoringState()
    for minute in range(30):
        at = 2000.0 + 60 * minute
        state = look(state, at, a=rows_at(at, 10 + minute))
    assert [(state.last(seconds).since, state.last(seconds).rows) for seconds in (60, 90, 600)] == [
        (3680.0, 1),
        (3620.0, 2),
        (3140.0, 10),
    ]
    assert len(state.sums) < 15


def test_many_looks_keep_few_sums() -> None:
    state = MonitoringState()
    for second in range(3000):
        at = 2000.0 + second
        state = look(state, at, a=rows_at(at, second))
    assert len(state.sums) < 16
    assert 600 <= state.last(600).until - state.last(600).since <= 651


def test_looks_that_are_rarer_than_a_rule_looks_back_see_all_since_the_last_one() -> None:
    state = look(MonitoringState(), 2000.0, a=rows_at(2000.0, 10))
    state = look(state, 9000.0, a=rows_at(9000.0, 50))
    assert (state.last(600).since, state.last(600).rows) == (2000.0, 40)


def test_another_version_begins_anew() -> None:
    state = structs.replace(look(MonitoringState(), 2000.0, a=rows_at(2000.0, 10)), holding={"Slow": 1.0})
    other = structs.replace(CELLS, version="4", digest="e" * 64)
    new = of_replica(3, started=2050.0, at=2100.0, digest="e" * 64)
    state = looked(state, {"a": rows_at(2100.0, 99), "c": new}, other, 2100.0, 600.0)
    assert (state.window.version, state.window.since, state.window.rows) == ("4", 2050.0, 3)
    assert state.holding == {}


def test_without_replicas_the_window_has_no_rows() -> None:
    state = look(MonitoringState(), 2000.0)
    assert (state.window.rows, state.window.replicas, state.window.version) == (0, 0, "3")


def test_the_state_is_stored_as_json() -> None:
    state = look(MonitoringState(), 2000.0, a=rows_at(2000.0, 10))
    assert json.decode(json.encode(state), type=MonitoringState) == state
