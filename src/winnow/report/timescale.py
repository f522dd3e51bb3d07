"""Clock time → a place on the timeline: time since the study began, pauses between sittings left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from winnow.report.facts import Sitting

_UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


@dataclass(frozen=True)
class Timescale:
    """A scale in seconds, minutes or hours, whichever fits its length.

    Attributes:
        sittings: the stretches of work that it is made of, in order.
        unit: the plural of its unit.
        unit_s: its unit in seconds.
    """

    sittings: tuple[Sitting, ...]
    unit: str
    unit_s: float

    @classmethod
    def over(cls, sittings: Sequence[Sitting]) -> Timescale:
        """The scale on which these sittings lie end to end."""
        seconds = sum(sitting.end_ms - sitting.start_ms for sitting in sittings) / 1000
        _, unit_s, unit = next(row for row in _UNITS if seconds >= row[0])
        return cls(tuple(sittings), unit, unit_s)

    @property
    def length(self) -> float:
        """Where the last sitting ends; never 0."""
        return max(sum(map(self._span, self.sittings)), 1e-3)

    @property
    def pauses(self) -> tuple[tuple[float, float], ...]:
        """(place, length in seconds) of each pause that was left out."""
        places = []
        for before, after in zip(self.sittings, self.sittings[1:], strict=False):
            places.append((self.at(before.end_ms), (after.start_ms - before.end_ms) / 1000))
        return tuple(places)

    def at(self, ms: int) -> float:
        """Where a time lies; times in a pause lie at its place."""
        place = 0.0
        for sitting in self.sittings:
            if ms >= sitting.end_ms:
                place += self._span(sitting)
                continue
            return place + max(ms - sitting.start_ms, 0) / 1000 / self.unit_s
        return place

    def _span(self, sitting: Sitting) -> float:
        return (sitting.end_ms - sitting.start_ms) / 1000 / self.unit_s
