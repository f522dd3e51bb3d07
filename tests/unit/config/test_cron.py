"""Schedules are those of crontab(5), in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from winnow.config.cron import cron_of
from winnow.config.monitoring import RetrainConfig

SUNDAY = datetime(2026, 11, 29, 8, 50, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "last", "following"),
    [
        ("hourly", "2026-11-29T08:00", "2026-11-29T09:00"),
        ("daily", "2026-11-29T00:00", "2026-11-30T00:00"),
        ("weekly", "2026-11-23T00:00", "2026-11-30T00:00"),
        ("*/20 * * * *", "2026-11-29T08:40", "2026-11-29T09:00"),
        ("50 8 * * *", "2026-11-29T08:50", "2026-11-30T08:50"),
        ("51 8 * * *", "2026-11-28T08:51", "2026-11-29T08:51"),
        ("0 3 * * 1", "2026-11-23T03:00", "2026-11-30T03:00"),
        ("0 3 * * 7", "2026-11-29T03:00", "2026-12-06T03:00"),
        ("0 3 * * mon-fri", "2026-11-27T03:00", "2026-11-30T03:00"),
        ("30 6,18 * JAN,jun *", "2026-06-30T18:30", "2027-01-01T06:30"),
        ("0 0 29 2 *", "2024-02-29T00:00", "2028-02-29T00:00"),
        ("0 12 1 * *", "2026-11-01T12:00", "2026-12-01T12:00"),
        # Where both are restricted, either is enough.
        ("0 12 1 * fri", "2026-11-27T12:00", "2026-12-01T12:00"),
        ("5/15 22-23 * * *", "2026-11-28T23:50", "2026-11-29T22:05"),
    ],
)
def test_a_schedule_was_due_last_and_is_due_next(text: str, last: str, following: str) -> None:
    cron = cron_of(text)
    found = tuple(f"{each:%Y-%m-%dT%H:%M}" for each in (cron.last(SUNDAY), cron.next(SUNDAY)))
    assert found == (last, following)
    assert (cron.last(SUNDAY).second, cron.next(SUNDAY).tzinfo) == (0, UTC)


def test_a_schedule_is_due_at_its_own_time() -> None:
    on_time = datetime(2026, 11, 29, 8, 50, tzinfo=UTC)
    assert cron_of("50 8 * * *").last(on_time) == on_time


@pytest.mark.parametrize(
    "text",
    [
        *("", "yearly", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * foo *", "5-1 * * * *"),
        *("*/0 * * * *", "1,,2 * * * *", "-1 * * * *", "0 0 30 2 *", "* * * * 8"),
    ],
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a cron expression|due some day"):
        cron_of(text)


def test_the_key_of_a_schedule_takes_what_is_one() -> None:
    assert RetrainConfig(schedule="0 3 * * 1").schedule == "0 3 * * 1"
    with pytest.raises(ValueError, match=r"a cron expression of five fields"):
        RetrainConfig(schedule="every night")
