from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.kinds import Kind, Manifest, name_of
from winnow.platforms.kubernetes.lease import DURATION_S, RENEWED_EVERY_S, OvertakenError, held
from winnow.platforms.kubernetes.refusals import ConflictError, refusal


@dataclass
class Leases:
    """The part of a cluster that keeps leases."""

    kept: dict[str, Manifest] = field(default_factory=dict)
    versions: Any = field(default_factory=itertools.count)

    def get(self, kind: Kind, name: str) -> Manifest | None:
        return self.kept.get(name)

    def create(self, manifest: Manifest) -> Manifest:
        if name_of(manifest) in self.kept:
            raise ConflictError("there is one")
        return self._keep(name_of(manifest), manifest["spec"], str(next(self.versions)))

    def merge(self, kind: Kind, name: str, patch: Manifest) -> Manifest | None:
        found = self.kept.get(name)
        return found and self._keep(name, {**found["spec"], **patch["spec"]}, found["metadata"]["uid"])

    def delete(self, kind: Kind, name: str, *, uid: str) -> bool:
        if self.kept[name]["metadata"]["uid"] != uid:
            raise ConflictError("another one")
        return self.kept.pop(name) is not None

    def _keep(self, name: str, spec: Manifest, uid: str) -> Manifest:
        version = str(next(self.versions))
        self.kept[name] = {"metadata": {"name": name, "uid": uid, "resourceVersion": version}, "spec": spec}
        return self.kept[name]


@dataclass
class Time:
    """A clock that passes when somebody sleeps; `happens` is what others do meanwhile."""

    now_s: float = 0.0
    happens: Callable[[], object] = lambda: None

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.happens()


def test_a_lease_is_held_by_one_and_gone_afterwards() -> None:
    leases, time = Leases(), Time()
    with held(leases, "cells", {}, "it", time.clock()) as first:
        time.happens = lambda: (setattr(time, "now_s", time.now_s + RENEWED_EVERY_S), first.renew())
        with (
            pytest.raises(InputError, match="it: expected no other process"),
            held(leases, "cells", {}, "it", time.clock()),
        ):
            pass
        assert time.now_s < DURATION_S
    assert leases.kept == {}


def test_a_lease_that_is_released_meanwhile_is_taken() -> None:
    leases, time = Leases(), Time()
    leases.create({"metadata": {"name": "cells"}, "spec": {"holderIdentity": "somebody"}})
    time.happens = leases.kept.clear
    with held(leases, "cells", {}, "it", time.clock()):
        assert leases.kept["cells"]["spec"]["holderIdentity"] != "somebody"


def test_a_dead_holders_lease_is_taken_over_and_it_learns_of_that_when_it_was_only_slow() -> None:
    leases, time = Leases(), Time()
    with held(leases, "cells", {}, "it", time.clock()) as slow:
        with held(leases, "cells", {}, "it", time.clock()):
            assert time.now_s >= DURATION_S
            with pytest.raises(OvertakenError, match="taken over"):
                slow.renew()
        assert leases.kept == {}


class RefusingLeases(Leases):
    """They are there, and then the API does not give them any more."""

    refusal: Exception | None = None

    def get(self, kind: Kind, name: str) -> Manifest | None:
        if self.refusal is not None:
            raise self.refusal
        return super().get(kind, name)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_an_api_that_refuses_at_the_end_neither_hides_a_failure_nor_makes_one(status: int) -> None:
    leases = RefusingLeases()
    with held(leases, "cells", {}, "it", Time().clock()):
        leases.refusal = refusal("GET", "/leases/cells", status, b"")
    leases = RefusingLeases()
    with pytest.raises(ValueError, match="what went wrong"), held(leases, "cells", {}, "it", Time().clock()):
        leases.refusal = refusal("GET", "/leases/cells", status, b"")
        raise ValueError("what went wrong")


def test_whether_it_is_held_is_asked_at_once_before_a_step_that_must_not_be_another_s() -> None:
    leases, time = Leases(), Time()
    with held(leases, "cells", {}, "it", time.clock()) as lease:
        lease.confirm()
        leases.kept["cells"]["spec"]["holderIdentity"] = "somebody"
        lease.renew()  # that was said just now
        with pytest.raises(OvertakenError, match="taken over"):
            lease.confirm()
