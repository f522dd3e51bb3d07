"""Real ranks over real sockets: what they answer, and how they end."""

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.unit.training.group import KILL, Group, environment, wait_until_gone, write_files
from winnow.bundle.manifest import read_manifest
from winnow.bundle.profile import read_profile
from winnow.config.experiment import Experiment
from winnow.training.fork_client import ForkServer
from winnow.training.launch import plan_ranks
from winnow.training.messages import Failed, FoldJob, FoldScored, Refit, Refitted, TrainFolds
from winnow.training.rank_errors import guilty_rank

pytestmark = pytest.mark.slow
PARTS = "tests.unit.training.parts"


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with contextlib.closing(ForkServer.start(os.environ, ends_with_parent=True)) as started:
        yield started


def _experiment(**training) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "ranks",
            "data": {"source": "sklearn:breast_cancer"},
            "model": {"factory": f"{PARTS}:build"},
            "search": {
                "space": {"lr": {"float": [1e-4, 1e-1]}, "fault": {"choice": ["none"]}},
                "metric": {"name": "f1"},
                "metrics": ["accuracy"],
            },
            "training": {"epochs": 3, **training},
            "execution": {"device": "cpu"},
        }
    )


def _fold(fold: int = 0, fault: str = "none", trial: int = 0) -> TrainFolds:
    return TrainFolds((FoldJob(trial, fold, {"lr": 0.01, "fault": fault}),))


def test_one_rank_does_job_after_job_whatever_fails_between(server, tmp_path):
    with Group(tmp_path, _experiment(), processes=1, server=server) as group:
        assert (group.ready.world_size, group.ready.device, group.ready.folds) == (1, "cpu", 5)
        scored = group.do(_fold())
        assert isinstance(scored, FoldScored)
        assert set(scored.metrics) == {"f1", "accuracy", "loss"}
        assert all(math.isfinite(value) for value in scored.metrics.values())
        assert (scored.trial, scored.fold, scored.epochs) == (0, 0, 3)
        assert isinstance(group.do(_fold(fault="imports")), FoldScored), "a lone rank loads few packages"
        assert group.progress[0].epochs == 3
        kinds = [group.do(_fold(fault=fault)) for fault in ("nan", "raise", "memory", "nothing")]
        assert [answer.kind for answer in kinds] == ["diverged", "exception", "out_of_memory", "exception"]
        assert kinds[0].reason == "the training loss became nan in epoch 1"
        assert kinds[1].reason == "ValueError: no such network"
        again = group.do(_fold())
        assert again.metrics == scored.metrics, "the same fold, parameters and seed give the same bits"
        refitted = group.do(Refit(0, {"lr": 0.01, "fault": "none"}, {"f1": 0.9}, str(tmp_path / "bundle")))
        assert isinstance(refitted, Refitted), refitted
        manifest = read_manifest(tmp_path / "bundle")
        assert manifest.metrics["holdout.f1"] == refitted.metrics["f1"]
        assert manifest.metrics["f1"] == 0.9
        assert group.stop() == 0
    assert "no such network" in (tmp_path / "rank-0.log").read_text()
    assert guilty_rank(tmp_path) is None


@pytest.mark.parametrize("are_forked", [True, False], ids=["forked", "torchrun"])
def test_two_ranks_agree_on_a_loss_that_diverged_and_name_the_guilty_one_otherwise(server, are_forked, tmp_path):
    with Group(tmp_path, _experiment(), processes=2, server=server if are_forked else None) as group:
        assert group.ready.world_size == 2
        scored = group.do(_fold())
        diverged = group.do(_fold(fault="nan"))
        assert isinstance(diverged, Failed)
        assert diverged.kind == "diverged"
        assert group.do(_fold()).metrics == scored.metrics
        refitted = group.do(Refit(0, {"lr": 0.01, "fault": "none"}, {}, str(tmp_path / "bundle")))
        assert isinstance(refitted, Refitted), refitted
        assert read_profile(tmp_path / "bundle") is not None
        began = time.monotonic()
        assert group.do(_fold(fold=2, fault="rank 1", trial=7)) is None
        assert group.process.wait(timeout=30) != 0
        assert time.monotonic() - began < 30
    error = guilty_rank(tmp_path)
    assert (error.rank, error.trial, error.fold, error.kind) == (1, 7, 2, "exception")
    assert error.reason == "ValueError: rank 1 is guilty"
    assert "rank 1 is guilty" in (tmp_path / "rank-1.log").read_text()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_rank_with_other_rows_than_the_study_ends_before_it_is_ready(tmp_path, processes):
    files = write_files(tmp_path, _experiment(), data_sha256="b" * 64)
    launch = plan_ranks(files, processes=processes, cpus=1, parent_pid=os.getpid())
    assert subprocess.run(launch.argv, env=environment(launch), timeout=120, check=False).returncode != 0
    error = guilty_rank(tmp_path)
    assert (error.kind, error.trial) == ("other_data", None)
    assert error.reason.startswith("its rows have sha256 ")


@pytest.mark.parametrize("state", ["idle", "training"])
def test_a_killed_rank_ends_its_world_and_leaves_no_record(server, tmp_path, state):
    with Group(tmp_path, _experiment(epochs=100_000), processes=2, server=server) as group:
        if state == "training":
            group.send(_fold())
            group.wait_for_progress()
        ranks = group.ranks()
        group.rank(1).send_signal(KILL)
        began = time.monotonic()
        assert group.process.wait(timeout=30) != 0
        assert wait_until_gone(ranks, timeout_s=5) == []
        assert time.monotonic() - began < 30
    assert guilty_rank(tmp_path) is None, "a lost rank is no fault of the trial's"


SUPERVISOR = """
import json, subprocess, sys, time
subprocess.Popen(json.loads(sys.argv[1]))
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the children of a killed process")
def test_ranks_die_with_a_killed_supervisor(tmp_path):
    files = write_files(tmp_path, _experiment())
    # Nobody listens on the channel, but the ranks need seconds to find out: torch is imported first.
    launch = plan_ranks(files, processes=2, cpus=1, parent_pid=0)
    env = environment(launch)
    del env["WINNOW_PARENT_PID"]
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISOR, json.dumps(launch.argv)], env=env)
    try:
        family = _wait_for_descendants(supervisor.pid, 3)
        supervisor.kill()
        supervisor.wait()
        assert wait_until_gone(family, timeout_s=2) == []
    finally:
        supervisor.kill()
        supervisor.wait()


def test_a_rank_ends_with_its_channel(server, tmp_path):
    with Group(tmp_path, _experiment(epochs=100_000), processes=1, server=server) as group:
        group.send(_fold())
        group.wait_for_progress()
        group.close_channel()
        assert group.process.wait(timeout=10) == 1


def test_a_rank_whose_parent_is_gone_before_it_looks_does_not_start(tmp_path):
    launch = plan_ranks(write_files(tmp_path, _experiment()), processes=1, cpus=1, parent_pid=os.getpid() + 1)
    assert subprocess.run(launch.argv, env=environment(launch), check=False).returncode == 1


def _wait_for_descendants(pid: int, count: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        family = psutil.Process(pid).children(recursive=True)
        if len(family) >= count:
            return family
        time.sleep(0.05)
    raise AssertionError(f"no {count} descendants within a minute")


def test_a_rank_trains_in_bfloat16_and_exports_in_float32(server, tmp_path):
    experiment = _experiment(precision="bf16", early_stopping={"patience": 2})
    with Group(tmp_path, experiment, processes=1, server=server) as group:
        scored = group.do(_fold())
        assert isinstance(scored, FoldScored), scored
        refitted = group.do(Refit(0, {"lr": 0.01, "fault": "none"}, {}, str(tmp_path / "bundle")))
        assert isinstance(refitted, Refitted), refitted
        assert refitted.parity < 1e-5
        assert group.stop() == 0


THREADED = """
import threading, time
from winnow.models import mlp
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
def build(input_shape, outputs):
    return mlp(input_shape, outputs)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere all ranks are processes of their own")
def test_a_module_that_starts_a_thread_gets_processes_of_its_own(tmp_path):
    (tmp_path / "threaded.py").write_text(THREADED)
    experiment = _experiment()
    model = experiment.model.model_copy(update={"factory": f"{tmp_path}/threaded.py:build"})
    space = {"lr": experiment.search.space["lr"]}
    search = experiment.search.model_copy(update={"space": space})
    experiment = experiment.model_copy(update={"model": model, "search": search})
    with (
        contextlib.closing(ForkServer.start(os.environ, ends_with_parent=True)) as server,
        Group(tmp_path, experiment, processes=1, server=server) as group,
    ):
        assert group.ranks() == []
        assert isinstance(group.do(TrainFolds((FoldJob(0, 0, {"lr": 0.01}),))), FoldScored)
        assert group.stop() == 0
    assert "processes of their own: 2 threads run" in (tmp_path / "ranks.log").read_text()
