"""Drive a deployment to what is wanted: observe it, take the next action, and so on until there is an end.

`rollout.step.next_action` decides; this module carries out. It keeps nothing that another process would need: what must
outlast it is in the record, so a driver that is killed is continued by running the same command again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from msgspec.structs import replace

from winnow.config.clock import Clock
from winnow.config.errors import UnreachableError, WinnowError
from winnow.config.next_command import next_command
from winnow.platforms.deployer import (
    Deployer,
    DeploymentFailedError,
    Held,
    OvertakenError,
    Say,
    UnknownDeploymentError,
    changed_meanwhile,
    mute,
)
from winnow.platforms.interrupts import uninterrupted
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.rollout.step import (
    Aborted,
    Action,
    Desired,
    Done,
    Fail,
    Forget,
    Move,
    Paused,
    Rescale,
    Retire,
    Scale,
    Start,
    Wait,
    Write,
    next_action,
    paused,
)
from winnow.rollout.verdict import Verdict
from winnow.routing import Observation, Record, Rollout, RolloutState, RouterReport

POLL_S = 0.25
SILENT_S = 120.0
"""How long the platform may be away while a deployment is driven."""
SHOWN_LINES = 20
TAKEN_OVER_WITHIN_S = 60.0
"""How long a detached driver may take to start."""
SAID_EVERY_S = 10.0
"""How often it is said what is waited for; counts change at every look."""


@dataclass(frozen=True)
class Begun:
    """The end where another process goes on: a rollout is running, and requests follow it."""


End = Done | Aborted | Paused | Begun

Judge = Callable[[Rollout, Sequence[RouterReport]], Verdict | None]
"""Judges the current step of a rollout by what its routers have counted; None while there is nothing to judge."""


@dataclass(frozen=True)
class Moved:
    """A change of a deployment's route, at `at` (seconds since the epoch): its record before and after."""

    before: Record
    after: Record
    at: float


def no_judge(rollout: Rollout, reports: Sequence[RouterReport]) -> None:
    """Judges nothing: for what has no steps with two revisions."""


@dataclass(frozen=True)
class Driver:
    """What driving takes.

    Attributes:
        key: the API key that new replicas of the target ask for; None for none, or the one that the platform keeps.
        say: receives a line for each step.
        wall: seconds since the epoch, for what the record keeps.
        on_observation: called with what was observed, before the action is taken.
        remember: called at the end for each change of the route, in order.
        until_begun: end once requests follow the first step of a rollout, for another process to go on.
        is_replaced: where this process is interrupted, another takes its place: a rollout is left as it is.
    """

    deployer: Deployer
    name: str
    desired: Desired
    key: str | None = field(default=None, repr=False)
    judge: Judge = no_judge
    say: Say = mute
    clock: Clock = field(default_factory=Clock)
    wall: Callable[[], float] = time.time
    on_observation: Callable[[Observation], None] = lambda _observed: None
    remember: Callable[[Moved], None] = lambda _moved: None
    until_begun: bool = False
    is_replaced: bool = False

    def drive(self) -> End:
        """Take actions until there is an end.

        Ctrl-C undoes what has no requests yet, and pauses a rollout at its current weights.

        Raises:
            DeploymentFailedError: the target did not become ready; what served before still does.
            InputError: another process changes the deployment.
            UnreachableError: the platform was away for more than `SILENT_S`.
        """
        reports: dict[str, RouterReport] = {}
        moves: list[Moved] = []
        try:
            with self.deployer.held(self.name) as held:
                try:
                    return self._loop(held, reports, moves)
                except KeyboardInterrupt:
                    if not self.is_replaced:
                        with uninterrupted():
                            self._leave_safe(reports)
                    raise
        except OvertakenError as error:
            raise changed_meanwhile(self.name) from error
        finally:
            for each in moves:
                self.remember(each)

    def _loop(self, held: Held, reports: dict[str, RouterReport], moves: list[Moved]) -> End:
        said, said_at, heard = "", -SAID_EVERY_S, self.clock.now()
        while True:
            try:
                held.renew()
                observed = observe(self.deployer, self.name)
                self.on_observation(observed)
                if self.until_begun and _has_begun(observed):
                    return Begun()
                verdict = self._verdict(observed, reports)
                action = next_action(self.desired, observed, verdict, self.wall())
                reason = getattr(action, "reason", "")
                is_due = not isinstance(action, Wait | Fail) or self.clock.now() - said_at >= SAID_EVERY_S
                if reason and reason != said and is_due:
                    self.say(reason)
                    said, said_at = reason, self.clock.now()
                self._carry_out(action, observed)
                if isinstance(action, Move):
                    moves.append(Moved(observed.record, action.record, self.wall()))
            except UnreachableError:
                if self.clock.now() - heard > SILENT_S:
                    raise
                self.clock.sleep(1.0)
                continue
            heard = self.clock.now()
            if isinstance(action, Done | Aborted | Paused):
                return action

    def _verdict(self, observed: Observation, reports: dict[str, RouterReport]) -> Verdict | None:
        """The verdict on the current step. A router that ended keeps its last report."""
        rollout, route = observed.record.rollout, observed.record.route
        if rollout is None or not rollout.is_open or route.candidate is None:
            return None
        for router, report in list(reports.items()):
            if report.serial != route.serial:
                del reports[router]
        reports |= {each.router: each for each in self.deployer.renew(observed.record) if each.serial == route.serial}
        return self.judge(rollout, tuple(reports.values()))

    def _carry_out(self, action: Action, observed: Observation) -> None:
        deployer, record = self.deployer, observed.record
        match action:
            case Write(record=written):
                deployer.write(written)
            case Start(number=number):
                deployer.start(record, number, self._key_of(number))
                self.clock.sleep(POLL_S)
            case Rescale(record=written, number=number):
                deployer.start(written, number, self._key_of(number))
                deployer.write(written)
            case Scale(number=number, replicas=replicas):
                deployer.scale(record, number, replicas)
            case Move(record=moved):
                deployer.route(moved)
            case Retire(record=left, number=number):
                deployer.retire(left, number)
                if left != record:
                    deployer.write(left)
            case Forget():
                deployer.wish(self.name, "")
            case Wait():
                self.clock.sleep(POLL_S)
            case Fail():
                self._fail(action, observed)

    def _key_of(self, number: int) -> str | None:
        return self.key if number == self.desired.target.number else None

    def _fail(self, action: Fail, observed: Observation) -> NoReturn:
        """Read the log of the target, clean up, and raise."""
        number = self.desired.target.number
        try:
            lines = self.deployer.logs(self.name, number, SHOWN_LINES)
        except UnknownDeploymentError:
            lines = []
        place = self.deployer.log_place(self.name, number)
        if action.cleaning is not None:
            self._carry_out(action.cleaning, observed)
        is_old_serving = observed.record.serving is not None
        if not is_old_serving:
            self.deployer.remove(self.name)
        raise DeploymentFailedError(self.name, action.reason, lines, place, is_old_serving=is_old_serving)

    def _leave_safe(self, reports: dict[str, RouterReport]) -> None:
        """After Ctrl-C: pause a rollout, or remove a revision that no request went to."""
        try:
            observed = observe(self.deployer, self.name)
            record, target = observed.record, self.desired.target.number
            if record.rollout is not None and record.rollout.is_open:
                verdict = self._verdict(observed, reports)
                left = paused(record, verdict, "the command was interrupted", self.wall())
                if left != record:
                    self.deployer.route(left)
                self.say(f"interrupted: the rollout is paused; {shares(left)}")
            elif target not in (record.route.stable, *record.served) and record.revision(target) is not None:
                self.say("undoing the change, since it was interrupted")
                self._undo(record, target)
            else:
                self.say(f"interrupted: {shares(record)}")
        except (UnreachableError, WinnowError, OvertakenError) as error:
            self.say(f"interrupted, and the platform did not take what would have undone the change: {error}")

    def _undo(self, record: Record, target: int) -> None:
        if record.serving is None:
            self.deployer.remove(self.name)
            self.say(f"nothing of '{self.name}' is left")
            return
        left = tuple(each for each in record.revisions if each.number != target)
        cleaned = replace(record, revisions=left, serial=record.serial + 1)
        self.deployer.retire(cleaned, target)
        self.deployer.write(cleaned)
        self.say(f"the change was undone: {shares(cleaned)}")


def hand_over(
    deployer: Deployer, name: str, start: Callable[[str], RolloutDriver], clock: Clock | None = None
) -> RolloutDriver:
    """Start what goes on with a rollout, and wait until it has the right to change the deployment.

    Raises WinnowError if it did not get it in time.
    """
    clock = clock or Clock()
    driver, until = start(name), clock.now() + TAKEN_OVER_WITHIN_S
    while not deployer.driver(name):
        rollout = deployer.observe(name).record.rollout
        if rollout is None or not rollout.is_open:
            break
        if clock.now() > until:
            again = next_command("rollout-resume", name=name)
            raise WinnowError(
                f"deployment '{name}': {driver.what} has not gone on with the rollout for {TAKEN_OVER_WITHIN_S:.0f} s. "
                f"See its log ({driver.log}); `{again}` goes on here."
            )
        clock.sleep(POLL_S)
    return driver


def _has_begun(observed: Observation) -> bool:
    rollout = observed.record.rollout
    is_running = rollout is not None and rollout.state is RolloutState.RUNNING
    return is_running and observed.entry_serial == observed.record.route.serial


def observe(deployer: Deployer, name: str) -> Observation:
    """What is deployed under a name; an empty record where nothing is."""
    try:
        return deployer.observe(name)
    except UnknownDeploymentError:
        return Observation(Record(name))


def shares(record: Record) -> str:
    """Which versions answer which share of the requests, as a clause."""
    route, stable = record.route, record.serving
    if stable is None:
        return "nothing is served"
    candidate = record.revision(route.candidate)
    if candidate is None:
        return f"version {stable.release.label} answers all requests"
    what = f"version {candidate.release.label} (revision {candidate.number})"
    if route.mirror:
        return f"version {stable.release.label} answers all requests, {route.mirror:.3g} of them are copied to {what}"
    return f"{what} answers {route.weight:.3g} of the requests, version {stable.release.label} the others"
