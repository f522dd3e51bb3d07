"""The lines that a person reads while a sweep runs."""

from dataclasses import replace

import pytest

from tests.unit.report.sample_study import SampleStudy
from winnow.study.status import (
    StudyStatus,
    WorkerStatus,
    failure_lines,
    heartbeat_line,
    seconds_left,
    status_lines,
    summary_line,
    trial_line,
    waiting_lines,
)

TRAINING = WorkerStatus("group-0", "training", 13, 2, 5, 12, 30, 58_000)
STARTING = WorkerStatus("group-1", "starting", None, None, 5, None, None, 55_000)
STATUS = StudyStatus(
    study="breast-cancer",
    trials_done=12,
    trials_total=30,
    failed=1,
    pruned=2,
    best=0.97123,
    best_trial=7,
    goal="maximize",
    workers=(TRAINING, STARTING),
    started_at_ms=0,
    now_ms=60_000,
    folds_done=50,
    folds_total=140,
    training_since_ms=10_000,
)
FRESH = replace(
    STATUS, trials_done=0, failed=0, pruned=0, best=None, best_trial=None, folds_done=0, workers=(STARTING,)
)


def test_a_line_for_each_worker_and_one_for_the_study() -> None:
    assert status_lines(STATUS, width=120) == (
        "group-0  trial 13  fold 2/5  epoch 12/30     5 s left  ━━━━━╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌",
        "group-1  starting  for 5.0 s",
        "breast-cancer · 12/30 trials · best 0.9712 (trial 7) · 90 s left · 1 failed · 2 pruned · 1 min 00 s elapsed",
    )


def test_a_model_that_waits_for_mlflow_is_told_wherever_the_worker_is_shown() -> None:
    waiting = replace(STARTING, state="refitting", trial=7, waits_for="no answer from\nminio:9000")
    status = replace(STATUS, workers=(waiting, TRAINING))
    assert status_lines(status, width=120)[0] == "group-1  refitting  trial 7  waiting for MLflow  for 5.0 s"
    assert "group-1 refitting trial 7 (waiting for MLflow)" in heartbeat_line(status)
    assert waiting_lines(status.workers) == {
        ("group-1", 7): "worker group-1: the model of trial 7 waits for MLflow and its artifact store: no answer from "
        "minio:9000"
    }


def test_nothing_is_estimated_before_a_fold_is_done() -> None:
    assert seconds_left(FRESH) is None
    assert status_lines(FRESH, width=80) == (
        "group-1  starting  for 5.0 s",
        "breast-cancer · 0/30 trials · best – · 1 min 00 s elapsed",
    )


@pytest.mark.parametrize("width", range(10, 121))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long_name = replace(TRAINING, worker="a-rather-long-name-of-a-worker-group-0")
    lines = status_lines(replace(STATUS, workers=(long_name, STARTING)), width=width)
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_keeps_what_matters() -> None:
    assert status_lines(STATUS, width=44) == (
        "group-0  trial 13  fold 2/5  epoch 12/30",
        "group-1  starting  for 5.0 s",
        "12/30 trials · best 0.9712 · 90 s left",
    )


def test_a_low_terminal_names_the_workers_that_it_hides() -> None:
    workers = tuple(replace(TRAINING, worker=f"g{number}") for number in range(9))
    lines = status_lines(replace(STATUS, workers=workers), width=40, height=4)
    assert len(lines) == 4
    assert [line.split("  ")[0] for line in lines[:3]] == ["g0", "g1", "… and 7 workers more"]


def test_the_pace_counts_all_workers_and_leaves_out_the_start_up() -> None:
    status = replace(STATUS, workers=(), folds_done=50, folds_total=150)
    assert seconds_left(status) == 100.0
    assert seconds_left(replace(status, training_since_ms=None)) == 120.0


def test_the_last_trial_runs_alone_whoever_is_idle() -> None:
    training = replace(TRAINING, fold=1, epoch=0)
    idle = replace(STARTING, state="waiting")
    status = replace(
        STATUS, workers=(training, idle), folds_done=145, folds_total=150, training_since_ms=0, now_ms=145_000
    )
    assert seconds_left(status) == 5.0
    two_at_work = replace(status, workers=(training, replace(training, worker="group-1")), folds_total=147)
    assert seconds_left(two_at_work) == 10.0


def test_a_finished_study_is_done() -> None:
    status = replace(STATUS, trials_done=30, folds_done=140, workers=())
    assert summary_line(status, width=200) == (
        "breast-cancer · 30/30 trials · best 0.9712 (trial 7) · done · 1 failed · 2 pruned · 1 min 00 s elapsed"
    )


def test_a_heartbeat_says_everything_on_one_line() -> None:
    assert heartbeat_line(replace(STATUS, workers=(TRAINING, STARTING, replace(TRAINING, state="refitting")))) == (
        "breast-cancer · 12/30 trials · best 0.9712 (trial 7) · 90 s left · 1 failed · 2 pruned · 1 min 00 s elapsed"
        " · group-0 trial 13 fold 2/5 · group-1 starting · group-0 refitting trial 13"
    )


def test_a_finished_trial_is_one_line() -> None:
    trial = SampleStudy(trials=1).view().trials[0]
    assert trial_line(trial, best=True, metric="f1") == (
        "trial 0  0.9679 ± 0.0129 best so far  1.8 s  "
        "hidden=[128, 64]  lr=0.01879  dropout=0.2103  batch_size=33  optimizer=sgd"
    )
    assert trial_line(trial, best=False, width=40) == "trial 0  0.9679  1.8 s  hidden=[128, 64…"


def test_a_trial_that_did_not_complete_says_why() -> None:
    failed, pruned = SampleStudy(trials=2, failed=frozenset({0}), pruned=frozenset({1})).view().trials
    assert trial_line(failed, best=False, width=60) == "trial 0  failed  ValueError: expected 30 inputs, found 31"
    assert trial_line(replace(pruned, reason=None), best=False, width=40) == "trial 1  pruned  after 1 fold"


def test_a_failure_shows_the_end_of_the_log_and_where_it_is() -> None:
    tail = [f"line {number}\n" for number in range(20)] + ["\x1b[31mValueError\x1b[0m: [b]no[/b]\n"]
    lines = failure_lines(13, "ValueError: no\nmore", "/home/me/log", tail)
    assert lines[0] == "trial 13 failed: ValueError: no more"
    assert lines[1] == "  │ line 6"
    assert lines[-2:] == ("  │ ValueError: [b]no[/b]", "  whole log: /home/me/log")
    assert len(lines) == 17
