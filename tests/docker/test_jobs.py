"""`winnow jobs`, `logs` and `cancel` on workers in containers, as another terminal uses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.docker.groups import Sandbox, sandbox, wait_until
from winnow.cli.jobs import cancel, jobs, logs

pytestmark = pytest.mark.docker


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(tmp_path) as made:
        made.executor().start(made.group())
        wait_until(lambda: list(made.executor().log(made.study, "c0")) == ["at work"])
        yield made


def ask(command: click.Command, home: Path, *flags: str) -> Result:
    environment = {"WINNOW_HOME": str(home), "WINNOW_STORAGE": f"sqlite:///{home / 'studies.db'}"}
    return CliRunner().invoke(command, flags, env=environment)


def test_a_finished_sweep_is_listed_once_and_its_log_is_kept(here: Sandbox, tmp_path: Path) -> None:
    here.engine.containers.get(here.left()[0]).stop(timeout=5)
    other = ask(jobs, tmp_path / "another home", "--study", here.study)
    assert "failed, started from another home" in other.stdout
    first = ask(jobs, here.home, "--study", here.study)
    assert (first.exit_code, first.stderr, "failed, not removed yet" in first.stdout) == (0, "", True)
    assert here.left() == []
    assert ask(jobs, here.home, "--study", here.study).stdout.startswith("No workers are running")
    assert ask(logs, here.home, "--study", here.study).stdout.startswith("c0 at work\nc0 -----")


def test_cancelling_a_finished_sweep_whose_study_is_gone_clears_it_away(here: Sandbox) -> None:
    here.engine.containers.get(here.left()[0]).stop(timeout=5)
    done = ask(cancel, here.home, "--study", here.study)
    assert (done.exit_code, here.left()) == (0, [])
    assert done.stdout.startswith(
        f"study {here.study}: no workers were running; removed what finished workers had left"
    )
    # With nothing left of it, it is a study that there is not.
    assert ask(cancel, here.home, "--study", here.study).exit_code == 1


def test_workers_in_containers_are_listed_read_and_cancelled(here: Sandbox) -> None:
    (listed,) = json.loads(ask(jobs, here.home, "--study", here.study, "--json").stdout)
    assert (listed["platform"], listed["study"], listed["worker"], listed["state"]) == (
        "docker",
        here.study,
        "c0",
        "running",
    )
    assert ask(jobs, here.home, "--study", here.study, "--platform", "local").stdout.startswith("No workers")
    assert ask(logs, here.home, "--study", here.study).stdout == "c0 at work\n"
    # There is no study in this home, as where its database is down.
    assert "stopped 1 worker" in ask(cancel, here.home, "--study", here.study).stdout
    assert here.left() == []
    assert ask(logs, here.home, "--study", here.study, "--follow").stdout.startswith("c0 at work\nc0 -----")
