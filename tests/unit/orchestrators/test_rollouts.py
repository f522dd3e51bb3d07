"""What people see of a rollout, and what becomes of their wishes, with and without a process that drives it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as with_values

from tests.unit.orchestrators.test_drive import CANARY, NAME, Site
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.orchestrators.drive import Begun, Driver
from winnow.orchestrators.judge import StepJudge
from winnow.orchestrators.rollouts import RevisionCounts, RolloutStatus, Wish, ask, driver_of, rollout_status
from winnow.rollout.step import Done, Paused
from winnow.routing import LATENCY_BOUNDS_S, Comparisons, Counts, Observation, RolloutState, RouterReport, quantile_s


class Killed(BaseException):
    pass


def begun() -> Site:
    """A site whose canary is at its first step, and whose driver is dead."""
    site = Site()
    site.driver("1").drive()

    def kill(observed: Observation) -> None:
        if observed.record.route.candidate is not None:
            raise Killed

    with pytest.raises(Killed):
        replace(site.driver("2", CANARY), on_observation=kill).drive()
    return site


def asked(site: Site, wish: Wish) -> RolloutStatus:
    driver = site.driver("2", CANARY)
    return ask(
        site.deployer(), NAME, wish, judge=driver.judge, say=site.said.append, clock=driver.clock, wall=driver.wall
    )


def test_a_status_shows_what_routers_have_counted_and_renews_no_lease() -> None:
    site = begun()
    latency = (0, 0, 90, 0, 10)

    def report(report: RouterReport) -> RouterReport:
        counts = Counts(100, 2, latency)
        return with_values(report, stable=counts, candidate=counts, comparisons=Comparisons(50, 49, 1))

    site.world.report, renewals, now = report, dict(site.world.renewals), site.now + 4
    assert rollout_status(site.deployer(), NAME, wall=lambda: now) == RolloutStatus(
        name=NAME,
        strategy="canary",
        state=RolloutState.RUNNING,
        step=1,
        steps=2,
        stable=RevisionCounts(1, "1", 0.9, 2, 200, 4, LATENCY_BOUNDS_S[2], LATENCY_BOUNDS_S[4]),
        candidate=RevisionCounts(2, "2", 0.1, 2, 200, 4, LATENCY_BOUNDS_S[2], LATENCY_BOUNDS_S[4]),
        mirror=0.0,
        compared=100,
        agreed=98,
        flips=2,
        findings=(),
        reason="",
        passes_in_s=6.0,
        pauses_in_s=116.0,
        wish="",
        is_expired=False,
    )
    assert site.world.renewals == renewals


def test_a_quantile_is_the_upper_bound_of_its_class() -> None:
    assert quantile_s((), 0.5) is None
    assert quantile_s((0, 0), 0.5) is None
    assert quantile_s((0, 1), 0.01) == LATENCY_BOUNDS_S[1]
    assert quantile_s((0,) * len(LATENCY_BOUNDS_S) + (1,), 0.5) == LATENCY_BOUNDS_S[-1]


@pytest.mark.parametrize(
    ("wish", "state", "answers"),
    [
        ("promote", RolloutState.PROMOTED, {2}),
        ("pause", RolloutState.PAUSED, {1, 2}),
        ("resume", RolloutState.PROMOTED, {2}),
        ("abort", RolloutState.ABORTED, {1}),
    ],
)
def test_a_rollout_without_a_driver_is_driven_by_the_process_that_is_asked(
    wish: Wish, state: RolloutState, answers: set[int]
) -> None:
    site = begun()
    assert (asked(site, wish).state, site.answers()) == (state, answers)
    assert site.deployer().observe(NAME).wish == ""


def test_an_abort_keeps_the_reason_of_the_person_who_asked_for_it() -> None:
    site = begun()
    driver = site.driver("2", CANARY)
    found = ask(site.deployer(), NAME, "abort", "too many complaints", clock=driver.clock, wall=driver.wall)
    record = site.deployer().observe(NAME).record
    assert (found.reason, record.rejected[0].reason) == ("too many complaints", "too many complaints")


def test_a_paused_rollout_is_resumed_to_its_end() -> None:
    site = begun()
    assert asked(site, "pause").state is RolloutState.PAUSED
    assert asked(site, "pause").state is RolloutState.PAUSED
    assert site.said[-1] == "the rollout is paused already"
    assert asked(site, "resume").state is RolloutState.PROMOTED
    assert site.answers() == {2}


def test_a_pause_loses_nothing_that_was_counted() -> None:
    site = begun()

    def report(report: RouterReport) -> RouterReport:
        return with_values(report, candidate=Counts(100))

    site.world.report = report
    judged = StepJudge(measure=lambda _step: {})
    driver = site.driver("2", CANARY)
    ask(site.deployer(), NAME, "pause", judge=judged, say=site.said.append, clock=driver.clock, wall=driver.wall)
    # Two routers before the pause and two since.
    assert rollout_status(site.deployer(), NAME).candidate.requests == 400


def test_a_wish_waits_for_the_process_that_drives() -> None:
    site = begun()
    deployer = site.deployer()

    def sleep(seconds: float) -> None:
        site.now += seconds
        if deployer.observe(NAME).wish == "pause" and site.now > 1100:
            record = deployer.observe(NAME).record
            assert record.rollout is not None
            done = with_values(record.rollout, state=RolloutState.PAUSED, reason="a person paused it")
            deployer.write(with_values(record, serial=record.serial + 1, rollout=done))

    with deployer.held(NAME):
        found = ask(deployer, NAME, "pause", clock=Clock(lambda: site.now, sleep), wall=lambda: site.now)
        assert (found.state, found.reason) == (RolloutState.PAUSED, "a person paused it")


def test_a_driver_that_does_not_hear_is_named_and_the_wish_stays() -> None:
    site = begun()
    with site.deployer().held(NAME), pytest.raises(WinnowError, match="did not abort it within 120 s"):
        asked(site, "abort")
    assert site.deployer().observe(NAME).wish == "abort"


def test_without_an_open_rollout_every_wish_is_refused_and_none_is_left() -> None:
    site = Site()
    site.driver("1").drive()
    with pytest.raises(InputError, match="at once"):
        rollout_status(site.deployer(), NAME)
    with pytest.raises(InputError, match="at once"):
        asked(site, "abort")
    site = begun()
    asked(site, "abort")
    with pytest.raises(InputError, match="a person aborted it"):
        asked(site, "promote")
    assert site.deployer().observe(NAME).wish == ""


def test_a_rollout_keeps_whether_a_failed_verdict_pauses_it() -> None:
    site = Site()
    site.driver("1").drive()
    driver = site.driver("2", CANARY)
    driver = replace(driver, desired=replace(driver.desired, rollback_on_failure=False))

    def kill(observed: Observation) -> None:
        if observed.record.route.candidate is not None:
            raise Killed

    with pytest.raises(Killed):
        replace(driver, on_observation=kill).drive()
    rollout = site.deployer().observe(NAME).record.rollout
    assert rollout is not None
    assert not rollout.rollback_on_failure


def test_a_rollout_that_was_begun_is_left_to_another_process() -> None:
    site = Site()
    site.driver("1").drive()
    assert replace(site.driver("2", CANARY), until_begun=True).drive() == Begun()
    assert (site.deployer().observe(NAME).record.rollout.state, site.answers()) == (RolloutState.RUNNING, {1, 2})  # type: ignore[union-attr]
    assert asked(site, "resume").state is RolloutState.PROMOTED


def test_an_update_without_steps_leaves_nothing_to_another_process() -> None:
    site = Site()
    site.driver("1").drive()
    assert replace(site.driver("2"), until_begun=True).drive() == Done()


def going_on(site: Site) -> Driver:
    """What a detached process drives with."""
    driver = site.driver("2", CANARY)
    return driver_of(
        site.deployer(), NAME, judge=driver.judge, say=site.said.append, clock=driver.clock, wall=driver.wall
    )


def test_a_driver_that_takes_the_place_of_another_goes_on_and_leaves_a_pause_alone() -> None:
    site = begun()
    asked(site, "pause")
    assert going_on(site).drive() == Paused("a person paused it")
    site.deployer().wish(NAME, "resume")
    assert (going_on(site).drive(), site.answers()) == (Done(), {2})


def test_a_driver_that_is_replaced_leaves_a_rollout_running_when_it_is_interrupted() -> None:
    site = begun()

    def interrupt(_observed: Observation) -> None:
        raise KeyboardInterrupt

    before = site.deployer().observe(NAME).record
    with pytest.raises(KeyboardInterrupt):
        replace(going_on(site), is_replaced=True, on_observation=interrupt).drive()
    assert site.deployer().observe(NAME).record == before


@pytest.mark.parametrize(("wish", "answers"), [("promote", {2}), ("abort", {1})])
def test_a_driver_that_comes_after_the_end_removes_what_is_left_and_tries_nothing_again(
    wish: Wish, answers: set[int]
) -> None:
    site = begun()

    def die(step: str, _name: str) -> None:
        if step == "scale":
            raise Killed

    site.world.on_step = die
    with pytest.raises(Killed):
        asked(site, wish)
    site.world.on_step = lambda _step, _name: None
    site.now += 1000
    assert (going_on(site).drive(), site.answers()) == (Done(), answers)
    assert {each.revision for each in site.deployer().observe(NAME).replicas} == answers


def test_each_revision_keeps_its_own_api_key_while_replicas_are_replaced() -> None:
    site = Site()

    def driver(version: str, key: str) -> Driver:
        made = site.driver(version, CANARY)
        settings = with_values(made.desired.target.settings, key=f"print of {key}")
        target = with_values(made.desired.target, settings=settings)
        return replace(made, key=key, desired=replace(made.desired, target=target))

    driver("1", "old").drive()

    def lose(observed: Observation) -> None:
        if observed.record.route.candidate is not None and observed.ready(1) == 2:
            site.world.kill(NAME, observed.of(1)[0].identifier)

    assert replace(driver("2", "new"), on_observation=lose).drive() == Done()
    assert site.world.deployments[NAME].keys == {"print of old": "old", "print of new": "new"}
