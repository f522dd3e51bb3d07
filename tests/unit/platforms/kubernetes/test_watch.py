"""Rounds of a watch, over a cluster that answers by a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from tests.unit.platforms.kubernetes.passing_time import Time
from winnow.config.errors import UnreachableError
from winnow.platforms.kubernetes.client import Change, Listing
from winnow.platforms.kubernetes.group_watch import RETRY_S, Watch
from winnow.platforms.kubernetes.kinds import POD, Kind
from winnow.platforms.kubernetes.refusals import ExpiredError


def change(kind: str, version: str) -> Change:
    return Change(kind, {"metadata": {"name": "a-pod", "resourceVersion": version}})


class Changes(list[Change | Exception]):
    """What one request brings."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        for each in super().__iter__():
            if isinstance(each, Exception):
                raise each
            yield each

    def close(self) -> None:
        self.clear()


@dataclass
class ScriptedCluster:
    """As much of `Cluster` as a watch needs; `asked` are the versions from which it was watched, or `list`."""

    time: Time
    rounds: list[Changes]
    lasts_s: float = 60.0
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def find(self, _kind: Kind, _labels: Mapping[str, str]) -> Listing:
        self.asked.append("list")
        if self.failure is not None:
            raise self.failure
        return Listing((), "1")

    def watch(self, _kind: Kind, _labels: Mapping[str, str], version: str) -> Changes:
        self.asked.append(version)
        self.time.now_s += self.lasts_s
        return self.rounds.pop(0)


def watch_of(cluster: ScriptedCluster) -> Watch:
    return Watch(cluster, POD, {"a": "b"}, clock=cluster.time.clock())  # type: ignore[arg-type]


def read(watch: Watch) -> tuple[bool, list[Change]]:
    """One round: whether it listed, and what changed."""
    return watch.refresh() is not None, list(watch.changes())


def test_a_request_that_ends_is_sent_again_from_the_last_version() -> None:
    rounds = [Changes([change("ADDED", "2"), change("BOOKMARK", "7")]), Changes([change("DELETED", "8")]), Changes()]
    cluster = ScriptedCluster(Time(), rounds)
    watch = watch_of(cluster)
    assert [read(watch) for _ in range(3)] == [
        (True, [change("ADDED", "2")]),
        (False, [change("DELETED", "8")]),
        (False, []),
    ]
    assert cluster.asked == ["list", "1", "7", "8"]
    assert cluster.time.now_s == 3 * cluster.lasts_s


def test_objects_are_listed_anew_where_changes_may_have_been_missed() -> None:
    rounds = [Changes([ExpiredError("too old")]), Changes([UnreachableError("away")]), Changes([change("ADDED", "2")])]
    cluster = ScriptedCluster(Time(), [*rounds, Changes()])
    watch = watch_of(cluster)
    assert read(watch) == (True, [])
    with pytest.raises(UnreachableError):
        read(watch)
    watch.refresh()
    next(watch.changes())  # dropped by a reader that fails before the next change
    assert read(watch) == (True, [])
    assert cluster.asked == ["list", "1"] * 4


def test_after_a_round_that_ended_at_once_it_pauses_and_lists() -> None:
    cluster = ScriptedCluster(Time(), [Changes(), Changes()], lasts_s=0.0)
    watch = watch_of(cluster)
    assert [read(watch), read(watch)] == [(True, []), (True, [])]
    assert cluster.time.now_s == RETRY_S
    cluster.failure = UnreachableError("away")
    for _ in range(2):
        with pytest.raises(UnreachableError):
            watch.refresh()
        assert list(watch.changes()) == []
    assert cluster.time.now_s == 3 * RETRY_S


def test_a_request_that_begins_after_the_watch_is_closed_ends_at_once() -> None:
    watch = watch_of(ScriptedCluster(Time(), [Changes([change("ADDED", "2")])]))
    watch.close()
    assert read(watch) == (True, [])
    assert watch.is_closed
