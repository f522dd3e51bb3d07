"""When the candidate is tried, and how long it may take."""

from __future__ import annotations

import pytest

from winnow.serving.router.fail_open import (
    FIRST_OPEN_S,
    LEAST_S,
    MOST_CONSECUTIVE,
    MOST_OPEN_S,
    UNKNOWN_S,
    AnswerTimes,
    Breaker,
)


def _opened() -> Breaker:
    breaker = Breaker()
    for _ in range(MOST_CONSECUTIVE):
        assert breaker.admits(0.0)
        breaker.miss(0.0, 0.0)
    return breaker


def test_a_breaker_opens_after_misses_in_a_row() -> None:
    breaker = _opened()
    assert breaker.is_open
    assert not breaker.admits(FIRST_OPEN_S - 0.01)


def test_a_breaker_opens_when_more_than_half_of_the_last_requests_are_misses() -> None:
    breaker = Breaker()
    for _ in range(7):
        breaker.hit(0.0)
        breaker.miss(0.0, 0.0)
        breaker.miss(0.0, 0.0)
    assert breaker.is_open


def test_a_breaker_stays_closed_while_half_of_the_requests_are_answered() -> None:
    breaker = Breaker()
    for _ in range(100):
        breaker.miss(0.0, 0.0)
        breaker.hit(0.0)
    assert not breaker.is_open


def test_a_stall_of_all_requests_under_way_is_one_miss() -> None:
    breaker = Breaker()
    for began in range(MOST_CONSECUTIVE * 2):
        breaker.miss(began / 1000, 0.05 + began / 1000)
    assert not breaker.is_open


def test_an_open_breaker_lets_one_probe_pass_and_closes_when_it_is_answered() -> None:
    breaker = _opened()
    assert [breaker.admits(FIRST_OPEN_S), breaker.admits(FIRST_OPEN_S)] == [True, False]
    breaker.hit(FIRST_OPEN_S)
    assert not breaker.is_open
    assert breaker.admits(FIRST_OPEN_S)


def test_each_failed_probe_opens_it_for_twice_as_long_up_to_a_limit() -> None:
    breaker, now = _opened(), 0.0
    for open_s in (FIRST_OPEN_S, 1.0, 2.0, 4.0, MOST_OPEN_S, MOST_OPEN_S):
        assert not breaker.admits(now + open_s - 0.01)
        now += open_s
        assert breaker.admits(now)
        breaker.miss(0.0, now)  # a request from before it opened, which says nothing of the probe
        assert not breaker.admits(now + MOST_OPEN_S)
        breaker.miss(now, now)


def test_an_answer_from_before_it_opened_does_not_close_it() -> None:
    breaker = _opened()
    breaker.hit(-1.0)
    assert breaker.admits(FIRST_OPEN_S)
    breaker.hit(-1.0)
    assert breaker.is_open


def test_the_limit_follows_stable_by_size() -> None:
    times = AnswerTimes()
    assert times.limit_s(0) == UNKNOWN_S
    for _ in range(100):
        times.add(100, 0.002)
        times.add(900_000, 0.2)
    assert times.limit_s(4_000) == LEAST_S
    assert times.limit_s(900_000) == pytest.approx(0.6)
    assert times.limit_s(20 * 2**20) == 21 * UNKNOWN_S


def test_the_limit_is_of_the_99th_percentile() -> None:
    times = AnswerTimes()
    for index in range(256):
        times.add(100, 0.1 if index % 20 == 0 else 0.001)
    assert times.limit_s(100) == pytest.approx(0.3)
