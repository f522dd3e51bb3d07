"""A sweep with real processes, and what is left of it when they die."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.sweeps import TIMEOUT_S, Sweep, end, wait_until
from winnow.tracking.connection import open_client

pytestmark = pytest.mark.slow


def is_in_fold(sweep: Sweep, number: int, fold: int) -> bool:
    """Whether a trial has recorded `fold` folds and is at the next."""
    trials = sweep.trials()
    return len(trials) > number and len(trials[number].folds) >= fold


def test_a_sweep_ends_with_its_trials_and_more_can_be_asked_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "quick")
    first = sweep.run()
    assert first.returncode == 0, first.stderr
    assert "4 trials done (4 complete, 0 pruned, 0 failed)" in first.stdout
    assert " best so far " in first.stderr
    assert [trial.number for trial in sweep.trials()] == [0, 1, 2, 3]
    again = sweep.run()
    assert "nothing was left to do" in again.stdout
    assert "TRIALS=8" in again.stdout
    assert states_in_mlflow(sweep) == ["FINISHED"] * 5
    more = sweep.run("--trials", "6")
    assert "6 trials done" in more.stdout
    assert [trial.attempts for trial in sweep.trials()] == [1] * 6
    assert sweep.trained_folds() == 30
    assert states_in_mlflow(sweep) == ["FINISHED"] * 7
    assert sweep.processes() == []
    open_to_others = [path for path in (sweep.home, *sweep.home.rglob("*")) if path.lstat().st_mode & 0o077]
    assert open_to_others == []


def states_in_mlflow(sweep: Sweep) -> list[str]:
    """MLflow's own states of the trials' runs and of the sweep's."""
    client = open_client(f"sqlite:///{sweep.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("a-study")
    return [run.info.status for run in client.search_runs([experiment.experiment_id])]


CONDITIONAL = {
    "space": {
        "optimizer": {"choice": ["sgd", "adamw"]},
        "lr": {"float": [1e-3, 1e-1], "log": True},
        "momentum": {"float": [0.0, 0.9], "when": {"optimizer": "sgd"}},
    },
    "sampler": {"type": "tpe", "n_startup_trials": 4},
    "pruner": {"type": "hyperband", "reduction_factor": 2},
    "warm_start": {"points": [{"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}]},
}


def test_conditional_parameters_hyperband_and_a_budget_work_together(tmp_path: Path) -> None:
    search = {**CONDITIONAL, "trials": 400, "budget": {"time": "3s"}}
    sweep = Sweep(tmp_path, "quick", search=search, training={"loop": None, "epochs": 2})
    ended = sweep.run()
    assert ended.returncode == 0, ended.stderr
    assert "ended because its time is spent (search.budget.time)" in ended.stdout
    trials = sweep.trials()
    assert 1 < len(trials) < 400
    assert trials[0].params == {"optimizer": "sgd", "lr": 0.05, "momentum": 0.5}
    assert all(("momentum" in trial.params) == (trial.params["optimizer"] == "sgd") for trial in trials)
    assert {trial.reason.rpartition(": ")[2] for trial in trials if trial.reason} <= {"hyperband stopped it"}
    client = open_client(f"sqlite:///{sweep.home / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("a-study").experiment_id])
    assert [run.data.tags["winnow.ended_by"] for run in runs if "winnow.ended_by" in run.data.tags] == ["time"]
    of_trials = [run.data.params for run in runs if run.data.tags["winnow.kind"] == "trial"]
    assert all(("momentum" in params) == (params["optimizer"] == "sgd") for params in of_trials)
    again = sweep.run()
    assert "nothing was left to do" in again.stdout
    assert len(sweep.trials()) == len(trials)


def test_a_killed_worker_s_trial_continues_at_its_next_fold(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 2}, execution={"workers": 1})
    orchestrator = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 3))
    kept = sweep.trials()[0].folds[:3]
    sweep.group("w0").kill()
    output, _ = orchestrator.communicate(timeout=TIMEOUT_S)
    assert orchestrator.returncode == 0, output
    assert "worker w0: it was killed by signal 9; started again" in output
    first, second = sweep.trials()
    assert (first.attempts, second.attempts) == (2, 1)
    assert first.folds[:3] == kept
    assert [fold.fold for fold in first.folds] == [0, 1, 2, 3, 4]
    assert sweep.trained_folds() <= 11
    assert sweep.processes() == []


def test_a_killed_rank_and_a_killed_fork_server_cost_one_fold_each(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 2}, execution={"workers": 1})
    orchestrator = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 2))
    (rank,) = sweep.ranks()
    rank.kill()
    wait_until(lambda: is_in_fold(sweep, 1, 1))
    (rank,) = sweep.ranks()
    rank.parent().kill()
    output, _ = orchestrator.communicate(timeout=TIMEOUT_S)
    assert orchestrator.returncode == 0, output
    assert [trial.state for trial in sweep.trials()] == ["complete", "complete"]
    assert [trial.attempts for trial in sweep.trials()] == [2, 2]
    assert [lost.what for lost in sweep.store.incidents()] == ["its ranks were ended by SIGKILL"] * 2
    assert sweep.trained_folds() <= 12
    assert sweep.processes() == []


def test_ctrl_c_stops_the_workers_and_hands_their_trials_back(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow")
    orchestrator = sweep.start()
    # One worker may start seconds before the other: which two trials are in training then, does not matter.
    wait_until(lambda: sum(bool(trial.folds) for trial in sweep.trials() if trial.state == "running") == 2)
    code, _ = end(orchestrator, signal.SIGINT)
    assert code == 130
    assert sweep.processes() == []
    states = [trial.state for trial in sweep.trials()]
    assert (states.count("waiting"), states.count("running")) == (2, 0)
    scored = {(trial.number, fold.fold): fold for trial in sweep.trials() for fold in trial.folds}
    resumed = sweep.run()
    assert resumed.returncode == 0, resumed.stderr
    assert [trial.state for trial in sweep.trials()] == ["complete"] * 4
    after = {(trial.number, fold.fold): fold for trial in sweep.trials() for fold in trial.folds}
    assert scored.items() <= after.items()
    assert sweep.store.incidents() == ()


def test_workers_outlive_their_orchestrator_and_are_attached_to(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 8})
    killed = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 1))
    end(killed, signal.SIGKILL)
    second = sweep.start()
    third = sweep.run()
    output, _ = second.communicate(timeout=TIMEOUT_S)
    assert (second.returncode, third.returncode) == (0, 0), output + third.stderr
    assert "attached to 2 running workers" in output
    assert [trial.attempts for trial in sweep.trials()] == [1] * 8
    assert sweep.trained_folds() == 40


def test_workers_end_by_themselves_when_nobody_watches(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 2})
    orchestrator = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 1))
    end(orchestrator, signal.SIGHUP)
    wait_until(lambda: sweep.processes() == [])
    assert [trial.state for trial in sweep.trials()] == ["complete", "complete"]
    assert sweep.store.is_done()


def test_a_trial_that_fails_by_itself_is_failed_with_its_reason_and_the_sweep_goes_on(tmp_path: Path) -> None:
    faults = ["raises", "diverges", "out of memory", "none"]
    space = {"x": {"float": [0.1, 0.9]}, "fault": {"choice": faults}}
    sweep = Sweep(tmp_path, "faulty", search={"space": space, "trials": 12})
    ended = sweep.run()
    assert ended.returncode == 0, ended.stderr
    reasons = {str(trial.params["fault"]): trial.reason for trial in sweep.trials() if trial.state == "failed"}
    assert reasons.keys() == set(faults[:3])
    assert "ValueError: no such layer" in (reasons["raises"] or "")
    assert "nan" in (reasons["diverges"] or "")
    assert "memory" in (reasons["out of memory"] or "")
    assert all(trial.attempts == 1 for trial in sweep.trials())
    assert "rank-0.log" in ended.stderr
    assert 'raise ValueError("no such layer")' in ended.stderr


def test_a_trial_that_kills_its_worker_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    space = {"x": {"float": [0.1, 0.9]}, "fault": {"choice": ["dies"]}}
    sweep = Sweep(tmp_path, "faulty", search={"space": space, "trials": 1}, execution={"workers": 1, "retries": 1})
    ended = sweep.run()
    assert ended.returncode == 1, ended.stderr
    (trial,) = sweep.trials()
    assert (trial.state, trial.attempts) == ("failed", 2)
    assert trial.reason == "lost 2 times, the last time because its ranks were ended by SIGKILL"


def test_ranks_die_with_their_supervisor(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 1}, execution={"workers": 1, "processes": 2})
    orchestrator = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 1))
    end(orchestrator, signal.SIGKILL)
    ranks = sweep.ranks()
    assert len(ranks) == 2
    sweep.group("w0").kill()
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert [p for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_dead_neighbour_s_trial_is_not_waited_for(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow", search={"trials": 2})
    orchestrator = sweep.start()
    wait_until(lambda: is_in_fold(sweep, 0, 1) and is_in_fold(sweep, 1, 1))
    end(orchestrator, signal.SIGKILL)
    sweep.group("w1").kill()
    began = time.monotonic()
    wait_until(lambda: sweep.processes() == [])
    assert time.monotonic() - began < 60
    assert [trial.state for trial in sweep.trials()] == ["complete", "complete"]


@pytest.mark.slow
def test_trials_that_stop_after_an_epoch_leave_curves_and_no_score_of_that_fold(tmp_path: Path) -> None:
    pruner = {"type": "median", "every": "epoch"}
    sweep = Sweep(tmp_path, "climbing", search={"trials": 16, "pruner": pruner}, execution={"workers": 1})
    done = sweep.run()
    assert done.returncode == 0, done.stdout
    trials = sweep.store.trials()
    stopped = [trial for trial in trials if trial.reason and "median stopped it" in trial.reason]
    assert (len(trials), {trial.state for trial in trials} <= {"complete", "pruned"}) == (16, True)
    assert stopped
    for trial in stopped:
        scored = [each.fold for each in trial.folds]
        (last,) = trial.curves.keys() - set(scored)
        assert trial.reason == f"fold {last + 1}, epoch {len(trial.curves[last]['val_f1'])}: median stopped it"
    assert len(sweep.log.read_text().split()) == sum(len(trial.folds) for trial in trials) + len(sweep.store.refits())
