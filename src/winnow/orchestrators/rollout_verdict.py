"""Winnow's verdict on a step of a rollout whose traffic another program moves, from a Prometheus that scrapes replicas.

Both revisions' replicas count requests themselves; what they count from the first look on belongs to the step. The
tests hold at every look, so that waiting for a verdict does not make it less certain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError
from winnow.config.next_command import next_flag
from winnow.finding import Result
from winnow.monitoring.exposition import ReplicaCounts, counted_since, replica_counts
from winnow.monitoring.prometheus import check_address, replica_texts
from winnow.rollout.conditions import Measured, measure_all
from winnow.rollout.plan import OF_ADDRESSES, Step
from winnow.rollout.verdict import Verdict, judge
from winnow.routing import Counts, RouterReport
from winnow.serving.metrics import BUCKETS_S

POLL_S = 10.0
LOOKBACK_S = 300.0
"""How far before the step replicas are known at least; a Prometheus scrapes every minute or more often."""
JUDGED = ("errors", "latency", *OF_ADDRESSES)

Texts = Callable[[float, float], Mapping[str, str]]
"""Replicas' metrics by identifier, at a time and with a lookback, both in seconds."""


@dataclass(frozen=True)
class RevisionHashes:
    """How the pods of both revisions are told apart: by the hash of the pod template in their names."""

    stable: str
    candidate: str


def step_of(text: str) -> Step:
    """The step to be judged, from JSON with the fields of `rollout.plan.Step`.

    Raises InputError if the text is none, or has a condition that replicas' metrics do not show.
    """
    expected = 'a step as JSON: {"least_s": 300, "most_s": 3600, "alpha": 0.01, "conditions": [{"type": "errors"}]}'
    try:
        step = msgspec.json.decode(text, type=Step)
    except msgspec.DecodeError as error:
        raise InputError(next_flag("step"), expected=expected, found=str(error), remedy="Correct it.") from error
    other = [each.type for each in step.conditions if each.type not in JUDGED]
    if other or not step.conditions or not 0 < step.alpha < 1:
        expected = f"`alpha` from 0 to 1, and conditions among {', '.join(JUDGED)}"
        found = ", ".join(other) or f"{len(step.conditions)} conditions and alpha {step.alpha:g}"
        raise InputError(next_flag("step"), expected=expected, found=found, remedy="Correct it.")
    return step


def counted(before: Mapping[str, ReplicaCounts], now: Mapping[str, ReplicaCounts], pods: str) -> Counts:
    """What the replicas of a revision have counted between two looks. `pods`: the hash in their names."""
    earlier, later = ({name: each for name, each in of.items() if f"-{pods}-" in name} for of in (before, now))
    found = counted_since(earlier, later).values()
    latency = zip(*(each.latency for each in found), strict=True)
    return Counts(sum(each.requests for each in found), sum(each.errors for each in found), tuple(map(sum, latency)))


def await_verdict(
    step: Step,
    hashes: RevisionHashes,
    texts: Texts,
    *,
    measure: Callable[[Step], dict[int, Measured]] = measure_all,
    wall: Callable[[], float] = time.time,
    clock: Clock | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Look until the step passes or fails, or its time is over.

    Args:
        texts: reads the replicas' metrics. Errors of the connection are waited out.
        say: is called with each new reason.

    Returns:
        The verdict: `NOT_ENOUGH_DATA` where the step's time is over.

    Raises:
        InputError: what answers is no Prometheus.
    """
    clock = clock if clock is not None else Clock()
    began, first, said = wall(), None, ""
    while True:
        now = wall()
        try:
            read = _parsed(texts(now, now - began + LOOKBACK_S), now)
        except UnreachableError as error:
            found = Verdict(0, (), Result.NOT_ENOUGH_DATA, str(error))
        else:
            first = read if first is None else first
            report = RouterReport(
                "",
                0,
                stable=counted(first, read, hashes.stable),
                candidate=counted(first, read, hashes.candidate),
            )
            found = judge(0, step, report, measure(step), BUCKETS_S)
        if found.reason != said:
            say(said := found.reason)
        if found.result is Result.FAIL or (found.result is Result.PASS and now - began >= step.least_s):
            return found
        if step.most_s is not None and now - began >= step.most_s:
            return msgspec.structs.replace(found, result=Result.NOT_ENOUGH_DATA)
        clock.sleep(POLL_S)


def of_prometheus(address: str, deployment: str) -> Texts:
    """Reads the metrics of a deployment's replicas. Raises InputError if the address is none, or has a password."""
    place = next_flag("prometheus")
    check_address(address, place)
    return lambda at, lookback_s: replica_texts(address, deployment, at, lookback_s, place)[0]


def _parsed(texts: Mapping[str, str], at: float) -> dict[str, ReplicaCounts]:
    found = {}
    for identifier, text in texts.items():
        try:
            found[identifier] = replica_counts(text, at)
        except ValueError as error:
            remedy = "Look at what Prometheus scrapes there."
            expected = "the metrics of a model server"
            raise InputError(f"replica {identifier}", expected=expected, found=str(error), remedy=remedy) from error
    return found
