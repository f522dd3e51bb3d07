"""Driving a deployment: what is left when something fails, dies or is interrupted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.serving import RolloutConfig
from winnow.finding import Result
from winnow.orchestrators.drive import Driver, hand_over, observe, shares
from winnow.platforms.deployer import DeploymentFailedError
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.rollout.plan import steps_of
from winnow.rollout.step import Aborted, Desired, Done, Paused, revision_for
from winnow.rollout.verdict import Verdict
from winnow.routing import Observation, Release, ReplicaSettings, Revision, Rollout, RolloutState, RouterReport, Scale
from winnow.testing.deployer import MemoryDeployer, MemoryWorld

NAME = "cells"
CANARY = RolloutConfig(strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0), step_duration_seconds=10)


@dataclass
class Site:
    world: MemoryWorld = field(default_factory=MemoryWorld)
    said: list[str] = field(default_factory=list)
    now: float = 1000.0

    def deployer(self) -> MemoryDeployer:
        return MemoryDeployer(self.world)

    def driver(
        self,
        version: str,
        rollout: RolloutConfig | None = None,
        *,
        result: Result = Result.PASS,
        before: Callable[[str, str], None] | None = None,
        replicas: int = 2,
    ) -> Driver:
        deployer = self.deployer()
        if before is not None:
            self.world.on_step = before
        release = Release("cells", version, f"digest-{version}", Path("bundle"))
        wanted = Revision(0, release, ReplicaSettings(), Scale(replicas))
        target = revision_for(observe(deployer, NAME), wanted)
        steps = steps_of(rollout) if rollout is not None else ()
        desired = Desired(target, steps, "canary" if steps else "rolling", started=self.now, ready_within_s=30)

        def judge(rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict:
            return Verdict(rollout.step, (), result, f"{len(reports)} routers reported")

        def sleep(seconds: float) -> None:
            self.now += seconds

        return Driver(
            deployer,
            NAME,
            desired,
            judge=judge,
            say=self.said.append,
            clock=Clock(lambda: self.now, sleep),
            wall=lambda: self.now,
        )

    def answers(self) -> set[int | None]:
        return {self.world.ask(NAME) for _ in range(40)}


def test_an_update_moves_all_requests_and_keeps_the_old_revision_without_replicas() -> None:
    site = Site()
    assert site.driver("1").drive() == Done()
    assert site.driver("2").drive() == Done()
    observed = site.deployer().observe(NAME)
    assert (site.answers(), observed.record.previous, len(observed.of(1)), observed.ready(2)) == ({2}, 1, 0, 2)
    assert [each.number for each in observed.record.revisions] == [1, 2]


def test_a_target_that_does_not_become_ready_leaves_what_served() -> None:
    site = Site()
    site.driver("1").drive()
    site.world.unready.add("digest-2")
    with pytest.raises(DeploymentFailedError, match="what was served before still is"):
        site.driver("2").drive()
    observed = site.deployer().observe(NAME)
    assert (site.answers(), [each.number for each in observed.record.revisions]) == ({1}, [1])
    assert {each.revision for each in observed.replicas} == {1}


def test_a_first_target_that_does_not_become_ready_leaves_nothing() -> None:
    site = Site()
    site.world.unready.add("digest-1")
    with pytest.raises(DeploymentFailedError, match="nothing is being served"):
        site.driver("1").drive()
    assert site.deployer().names() == ()


def test_a_canary_passes_its_steps_in_order() -> None:
    site = Site()
    site.driver("1").drive()
    weights: list[float] = []

    def note(observed: Observation) -> None:
        weights.append(observed.record.route.weight)

    assert replace(site.driver("2", CANARY), on_observation=note).drive() == Done()
    record = site.deployer().observe(NAME).record
    assert record.rollout is not None
    assert (record.rollout.state, record.route.stable, site.answers()) == (RolloutState.PROMOTED, 2, {2})
    assert [weight for weight, _ in itertools.groupby(weights)] == [0.0, 0.1, 0.5, 0.0]


def test_a_failed_verdict_sends_all_requests_back() -> None:
    site = Site()
    site.driver("1").drive()
    end = site.driver("2", CANARY, result=Result.FAIL).drive()
    assert isinstance(end, Aborted)
    observed = site.deployer().observe(NAME)
    assert (site.answers(), observed.record.route.stable, observed.of(2)) == ({1}, 1, ())


def test_a_step_without_a_verdict_pauses_at_its_weights() -> None:
    site = Site()
    site.driver("1").drive()
    end = site.driver("2", CANARY, result=Result.NOT_ENOUGH_DATA).drive()
    record = site.deployer().observe(NAME).record
    assert isinstance(end, Paused)
    assert (record.route.weight, record.route.lease_s, site.answers()) == (0.1, None, {1, 2})


@pytest.mark.parametrize("step", ["write", "start", "route", "scale"])
def test_a_driver_that_is_killed_at_a_step_is_continued_by_the_next(step: str) -> None:
    site = Site()
    site.driver("1").drive()

    class Killed(BaseException):
        pass

    kills = itertools.count()

    def kill(name: str, _deployment: str) -> None:
        if name == step and next(kills) < 3:
            raise Killed

    for _ in range(5):
        try:
            end = site.driver("2", CANARY, before=kill).drive()
        except Killed:
            site.world.kill_holder(NAME)
            continue
        break
    observed = site.deployer().observe(NAME)
    assert (end, site.answers(), observed.ready(2), observed.of(1)) == (Done(), {2}, 2, ())


def test_a_second_driver_is_refused() -> None:
    site = Site()
    site.driver("1").drive()
    with site.deployer().held(NAME), pytest.raises(InputError):
        site.driver("2").drive()


def test_an_interrupted_update_is_undone_before_requests_go_to_it() -> None:
    site = Site()
    site.driver("1").drive()
    site.world.ready_after = 3
    driver = site.driver("2")
    looks = itertools.count()

    def interrupt(step: str, _name: str) -> None:
        if step == "start" and next(looks) == 0:
            raise KeyboardInterrupt

    site.world.on_step = interrupt
    with pytest.raises(KeyboardInterrupt):
        driver.drive()
    record = site.deployer().observe(NAME).record
    assert (site.answers(), [each.number for each in record.revisions]) == ({1}, [1])
    assert site.said[-1] == "the change was undone: version 1 answers all requests"


def test_an_interrupted_rollout_is_paused_at_its_weights() -> None:
    site = Site()
    site.driver("1").drive()

    def interrupt(observed: Observation) -> None:
        if observed.record.route.weight == 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace(site.driver("2", CANARY), on_observation=interrupt).drive()
    record = site.deployer().observe(NAME).record
    assert record.rollout is not None
    assert (record.rollout.state, record.route.lease_s) == (RolloutState.PAUSED, None)
    assert site.said[-1] == (
        "interrupted: the rollout is paused; version 2 (revision 2) answers 0.5 of the requests, version 1 the others"
    )


def test_a_platform_that_is_away_for_a_moment_is_waited_for() -> None:
    site = Site()
    silent = itertools.count()

    def away(step: str, _name: str) -> None:
        if step == "start" and next(silent) < 3:
            raise UnreachableError("the engine is away")

    assert site.driver("1", before=away).drive() == Done()
    assert shares(site.deployer().observe(NAME).record) == "version 1 answers all requests"


def test_a_rollout_is_handed_over_once_its_driver_has_the_right_to_change_it() -> None:
    site = Site()
    site.driver("1").drive()
    replace(site.driver("2", CANARY), until_begun=True).drive()
    named = RolloutDriver("process 7", "/its.log", "local")

    def sleep(_seconds: float) -> None:
        site.now += 1
        if site.now > 1010:
            site.world.holders[NAME] = 7

    assert hand_over(site.deployer(), NAME, lambda _name: named, Clock(lambda: site.now, sleep)) == named
    del site.world.holders[NAME]
    site.now = -1000
    with pytest.raises(WinnowError, match="process 7 has not gone on with the rollout for 60 s"):
        hand_over(site.deployer(), NAME, lambda _name: named, Clock(lambda: site.now, sleep))
