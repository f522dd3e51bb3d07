"""What a driver does next: one pure function over what is wanted, what is observed, a verdict and the time.

Update, rollback, change of scale, canary, shadow and A/B are data. `next_action` keeps no memory: what must outlast a
driver is in the record, so that any process can continue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from winnow.finding import Result
from winnow.rollout.plan import Step, from_values, to_values
from winnow.rollout.verdict import Verdict
from winnow.routing import Entry, Observation, Record, Rejected, Revision, Rollout, RolloutState, Route

GROWTH = 1.5
"""A verdict is stored again once it rests on so many times the data, so that `rollout-status` can show it."""


MOST_REJECTED = 20
"""How many rejected versions a record remembers."""


@dataclass(frozen=True)
class Desired:
    """What a driver was asked for.

    Attributes:
        target: the revision that is to answer all requests in the end; `revision_for` gives its number.
        steps: on the way there, as `plan.steps_of` has them; of an open rollout, the record's own steps count.
        strategy: the name of what the steps were planned from.
        history: how many revisions that have served are kept besides the serving one.
        ready_within_s: how long replicas may take to become ready.
        rollback_on_failure: a failed verdict sends all requests back to stable; else it pauses.
        started: when the driver began, in seconds since the epoch.
        entry: None keeps the record's.
        router_replicas, router_image: of routers that are still to be started.
        rejecting: why the version that serves is sent away, for a rollback; empty for no rollback.
    """

    target: Revision
    steps: tuple[Step, ...] = ()
    strategy: str = "rolling"
    history: int = 3
    ready_within_s: float = 300.0
    rollback_on_failure: bool = True
    started: float = 0.0
    entry: Entry | None = None
    router_replicas: int = 2
    router_image: str = ""
    rejecting: str = ""


@dataclass(frozen=True)
class Write:
    """`deployer.write(record)`."""

    record: Record


@dataclass(frozen=True)
class Start:
    """`deployer.start(observed.record, number, key)`, then sleep as for Wait: replicas need time."""

    number: int


@dataclass(frozen=True)
class Rescale:
    """`deployer.start(record, number, key)`, then `deployer.write(record)`: the same revision at another scale."""

    record: Record
    number: int


@dataclass(frozen=True)
class Scale:
    """`deployer.scale(observed.record, number, replicas)`."""

    number: int
    replicas: int


@dataclass(frozen=True)
class Move:
    """`deployer.route(record)`. `reason` says why, for people."""

    record: Record
    reason: str


@dataclass(frozen=True)
class Retire:
    """`deployer.retire(record, number)`, then `deployer.write(record)` where it differs from the observed one."""

    record: Record
    number: int


@dataclass(frozen=True)
class Forget:
    """`deployer.wish(name, "")`: the wish is fulfilled, or there is no rollout that it could apply to."""

    wish: str


@dataclass(frozen=True)
class Wait:
    """Sleep for a second or so, renew the lease, observe again."""

    reason: str


@dataclass(frozen=True)
class Paused:
    """The end: the rollout waits for a person."""

    reason: str


@dataclass(frozen=True)
class Aborted:
    """The end: all requests go to the stable revision, as before the rollout."""

    reason: str


@dataclass(frozen=True)
class Fail:
    """The end: the target does not serve. Read the log of the target, then carry out `cleaning`."""

    reason: str
    cleaning: Scale | Retire | None = None


@dataclass(frozen=True)
class Done:
    """The end: the target serves as wanted."""


End = Paused | Aborted | Fail | Done
Action = Write | Start | Rescale | Scale | Move | Retire | Forget | Wait | End


def revision_for(observed: Observation, wanted: Revision) -> Revision:
    """The revision to serve: a kept one that is the same, at the wanted scale, else `wanted` with a new number.

    A kept revision whose replicas fail is not tried again under its number unless requests go to it.
    """
    record = observed.record
    for each in reversed(record.revisions):
        if each.is_same(wanted) and (each in record.routed or not _failure(observed, each.number)):
            return replace(each, scale=wanted.scale)
    return replace(wanted, number=record.next_number)


def next_action(desired: Desired, observed: Observation, verdict: Verdict | None, now: float) -> Action:
    """The next action towards `desired`. Pure; bounded by `ready_within_s` and the steps' longest durations.

    Traffic moves only to revisions with a ready replica, and never away from a ready one to one that is not.

    Args:
        observed: an observation of `Record(name)` where nothing of that name is deployed.
        verdict: of the current step; one of another step is ignored.
        now: seconds since the epoch.
    """
    record, target = observed.record, desired.target.number
    rollout, route = record.rollout, record.route
    if rollout is not None and rollout.is_open:
        if target not in (rollout.candidate, rollout.stable):
            return Fail(f"revision {rollout.candidate} is being rolled out")
        return _continue(desired, observed, rollout, verdict, now)
    if observed.wish:
        return Forget(observed.wish)
    if route.candidate is not None and observed.ready(route.stable):
        return Move(_single(record, route.stable), f"all requests go to revision {route.stable}")
    if rollout is not None and _has_just_been_aborted(desired, rollout):
        if observed.of(rollout.candidate):
            return Scale(rollout.candidate, 0)
        return Aborted(rollout.reason)
    if route.stable == target:
        return _keep(desired, observed, now)
    return _bring_up(desired, observed, now)


def paused(record: Record, verdict: Verdict | None, reason: str, now: float) -> Record:
    """The record of the same weights without a lease: where a rollout is left to wait. Unchanged without a rollout."""
    rollout = record.rollout
    if rollout is None or rollout.state is not RolloutState.RUNNING:
        return record
    return _paused(record, _kept(rollout, verdict, now), reason, now)


def _keep(desired: Desired, observed: Observation, now: float) -> Action:
    """The target serves: give it its scale and its entry, and remove what is left of others."""
    record, target = observed.record, desired.target
    number, scale = target.number, target.scale
    serving, settled = record.revision(number), _settled(record, desired)
    if serving is not None and serving.scale != scale:
        return Rescale(_next(_with_target(record, target)), number)
    is_ready = observed.ready(number) > 0
    if is_ready and settled.entry != record.entry:
        return Move(_next(settled), "the entry changes")
    if settled != record and settled.entry == record.entry:
        return Write(_next(settled))
    if is_ready and observed.entry_serial != record.route.serial:
        if now - desired.started >= desired.ready_within_s:
            return Fail("the entry does not follow the route")
        return Move(record, "the entry does not follow the route")
    if observed.ready(number) < scale.replicas:
        return _await(desired, observed, number, now)
    if scale.most is None and _alive(observed, number) > scale.replicas:
        return Scale(number, scale.replicas)
    return _clean(desired, observed) or Done()


def _bring_up(desired: Desired, observed: Observation, now: float) -> Action:
    """Another revision serves, or none: start the target without traffic, then move to it or begin its rollout."""
    record, target = observed.record, desired.target
    number, stable = target.number, record.route.stable
    settled = _with_target(replace(_settled(record, desired), entry=record.entry), target)
    if settled != record:
        return Write(_next(settled))
    if not stable or observed.entry_serial == record.route.serial:
        cleaning = _clean(desired, observed)
        if cleaning is not None:
            return cleaning
    if failure := _failure(observed, number):
        return Fail(f"a replica of revision {number} {failure}", _removal(record, number))
    if observed.ready(number) < target.scale.replicas:
        return _await(desired, observed, number, now, _removal(record, number))
    record = replace(record, entry=record.entry if desired.entry is None else desired.entry)
    if not stable or not desired.steps:
        left = _rejecting(record, stable, number, desired.rejecting, now)
        return Move(_promoted(left, number, None), f"all requests go to revision {number}")
    if not observed.ready(stable):
        return _await(desired, observed, stable, now)
    rollout = Rollout(
        number,
        stable,
        desired.strategy,
        to_values(desired.steps),
        started_at=now,
        rollback_on_failure=desired.rollback_on_failure,
    )
    return _enter(record, rollout, now)


def _continue(desired: Desired, observed: Observation, rollout: Rollout, verdict: Verdict | None, now: float) -> Action:
    """A rollout is open: keep it safe, then do what a person asks for, then what the verdict says."""
    record, step = observed.record, from_values(rollout.steps)[rollout.step]
    wish, candidate = observed.wished[0], rollout.candidate
    is_paused = rollout.state is RolloutState.PAUSED
    verdict = verdict if verdict is not None and verdict.step == rollout.step else None
    if is_paused and verdict is not None:
        rollout, verdict = replace(rollout, counted=verdict.counted), None
    began_at = max(rollout.step_started_at, desired.started)
    elapsed_s = now - began_at + (0.0 if is_paused else rollout.spent_s)
    longest_s = desired.ready_within_s if is_paused else math.inf if step.most_s is None else step.most_s
    has_stable, is_complete = observed.ready(rollout.stable) > 0, _is_complete(observed, candidate)
    if reason := _reason_to_abort(desired, observed, rollout, verdict):
        return _abort(desired, observed, rollout, verdict, reason, now)
    if wish == "promote" and is_complete:
        return Move(_promoted(record, candidate, _ended(rollout, "a person promoted it", now)), "a person promoted it")
    if not is_paused and rollout.step_started_at < desired.started:
        # How long the step had no driver is unknown: its time goes on from here, for status as well.
        return Write(_next(replace(record, rollout=replace(rollout, step_started_at=now))))
    if has_stable and not _is_followed(observed) and elapsed_s < longest_s:
        return Move(record, "the entry does not follow the route")
    if is_paused and not wish:
        return Paused(rollout.reason)
    if not has_stable or (is_paused and wish in ("promote", "resume") and not is_complete):
        short = candidate if has_stable else rollout.stable
        return _heal(observed, short) if elapsed_s < longest_s else Fail(_shortage(observed, short))
    if wish == "resume" and is_paused:
        return _advance(record, rollout, now) if step.is_pause else _enter(record, rollout, now)
    if wish == "pause" and not is_paused:
        return _pause(record, _kept(rollout, verdict, now), "a person paused it", now)
    if wish and wish != "promote":
        return Forget(wish)
    if verdict is not None and verdict.result is Result.FAIL:
        return _pause(record, _begun(_judged(rollout, verdict)), verdict.reason, now)
    has_passed = verdict is not None and verdict.result is Result.PASS and step.most_s is not None
    if has_passed and is_complete and elapsed_s >= step.least_s:
        return _advance(record, _judged(rollout, verdict), now, verdict)
    if elapsed_s >= longest_s:
        kept = replace(_kept(rollout, verdict, now), spent_s=0.0)  # resuming it grants the time again
        return _pause(record, kept, _no_verdict(observed, rollout, verdict), now)
    return _watch(observed, rollout, verdict)


def _watch(observed: Observation, rollout: Rollout, verdict: Verdict | None) -> Action:
    """Nothing is decided yet: replace lost replicas, store what the verdict rests on, wait."""
    record = observed.record
    for number in (rollout.stable, rollout.candidate):
        if _alive(observed, number) < _replicas(record, number):
            return Start(number)
    if verdict is not None and _is_news(rollout, verdict):
        return Write(_next(replace(record, rollout=_judged(rollout, verdict))))
    return Wait("the first requests are awaited" if verdict is None else verdict.reason)


def _reason_to_abort(desired: Desired, observed: Observation, rollout: Rollout, verdict: Verdict | None) -> str:
    """Why all requests have to go back to stable; empty where they need not.

    The reason of a running rollout is that of an abort that was decided and could not be carried out yet.
    """
    candidate = rollout.candidate
    if rollout.state is RolloutState.RUNNING and rollout.reason:
        return rollout.reason
    if failure := _failure(observed, candidate):
        return f"a replica of revision {candidate} {failure}"
    if not observed.ready(candidate):
        return f"revision {candidate} has no ready replica"
    if desired.target.number != candidate:
        return f"revision {desired.target.number} was asked for"
    wish, why = observed.wished
    if wish == "abort":
        return why or "a person aborted it"
    if verdict is None or verdict.result is not Result.FAIL or verdict.is_void:
        return ""
    if desired.rollback_on_failure:
        return verdict.reason
    return ""


def _abort(
    desired: Desired, observed: Observation, rollout: Rollout, verdict: Verdict | None, reason: str, now: float
) -> Action:
    """All requests go to stable, once it has a ready replica. Until then the candidate may answer; this is recorded."""
    record = observed.record
    judged = _judged(rollout, verdict)
    if observed.ready(rollout.stable):
        ended = replace(judged, state=RolloutState.ABORTED, reason=reason, step_started_at=now)
        left = _rejecting(replace(record, rollout=ended), rollout.candidate, rollout.stable, reason, now)
        return Move(_single(left, rollout.stable), reason)
    if rollout.state is RolloutState.PAUSED or not rollout.reason:
        pending = replace(judged, state=RolloutState.RUNNING, reason=reason, step_started_at=now)
        return Write(_next(replace(record, rollout=pending)))
    if now - max(rollout.step_started_at, desired.started) >= desired.ready_within_s:
        return Fail(f"{reason}, and {_shortage(observed, rollout.stable)}")
    return _heal(observed, rollout.stable)


def _advance(record: Record, rollout: Rollout, now: float, verdict: Verdict | None = None) -> Move:
    """To the next step; after the last one, all requests go to the candidate."""
    index, steps = rollout.step + 1, from_values(rollout.steps)
    if index == len(steps):
        reason = f"all {sum(not each.is_pause for each in steps)} steps passed"
        if verdict is not None and len(steps) == 1:
            reason = verdict.reason
        return Move(_promoted(record, rollout.candidate, _ended(rollout, reason, now)), reason)
    if steps[index].is_pause:
        reason = f"a person has to let it go on from {steps[index].weight:.3g} of the requests"
        return _pause(record, replace(_begun(rollout), step=index), reason, now)
    return _enter(record, replace(_begun(rollout), step=index), now)


def _begun(rollout: Rollout) -> Rollout:
    """The rollout at a step of which nothing has been counted yet."""
    return replace(rollout, spent_s=0.0, counted=None, first_serial=0)


def _kept(rollout: Rollout, verdict: Verdict | None, now: float) -> Rollout:
    """The rollout with what its step has counted and how long it has run, so that a pause loses neither."""
    counted = rollout.counted if verdict is None else verdict.counted
    spent_s = rollout.spent_s + max(now - rollout.step_started_at, 0.0)
    return replace(_judged(rollout, verdict), spent_s=spent_s, counted=counted)


def _enter(record: Record, rollout: Rollout, now: float) -> Move:
    """Begin the rollout's step, or go on with it."""
    step = from_values(rollout.steps)[rollout.step]
    route = step.route(record.route.serial + 1, rollout.stable, rollout.candidate)
    verdicts = () if rollout.counted is None else rollout.verdicts
    entered = replace(
        rollout,
        state=RolloutState.RUNNING,
        step_started_at=now,
        reason="",
        verdicts=verdicts,
        first_serial=rollout.first_serial or route.serial,
    )
    share = f"{step.mirror:.3g} of the requests are mirrored to" if step.mirror else f"{step.weight:.3g} go to"
    return Move(_next(replace(record, route=route, rollout=entered)), f"{share} revision {rollout.candidate}")


def _pause(record: Record, rollout: Rollout, reason: str, now: float) -> Move:
    return Move(_paused(record, rollout, reason, now), reason)


def _paused(record: Record, rollout: Rollout, reason: str, now: float) -> Record:
    """The current weights as a route of its own, without a lease: it lasts."""
    route = replace(record.route, serial=record.route.serial + 1, lease_s=None)
    stopped = replace(rollout, state=RolloutState.PAUSED, reason=reason, step_started_at=now)
    return _next(replace(record, route=route, rollout=stopped))


def _promoted(record: Record, number: int, rollout: Rollout | None) -> Record:
    """All requests go to a revision, and a rollback would go to the one before."""
    before = record.route.stable
    served = [each for each in record.served if each != number]
    if before not in (0, number) and before not in served:
        served.append(before)
    single = _single(record, number)
    previous = before if before not in (0, number) else record.previous
    revision = record.revision(number)
    rejected = tuple(each for each in record.rejected if revision is None or each.version != revision.release.version)
    return replace(
        single, previous=previous, served=(*served, number), rollout=rollout or record.rollout, rejected=rejected
    )


def _rejecting(record: Record, number: int, other: int, reason: str, now: float) -> Record:
    """The record that remembers a revision's version as rejected, unless the other revision serves the same one."""
    revision, kept = record.revision(number), record.revision(other)
    if not reason or revision is None or (kept is not None and kept.release.version == revision.release.version):
        return record
    release = revision.release
    others = tuple(each for each in record.rejected if each.version != release.version)
    found = Rejected(release.model, release.version, release.digest, now, reason)
    return replace(record, rejected=(*others, found)[-MOST_REJECTED:])


def _single(record: Record, number: int) -> Record:
    return _next(replace(record, route=Route(serial=record.route.serial + 1, stable=number)))


def _ended(rollout: Rollout, reason: str, now: float) -> Rollout:
    return replace(rollout, state=RolloutState.PROMOTED, step=len(rollout.steps), reason=reason, step_started_at=now)


def _has_just_been_aborted(desired: Desired, rollout: Rollout) -> bool:
    """Whether this driver aborted it: an older one is no reason against another attempt."""
    is_own = rollout.candidate == desired.target.number and rollout.step_started_at >= desired.started
    return rollout.state is RolloutState.ABORTED and is_own


def _clean(desired: Desired, observed: Observation) -> Scale | Retire | None:
    """Remove what killed drivers have left, what never served, and what is beyond the history."""
    record = observed.record
    in_use = {desired.target.number, record.route.stable}
    kept = {*in_use, record.previous, *record.served[-(desired.history + 1) :]}
    known = {each.number for each in record.revisions}
    for number in sorted({each.revision for each in observed.replicas} - known):
        return Retire(record, number)
    for number in sorted(known - in_use):
        if number not in kept:
            return _retire(record, number)
        if observed.of(number):
            return Scale(number, 0)
    return None


def _removal(record: Record, number: int) -> Scale | Retire:
    """How the replicas of a target go that does not become ready: a revision that has served is kept."""
    return Scale(number, 0) if number in record.served else _retire(record, number)


def _retire(record: Record, number: int) -> Retire:
    left = tuple(each for each in record.revisions if each.number != number)
    served = tuple(each for each in record.served if each != number)
    previous = None if record.previous == number else record.previous
    return Retire(_next(replace(record, revisions=left, served=served, previous=previous)), number)


def _await(
    desired: Desired, observed: Observation, number: int, now: float, cleaning: Scale | Retire | None = None
) -> Action:
    """Bring a revision to its scale; fail once that has taken too long."""
    if now - desired.started >= desired.ready_within_s:
        return Fail(f"{_shortage(observed, number)} after {desired.ready_within_s:.0f} s", cleaning)
    return _heal(observed, number)


def _heal(observed: Observation, number: int) -> Start | Wait:
    if _alive(observed, number) < _replicas(observed.record, number):
        return Start(number)
    return Wait(_shortage(observed, number))


def _shortage(observed: Observation, number: int) -> str:
    """How many replicas of a revision are ready, and what keeps one of the others from it."""
    ready, wanted = observed.ready(number), _replicas(observed.record, number)
    why = next((text for each in observed.of(number) if (text := each.failure or each.waiting)), "")
    return f"{ready} of {wanted} replicas of revision {number} are ready" + (f" ({why})" if why else "")


def _no_verdict(observed: Observation, rollout: Rollout, verdict: Verdict | None) -> str:
    """Why a step that lasted as long as it may is not passed."""
    reason = "no router has reported" if verdict is None else verdict.reason
    if not _is_complete(observed, rollout.candidate):
        reason = _shortage(observed, rollout.candidate)
    return f"step {rollout.step + 1} has lasted as long as it may: {reason}"


def _settled(record: Record, desired: Desired) -> Record:
    """The record with the settings of the deployment that are not a revision's."""
    return replace(
        record,
        entry=record.entry if desired.entry is None else desired.entry,
        history=desired.history,
        router_replicas=desired.router_replicas,
        router_image=desired.router_image or record.router_image,
    )


def _with_target(record: Record, target: Revision) -> Record:
    """The record with the target among its revisions, at its scale."""
    if record.revision(target.number) is None:
        revisions: tuple[Revision, ...] = (*record.revisions, target)
    else:
        revisions = tuple(
            replace(each, scale=target.scale) if each.number == target.number else each for each in record.revisions
        )
    return replace(record, revisions=revisions, highest=max(record.highest, target.number))


def _next(record: Record) -> Record:
    return replace(record, serial=record.serial + 1)


def _judged(rollout: Rollout, verdict: Verdict | None) -> Rollout:
    """The rollout with the findings that `rollout-status` shows."""
    if verdict is None:
        return rollout
    return replace(rollout, verdicts=tuple(msgspec.to_builtins(verdict.findings)))


def _is_news(rollout: Rollout, verdict: Verdict) -> bool:
    """Whether a result has changed or the data have grown much since the verdict was stored."""
    stored, found = rollout.verdicts, msgspec.to_builtins(verdict.findings)
    has_changed = [each["result"] for each in stored] != [each["result"] for each in found]
    return has_changed or bool(sum(each["n"] for each in found) > GROWTH * sum(each["n"] for each in stored))


def _is_followed(observed: Observation) -> bool:
    """Whether requests follow the record's route, through as many routers as it has."""
    record = observed.record
    routers = sum(not each.failure for each in observed.routers)
    has_routers = not record.route.needs_routers or routers >= record.router_replicas
    return observed.entry_serial == record.route.serial and has_routers


def _is_complete(observed: Observation, number: int) -> bool:
    return observed.ready(number) >= _replicas(observed.record, number)


def _replicas(record: Record, number: int) -> int:
    """How many replicas a revision has while it serves."""
    revision = record.revision(number)
    return 1 if revision is None else revision.scale.replicas


def _alive(observed: Observation, number: int) -> int:
    """How many replicas of a revision are ready or may still become so."""
    return sum(not each.failure for each in observed.of(number))


def _failure(observed: Observation, number: int) -> str:
    """Why a replica of a revision will not become ready; empty where none has failed."""
    return next((each.failure for each in observed.of(number) if each.failure), "")
