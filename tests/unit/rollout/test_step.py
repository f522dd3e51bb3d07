"""The next action, in worlds that go well and in worlds that do not."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rollout.world import Replica, World, revision, verdict_of
from winnow.config.serving import ConditionConfig, RolloutConfig
from winnow.finding import Result
from winnow.rollout.plan import steps_of
from winnow.rollout.step import (
    Aborted,
    Desired,
    Done,
    Fail,
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
    revision_for,
)
from winnow.rollout.verdict import Verdict
from winnow.routing import Counts, Observation, Record, RolloutState, RouterReport
from winnow.routing import Scale as Size

CANARY = steps_of(
    RolloutConfig(strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0), step_duration_seconds=10)
)
PAUSING = steps_of(
    RolloutConfig(
        strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0), step_duration_seconds=10, pause_at=(0.1,)
    )
)
SHADOW = steps_of(RolloutConfig(strategy="shadow", step_duration_seconds=10))
AB = steps_of(RolloutConfig(strategy="ab", step_duration_seconds=10))


def served(**changes: object) -> World:
    """A world in which revision 1 serves with two replicas."""
    world = World(**changes)
    assert world.drive(Desired(revision(1))) == Done()
    world.log.clear()
    return world


def moves(world: World) -> list[tuple[int, int | None, float]]:
    return [
        (each.record.route.stable, each.record.route.candidate, each.record.route.weight)
        for each in world.log
        if isinstance(each, Move)
    ]


def enter(world: World, desired: Desired) -> None:
    """Drive until the rollout's first step is entered."""
    desired = replace(desired, started=world.now)
    while world.record.rollout is None:
        world.carry_out(next_action(desired, world.observe(), None, world.now))


def canary(number: int = 2, **changes: object) -> Desired:
    return Desired(revision(number), **{"steps": CANARY, "strategy": "canary", **changes})


def test_a_first_deployment_writes_starts_waits_and_moves():
    world = World()
    assert world.drive(Desired(revision(1))) == Done()
    kinds = [type(each).__name__ for each in world.log]
    assert [kind for kind in kinds if kind != "Wait"] == ["Write", "Start", "Move", "Done"]
    assert (world.record.served, world.record.highest, world.record.previous) == ((1,), 1, None)


def test_an_update_drops_the_old_replicas_only_after_the_entry_has_moved():
    world = served()
    assert world.drive(Desired(revision(2))) == Done()
    kinds = [type(each).__name__ for each in world.log if type(each).__name__ != "Wait"]
    assert kinds == ["Write", "Start", "Move", "Scale", "Done"]
    assert (world.record.previous, world.record.served) == (1, (1, 2))


def test_a_rollback_starts_the_previous_revision_from_no_replicas():
    world = served()
    world.drive(Desired(revision(2)))
    world.log.clear()
    assert world.drive(Desired(revision(1))) == Done()
    assert [type(each) for each in world.log if isinstance(each, Write | Start | Move)] == [Start, Move]
    assert (world.record.previous, world.record.served) == (2, (2, 1))


def test_another_scale_of_the_serving_revision_moves_nothing():
    world = served()
    assert world.drive(Desired(revision(1, replicas=4))) == Done()
    assert world.drive(Desired(revision(1, replicas=1))) == Done()
    kinds = [type(each) for each in world.log if isinstance(each, Move | Scale | Rescale)]
    assert kinds == [Rescale, Rescale, Scale]
    assert len(world.replicas) == 1


def test_revisions_beyond_the_history_are_retired():
    world = served()
    for number in (2, 3, 4):
        assert world.drive(Desired(revision(number), history=2)) == Done()
    assert [each.number for each in world.record.revisions] == [2, 3, 4]
    assert world.record.highest == 4


def test_a_replica_that_fails_ends_an_update_and_the_old_revision_serves_on():
    world = served(broken={2})
    end = world.drive(Desired(revision(2)))
    assert isinstance(end, Fail) and end.reason == "a replica of revision 2 ended before it was ready"
    assert isinstance(end.cleaning, Retire)
    assert moves(world) == []
    assert [each.number for each in world.record.revisions] == [1]
    assert world.record.next_number == 3


def test_replicas_that_stay_unready_end_an_update():
    world = served()
    world.replicas.extend(Replica(2, 1e9) for _ in range(2))
    end = world.drive(Desired(revision(2), ready_within_s=30))
    assert isinstance(end, Fail) and end.reason == "0 of 2 replicas of revision 2 are ready after 30 s"
    assert {each.revision for each in world.replicas} == {1}


def test_what_a_killed_driver_left_is_removed():
    world = served()
    left = msgspec.structs.replace(world.record, revisions=(*world.record.revisions, revision(2)), highest=2)
    world.record = left
    world.replicas += [Replica(2, 0), Replica(9, 0)]
    assert world.drive(Desired(revision(3))) == Done()
    assert [each.number for each in world.log if isinstance(each, Retire)] == [9, 2]


def test_a_canary_moves_step_by_step():
    world = served()
    assert world.drive(canary()) == Done()
    assert moves(world) == [(1, 2, 0.1), (1, 2, 0.5), (2, None, 0.0)]
    assert world.record.rollout.state is RolloutState.PROMOTED
    assert world.record.rollout.reason == "all 2 steps passed"


def test_a_failed_verdict_sends_everything_back():
    world = served(results=(Result.FAIL,))
    assert world.drive(canary()) == Aborted("fail of 100")
    assert moves(world) == [(1, 2, 0.1), (1, None, 0.0)]
    assert {each.revision for each in world.replicas} == {1}


def test_an_aborted_rollout_is_remembered_until_it_is_tried_again_and_passes():
    world = served(results=(Result.FAIL,))
    world.drive(canary())
    (found,) = world.record.rejected
    assert (found.version, found.reason) == ("2", "fail of 100")
    world.results = (Result.PASS,)
    assert world.drive(canary()) == Done()
    assert world.record.rejected == ()


def test_a_rollback_remembers_the_version_that_it_leaves_and_why():
    world = served()
    world.drive(Desired(revision(2)))
    assert world.record.rejected == ()
    back = Desired(revision_for(world.observe(), revision(1)), rejecting="ana rolled it back: complaints")
    began = world.now
    assert world.drive(back) == Done()
    (found,) = world.record.rejected
    assert (found.version, found.digest, found.reason) == ("2", "digest", "ana rolled it back: complaints")
    assert began <= found.at <= world.now
    assert world.record.rejection(revision(2).release) == found
    assert world.record.rejection(revision(1).release) is None


def test_other_settings_of_the_version_that_serves_are_not_remembered_as_rejected():
    world = served(results=(Result.FAIL,))
    assert isinstance(world.drive(Desired(revision(2, model="1"), steps=CANARY, strategy="canary")), Aborted)
    assert world.record.rejected == ()


def test_a_failed_verdict_pauses_where_rollback_on_failure_is_off():
    world = served(results=(Result.FAIL,))
    assert world.drive(canary(rollback_on_failure=False)) == Paused("fail of 100")
    assert world.record.route.lease_s is None
    assert world.record.route.weight == 0.1


def test_a_step_without_a_verdict_pauses_after_its_longest_duration_and_says_why():
    world = served(results=(Result.NOT_ENOUGH_DATA,))
    began = world.now
    end = world.drive(canary())
    assert end == Paused("step 1 has lasted as long as it may: not_enough_data of 100")
    assert 120 <= world.now - began < 140


def counting(requests: int, result: Result = Result.NOT_ENOUGH_DATA) -> Verdict:
    report = RouterReport("", 0, candidate=Counts(requests=requests))
    return msgspec.structs.replace(verdict_of(0, result, requests), counted=report)


def stepped(world: World, desired: Desired, verdict: Verdict | None) -> Record:
    """The record after the next action."""
    world.carry_out(next_action(desired, world.observe(), verdict, world.now))
    return world.record


def test_a_resumed_step_goes_on_with_its_counts_and_its_time():
    world, desired = served(), canary()
    enter(world, desired)
    began, world.now, world.wish = world.now, world.now + 15, "pause"
    left = stepped(world, desired, counting(700)).rollout
    assert (left.state, left.counted.candidate.requests, left.spent_s) == (
        RolloutState.PAUSED,
        700,
        pytest.approx(15, abs=1),
    )
    world.now, world.wish = world.now + 5000, "resume"
    left = stepped(world, desired, counting(750)).rollout
    assert (left.state, left.counted.candidate.requests, left.spent_s) == (
        RolloutState.RUNNING,
        750,
        pytest.approx(15, abs=1),
    )
    world.wish, began = "", world.now
    while world.record.rollout.step == 0:
        stepped(world, desired, counting(750, Result.PASS))
    assert world.now - began < 10, "the step of 10 s had run for longer already"
    assert (world.record.rollout.counted, world.record.rollout.spent_s) == (None, 0.0)


def test_a_step_that_has_lasted_too_long_keeps_its_counts_and_gets_its_time_again():
    world, desired = served(), canary()
    enter(world, desired)
    world.now += 200
    left = stepped(world, desired, counting(40)).rollout
    assert (left.state, left.counted.candidate.requests, left.spent_s) == (RolloutState.PAUSED, 40, 0.0)
    world.wish = "resume"
    stepped(world, desired, None)
    world.wish = ""
    assert isinstance(next_action(desired, world.observe(), counting(45), world.now), Wait | Write)


def test_a_step_that_failed_is_judged_anew_when_a_person_resumes_it():
    world, desired = served(), canary(rollback_on_failure=False)
    enter(world, desired)
    assert stepped(world, desired, counting(40, Result.FAIL)).rollout.counted is None


def test_a_driver_that_takes_over_does_not_count_the_time_without_one():
    world = served()
    enter(world, canary())
    world.now += 5000
    desired = replace(canary(), started=world.now)
    assert stepped(world, desired, None).rollout.step_started_at == world.now - 0.1
    assert isinstance(next_action(desired, world.observe(), None, world.now), Wait)


def test_a_step_lasts_as_long_as_it_has_to():
    world = served()
    began = world.now
    world.drive(canary())
    assert world.now - began > 20


def test_a_person_lets_a_canary_go_on():
    world = served()
    desired = canary(steps=PAUSING)
    assert world.drive(desired) == Paused("a person has to let it go on from 0.1 of the requests")
    assert world.drive(desired) == Paused("a person has to let it go on from 0.1 of the requests")
    world.wish = "resume"
    assert world.drive(desired) == Done()
    assert moves(world) == [(1, 2, 0.1), (1, 2, 0.1), (1, 2, 0.5), (2, None, 0.0)]


def test_a_shadow_answers_no_client():
    world = served()
    assert world.drive(canary(steps=SHADOW)) == Done()
    assert moves(world) == [(1, 2, 0.0), (2, None, 0.0)]


def test_an_ab_test_ends_when_a_person_promotes():
    world = served()
    desired = canary(steps=AB, strategy="ab")
    enter(world, desired)
    for _ in range(500):
        world.carry_out(next_action(desired, world.observe(), verdict_of(0, Result.PASS), world.now))
    assert world.record.rollout.state is RolloutState.RUNNING
    world.wish = "promote"
    assert world.drive(desired) == Done()


def ab_by_outcomes() -> Desired:
    keys = {"metric": "accuracy", "outcomes": ("log.jsonl",), "max_duration": "10m", "conditions": ()}
    return canary(steps=steps_of(RolloutConfig(strategy="ab", step_duration_seconds=10, **keys)), strategy="ab")


def test_the_winner_of_an_ab_test_is_promoted_with_its_verdict():
    world = served(results=(Result.NOT_ENOUGH_DATA, Result.PASS))
    assert world.drive(ab_by_outcomes()) == Done()
    assert moves(world) == [(1, 2, 0.5), (2, None, 0.0)]
    assert world.record.rollout.reason == "pass of 100"


def test_the_loser_of_an_ab_test_leaves_all_requests_to_the_stable_revision():
    world = served(results=(Result.FAIL,))
    assert world.drive(ab_by_outcomes()) == Aborted("fail of 100")
    assert moves(world) == [(1, 2, 0.5), (1, None, 0.0)]


def test_an_ab_test_without_a_winner_pauses_at_max_duration():
    world = served(results=(Result.NOT_ENOUGH_DATA,))
    began = world.now
    assert world.drive(ab_by_outcomes()) == Paused("step 1 has lasted as long as it may: not_enough_data of 100")
    assert 600 <= world.now - began < 620


def test_a_step_whose_data_are_void_pauses_and_is_begun_anew():
    world = served()
    desired = ab_by_outcomes()
    enter(world, desired)
    first = world.record.rollout.first_serial
    assert first == world.record.route.serial
    void = msgspec.structs.replace(verdict_of(0, Result.FAIL), is_void=True)
    world.carry_out(next_action(desired, world.observe(), void, world.now))
    assert (world.record.rollout.state, world.record.rollout.reason) == (RolloutState.PAUSED, "fail of 100")
    world.wish = "resume"
    world.carry_out(next_action(desired, world.observe(), None, world.now))
    assert world.record.rollout.first_serial == world.record.route.serial > first


def test_a_pause_keeps_the_requests_of_an_ab_test():
    world = served()
    desired = ab_by_outcomes()
    enter(world, desired)
    first = world.record.rollout.first_serial
    for wish in ("pause", "resume"):
        world.wish = wish
        world.carry_out(next_action(desired, world.observe(), None, world.now))
        world.wish = ""
    assert (world.record.rollout.first_serial, world.record.route.serial) == (first, first + 2)


def test_a_candidate_that_loses_its_replicas_is_aborted():
    world = served()
    desired = canary()
    enter(world, desired)
    world.replicas = [each for each in world.replicas if each.revision == 1]
    assert world.drive(desired) == Aborted("revision 2 has no ready replica")


def test_a_stable_revision_that_is_gone_is_started_before_traffic_returns_to_it():
    world = served()
    desired = canary()
    enter(world, desired)
    world.replicas = [each for each in world.replicas if each.revision == 2]
    world.results = (Result.FAIL,)
    assert world.drive(desired) == Aborted("fail of 100")


def test_a_rollback_during_a_rollout_aborts_it():
    world = served(results=(Result.NOT_ENOUGH_DATA,))
    world.drive(canary())
    assert world.drive(Desired(revision(1))) == Done()
    assert world.record.rollout.reason == "revision 1 was asked for"


def test_a_second_rollout_is_refused_while_one_is_open():
    world = served(results=(Result.NOT_ENOUGH_DATA,))
    world.drive(canary())
    before = world.record
    assert world.drive(canary(3)) == Fail("revision 2 is being rolled out")
    assert world.record == before


def test_an_entry_that_lags_behind_its_record_is_moved_again():
    world = served()
    world.follows = 0
    assert world.drive(Desired(revision(1))) == Done()
    assert world.log[0] == Move(world.record, "the entry does not follow the route")


def test_a_driver_that_is_interrupted_leaves_the_weights_without_a_lease():
    world = served()
    desired = canary()
    enter(world, desired)
    left = paused(world.record, None, "interrupted", world.now)
    assert (left.route.weight, left.route.lease_s, left.rollout.state) == (0.1, None, RolloutState.PAUSED)
    assert left.route.serial == world.record.route.serial + 1


def test_a_kept_revision_is_served_again_under_its_number():
    world = served()
    world.drive(Desired(revision(2)))
    observed = world.observe()
    assert revision_for(observed, revision(7, replicas=5, model="1")) == revision(1, replicas=5)
    assert revision_for(observed, revision(7)) == revision(3, model="7")
    assert revision_for(Observation(Record("name")), revision(7)) == revision(1, model="7")


STEPS = {
    "rolling": (),
    "canary": CANARY,
    "pausing": PAUSING,
    "shadow": SHADOW,
    "then": steps_of(
        RolloutConfig(
            strategy="shadow",
            then="canary",
            step_duration_seconds=3,
            comparisons=10,
            conditions=(ConditionConfig(type="errors"),),
        )
    ),
    "ab": AB,
}
CHANCE = st.sampled_from([0.0, 0.01, 0.1])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(sorted(STEPS)),
    chances=st.fixed_dictionaries(
        dict.fromkeys(("replica", "failure", "router", "driver", "half a move", "wish"), CHANCE)
    ),
    results=st.lists(st.sampled_from([None, *Result]), min_size=1, max_size=3),
    is_broken=st.booleans(),
    rollback=st.booleans(),
)
def test_every_world_comes_to_an_end_once_it_is_left_alone(seed, kind, chances, results, is_broken, rollback):
    world = served(random=random.Random(seed))
    desired = canary(steps=STEPS[kind], strategy=kind, rollback_on_failure=rollback, ready_within_s=60)
    world.chances, world.results = chances, tuple(results)
    world.broken = {2} if is_broken else set()
    for _ in range(5):
        world.run(desired, most=25)
        if world.record.revision(2) is None and world.record.highest >= 2:
            desired = replace(desired, target=revision(world.record.next_number, model="2"))
            world.broken = {desired.target.number} if is_broken else set()
    world.chances = {}
    if kind == "ab" and world.run(desired, most=300) is None:
        world.wish = "abort"
    world.drive(desired)
    world.broken, world.results, world.wish = set(), (Result.PASS,), "resume"
    desired = replace(desired, target=revision_for(world.observe(), desired.target))
    for _ in range(4):  # what was paused goes on, what was aborted is tried again
        if kind == "ab" and world.record.rollout is not None and world.record.rollout.is_open:
            world.wish = "promote"
        if kind == "ab" and (world.record.rollout is None or not world.record.rollout.is_open):
            desired = replace(desired, steps=())
        if world.drive(desired) == Done():
            break
        world.wish = "resume"
        desired = replace(desired, target=revision_for(world.observe(), desired.target))
    assert world.drive(desired) == Done()
    assert len(world.replicas) == 2
    assert set(world.record.served) <= {each.number for each in world.record.revisions}
    assert world.record.route == msgspec.structs.replace(world.record.route, stable=desired.target.number)


@given(seed=st.integers(0, 2**32), replicas=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_a_good_candidate_of_any_size_is_promoted(seed, replicas):
    world = served(random=random.Random(seed))
    assert world.drive(Desired(revision(2, replicas), steps=CANARY, strategy="canary")) == Done()
    assert world.record.revision(2).scale == Size(replicas=replicas)
    assert len(world.replicas) == replicas
