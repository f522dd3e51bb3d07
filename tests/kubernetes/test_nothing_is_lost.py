"""Whatever dies during a sweep in pods: exactly its trials, every fold once, nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.places import Place
from tests.kubernetes.sweeps import KubernetesSweep, end, wait_until
from tests.remote_sweeps import check_ctrl_c_leaves_the_workers_and_cancel_ends_them

pytestmark = [pytest.mark.kubernetes, pytest.mark.slow, pytest.mark.timeout(400)]

IN_TIME_S = 30.0
"""Within this a person is told what keeps pods from starting."""


@pytest.fixture
def sweep(stack: Place, train_image: str, tmp_path: Path) -> Iterator[KubernetesSweep]:
    made = KubernetesSweep(stack.environment, tmp_path, train_image, place=stack)
    yield made
    made.remove()


def test_a_group_of_two_pods_loses_each_of_them_and_goes_on(sweep: KubernetesSweep) -> None:
    # Every step waits for the other pod, over the network.
    execution = {"workers": 1, "nodes": 2}
    orchestrator = sweep.write(search={"trials": 3}, execution=execution, training={"epochs": 20}).start()
    wait_until(lambda: sweep.folds() >= 1)
    sweep.place.admin("delete", "pod", sweep.pod(index=0), "--wait=false")
    before = sweep.folds()
    wait_until(lambda: sweep.folds() > before)
    sweep.evict(sweep.pod(index=1))
    code, output = end(orchestrator)
    assert code == 0, output
    assert sum(trial.attempts for trial in sweep.trials()) >= 5, "each hands a trial back"
    assert sweep.store.incidents() == (), "which costs the trial nothing"
    sweep.check_nothing_is_lost(trials=3)


def test_a_deleted_job_and_an_evicted_pod_are_made_good(sweep: KubernetesSweep) -> None:
    orchestrator = sweep.write(search={"trials": 5}).start()
    wait_until(lambda: sweep.folds() >= 2)
    sweep.place.admin("delete", sweep.job("p0"), "--wait=false")
    sweep.evict(sweep.pod("p1"))
    code, output = end(orchestrator)
    assert code == 0, output
    assert "worker p0: it is gone; started again" in output
    sweep.check_nothing_is_lost(trials=5)


def test_the_database_restarts_and_the_orchestrator_is_killed(sweep: KubernetesSweep) -> None:
    # Long enough for what attaches to find it at work.
    first = sweep.write(search={"trials": 12}).start()
    wait_until(lambda: sweep.folds() >= 1)
    end(first, signal.SIGKILL)
    sweep.place.admin("delete", "pod", "--selector", "app.kubernetes.io/component=postgres", "--wait=false")
    second, third = sweep.start(), sweep.start()
    (second_code, second_output), (third_code, third_output) = end(second), end(third)
    assert (second_code, third_code) == (0, 0), second_output + third_output
    both = second_output + third_output
    assert "attached to 2 running workers" in both, both
    assert [trial.attempts for trial in sweep.trials()] == [1] * 12
    sweep.check_nothing_is_lost(trials=12)


def test_the_sweep_goes_on_when_its_terminal_is_closed(sweep: KubernetesSweep) -> None:
    # Long enough for the cluster to replace a pod, which it does after ten seconds.
    orchestrator = sweep.write(training={"epochs": 1000}).start()
    wait_until(lambda: sweep.folds() >= 1)
    os.killpg(orchestrator.pid, signal.SIGHUP)
    orchestrator.communicate(timeout=60)
    # Nobody watches, so it is the cluster that makes another.
    sweep.place.admin("delete", "pod", sweep.pod("p0"), "--force", "--grace-period=0")
    wait_until(lambda: sweep.store.is_done())
    wait_until(lambda: not sweep.pods("p0") and not sweep.pods("p1"))
    again = sweep.run()
    assert (again.returncode, "nothing was left to do" in again.stdout) == (0, True), again.stderr
    sweep.check_nothing_is_lost(trials=4)
    # The log of the pod that was forced away went with it; the one in its place may have come too late to train.
    assert sweep.run("logs").stdout.count("rank(s) on cpu, ready after") in (1, 2)


def test_ctrl_c_leaves_the_workers_and_cancel_ends_them(sweep: KubernetesSweep) -> None:
    check_ctrl_c_leaves_the_workers_and_cancel_ends_them(sweep.write(search={"trials": 3}), trials=3)


def test_pods_that_no_node_has_room_for_are_reported_and_not_waited_for_for_ever(sweep: KubernetesSweep) -> None:
    pods = {"requests": {"cpu": "900"}, "start_patience_s": 5}
    execution = {"resources": {"cpu": 900, "memory": "1Gi"}, "kubernetes": pods}
    orchestrator = sweep.write(execution=execution).start()
    wait_until(lambda: len(sweep.left()) > 0)
    began = time.monotonic()
    said = next(line for line in orchestrator.stdout or () if "cannot start" in line)
    assert time.monotonic() - began < IN_TIME_S
    code, rest = end(orchestrator)
    output = said + rest
    assert code == 1, output
    assert "workers p0, p1 cannot start: " in output
    assert "Insufficient cpu" in output
    assert "Request less CPU" in output
    assert sweep.left() == []
    assert {trial.state for trial in sweep.trials()} <= {"waiting"}


def test_an_image_that_cannot_be_pulled_is_reported_with_what_the_node_says(sweep: KubernetesSweep) -> None:
    nowhere = f"{sweep.image.partition('@')[0]}-none:none"
    missing = KubernetesSweep(sweep.env, sweep.folder, nowhere, study=sweep.study, place=sweep.place)
    code, output = end(missing.write(execution={"workers": 1, "kubernetes": {"start_patience_s": 5}}).start())
    assert code == 1, output
    assert "worker p0 cannot start: " in output
    assert nowhere in output
    assert missing.left() == []
    missing.close()
