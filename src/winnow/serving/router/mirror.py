"""Sends copies of answered requests to the candidate, in the background, and compares its answers with stable's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from msgspec import structs

from winnow.routing import Comparisons
from winnow.serving.router.compare import Comparison, compare
from winnow.serving.router.counters import Counter
from winnow.serving.router.split import Share
from winnow.serving.router.upstream import Answer, Request, Upstream, UpstreamError

MOST_BYTES = 256 * 2**10
"""Larger requests and answers are not copied: comparing them would delay the requests of clients."""
MOST_WAITING = 64
AT_A_TIME = 8
TIMEOUT_S = 5.0


class _Copy(NamedTuple):
    path: str
    request: Request
    expected: bytes


class Mirror:
    """Mirrors a share of the requests that stable has answered, as far as there is room.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, candidate: Upstream, share: Share, *, is_classifier: bool, clock: Callable[[], float]) -> None:
        self.counter = Counter()
        self._candidate = candidate
        self._share = share
        self._is_classifier = is_classifier
        self._clock = clock
        self._waiting: deque[_Copy] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self.comparisons = Comparisons()

    def offer(self, path: str, request: Request, answer: Answer) -> None:
        """Copy a prediction that stable has answered with 200, if it belongs to the share. Returns at once."""
        if not self._share.take():
            return
        is_large = answer.rest is not None or max(request.size, len(answer.body)) > MOST_BYTES
        if is_large or len(self._waiting) >= MOST_WAITING:
            self.comparisons = structs.replace(self.comparisons, dropped=self.comparisons.dropped + 1)
            return
        self._waiting.append(_Copy(path, request, answer.body))
        if len(self._workers) < AT_A_TIME:
            task = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while self._waiting:
            copy = self._waiting.popleft()
            started = self._clock()
            seconds, found = None, None
            try:
                answer = await self._candidate.ask(copy.request, TIMEOUT_S)
                seconds = self._clock() - started
                if answer.rest is not None:
                    answer.rest.close()
                elif answer.status == 200:
                    found = compare(copy.path, copy.expected, answer.body, is_classifier=self._is_classifier)
            except (UpstreamError, ValueError):
                pass
            self.counter.add(seconds if found is not None else None, is_error=found is None)
            self._count(found)

    def _count(self, found: Comparison | None) -> None:
        before = self.comparisons
        if found is None:
            self.comparisons = structs.replace(before, errors=before.errors + 1)
            return
        self.comparisons = structs.replace(
            before,
            compared=before.compared + 1,
            agreed=before.agreed + found.is_agreed,
            flips=before.flips + found.is_flip,
            distance_sum=before.distance_sum + found.distance,
            distance_square_sum=before.distance_square_sum + found.distance**2,
            largest_distance=max(before.largest_distance, found.distance),
        )
