"""See how a rollout goes, and promote, pause, resume or abort it.

A wish is left with the platform for the process that drives the rollout. Where none does, this process drives on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.finding import Finding
from winnow.orchestrators.deployments import ask_deployers, find_deployment
from winnow.orchestrators.drive import Begun, Driver, Judge, Moved, hand_over
from winnow.orchestrators.judge import OutcomeReader, StepJudge
from winnow.orchestrators.model_history import into_history
from winnow.platforms.deployer import Deployer, Say, mute
from winnow.platforms.platform import ServingPlatform
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.platforms.table import serving_platform_for
from winnow.rollout.plan import from_values
from winnow.rollout.step import Desired
from winnow.rollout.verdict import counted
from winnow.routing import Counts, Observation, Record, Rollout, RolloutState, RouterReport, Versioned, quantile_s

Wish = Literal["promote", "pause", "resume", "abort"]

POLL_S = 0.5
HEARD_WITHIN_S = 120.0
"""How long a driver may take to fulfil a wish: it may be starting routers, or waiting for requests to drain."""


@dataclass(frozen=True)
class RevisionCounts(Versioned):
    """What the routers of the current step have counted of one revision.

    Attributes:
        revision: its number.
        version: the model's version.
        share: of the requests that it answers, 0 to 1.
        replicas: how many are ready.
        requests, errors: since the step began.
        p50_s, p99_s: answer times in seconds: the upper bound of the histogram's class; None without requests.
        semantic: the semantic version; empty where it is not known.
    """

    revision: int
    version: str
    share: float
    replicas: int
    requests: int
    errors: int
    p50_s: float | None
    p99_s: float | None
    semantic: str = ""


@dataclass(frozen=True)
class RolloutStatus:
    """How a deployment's current or last rollout goes.

    Attributes:
        name: the deployment.
        strategy: canary, shadow or ab.
        state: running, paused, promoted or aborted.
        step, steps: of how many steps it is at which, from 1.
        stable, candidate: what was counted of the two revisions.
        mirror: share of the requests that are copied to the candidate, 0 to 1.
        compared, agreed, flips: copied requests whose answers were compared, were equal, named different classes.
        findings: the last verdict of each condition of the step.
        reason: why it is paused, aborted or promoted; empty while it runs.
        passes_in_s: how long the step lasts at least from now; None where it is not running.
        pauses_in_s: how long it waits for its verdict at most; None where it waits for a person, or is not running.
        wish: what a person asked for and the driver has not yet done; empty for nothing.
        is_expired: no driver has renewed the route for too long, so that all requests go to the stable revision.
        driver: the process that drives it, and where its log is if it is detached; empty where none does.
    """

    name: str
    strategy: str
    state: RolloutState
    step: int
    steps: int
    stable: RevisionCounts
    candidate: RevisionCounts
    mirror: float
    compared: int
    agreed: int
    flips: int
    findings: tuple[Finding, ...]
    reason: str
    passes_in_s: float | None
    pauses_in_s: float | None
    wish: str
    is_expired: bool
    driver: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it still moves requests, or waits for a person to let it."""
        return self.state in (RolloutState.RUNNING, RolloutState.PAUSED)


@dataclass(frozen=True)
class FoundDeployment:
    """A deployment whose rollout is looked at or changed. `platform`: that it is on."""

    deployer: Deployer
    name: str
    platform: ServingPlatform
    say: Say

    def status(self) -> RolloutStatus:
        """See `rollout_status`."""
        return rollout_status(self.deployer, self.name)

    def change(self, wish: Wish, reason: str = "") -> RolloutStatus:
        """See `ask`."""
        within_s = self.platform.capabilities.ready_within_s
        remember = into_history(self.platform.name, self.say)
        return ask(self.deployer, self.name, wish, reason, ready_within_s=within_s, remember=remember, say=self.say)

    def go_on(self, *, is_replaced: bool = False) -> RolloutStatus:
        """Drive a running rollout to its end or next pause; a paused one stays so. `is_replaced`: see `Driver`."""
        replace(self._driver, is_replaced=is_replaced).drive()
        return self.status()

    def detach(self) -> RolloutDriver | None:
        """See `winnow.api.detach_rollout`."""
        rollout = open_rollout(self.deployer.observe(self.name).record)
        start = self.platform.prepare_driver()
        with self.deployer.held(self.name):  # raises where another process drives it
            pass
        if rollout.state is RolloutState.PAUSED:
            self.deployer.wish(self.name, "resume")
        end = replace(self._driver, until_begun=True).drive()
        return hand_over(self.deployer, self.name, start) if isinstance(end, Begun) else None

    @property
    def _driver(self) -> Driver:
        within_s = self.platform.capabilities.ready_within_s
        driver = driver_of(self.deployer, self.name, ready_within_s=within_s, say=self.say)
        return replace(driver, remember=into_history(self.platform.name, self.say))


def find_rollout(settings: Settings, name: str | None, platform: str | None, say: Say) -> FoundDeployment:
    """The deployment of a name, or the only one. See `winnow.api.rollout_status`."""
    deployers, _ = ask_deployers(settings, platform, say)
    found_on, chosen = find_deployment(deployers, name)
    return FoundDeployment(deployers[found_on], chosen, serving_platform_for(found_on, settings), say)


def rollout_status(deployer: Deployer, name: str, *, wall: Callable[[], float] = time.time) -> RolloutStatus:
    """How the current or last rollout of a deployment goes. Renews no lease.

    Raises InputError if there was none: all updates were made at once.
    """
    observed = deployer.observe(name)
    reports = deployer.renew(observed.record, is_read_only=True)
    return replace(status_of(observed, reports, wall()), driver=deployer.driver(name))


def status_of(observed: Observation, reports: Sequence[RouterReport], now: float) -> RolloutStatus:
    """The status by an observation and what routers report. Pure. `now`: seconds since the epoch."""
    record, rollout = observed.record, observed.record.rollout
    if rollout is None:
        raise _no_rollout(observed)
    steps, route = from_values(rollout.steps), record.route
    index = min(rollout.step, len(steps) - 1)
    is_running = rollout.state is RolloutState.RUNNING
    elapsed_s = now - rollout.step_started_at + rollout.spent_s
    longest_s = steps[index].most_s if is_running else None
    seen = counted(rollout, (each for each in reports if each.serial == route.serial))
    return RolloutStatus(
        name=record.name,
        strategy=rollout.strategy,
        state=rollout.state,
        step=index + 1,
        steps=len(steps),
        stable=_counted(observed, rollout.stable, seen.stable),
        candidate=_counted(observed, rollout.candidate, seen.candidate),
        mirror=route.mirror,
        compared=seen.comparisons.compared,
        agreed=seen.comparisons.agreed,
        flips=seen.comparisons.flips,
        findings=msgspec.convert(rollout.verdicts, tuple[Finding, ...]),
        reason=rollout.reason,
        passes_in_s=max(steps[index].least_s - elapsed_s, 0.0) if is_running else None,
        pauses_in_s=None if longest_s is None else max(longest_s - elapsed_s, 0.0),
        wish=observed.wished[0],
        is_expired=any(each.is_expired for each in reports if each.serial == route.serial),
    )


def ask(
    deployer: Deployer,
    name: str,
    wish: Wish,
    reason: str = "",
    *,
    ready_within_s: float = 300.0,
    judge: Judge | None = None,
    remember: Callable[[Moved], None] = lambda _moved: None,
    say: Say = mute,
    clock: Clock | None = None,
    wall: Callable[[], float] = time.time,
) -> RolloutStatus:
    """Promote, pause, resume or abort the open rollout of a deployment.

    The process that drives it does that, and this one waits until it has. Where no process drives it, this one does,
    to the rollout's end or next pause.

    Args:
        reason: why, as a clause; of an abort, the rollout's reason.
        ready_within_s: how long replicas may take to become ready.
        remember: as in `Driver`.

    Raises:
        InputError: no rollout is open.
        WinnowError: the driver did not do it in time. It may still.
    """
    clock = Clock() if clock is None else clock
    rollout = open_rollout(deployer.observe(name).record)
    is_so = rollout.state is {"pause": RolloutState.PAUSED, "resume": RolloutState.RUNNING}.get(wish)
    if is_so and (wish == "pause" or not _is_free(deployer, name)):
        say(f"the rollout is {rollout.state.value} already")
        return rollout_status(deployer, name, wall=wall)
    if not is_so:
        deployer.wish(name, f"{wish}: {reason}" if reason else wish)
    until = clock.now() + HEARD_WITHIN_S
    while not _is_free(deployer, name):
        if _is_done(wish, deployer.observe(name).record.rollout, rollout):
            return rollout_status(deployer, name, wall=wall)
        if clock.now() > until:
            raise WinnowError(
                f"deployment '{name}': the process that drives the rollout did not {wish} it within "
                f"{HEARD_WITHIN_S:.0f} s; it will once it looks"
            )
        clock.sleep(POLL_S)
    observed = deployer.observe(name)
    if observed.record.rollout is not None and observed.record.rollout.is_open:
        within_s = ready_within_s
        driver = driver_of(deployer, name, ready_within_s=within_s, judge=judge, say=say, clock=clock, wall=wall)
        replace(driver, remember=remember).drive()
    return rollout_status(deployer, name, wall=wall)


def driver_of(
    deployer: Deployer,
    name: str,
    *,
    ready_within_s: float = 300.0,
    judge: Judge | None = None,
    say: Say = mute,
    clock: Clock | None = None,
    wall: Callable[[], float] = time.time,
) -> Driver:
    """What goes on with the rollout of a deployment. The record has all that it takes.

    Raises InputError if there was no rollout.
    """
    desired = desired_of(deployer.observe(name).record, ready_within_s, wall())
    return Driver(
        deployer,
        name,
        desired,
        judge=judge or StepJudge(OutcomeReader(name)),
        say=say,
        clock=clock or Clock(),
        wall=wall,
    )


def desired_of(record: Record, ready_within_s: float, now: float) -> Desired:
    """What goes on with the rollout of a record. After its end that is to remove what its driver left behind.

    Raises InputError if there was no rollout.
    """
    rollout = record.rollout
    if rollout is None:
        raise _no_rollout(Observation(record))
    number = record.route.stable if rollout.state is RolloutState.ABORTED else rollout.candidate
    target = record.revision(number)
    if target is None:
        raise ValueError(f"deployment '{record.name}' does not keep revision {number}")
    return Desired(
        target,
        steps=from_values(rollout.steps),
        strategy=rollout.strategy,
        history=record.history,
        ready_within_s=ready_within_s,
        rollback_on_failure=rollout.rollback_on_failure,
        started=now,
        router_replicas=record.router_replicas,
    )


def open_rollout(record: Record) -> Rollout:
    """The rollout that still moves requests or waits. Raises InputError where none is open."""
    rollout = record.rollout
    if rollout is None:
        raise _no_rollout(Observation(record))
    if not rollout.is_open:
        raise InputError(
            f"rollout of '{record.name}'",
            expected="one that is running or paused",
            found=f"one that was {rollout.state.value}: {rollout.reason}",
            remedy=f"See it with `{next_command('rollout-status', name=record.name)}`.",
        )
    return rollout


def _is_done(wish: Wish, now: Rollout | None, before: Rollout) -> bool:
    """Whether a rollout shows the effect of a wish, or has ended."""
    if now is None or not now.is_open:
        return True
    if wish == "pause":
        return now.state is RolloutState.PAUSED
    return wish == "resume" and now.state is RolloutState.RUNNING and now.step_started_at > before.step_started_at


def _is_free(deployer: Deployer, name: str) -> bool:
    """Whether no process drives a deployment."""
    try:
        with deployer.held(name):
            return True
    except InputError:
        return False


def _counted(observed: Observation, number: int, counts: Counts) -> RevisionCounts:
    route, revision = observed.record.route, observed.record.revision(number)
    weight = route.weight if route.candidate is not None else 0.0
    return RevisionCounts(
        revision=number,
        version="" if revision is None else revision.release.version,
        share=weight if number == route.candidate else 1 - weight if number == route.stable else 0.0,
        replicas=observed.ready(number),
        requests=counts.requests,
        errors=counts.errors,
        p50_s=quantile_s(counts.latency, 0.5),
        p99_s=quantile_s(counts.latency, 0.99),
        semantic="" if revision is None else revision.release.semantic,
    )


def _no_rollout(observed: Observation) -> InputError:
    record = observed.record
    for each in record.revisions:
        if each.number > record.route.stable and observed.of(each.number):
            return InputError(
                f"rollout of '{record.name}'",
                expected="one that has begun",
                found=f"revision {each.number} (version {each.release.version}), of which "
                f"{observed.ready(each.number)} of {each.scale.replicas} replicas are ready",
                remedy="Ask again once they are.",
            )
    return InputError(
        f"rollout of '{record.name}'",
        expected="a rollout in steps",
        found="none: all updates of this deployment were made at once",
        remedy="Set `serving.rollout.strategy` in the experiment file, and serve another model.",
    )
