"""Claims, leases, and what they promise whatever dies."""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest

from tests.unit.study.studies import (
    claim,
    complete,
    experiment,
    fail,
    finish,
    fold,
    leases_of,
    make_study,
    one_job,
    record_fold,
    statements,
    sweep,
    url,
)
from winnow.study.database import Database
from winnow.study.leases import Claim, Failure, Lease, LeaseLostError, ScoredFold, StoppedFold
from winnow.study.packing import Packing
from winnow.study.schedule import Job, ScheduleView, TrainFolds, TrialFold, next_jobs
from winnow.study.space import decode
from winnow.study.store import StudyStore


def claim_until_done(database_url: str, owner: str, counted: multiprocessing.Queue[int]) -> None:
    leases = leases_of(StudyStore(Database(database_url), "a-study"), refit_top=1)
    trials = 0
    while not (claimed := leases.claim(owner, owner, one_job)).is_study_finished:
        if not claimed.jobs:
            time.sleep(0.005)
        for lease in claimed.leases:
            if lease.kind == "trial":
                trials += 1
                complete(leases, lease, 0.5)
            else:
                leases.finish_task(lease, result={"version": "1", "metrics": {}})
    counted.put(trials)


def test_four_processes_that_start_at_once_make_exactly_the_trials_that_were_asked_for(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=41)
    spawn = multiprocessing.get_context("spawn")
    counted: multiprocessing.Queue[int] = spawn.Queue()
    workers = [spawn.Process(target=claim_until_done, args=(url(tmp_path), f"w{i}", counted)) for i in range(4)]
    for worker in workers:
        worker.start()
    counts = [counted.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(timeout=30)
    assert sum(counts) == 41
    assert store.counts() == {"waiting": 0, "running": 0, "complete": 41, "pruned": 0, "failed": 0, "all": 41}
    assert [trial.attempts for trial in store.trials()] == [1] * 41


def test_a_trial_counts_once_however_it_ended(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path, trials=3))
    complete(leases, claim(leases), 0.5)
    fail(leases, claim(leases), "diverged")
    finish(leases, claim(leases), "pruned", 0.1, "hopeless")
    assert claim(leases).kind == "refit"


def test_claiming_again_returns_the_lease_that_is_held(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path))
    first = claim(leases)
    assert claim(leases) == first
    assert claim(leases, "w1/1").number == 1


def test_a_lost_trial_continues_under_its_number_with_its_parameters_and_scores(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    lost = claim(leases)
    tried = store.trial(0).params
    record_fold(leases, lost, fold(0, 0.7), 0.7)
    leases.give_back_group("w0", "it was killed")
    again = claim(leases, "w1/1")
    assert (again.number, again.attempt) == (0, 2)
    trial = store.trial(0)
    assert trial.params == tried != {}
    assert [scored.metrics["f1"] for scored in trial.folds] == [0.7]


def test_a_stale_lease_writes_nothing(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    stale = claim(leases)
    leases.give_back(stale, "it was taken for dead", is_lost=True)
    current = claim(leases, "w1/1")
    for write in (
        lambda: record_fold(leases, stale, fold(0), 0.5),
        lambda: fail(leases, stale, "a late word"),
        lambda: leases.renew(stale),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert store.trial(0).folds == ()
    record_fold(leases, current, fold(0), 0.5)


def test_an_expired_lease_passes_on(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path), ttl_s=0.05)
    lost = claim(leases)
    time.sleep(0.1)
    again = claim(leases, "w1/1")
    assert (again.number, again.attempt) == (lost.number, 2)


def test_a_renewed_lease_does_not_expire(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path), ttl_s=0.4)
    held = claim(leases)
    for _ in range(4):
        time.sleep(0.2)
        leases.renew(held)
    assert claim(leases, "w1/1").number == 1


def test_a_trial_lost_too_often_is_failed_with_the_reason(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store, retries=2)
    for _ in range(3):
        leases.give_back(claim(leases), "it was killed by SIGKILL", is_lost=True)
    trial = store.trial(0)
    assert (trial.state, trial.attempts) == ("failed", 3)
    assert trial.reason == "lost 3 times, the last time because it was killed by SIGKILL"
    assert [incident.attempt for incident in store.incidents()] == [1, 2, 3]


def test_handing_back_costs_no_retry(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path), retries=0)
    for _ in range(3):
        leases.give_back(claim(leases), "it was asked to stop", is_lost=False)
    assert claim(leases).attempt == 4


def test_a_restarted_group_takes_back_what_its_dead_owner_held(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path))
    dead, other = claim(leases, "w0/1"), claim(leases, "w1/1")
    assert leases.give_back_group("w0", "its worker died", keep="w0/2") == 1
    assert claim(leases, "w0/2").number == dead.number
    leases.renew(other)


def test_a_life_that_began_after_the_look_keeps_what_it_holds(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path))
    dead = claim(leases, "w0/1")
    seen = leases.owners("w0")
    leases.give_back_group("w0", "its worker died", keep="w0/2")
    living = claim(leases, "w0/2")
    assert (seen, leases.owners("w0")) == ({"w0/1"}, {"w0/2"})
    assert leases.give_back_group("w0", "it is gone", of=seen) == 0
    leases.renew(living)
    assert (dead.number, living.attempt) == (living.number, 2)


def test_refits_wait_for_the_last_trial_and_the_report_for_the_best_trial_s_refit(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path, trials=3), refit_top=2)
    trials = [claim(leases, f"w{i}/1") for i in range(3)]
    for trial, score in zip(trials[:2], (0.5, 0.9), strict=True):
        complete(leases, trial, score)
    assert leases.claim("w0/1", "w0", one_job) == Claim(())
    complete(leases, trials[2], 0.7)
    first, second = claim(leases, "w0/1"), claim(leases, "w1/1")
    assert [(task.kind, task.number) for task in (first, second)] == [("refit", 1), ("refit", 2)]
    assert leases.claim("w2/1", "w2", one_job) == Claim(())
    leases.finish_task(first, result={"version": "1", "metrics": {"f1": 0.8}})
    report = claim(leases, "w2/1")
    assert (report.kind, report.number) == ("report", 3)
    leases.finish_task(report)
    assert leases.refits_left() == (2,)
    leases.finish_task(second, reason="the export differs")
    assert leases.refits_left() == ()
    leases.finish_task(claim(leases, "w2/1"), reason="the tracking store is away")
    assert leases.claim("w2/1", "w2", one_job) == Claim((), is_study_finished=True)


def test_a_study_without_a_complete_trial_still_ends(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path, trials=1))
    fail(leases, claim(leases), "diverged")
    leases.finish_task(claim(leases), result={})
    assert leases.claim("w0/1", "w0", one_job) == Claim((), is_study_finished=True)


def test_asking_for_more_trials_reopens_a_study_that_was_done(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store, refit_top=1)
    complete(leases, claim(leases), 0.5)
    leases.finish_task(claim(leases), result={"version": "1", "metrics": {}})
    leases.finish_task(claim(leases), result={})
    assert store.is_done()
    store.create(experiment(trials=2), sweep())
    assert not store.is_done()
    complete(leases, claim(leases), 0.9)
    refit = claim(leases)
    assert (refit.kind, refit.number) == ("refit", 1)
    leases.finish_task(refit, result={"version": "2", "metrics": {}})
    assert claim(leases).kind == "report"


def test_recording_a_fold_twice_keeps_one(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    lease = claim(leases)
    record_fold(leases, lease, fold(0, 0.5), 0.5)
    record_fold(leases, lease, fold(0, 0.6), 0.6)
    assert [scored.metrics["f1"] for scored in store.trial(0).folds] == [0.6]


def test_a_failure_keeps_the_end_of_its_log(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    failure = Failure(("Traceback …", "ValueError: no"), "/logs/rank-0.log")
    fail(leases, claim(leases), "fold 1: no", failure)
    assert store.failure(0) == failure
    assert isinstance(claim(leases), Lease)


def test_failed_trials_are_claimed_again_under_their_numbers_and_the_study_keeps_its_size(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    leases = leases_of(store, refit_top=1)
    failed = claim(leases)
    tried = store.trial(0).params
    fail(leases, failed, "ValueError: a bug")
    complete(leases, claim(leases), 0.5)
    leases.finish_task(claim(leases), reason="it could not be exported")
    leases.finish_task(claim(leases), result={})
    assert (store.is_done(), leases.retry_failed()) == (True, (0,))
    assert (store.is_done(), store.trial(0).state, store.trial(0).reason) == (False, "waiting", None)
    again = claim(leases)
    assert (again.number, again.attempt, store.trial(0).params) == (0, 2, tried)
    with pytest.raises(LeaseLostError):
        fail(leases, failed, "a late word of the first attempt")
    complete(leases, again, 0.4)
    assert [claim(leases).kind for _ in range(1)] == ["refit"]
    assert store.counts() == {"waiting": 0, "running": 0, "complete": 2, "pruned": 0, "failed": 0, "all": 2}
    assert leases.retry_failed() == ()


def test_one_claim_takes_the_leases_of_all_trials_of_its_job(tmp_path: Path) -> None:
    leases = leases_of(make_study(tmp_path, trials=4))
    claim(leases, "w1/1")
    three_trials = functools.partial(next_jobs, packing=Packing.of(9))
    claimed = leases.claim("w0/1", "w0", three_trials)
    assert [(lease.number, lease.attempt, lease.owner) for lease in claimed.leases] == [
        (number, 1, "w0/1") for number in (1, 2, 3)
    ]
    assert leases.claim("w0/1", "w0", three_trials).leases == claimed.leases


def test_a_claim_that_names_what_another_worker_holds_takes_nothing(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    held = claim(leases, "w1/1")
    wrong = TrainFolds((TrialFold(1, 0), TrialFold(held.number, 0)))
    with pytest.raises(ValueError, match="trial 0 is held by w1/1"):
        leases.claim("w0/1", "w0", lambda _view: (wrong,))
    assert [trial.number for trial in store.trials()] == [0]
    leases.renew(held)


def test_a_waiting_trial_begins_anew_where_other_code_has_scored_its_folds(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    for code in ({"model.py": "a"}, {"model.py": "b"}):
        store.create(experiment(trials=1), sweep(code=code))
        leases = leases_of(store)
        (claimed,) = leases.claim("w0/1", "w0", one_job).jobs
        assert claimed.job == TrainFolds((TrialFold(0, 0),))
        record_fold(leases, claimed.leases[0], fold(0), 0.5)
        leases.give_back(claimed.leases[0], "it was asked to stop", is_lost=False)
    (claimed,) = leases.claim("w0/1", "w0", one_job).jobs
    assert claimed.job == TrainFolds((TrialFold(0, 1),))


def test_a_worker_sees_the_study_as_one_that_has_just_come(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=6)
    long_at_work, seen = leases_of(store, pruner="median"), []

    def see(view: ScheduleView) -> tuple[Job, ...]:
        seen.append(view)
        return ()

    ends = (
        lambda leases, lease: complete(leases, lease, 0.5),
        lambda leases, lease: fail(leases, lease, "boom"),
        lambda leases, lease: record_fold(leases, lease, fold(0, 0.7), 0.7),
        lambda leases, lease: leases.give_back(lease, "it was killed", is_lost=True),
        lambda leases, _lease: leases.retry_failed(),
    )
    for number, end in enumerate(ends):
        end(long_at_work, claim(long_at_work, f"w{number}/1"))
        for leases in (long_at_work, leases_of(store, pruner="median")):
            leases.claim("w9/1", "w9", see)
        assert seen[-1] == seen[-2]
    assert [(trial.state, trial.scores, trial.owner) for trial in seen[-1].trials] == [
        ("complete", (0.5, 0.5, 0.5), None),
        ("waiting", (), None),
        ("running", (0.7,), "w2/1"),
        ("running", (), "w4/1"),
    ]


def test_one_claim_stores_results_ends_trials_and_takes_the_next_with_parameters(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=4)
    leases = leases_of(store)
    wide = functools.partial(next_jobs, packing=Packing.of(6))
    first = leases.claim("w0/1", "w0", wide)
    results = [ScoredFold(lease, fold(number), 0.5) for lease in first.leases for number in range(3)]
    second = leases.claim("w0/1", "w0", wide, results)
    assert [(trial.state, trial.value) for trial in store.trials()[:2]] == [("complete", 0.5)] * 2
    (job,) = second.jobs
    space = store.header.experiment.search.space
    assert [decode(space, job.params[number]) for number in (2, 3)] == [store.trial(n).params for n in (2, 3)]
    assert len({json.dumps(dict(trial.params)) for trial in store.trials()}) == 4


def test_a_claim_costs_a_fixed_number_of_statements_whatever_it_stores(tmp_path: Path) -> None:
    leases = leases_of(store := make_study(tmp_path, trials=9))
    wide = functools.partial(next_jobs, packing=Packing.of(6))
    counts, claimed = [], leases.claim("w0/1", "w0", one_job)
    for _ in range(3):
        held = {lease.number: lease for lease in claimed.leases}
        results = [ScoredFold(held[pair.trial], fold(pair.fold), 0.5) for pair in claimed.jobs[0].job.pairs]
        with statements(store) as sent:
            claimed = leases.claim("w0/1", "w0", wide, results)
        counts.append(len(sent))
    assert max(counts) <= 16


def test_results_of_lost_leases_are_dropped_and_the_others_stored(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    wide = functools.partial(next_jobs, packing=Packing.of(6))
    lost, held = leases.claim("w0/1", "w0", wide).leases
    leases.give_back(lost, "it was taken for dead", is_lost=True)
    claim(leases, "w1/1")
    again = leases.claim("w0/1", "w0", one_job, [ScoredFold(each, fold(0), 0.5) for each in (lost, held)])
    assert (again.lost, again.leases) == ((lost,), (held,))
    assert [len(trial.folds) for trial in store.trials()] == [0, 1]


def test_tpe_learns_from_the_trials_that_have_ended(tmp_path: Path) -> None:
    def distances(sampler: str) -> list[float]:
        (folder := tmp_path / sampler).mkdir()
        store = make_study(folder, trials=60, sampler=sampler, space={"x": {"float": [0.0, 1.0]}})
        leases, found = leases_of(store), []
        for _ in range(60):
            (claimed,) = leases.claim("w0/1", "w0", one_job).jobs
            (params,) = claimed.params.values()
            found.append(abs(params["x"] - 0.3))
            finish(leases, claimed.leases[0], "complete", -found[-1])
        return found

    tpe, random = distances("tpe"), distances("random")
    assert tpe[:10] == random[:10]
    assert sum(tpe[30:]) < sum(random[30:]) / 2


def test_the_sampler_takes_a_pruned_trial_for_a_complete_one_with_its_estimate(tmp_path: Path) -> None:
    def proposed_after(end: Literal["complete", "pruned"]) -> Mapping[str, Any]:
        (folder := tmp_path / end).mkdir()
        store = make_study(folder, trials=13)
        leases = leases_of(store)
        for number in range(12):
            finish(leases, claim(leases), end, float(number))
        claim(leases)
        return store.trial(12).params

    assert proposed_after("pruned") == proposed_after("complete")


def test_values_that_were_enqueued_are_tried(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    optuna.load_study(study_name="a-study", storage=store.database.url).enqueue_trial({"lr": 0.25})
    claim(leases_of(store))
    assert store.trial(0).params["lr"] == 0.25


def test_a_fold_that_is_stopped_prunes_its_trial_and_leaves_its_curves_and_no_score(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    lease = claim(leases)
    record_fold(leases, lease, fold(0), 0.5)
    curves = {"val_f1": ((1, 0.1), (2, 0.2))}
    assert leases.record([StoppedFold(lease, 1, "fold 2, epoch 2: median stopped it", 0.3, curves)]) == ()
    trial = store.trial(0)
    assert (trial.state, trial.value, trial.reason) == ("pruned", 0.4, "fold 2, epoch 2: median stopped it")
    assert ([each.fold for each in trial.folds], trial.curves) == ([0], {1: curves})
    assert [(each.trial, each.fold, each.is_scored) for each in store.fold_curves()] == [(0, 1, False)]
    assert claim(leases).number == 1
    assert leases.record([StoppedFold(lease, 1, "too late", 0.3)]) == (lease,)
