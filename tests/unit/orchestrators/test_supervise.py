"""What the orchestrator shows of a study, and what it does to its groups."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.unit.study.studies import claim, complete, leases_of, make_study, one_job, statements
from winnow.config.errors import InputError, UnreachableError
from winnow.config.exit_codes import GroupExit
from winnow.orchestrators.progress import ProgressView
from winnow.orchestrators.supervise import SweepFailedError, SweepStoppedError, SweepSupervisor, stop
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.executor import GroupResources, GroupSpec, GroupStatus
from winnow.study.status import StudyStatus, WorkerStatus
from winnow.study.store import StudyStore
from winnow.testing.executor import MemoryExecutor

GROUPS = tuple(GroupSpec("a-study", name, ("a-worker",), {}) for name in ("w0", "w1"))


class Scripted(MemoryExecutor):
    """Groups that do one thing whenever the orchestrator looks at all or asks for the first, and finish in the end."""

    def __init__(self, store: StudyStore, *acts: Callable[[Scripted], None]) -> None:
        super().__init__()
        self.leases = leases_of(store, refit_top=1)
        self._acts = list(acts)
        self._is_acting = False

    @contextlib.contextmanager
    def watch(self, study: str) -> Iterator[Callable[[], tuple[GroupStatus, ...]]]:
        def look() -> tuple[GroupStatus, ...]:
            self._act()
            return self.groups(study)

        yield look

    def status(self, study: str, name: str) -> GroupStatus:
        if name == "w0":
            self._act()
        return super().status(study, name)

    def _act(self) -> None:
        if not self._is_acting:
            self._is_acting = True
            try:
                (self._acts.pop(0) if self._acts else finish)(self)
            finally:
                self._is_acting = False


def works(executor: Scripted) -> bool:
    """Carry out one job, if one is left."""
    leases = executor.leases.claim("w0/last", "w0", one_job).leases
    for lease in leases:
        if lease.kind == "trial":
            complete(executor.leases, lease, 0.5 + lease.number / 10)
        else:
            executor.leases.finish_task(lease, result={"version": "1", "metrics": {}})
    return bool(leases)


def finish(executor: Scripted) -> None:
    while works(executor):
        pass
    for group in executor.groups("a-study"):
        executor.finish("a-study", group.name, 0)


def nothing(_executor: Scripted) -> None:
    """Between two looks."""


def dies(exit_code: int, name: str = "w0") -> Callable[[Scripted], None]:
    return lambda executor: executor.finish("a-study", name, exit_code)


def follow(store: StudyStore, executor: MemoryExecutor, groups: tuple[GroupSpec, ...] = GROUPS, **rates: float) -> str:
    shown = io.StringIO()
    SweepSupervisor(store, executor, groups, ProgressView(shown), **rates).supervise()
    return shown.getvalue()


def test_the_best_trial_so_far_is_called_so(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    shown = follow(store, Scripted(store))
    assert "trial 0  0.5000  " in shown
    assert "trial 1  0.6000 best so far" in shown


def test_a_poll_in_which_nothing_happens_costs_one_statement(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    counts: list[int] = []
    with statements(store) as sent:

        def count(_executor: Scripted) -> None:
            counts.append(len(sent))

        follow(store, Scripted(store, count, count, count))
    assert [counts[1] - counts[0], counts[2] - counts[1]] == [1, 1]


def test_a_sweep_is_over_with_its_report_and_the_same_command_waits_for_the_other_refits(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)

    def reports(executor: Scripted) -> None:
        while not store.is_done():
            works(executor)

    executor = Scripted(store, reports)
    executor.leases = leases_of(store, refit_top=3)
    follow(store, executor)
    assert [refit.trial for refit in store.refits()] == [2]
    assert store.refits_left() == (1, 0)
    assert not any(group.state.is_over for group in executor.groups("a-study"))
    follow(store, executor)
    assert (store.is_done(), store.refits_left()) == (True, ())
    assert all(group.state.is_over for group in executor.groups("a-study"))


def test_a_group_that_dies_while_the_other_refits_are_waited_for_is_started_again(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Scripted(store)
    executor.leases = leases_of(store, refit_top=2)
    while not store.is_done():
        works(executor)
    executor._acts = [dies(-9), nothing]
    assert "worker w0: it was killed by signal 9; started again" in follow(store, executor, GROUPS[:1], poll_s=0.0)
    assert store.refits_left() == ()


def test_groups_that_have_not_spoken_yet_are_shown_as_starting(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    assert "w0 starting · w1 starting" in follow(store, Scripted(store))


def test_a_refit_that_waits_for_the_tracking_store_is_said_once(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    waiting = WorkerStatus("w0", "refitting", 1, None, 3, None, None, 0, waits_for="no answer")
    store.hear("w0/1", "w0", "a-host", waiting, ttl_s=60.0)
    shown = follow(store, Scripted(store, nothing, nothing))
    assert shown.count("worker w0: the model of trial 1 waits for MLflow and its artifact store: no answer\n") == 1


def test_a_group_that_died_is_started_again_and_its_trial_handed_back(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    lost = claim(leases_of(store), "w0/1")
    executor = Scripted(store, dies(-9), nothing, nothing)
    assert "worker w0: it was killed by signal 9; started again" in follow(store, executor)
    assert sorted(group.name for group in executor.started) == ["w0", "w0", "w1"]
    assert (store.trial(lost.number).attempts, store.trial(lost.number).state) == (2, "complete")


def test_a_group_that_is_killed_under_a_memory_limit_is_said_with_its_limit(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    limited = tuple(replace(group, resources=GroupResources(memory_bytes=10 * 2**20)) for group in GROUPS)
    said = follow(store, Scripted(store, dies(-9), nothing, nothing), limited)
    limit = "perhaps because it reached its limit of 10 MiB (execution.resources.memory)"
    assert f"worker w0: it was killed by signal 9, {limit}; started again" in said


def test_what_a_group_holds_that_another_orchestrator_has_started_again_is_left_to_it(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)

    def is_started_again(executor: Scripted) -> None:
        executor.start(GROUPS[0])
        claim(executor.leases, "w0/last")

    executor = Scripted(store, dies(-9), is_started_again)
    assert "started again" not in follow(store, executor)
    assert [trial.attempts for trial in store.trials()] == [1]


def test_a_life_that_the_executor_does_not_know_keeps_its_trial(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    claim(leases_of(store), "w0/last")
    again = dies(GroupExit.ALREADY_RUNNING)
    follow(store, Scripted(store, again, again, again))
    assert [trial.attempts for trial in store.trials()] == [1]


def test_groups_of_an_earlier_run_that_are_not_needed_stay_over(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Scripted(store)
    follow(store, executor)
    assert len(executor.started) == 2
    store.create(store.header.experiment.model_copy(update={"search": more(store, 3)}), store.header.sweep)
    shown = follow(store, executor, (GROUPS[0],))
    assert sorted(group.name for group in executor.started) == ["w0", "w0", "w1"]
    assert "started again" not in shown


def more(store: StudyStore, trials: int) -> object:
    return store.header.experiment.search.model_copy(update={"trials": trials})


def test_groups_that_do_not_come_up_end_the_sweep_with_their_log(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    executor = Scripted(store, dies(GroupExit.CANNOT_START), nothing, nothing)
    with pytest.raises(SweepFailedError, match=r"do not start(.|\n)*started a-worker"):
        follow(store, executor)
    assert all(group.state.is_over for group in executor.groups())


def test_a_study_that_a_group_refuses_ends_with_its_reason_and_without_another_start(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    refusal = InputError("data.source", expected="the study's rows", found="others", remedy="Seed it.")

    def refuses(executor: Scripted) -> None:
        store.set_refusal(refusal)
        executor.finish("a-study", "w0", 2)

    executor = Scripted(store, refuses, nothing, nothing)
    with pytest.raises(InputError, match=re.escape(str(refusal))):
        follow(store, executor)
    assert all(group.state.is_over for group in executor.groups())
    assert sorted(group.name for group in executor.started) == ["w0", "w1"]
    store.set_stopped(False)
    assert store.refusal() is None


def test_groups_whose_nodes_do_not_find_each_other_end_the_sweep(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    group = replace(GROUPS[0], nodes=2)
    with pytest.raises(SweepFailedError, match="its ranks or its other nodes do not start"):
        follow(store, Scripted(store, dies(GroupExit.CANNOT_START), nothing, nothing), (group,))


def test_an_outage_of_the_study_is_waited_for(tmp_path: Path) -> None:
    class Away(StudyStore):
        outages = 2

        def status(self, *, started_at_ms: int, folds_before: int = 0) -> StudyStatus:
            if self.outages > 0:
                self.outages -= 1
                raise OperationalError("SELECT", {}, Exception("the server closed the connection"))
            return super().status(started_at_ms=started_at_ms, folds_before=folds_before)

    make_study(tmp_path, trials=1)
    store = Away(make_study(tmp_path, trials=1).database, "a-study")
    assert "trial 0" in follow(store, Scripted(store))


def is_away(_executor: Scripted) -> None:
    raise UnreachableError("the engine does not answer")


def test_an_outage_of_what_runs_the_groups_is_waited_for(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Scripted(store, nothing, is_away, is_away, nothing)
    shown = follow(store, executor)
    assert shown.count("the platform that runs the workers does not answer; waiting for it") == 1
    assert sorted(group.name for group in executor.started) == ["w0", "w1"]


def test_an_outage_that_does_not_end_ends_the_following(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    execution = store.header.experiment.execution.model_copy(update={"storage_patience_s": 1})
    store.create(store.header.experiment.model_copy(update={"execution": execution}), store.header.sweep)
    with pytest.raises(UnreachableError, match="the engine does not answer"):
        follow(store, Scripted(store, *[is_away] * 100))


def test_stopping_hands_back_what_dead_groups_held_too(tmp_path: Path) -> None:
    store, executor = make_study(tmp_path), MemoryExecutor()
    for group in GROUPS:
        executor.start(group)
        claim(leases_of(store), f"{group.name}/1")
    executor.finish("a-study", "w1", -9)
    assert stop(store, executor) == 1
    assert [trial.state for trial in store.trials()] == ["waiting", "waiting"]
    assert [lost.what for lost in store.incidents()] == ["its worker died"]


def test_stopping_leaves_alone_what_a_group_holds_that_is_still_heard_of(tmp_path: Path) -> None:
    store, executor = make_study(tmp_path), MemoryExecutor()
    for group in GROUPS:
        executor.start(group)
        claim(leases_of(store), f"{group.name}/1")
        executor.finish("a-study", group.name, -9)
    store.hear("w1/1", "w1", "a-host", WorkerStatus("w1", "training", 1, 0, 3, None, None, 0), ttl_s=60.0)
    assert stop(store, executor) == 0
    assert {lease: leases_of(store).owners(lease) for lease in ("w0", "w1")} == {"w0": set(), "w1": {"w1/1"}}


class CancelledMeanwhile(Scripted):
    """Somebody else stops the study while the first of the groups is being started, and so does not see it."""

    def __init__(self, store: StudyStore) -> None:
        super().__init__(store)
        self._store = store
        self._lock = threading.Lock()
        self.cleared: list[str] = []

    def clear(self, study: str) -> None:
        self.cleared.append(study)

    def start(self, group: GroupSpec) -> None:
        with self._lock:
            if not self.started:
                stop(self._store, self)
            super().start(group)


def test_a_study_that_is_cancelled_while_its_groups_are_started_has_none_left(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=100)
    executor = CancelledMeanwhile(store)
    with pytest.raises(SweepStoppedError):
        follow(store, executor, tuple(GroupSpec("a-study", f"w{index}", ("x",), {}) for index in range(100)))
    assert 0 < len(executor.started) < 50
    assert all(group.state.is_over for group in executor.groups())
    assert executor.cleared == ["a-study"]


def test_whoever_follows_ends_when_somebody_else_stops_the_workers(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)

    def is_cancelled_elsewhere(executor: Scripted) -> None:
        stop(store, executor)

    with pytest.raises(SweepStoppedError, match="Run the same command to resume"):
        follow(store, Scripted(store, is_cancelled_elsewhere, nothing, nothing))
    store.set_stopped(False)
    assert not store.is_stopped()
    follow(store, Scripted(store))


UNSCHEDULABLE = Diagnosis("0/3 nodes are available: 3 Insufficient cpu", "Lower execution.resources.cpu.")


def stuck(*names: str, diagnosis: Diagnosis = UNSCHEDULABLE) -> Callable[[Scripted], None]:
    def act(executor: Scripted) -> None:
        for name in ("w0", "w1"):
            executor.diagnosis("a-study", name, diagnosis if name in names else None)

    return act


def test_what_keeps_groups_from_starting_is_said_once_with_its_remedy(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    shown = follow(store, Scripted(store, stuck("w0", "w1"), stuck("w0"), stuck()))
    said = "workers w0, w1 cannot start: 0/3 nodes are available: 3 Insufficient cpu. Lower execution.resources.cpu."
    assert (shown.count(said), shown.count("cannot start")) == (1, 1)


def impatient(groups: tuple[GroupSpec, ...]) -> tuple[GroupSpec, ...]:
    return tuple(replace(group, start_timeout_s=1.0) for group in groups)


def test_groups_of_which_none_can_start_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Scripted(store, *[stuck("w0", "w1")] * 100)
    with pytest.raises(SweepFailedError, match=r"none can: 0/3 nodes .* Lower execution.resources.cpu"):
        follow(store, executor, impatient(GROUPS))
    assert all(group.state.is_over for group in executor.groups())


def test_the_sweep_goes_on_with_the_groups_that_start(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    follow(store, Scripted(store, *[stuck("w1")] * 7), impatient(GROUPS))
    assert store.is_done()


def test_groups_that_wait_for_their_turn_are_waited_for(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    queued = replace(UNSCHEDULABLE, is_awaited=True)
    shown = follow(store, Scripted(store, *[stuck("w0", "w1", diagnosis=queued)] * 7), impatient(GROUPS))
    assert "workers w0, w1 wait: 0/3 nodes" in shown
    assert store.is_done()


class Full(Scripted):
    """A place that takes some groups only later, or never.

    Args:
        tries: how often each of these groups is refused.
    """

    def __init__(self, store: StudyStore, tries: dict[str, int], *acts: Callable[[Scripted], None]) -> None:
        super().__init__(store, *acts)
        self.tries = tries
        self.refused: list[str] = []

    def start(self, group: GroupSpec) -> None:
        if self.tries.get(group.name, 0) > 0:
            self.tries[group.name] -= 1
            self.refused.append(group.name)
            found = f"{group.name} is forbidden: exceeded quota ({len(self.refused)})"
            raise InputError("jobs", expected="room", found=found, remedy="Ask for less.")
        super().start(group)


def test_groups_that_are_refused_leave_those_at_work_that_are_not(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Full(store, {"w1": 99}, *[nothing] * 8)
    shown = follow(store, executor)
    said = "worker w1 cannot start: w1 is forbidden: exceeded quota (1). Ask for less."
    assert (shown.count(said), shown.count("cannot start")) == (1, 1)
    assert store.is_done()
    assert executor.refused == ["w1"]


def test_a_group_that_was_refused_is_tried_again_until_it_is_taken(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)
    groups = (*GROUPS, replace(GROUPS[0], name="w2"))
    executor = Full(store, {"w1": 2, "w2": 1}, *[nothing] * 8)
    shown = follow(store, executor, groups, retry_every_s=0.1)
    assert sorted(group.name for group in executor.started) == ["w0", "w1", "w2"]
    assert shown.count("cannot start") == 1
    assert "workers w1, w2 cannot start" in shown


def test_where_no_group_is_taken_the_sweep_ends_and_leaves_none(tmp_path: Path) -> None:
    class HalfMade(Full):
        def start(self, group: GroupSpec) -> None:
            MemoryExecutor.start(self, group)
            super().start(group)

    store = make_study(tmp_path, trials=2)
    executor = HalfMade(store, {"w0": 9, "w1": 9})
    with pytest.raises(InputError, match="w0 is forbidden: exceeded quota"):
        follow(store, executor)
    assert [group.state.is_over for group in executor.groups()] == [True, True]


def test_groups_of_another_terminal_are_left_at_work_where_no_more_are_taken(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    executor = Full(store, {})
    executor.start(GROUPS[0])
    executor.tries = {"w0": 9, "w1": 9}
    with pytest.raises(InputError):
        follow(store, executor)
    assert [(group.name, group.state.is_over) for group in executor.groups()] == [("w0", False)]


def dies_for(tries: int) -> Callable[[Scripted], None]:
    """The first group is killed, and refused so often."""

    def act(executor: Scripted) -> None:
        assert isinstance(executor, Full)
        executor.tries["w0"] = tries
        dies(-9)(executor)

    return act


def test_a_group_that_died_and_is_refused_is_told_of_and_tried_again(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)

    shown = follow(store, Full(store, {}, dies_for(1), *[nothing] * 8), retry_every_s=0.1)
    assert shown.count("worker w0 cannot start: w0 is forbidden") == 1
    assert "worker w0: it was killed by signal 9\n" in shown
    assert store.is_done()


def test_groups_of_which_none_is_taken_again_are_not_waited_for_for_ever(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)

    with pytest.raises(SweepFailedError, match=r"none can: w0 is forbidden.* Ask for less"):
        follow(store, Full(store, {}, dies_for(99), *[nothing] * 100), impatient(GROUPS[:1]))


def test_an_outage_while_the_groups_are_started_is_waited_for(tmp_path: Path) -> None:
    class AwayAtFirst(Scripted):
        def __init__(self, store: StudyStore) -> None:
            super().__init__(store)
            self.away = ["start", "start", "watch"]

        def _answer(self, to: str) -> None:
            if to in self.away:
                self.away.remove(to)
                raise UnreachableError("the engine does not answer")

        def start(self, group: GroupSpec) -> None:
            if group.name == "w1":
                self._answer("start")
            super().start(group)

        @contextlib.contextmanager
        def watch(self, study: str) -> Iterator[Callable[[], tuple[GroupStatus, ...]]]:
            self._answer("watch")
            with super().watch(study) as look:
                yield look

    store = make_study(tmp_path, trials=2)
    executor = AwayAtFirst(store)
    shown = follow(store, executor)
    assert shown.count("the platform that runs the workers does not answer; waiting for it") == 2
    assert [group.name for group in executor.started] == ["w0", "w1"]
    assert store.is_done()
