"""When the candidate is tried, and how long it may take. Pure: the time is passed in."""

from __future__ import annotations

from collections import deque

MOST_CONSECUTIVE = 5
WINDOW = 20
"""A breaker opens after so many misses in a row, or when more than half of a window are misses."""
FIRST_OPEN_S, MOST_OPEN_S = 0.5, 5.0
"""It stays open for so long, twice as long after each failed probe, and at most for the second time."""

MULTIPLE = 3.0
LEAST_S = 0.05
UNKNOWN_S = 1.0
"""The candidate may take so many times stable's 99th percentile, and at least so long. While that is unknown, it may
take the third, and as long again for each MiB of the request."""

RECENT = 256
ENOUGH = 32


class Breaker:
    """Stops requests to a candidate that fails; now and then a single one, a probe, tries it again.

    Of misses that overlap in time one counts: a short stall of the candidate concerns all requests that are under way.
    """

    def __init__(self) -> None:
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._consecutive = 0
        self._last_miss = float("-inf")
        self._open_s = FIRST_OPEN_S
        self._open_until: float | None = None
        self._is_probing = False

    @property
    def is_open(self) -> bool:
        """Whether the candidate is not trusted, be it that a probe is under way."""
        return self._open_until is not None

    def admits(self, now: float) -> bool:
        """Whether the candidate gets the next request. If so, its outcome must follow as `hit` or `miss`."""
        if self._open_until is None:
            return True
        if self._is_probing or now < self._open_until:
            return False
        self._is_probing = True
        return True

    def hit(self, began: float) -> None:
        """The candidate has answered a request that was sent to it at `began`."""
        if self._open_until is None:
            self._recent.append(True)
            self._consecutive = 0
        elif self._is_probing and began >= self._open_until:
            self._recent.clear()
            self._consecutive, self._open_s = 0, FIRST_OPEN_S
            self._open_until, self._is_probing = None, False

    def miss(self, began: float, now: float) -> None:
        """The candidate has not answered such a request as it should."""
        if self._open_until is not None:
            if self._is_probing and began >= self._open_until:
                self._open_s = min(2 * self._open_s, MOST_OPEN_S)
                self._open_until, self._is_probing = now + self._open_s, False
            return
        if began < self._last_miss:
            return
        self._last_miss = now
        self._recent.append(False)
        self._consecutive += 1
        is_half = len(self._recent) == WINDOW and self._recent.count(False) * 2 > WINDOW
        if self._consecutive >= MOST_CONSECUTIVE or is_half:
            self._open_until = now + self._open_s


class AnswerTimes:
    """Stable's recent times to answer, by the size of requests: a large one may take longer."""

    def __init__(self) -> None:
        self._by_size: dict[int, _Recent] = {}

    def add(self, request_bytes: int, seconds: float) -> None:
        """Stable has answered a request."""
        self._by_size.setdefault(_class_of(request_bytes), _Recent()).add(seconds)

    def limit_s(self, request_bytes: int) -> float:
        """How long the candidate may take for a request of this size."""
        recent = self._by_size.get(_class_of(request_bytes))
        if recent is None or recent.p99 is None:
            return UNKNOWN_S * (1 + request_bytes / 2**20)
        return max(LEAST_S, MULTIPLE * recent.p99)


class _Recent:
    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=RECENT)
        self._since = 0
        self.p99: float | None = None

    def add(self, seconds: float) -> None:
        self._times.append(seconds)
        self._since += 1
        if self._since >= ENOUGH:
            self._since = 0
            self.p99 = sorted(self._times)[int(len(self._times) * 0.99)]


def _class_of(request_bytes: int) -> int:
    """Sizes up to 4 KiB are one class; from there each fourfold size is another."""
    return max(request_bytes.bit_length() - 11, 0) // 2
