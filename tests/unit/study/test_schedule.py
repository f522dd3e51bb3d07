"""What to train next: the order of work, and what it promises over random histories."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.study.packing import Packing
from winnow.study.schedule import (
    ALONE,
    ClosingTask,
    FinishTrial,
    Job,
    RefitTrial,
    ScheduledTrial,
    ScheduleRules,
    ScheduleView,
    TrainFolds,
    TrialFold,
    WriteReport,
    is_finished,
    next_jobs,
    refits_left,
)

RULES = ScheduleRules(folds=3, metric="f1", goal="maximize", pruner="off", refit_top=2)
MEDIAN = dataclasses.replace(RULES, pruner="median")
RACING = dataclasses.replace(RULES, pruner="racing")
# Fold 0 is harder than the others by 0.2.
FINISHED = (
    ScheduledTrial(0, "complete", (0, 1, 2), (0.7, 0.9, 0.92), 0.84),
    ScheduledTrial(1, "complete", (0, 1, 2), (0.6, 0.8, 0.78), 0.7267),
    ScheduledTrial(2, "complete", (0, 1, 2), (0.5, 0.7, 0.7), 0.6333),
)


def complete(number: int, score: float) -> ScheduledTrial:
    return ScheduledTrial(number, "complete", (0, 1, 2), (score,) * 3, score)


def running(number: int, owner: str, *scores: float) -> ScheduledTrial:
    return ScheduledTrial(number, "running", tuple(range(len(scores))), scores, owner=owner)


def train(*pairs: tuple[int, int]) -> TrainFolds:
    return TrainFolds(tuple(TrialFold(trial, fold) for trial, fold in pairs))


def jobs(
    *trials: ScheduledTrial, rules: ScheduleRules = RULES, target: int = 3, packing: Packing = ALONE
) -> tuple[Job, ...]:
    return next_jobs(ScheduleView(rules, "w0", target, trials), packing)


def test_a_new_study_begins_with_a_new_trial() -> None:
    assert jobs() == (train((0, 0)),)


def test_a_held_trial_goes_on_before_any_other_begins() -> None:
    assert jobs(ScheduledTrial(0, "waiting"), running(1, "w0", 0.5)) == (train((1, 1)),)


def test_a_lost_trial_continues_at_the_fold_in_which_it_was_lost_before_a_new_one_begins() -> None:
    assert jobs(ScheduledTrial(0, "waiting", (0, 1), (0.5, 0.5))) == (train((0, 2)),)


def test_of_waiting_trials_the_first_comes_first() -> None:
    assert jobs(ScheduledTrial(0, "waiting"), ScheduledTrial(1, "waiting")) == (train((0, 0)),)


def test_a_trial_that_was_lost_after_its_last_fold_is_completed() -> None:
    lost = ScheduledTrial(0, "waiting", (0, 1, 2), (0.25, 0.5, 0.75))
    assert jobs(lost, target=1) == (FinishTrial(0, "complete", 0.5),)


def test_a_batch_holds_all_folds_of_a_trial_before_it_holds_several_trials() -> None:
    held, waiting = running(0, "w0", 0.5), ScheduledTrial(1, "waiting")
    assert jobs(held, waiting, target=4, packing=Packing.of(3)) == (train((0, 1), (0, 2)),)
    together = train((0, 1), (0, 2), (1, 0), (1, 1), (1, 2))
    assert jobs(held, waiting, target=4, packing=Packing.of(6)) == (together,)
    assert jobs(target=2, packing=Packing.of(6)) == (train((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)),)


def test_a_batch_holds_one_fold_of_several_trials_where_that_is_cheaper() -> None:
    trials = *map(complete, range(20), [0.5] * 20), running(20, "w0", 0.5)
    measured = Packing(8, shares={3: 0.5, 12: 0.5})
    rules = dataclasses.replace(MEDIAN, is_learning=False)
    together = train((20, 1), (21, 0), (22, 0), (23, 0))
    assert jobs(*trials, rules=rules, target=60, packing=measured) == (together,)
    assert jobs(*trials, target=60, packing=measured) == (train((20, 1), (20, 2)),)


def test_trials_that_end_do_so_before_the_others_go_on() -> None:
    done, held = running(0, "w0", 0.25, 0.5, 0.75), running(1, "w0", 0.5)
    assert jobs(done, held) == (FinishTrial(0, "complete", 0.5), train((1, 1)))


def test_a_sampler_that_learns_is_asked_for_no_more_than_an_eighth_of_what_has_ended() -> None:
    def begun(ended: int, *, is_learning: bool = True, workers: int = 2) -> int:
        rules = dataclasses.replace(RULES, is_learning=is_learning, workers=workers)
        (job,) = jobs(*map(complete, range(ended), [0.5] * ended), rules=rules, target=100, packing=Packing.of(48))
        assert isinstance(job, TrainFolds)
        return len({pair.trial for pair in job.pairs})

    assert [begun(ended) for ended in (0, 4, 10, 20, 40, 80)] == [5, 3, 1, 1, 3, 5]
    assert begun(40, workers=1) == 5
    assert begun(0, is_learning=False) == 16


def test_the_last_trials_are_shared_by_all_workers() -> None:
    rules = dataclasses.replace(RULES, is_learning=False, workers=2)
    (job,) = jobs(rules=rules, target=6, packing=Packing.of(48))
    assert isinstance(job, TrainFolds)
    assert {pair.trial for pair in job.pairs} == {0, 1, 2}


def test_a_trial_below_the_median_is_pruned_after_a_fold_and_says_so() -> None:
    others = tuple(complete(number, 0.5) for number in range(5))
    pruned = FinishTrial(5, "pruned", 0.25, "2 folds: its mean is below the median")
    assert jobs(*others, running(5, "w0", 0.25, 0.25), rules=MEDIAN, target=6) == (pruned,)
    assert jobs(*others, running(5, "w0", 0.25, 0.25), target=6) == (train((5, 2)),)
    assert jobs(*others, running(5, "w0", 0.75, 0.75), rules=MEDIAN, target=6) == (train((5, 2)),)


def test_a_loss_above_the_median_is_pruned_where_the_goal_is_to_minimize() -> None:
    others = tuple(complete(number, 0.5) for number in range(5))
    rules = dataclasses.replace(MEDIAN, goal="minimize")
    pruned = FinishTrial(5, "pruned", 0.75, "1 fold: its mean is above the median")
    assert jobs(*others, running(5, "w0", 0.75), rules=rules, target=6) == (pruned,)


def test_a_lost_trial_is_compared_again_only_after_its_next_fold() -> None:
    others = tuple(complete(number, 0.5) for number in range(5))
    lost = ScheduledTrial(5, "waiting", (0,), (0.25,))
    assert jobs(*others, lost, rules=MEDIAN, target=6) == (train((5, 1)),)


def test_a_trial_that_can_hardly_become_the_best_is_pruned_with_an_estimate_of_its_end() -> None:
    (pruned,) = jobs(*FINISHED, running(3, "w0", 0.4), rules=RACING, target=4)
    reason = "1 fold: it would beat trial 0 with a probability of 0.14 %"
    assert pruned == FinishTrial(3, "pruned", pytest.approx(0.5333, abs=1e-4), reason)
    assert jobs(*FINISHED, running(3, "w0", 0.7), rules=RACING, target=4) == (train((3, 1)),)
    assert jobs(*FINISHED[:2], running(2, "w0", 0.4), rules=RACING, target=3) == (train((2, 1)),)
    strict = dataclasses.replace(RACING, racing_threshold=1e-9)
    assert jobs(*FINISHED, running(3, "w0", 0.4), rules=strict, target=4) == (train((3, 1)),)


def test_racing_compares_the_folds_that_a_trial_has() -> None:
    easy, hard = (ScheduledTrial(3, "running", (fold,), (0.7,), owner="w0") for fold in (1, 0))
    assert jobs(*FINISHED, hard, rules=RACING, target=4) == (train((3, 1)),)
    (pruned,) = jobs(*FINISHED, easy, rules=RACING, target=4)
    assert isinstance(pruned, FinishTrial)


def test_trials_that_were_trained_together_race_with_those_that_end_with_them() -> None:
    together = [dataclasses.replace(trial, state="running", owner="w0", value=None) for trial in FINISHED]
    ended = jobs(*together, running(3, "w0", 0.4), running(4, "w0", 0.7), rules=RACING, target=5)
    assert [(job.trial, job.end) for job in ended if isinstance(job, FinishTrial)] == [
        (0, "complete"),
        (1, "complete"),
        (2, "complete"),
        (3, "pruned"),
    ]
    assert ended[-1] == train((4, 1))


def test_the_best_trials_are_refitted_once_no_trial_is_left_and_the_earlier_of_equal_ones_first() -> None:
    trials = complete(0, 0.5), complete(1, 0.9), ScheduledTrial(2, "pruned", value=1.0), complete(3, 0.5)
    assert jobs(*trials, running(4, "w1", 0.5), target=5) == ()
    assert jobs(*trials, target=4) == (RefitTrial(1),)
    view = ScheduleView(RULES, "w0", 4, trials, refits=(ClosingTask(1, "leased", "w1"),))
    assert next_jobs(view) == (RefitTrial(0),)


def test_a_refit_that_was_asked_for_comes_after_those_of_the_best() -> None:
    view = ScheduleView(RULES, "w0", 1, (complete(0, 0.5),), refits=(ClosingTask(7, "waiting"),))
    assert next_jobs(view) == (RefitTrial(0),)
    reported = dataclasses.replace(
        view,
        refits=(ClosingTask(0, "done", attempt=1), ClosingTask(7, "waiting")),
        reports=(ClosingTask(1, "done", refits=1),),
    )
    assert next_jobs(reported) == (RefitTrial(7),)


def test_the_report_waits_for_the_best_trial_s_refit_alone() -> None:
    trials, leased = (complete(0, 0.5), complete(1, 0.4)), ClosingTask(1, "leased", "w1", attempt=1)
    view = ScheduleView(RULES, "w0", 2, trials, refits=(ClosingTask(0, "leased", "w1", attempt=1), leased))
    assert (next_jobs(view), is_finished(view)) == ((), False)
    for state in ("done", "failed"):
        refitted = dataclasses.replace(view, refits=(ClosingTask(0, state, attempt=1), leased))
        assert next_jobs(refitted) == (WriteReport(2, refits=1),)
    assert next_jobs(dataclasses.replace(view, refits=())) == (RefitTrial(0),)


def test_the_report_is_written_once_for_each_number_of_trials_and_again_after_the_last_refit() -> None:
    trials, first = (complete(0, 0.5), complete(1, 0.4)), ClosingTask(0, "done", attempt=1)
    view = ScheduleView(RULES, "w0", 2, trials, refits=(first,), reports=(ClosingTask(3, "done"),))
    assert next_jobs(view) == (WriteReport(2, refits=1),)
    reported = dataclasses.replace(view, reports=(ClosingTask(2, "done", refits=1),))
    assert (next_jobs(reported), refits_left(reported)) == ((RefitTrial(1),), (1,))
    refitted = dataclasses.replace(reported, refits=(first, ClosingTask(1, "done", attempt=2)))
    assert (next_jobs(refitted), refits_left(refitted)) == ((WriteReport(2, refits=3),), ())
    told = dataclasses.replace(refitted, reports=(ClosingTask(2, "failed", refits=3),))
    assert (next_jobs(told), is_finished(told)) == ((), True)


class Study:
    """A study in memory that does what leases and workers do with jobs, and checks what they must never be given."""

    def __init__(self, rules: ScheduleRules, target: int) -> None:
        self.view = ScheduleView(rules, "", target)

    def seen_by(self, owner: str) -> ScheduleView:
        return dataclasses.replace(self.view, owner=owner)

    def claim(self, owner: str, packing: Packing) -> tuple[Job, ...]:
        named = next_jobs(self.seen_by(owner), packing)
        assert named == next_jobs(self.seen_by(owner), packing)
        for job in named:
            self._take(owner, job)
        return named

    def carry_out(self, job: Job, score: float) -> None:
        match job:
            case TrainFolds(pairs):
                for pair in pairs:
                    trial = self.view.trials[pair.trial]
                    assert pair.fold == len(trial.folds)
                    self._set(pair.trial, folds=(*trial.folds, pair.fold), scores=(*trial.scores, score))
            case FinishTrial(number, end, value):
                assert end == "pruned" or value == statistics.fmean(self.view.trials[number].scores)
                self._set(number, state=end, value=value, owner=None)
            case RefitTrial(number):
                self._end("refits", number)
            case WriteReport(number, refits):
                self._end("reports", number, refits)

    def lose(self, owner: str) -> None:
        """The owner dies, or its leases expire."""
        for trial in self.view.trials:
            if trial.owner == owner:
                self._set(trial.number, state="waiting", owner=None)
        for kind in ("refits", "reports"):
            tasks = getattr(self.view, kind)
            kept = tuple(
                dataclasses.replace(task, state="waiting", owner=None) if task.owner == owner else task
                for task in tasks
            )
            self.view = dataclasses.replace(self.view, **{kind: kept})

    def _take(self, owner: str, job: Job) -> None:
        match job:
            case TrainFolds(pairs):
                for number in dict.fromkeys(pair.trial for pair in pairs):
                    self._take_trial(owner, number)
            case FinishTrial(number):
                self._take_trial(owner, number)
            case RefitTrial(number):
                self._lease("refits", number, owner)
            case WriteReport(number):
                self._lease("reports", number, owner)

    def _take_trial(self, owner: str, number: int) -> None:
        if number == len(self.view.trials):
            new = ScheduledTrial(number, "running", owner=owner)
            self.view = dataclasses.replace(self.view, trials=(*self.view.trials, new))
            return
        trial = self.view.trials[number]
        assert trial.owner == owner or (trial.owner is None and trial.state == "waiting")
        self._set(number, state="running", owner=owner)

    def _set(self, number: int, **changes: object) -> None:
        changed = dataclasses.replace(self.view.trials[number], **changes)
        trials = (*self.view.trials[:number], changed, *self.view.trials[number + 1 :])
        self.view = dataclasses.replace(self.view, trials=trials)

    def _lease(self, kind: str, number: int, owner: str) -> None:
        tasks: Mapping[int, ClosingTask] = {task.number: task for task in getattr(self.view, kind)}
        known = tasks.get(number, ClosingTask(number, "waiting"))
        assert known.owner == owner or known.state == "waiting" or kind == "reports"
        self._put(kind, ClosingTask(number, "leased", owner, known.attempt + (known.owner != owner)))

    def _end(self, kind: str, number: int, refits: int = 0) -> None:
        (task,) = (known for known in getattr(self.view, kind) if known.number == number)
        self._put(kind, dataclasses.replace(task, state="done", owner=None, refits=refits))

    def _put(self, kind: str, task: ClosingTask) -> None:
        tasks = {known.number: known for known in getattr(self.view, kind)} | {task.number: task}
        self.view = dataclasses.replace(self.view, **{kind: tuple(tasks[number] for number in sorted(tasks))})


OWNERS = ("w0", "w1", "w2")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(OWNERS), st.sampled_from(("work", "work", "work", "die")), st.sampled_from((0.1, 0.5, 0.9))
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(
    STEPS,
    st.integers(1, 9),
    st.builds(Packing, most=st.integers(1, 12), is_fixed=st.booleans()),
    st.sampled_from(("off", "median", "racing")),
)
def test_whatever_dies_a_study_ends_with_exactly_its_trials(
    steps: list[tuple[str, str, float]], target: int, packing: Packing, pruner: str
) -> None:
    study = Study(dataclasses.replace(RULES, pruner=pruner), target)
    pending: dict[str, list[Job]] = {owner: [] for owner in OWNERS}

    def step(owner: str, act: str, score: float) -> None:
        if act == "die":
            study.lose(owner)
            pending[owner].clear()
        elif pending[owner]:
            study.carry_out(pending[owner].pop(0), score)
        else:
            pending[owner].extend(study.claim(owner, packing))
        at_work = [
            pair for named in pending.values() for job in named if isinstance(job, TrainFolds) for pair in job.pairs
        ]
        assert len(set(at_work)) == len(at_work)
        assert len(study.view.trials) <= target

    for owner, act, score in steps:
        step(owner, act, score)
    for _ in range(20 * (target + 3)):
        for owner in OWNERS:
            step(owner, "work", 0.5)
    assert is_finished(study.seen_by("w0"))
    assert [study.claim(owner, packing) for owner in OWNERS] == [()] * 3
    assert [trial.number for trial in study.view.trials] == list(range(target))
    assert {trial.state for trial in study.view.trials} <= {"complete", "pruned"}
    assert all(len(trial.folds) == 3 for trial in study.view.trials if trial.state == "complete")
    refitted = sorted(trial.value or 0 for trial in study.view.trials if trial.state == "complete")[-2:]
    assert sorted(study.view.trials[refit.number].value or 0 for refit in study.view.refits) == refitted
    attempts = sum(refit.attempt for refit in study.view.refits)
    assert [(report.number, report.state, report.refits) for report in study.view.reports] == [
        (target, "done", attempts)
    ]
