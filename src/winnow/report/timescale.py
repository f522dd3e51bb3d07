"""Clock time → position on the timeline: time since the study started, without pauses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from winnow.report.facts import Sitting

_UNITS = ((7200.0, 3600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


@dataclass(frozen=True)
class Timescale:
    """A scale in seconds, minutes or hours, depending on its length.

    Attributes:
        sittings: in order.
        unit: plural of its unit.
        unit_s: its unit in seconds.
    """

    sittings: tuple[Sitting, ...]
    unit: str
    unit_s: float

    @classmethod
    def over(cls, sittings: Sequence[Sitting]) -> Timescale:
        """The scale that joins these sittings."""
        seconds = sum(sitting.end_ms - sitting.start_ms for sitting in sittings) / 1000
        _, unit_s, unit = next(row for row in _UNITS if seconds >= row[0])
        return cls(tuple(sittings), unit, unit_s)

    @property
    def length(self) -> float:
        """The end of the last sitting; never 0."""
        return max(sum(map(self._span, self.sittings)), 1e-3)

    @property
    def pauses(self) -> tuple[tuple[float, float], ...]:
        """(position, length in seconds) of each pause."""
        pairs = zip(self.sittings, self.sittings[1:], strict=False)
        return tuple((self.at(before.end_ms), (after.start_ms - before.end_ms) / 1000) for before, after in pairs)

    def at(self, ms: int) -> float:
        """The position of a time. All times in a pause have the same position."""
        place = 0.0
        for sitting in self.sittings:
            if ms >= sitting.end_ms:
                place += self._span(sitting)
                continue
            return place + max(ms - sitting.start_ms, 0) / 1000 / self.unit_s
        return place

    def _span(self, sitting: Sitting) -> float:
        return (sitting.end_ms - sitting.start_ms) / 1000 / self.unit_s
