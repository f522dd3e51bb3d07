"""Which revision answers a request. Pure: nothing here knows whether the candidate works."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from winnow.routing import RouterSettings

REVISION_HEADER = "x-winnow-revision"
"""On requests the revision that a client chooses, where it may; on answers the revision that answered."""

_NAME = REVISION_HEADER.encode()
_PREDICTION = re.compile(r"/predict|/invocations|/v2/models/[^/]+/infer")


@dataclass(frozen=True)
class Choice:
    """Who answers a request.

    Attributes:
        is_candidate: the candidate, if it works; else stable.
        is_routed: the route decided, not the client, and it is a prediction: it counts in the comparison of revisions.
    """

    is_candidate: bool
    is_routed: bool


class Share:
    """Takes a share of the requests: of n requests n * share, with a difference below one.

    In each of the intervals of 1/share requests one is taken, at random: a pattern in the traffic (every second request
    from another client) meets no pattern here.

    Args:
        random: returns a number from 0 to below 1.
    """

    def __init__(self, share: float, random: Callable[[], float]) -> None:
        self._share = share
        self._random = random
        self._seen = self._taken = 0
        self._place = random()

    def take(self) -> bool:
        """Whether the next request is taken."""
        self._seen += 1
        if self._seen * self._share <= self._taken + self._place:
            return False
        self._taken += 1
        self._place = self._random()
        return True


class Split:
    """Divides requests between the revisions of a route."""

    def __init__(self, settings: RouterSettings, random: Callable[[], float]) -> None:
        self._route = settings.route
        self._unit = settings.route.unit.lower().encode()
        self._salt = f"{settings.name}/{settings.route.candidate}/".encode()
        self._share = Share(settings.route.weight, random)

    def choose(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Choice:
        """Who answers a request; `headers` have lower-case names.

        The rest of the server (its documentation, the model's card) is stable's alone, and so is an address that names
        a version: no other revision has it.
        """
        if self._route.candidate is None:
            return Choice(is_candidate=False, is_routed=is_prediction(method, path))
        if self._route.may_choose:
            chosen = _value(headers, _NAME)
            if chosen == b"%d" % self._route.candidate:
                return Choice(is_candidate=True, is_routed=False)
            if chosen == b"%d" % self._route.stable:
                return Choice(is_candidate=False, is_routed=False)
        if not is_prediction(method, path):
            return Choice(is_candidate=False, is_routed=False)
        unit = _value(headers, self._unit) if self._unit else None
        is_candidate = self._share.take() if unit is None else place_of(self._salt, unit) < self._route.weight
        return Choice(is_candidate, is_routed=True)


def is_prediction(method: str, path: str) -> bool:
    """Whether a request asks the model, whichever version it is."""
    return method == "POST" and _PREDICTION.fullmatch(path) is not None


def place_of(salt: bytes, unit: bytes) -> float:
    """The weight, from 0 to 1, above which the candidate answers a unit.

    A unit that the candidate answers at some weight stays with it at every larger one.
    """
    return int.from_bytes(hashlib.blake2b(salt + unit, digest_size=8).digest()) / 2**64


def _value(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)
