"""Schedules in cron's notation, in UTC: when one was due last, and when it is due next.

The rules are those of crontab(5): five fields of `*`, numbers, ranges, lists and steps; months and days of the week by
name, too; where day of the month and day of the week are both restricted, either is enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

NAMED = {"hourly": "0 * * * *", "daily": "0 0 * * *", "weekly": "0 0 * * 1"}
"""Schedules with a name of their own; a week begins on Monday."""
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_DAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_PART = re.compile(r"(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?")
_FARTHEST = timedelta(days=8 * 366)
"""29 February may be eight years away."""
_EXPECTED = "hourly, daily, weekly or a cron expression of five fields, such as `0 3 * * 1`"


@dataclass(frozen=True)
class Cron:
    """A schedule. `days` and `weekdays` (0 is Sunday): None for a star."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    months: frozenset[int]
    weekdays: frozenset[int] | None

    def last(self, moment: datetime) -> datetime:
        """The latest time of the schedule that is not after `moment`, in UTC."""
        return next(each for each in self._times(moment, -1) if each <= moment)

    def next(self, moment: datetime) -> datetime:
        """The earliest time of the schedule after `moment`, in UTC."""
        return next(each for each in self._times(moment, 1) if each > moment)

    def _times(self, moment: datetime, direction: int) -> Iterator[datetime]:
        """The times from the day of `moment` on, in one direction."""
        first = moment.astimezone(UTC).date()
        clock = [time(hour, minute, tzinfo=UTC) for hour in sorted(self.hours) for minute in sorted(self.minutes)]
        for offset in range(_FARTHEST.days):
            day = first + direction * timedelta(days=offset)
            if self._has(day):
                yield from (datetime.combine(day, each) for each in clock[::direction])

    def _has(self, day: date) -> bool:
        is_day = self.days is not None and day.day in self.days
        is_weekday = self.weekdays is not None and day.isoweekday() % 7 in self.weekdays
        is_any = self.days is None and self.weekdays is None
        return day.month in self.months and (is_any or is_day or is_weekday)


def cron_of(text: str) -> Cron:
    """The schedule of an expression or a name. Raises ValueError where it is neither, or never due."""
    fields = NAMED.get(text.strip(), text).lower().split()
    if len(fields) != 5:
        raise ValueError(_EXPECTED)
    numbers = (_numbers(field, *facts) for field, facts in zip(fields, _FIELDS, strict=True))
    minutes, hours, days, months, weekdays = numbers
    cron = Cron(
        minutes,
        hours,
        None if fields[2] == "*" else days,
        months,
        None if fields[4] == "*" else frozenset(each % 7 for each in weekdays),
    )
    if next(cron._times(datetime(2024, 1, 1, tzinfo=UTC), 1), None) is None:
        raise ValueError(f"a schedule that is due some day, which day {fields[2]} of month {fields[3]} is not")
    return cron


def _numbers(field: str, what: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    """The numbers of one field."""
    found: set[int] = set()
    for part in field.split(","):
        matched = _PART.fullmatch(part)
        if matched is None:
            raise ValueError(f"{_EXPECTED}; `{part}` is no {what}")
        low, high, step = matched.groups()
        first = least if low is None else _number(low, what, least, most, names)
        last = most if low is None or (high is None and step) else _number(high or low, what, least, most, names)
        if last < first or step == "0":
            raise ValueError(f"{_EXPECTED}; `{part}` is no {what}")
        found |= set(range(first, last + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, what: str, least: int, most: int, names: dict[str, int]) -> int:
    number = names.get(text, int(text) if text.isdigit() else -1)
    if not least <= number <= most:
        raise ValueError(f"{_EXPECTED}; `{text}` is no {what} from {least} to {most}")
    return number
