"""Whatever dies during a sweep in containers: exactly its trials, every fold once, nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from tests.docker.engine_proxy import EngineProxy
from tests.docker.stacks import RunningStack
from tests.docker.sweeps import DockerSweep, end, wait_until
from tests.remote_sweeps import check_ctrl_c_leaves_the_workers_and_cancel_ends_them

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def sweep(engine: docker.DockerClient, stack: RunningStack, train_image: str, tmp_path: Path) -> Iterator[DockerSweep]:
    made = DockerSweep(stack.env, tmp_path, train_image, engine=engine)
    yield made
    made.remove()


def test_a_killed_rank_and_a_killed_container_cost_one_fold_each(sweep: DockerSweep) -> None:
    orchestrator = sweep.write().start()
    wait_until(lambda: sweep.folds() >= 2)
    os.kill(sweep.processes("winnow-rank-")[0], signal.SIGKILL)
    wait_until(lambda: sweep.folds() >= 4)
    running = [container for container in sweep.containers() if container.status == "running"]
    running[-1].kill("KILL")
    code, output = end(orchestrator)
    assert code == 0, output
    assert "it was killed by signal 9" in output
    whats = sorted(incident.what for incident in sweep.store.incidents())
    assert "its ranks were ended by SIGKILL" in whats
    assert sum(trial.attempts for trial in sweep.trials()) == 4 + len(whats)
    sweep.check_nothing_is_lost(trials=4)


def test_a_killed_orchestrator_is_resumed_from_two_terminals_at_once(sweep: DockerSweep) -> None:
    first = sweep.write().start()
    wait_until(lambda: sweep.folds() >= 1)
    end(first, signal.SIGKILL)
    before = {container.id for container in sweep.containers()}
    second, third = sweep.start(), sweep.start()
    (second_code, second_output), (third_code, third_output) = end(second), end(third)
    assert (second_code, third_code) == (0, 0), second_output + third_output
    assert "attached to 2 running workers" in second_output + third_output
    assert len(before) == 2
    assert [trial.attempts for trial in sweep.trials()] == [1] * 4
    sweep.check_nothing_is_lost(trials=4)


def test_the_sweep_goes_on_when_its_terminal_is_closed(sweep: DockerSweep) -> None:
    orchestrator = sweep.write().start()
    wait_until(lambda: sweep.folds() >= 1)
    os.killpg(orchestrator.pid, signal.SIGHUP)
    orchestrator.communicate(timeout=60)
    killed = sweep.processes("winnow.worker.group")[0]
    os.kill(killed, signal.SIGKILL)  # nobody watches, so the engine starts it again
    wait_until(lambda: sweep.store.is_done())
    wait_until(lambda: all(container.status == "exited" for container in sweep.containers()))
    logs = sweep.run("logs")
    assert logs.stdout.count("rank(s) on cpu, ready after") == 3, logs.stdout + logs.stderr
    again = sweep.run()
    assert (again.returncode, "nothing was left to do" in again.stdout) == (0, True), again.stderr
    sweep.check_nothing_is_lost(trials=4)
    kept = sweep.run("logs").stdout.splitlines()
    assert set(logs.stdout.splitlines()) <= set(kept)


def test_ctrl_c_leaves_the_workers_and_cancel_ends_them(sweep: DockerSweep) -> None:
    check_ctrl_c_leaves_the_workers_and_cancel_ends_them(sweep.write(), trials=4)


def test_a_database_that_is_away_for_20_s_is_waited_for(sweep: DockerSweep, stack: RunningStack) -> None:
    orchestrator = sweep.write().start()
    wait_until(lambda: sweep.folds() >= 1)
    with stack.without("postgres"):
        time.sleep(20)
    code, output = end(orchestrator)
    assert code == 0, output
    assert [trial.attempts for trial in sweep.trials()] == [1] * 4
    sweep.check_nothing_is_lost(trials=4)


def test_an_engine_that_is_away_for_10_s_is_waited_for(sweep: DockerSweep) -> None:
    with EngineProxy() as engine:
        watched = replace(sweep.write(), env={**sweep.env, "DOCKER_HOST": engine.address})
        orchestrator = watched.start()
        wait_until(lambda: sweep.folds() >= 1)
        with engine.closed():
            time.sleep(10)
        code, output = end(orchestrator)
    assert code == 0, output
    assert "the platform that runs the workers does not answer; waiting for it" in output
    assert [trial.attempts for trial in sweep.trials()] == [1] * 4
    sweep.check_nothing_is_lost(trials=4)


def test_mlflow_away_for_60_s_holds_nothing_up(sweep: DockerSweep, stack: RunningStack) -> None:
    orchestrator = sweep.write(search={"trials": 6}).start()
    wait_until(lambda: sweep.folds() >= 1)
    began = time.monotonic()
    with stack.without("mlflow"):
        before = sweep.folds()
        wait_until(lambda: sweep.folds() >= before + 4, timeout_s=50)
        time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    code, output = end(orchestrator)
    assert code == 0, output
    assert [trial.attempts for trial in sweep.trials()] == [1] * 6
    sweep.check_nothing_is_lost(trials=6)


def test_an_artifact_store_that_is_away_during_a_model_s_upload_is_waited_for(
    sweep: DockerSweep, stack: RunningStack
) -> None:
    orchestrator = sweep.write(search={"trials": 2}, execution={"workers": 1}).start()
    wait_until(lambda: is_refitting(sweep))
    with stack.without("minio"):
        wait_until(lambda: "waits for the tracking store" in logs_of(sweep), timeout_s=90)
        time.sleep(5)
    code, output = end(orchestrator)
    assert code == 0, output
    sweep.check_nothing_is_lost(trials=2)
    selected = sweep.run("select-model")
    assert selected.returncode == 0, selected.stdout + selected.stderr


def test_a_memory_limit_fails_the_trial_with_its_reason_and_is_not_retried(sweep: DockerSweep) -> None:
    space = {"hidden": {"choice": [[16], [30000, 12000]]}, "lr": {"float": [1e-4, 1e-2], "log": True}}
    search = {"trials": 4, "space": space}
    orchestrator = sweep.write(search=search, execution={"resources": {"cpu": 1, "memory": "1Gi"}}).start()
    code, output = end(orchestrator)
    assert code == 0, output
    large = [trial for trial in sweep.trials() if len(trial.params["hidden"]) == 2]
    assert 0 < len(large) < 4
    assert {(trial.state, trial.attempts) for trial in large} == {("failed", 1)}
    assert all("memory limit" in (trial.reason or "") for trial in large)
    sweep.check_nothing_is_lost(trials=4, failed=len(large))


def test_a_group_of_two_nodes_loses_one_and_goes_on(sweep: DockerSweep) -> None:
    execution = {"workers": 1, "nodes": 2, "resources": {"cpu": 1, "memory": "1500Mi"}}
    # Every step waits for the other node, over a network.
    orchestrator = sweep.write(search={"trials": 2}, execution=execution, training={"epochs": 20}).start()
    wait_until(lambda: sweep.folds() >= 1)
    (other,) = [container for container in sweep.containers() if container.name.endswith("-1")]
    os.kill(sweep.processes("winnow.worker.group", other)[0], signal.SIGKILL)
    code, output = end(orchestrator)
    assert code == 0, output
    assert len(sweep.store.incidents()) == 1
    sweep.check_nothing_is_lost(trials=2)


def is_refitting(sweep: DockerSweep) -> bool:
    store = sweep.store
    if not store.exists():
        return False
    status = store.status(started_at_ms=0, folds_before=0)
    return any(worker.state == "refitting" for worker in status.workers)


def logs_of(sweep: DockerSweep) -> str:
    return "".join(container.logs().decode(errors="replace") for container in sweep.containers())
