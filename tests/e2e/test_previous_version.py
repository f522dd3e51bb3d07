"""What an earlier version of winnow has left on this machine goes on: studies, workers, deployments."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import previous
from tests.e2e.models import Winnow, address, two_models
from tests.e2e.sweeps import ROOT, Sweep, wait_until
from winnow.platforms.readiness import model_at


def start(sweep: Sweep) -> subprocess.Popen[str]:
    """Start `winnow train` of the earlier version; return once it has trained some folds."""
    process = subprocess.Popen(
        sweep.command(),
        cwd=ROOT,
        env=previous.environment(sweep.env),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until(lambda: sweep.log.is_file() and sweep.trained_folds() >= 4)
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_its_sweep_goes_on_with_the_worker_that_lives_and_another_for_the_one_that_died(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "slow")
    kill(start(sweep))
    argv = [sys.executable, "-m", "winnow", "jobs", "--platform", "local", "--json"]
    listed = json.loads(subprocess.run(argv, cwd=ROOT, env=sweep.env, capture_output=True, text=True).stdout)
    assert [(job["platform"], job["worker"], job["state"]) for job in listed] == [
        ("local", "w0", "running"),
        ("local", "w1", "running"),
    ]
    sweep.group("w1").kill()
    resumed = sweep.run()
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert [(trial.number, trial.state) for trial in sweep.trials()] == [(number, "complete") for number in range(4)]
    assert sweep.trained_folds() in (20, 21)


@pytest.fixture
def winnow() -> Iterator[Winnow]:
    with two_models() as made:
        yield made


def test_what_it_serves_serves_on_and_is_named_with_the_command_that_removes_it(winnow: Winnow) -> None:
    winnow.crown(0)
    served = winnow.run("prod", "--study", "cells", **previous.environment({}))
    assert (served.returncode, "cells version 1" in served.stdout) == (0, True), served.stderr
    listed, again = winnow.run("prod-status", "--platform", "local"), winnow.run("prod", "--study", "cells")
    for refused in (listed.stderr, again.stderr):
        assert "found one of an earlier version" in refused and "prod-remove" in refused
    assert (listed.returncode, again.returncode) == (0, 2)
    assert model_at(address(served.stdout)).version == "1"
    assert "no longer served" in winnow.run("prod-remove", "--study", "cells").stdout
    assert "cells version 1" in winnow.run("prod", "--study", "cells").stdout
    assert "no longer served" in winnow.run("prod-remove", "--study", "cells").stdout
