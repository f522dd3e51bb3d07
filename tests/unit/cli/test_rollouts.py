"""How `winnow rollout-status` shows a rollout, and `plan-rollout` plans one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from winnow.cli import run
from winnow.cli.rollouts import lines_of
from winnow.orchestrators.rollouts import RevisionCounts, RolloutStatus
from winnow.rollout.verdict import Finding, Result
from winnow.routing import RolloutState

STABLE = RevisionCounts(1, "7", 0.75, 2, 1500, 0, 0.0051, 0.021)
CANDIDATE = RevisionCounts(2, "8", 0.25, 1, 500, 3, 0.0062, None, "1.1.0")
FINDING = Finding("errors", 0.1, (None, 0.02), 2000, 0.01, "a rule", Result.NOT_ENOUGH_DATA, "300 requests are missing")
RUNNING = RolloutStatus(
    "cells",
    "canary",
    RolloutState.RUNNING,
    2,
    3,
    STABLE,
    CANDIDATE,
    0.1,
    50,
    49,
    1,
    (FINDING,),
    "",
    12.0,
    None,
    "pause",
    True,
)


def test_all_that_is_known_of_a_running_rollout_is_shown() -> None:
    assert lines_of(RUNNING) == [
        "cells  canary, running: step 2 of 3",
        "  revision       version    share  ready  requests  errors  p50     p99",
        "  1 (stable)     7          0.75   2      1500      0       5.1 ms  21 ms",
        "  2 (candidate)  8 (1.1.0)  0.25   1      500       3       6.2 ms  -",
        "  0.1 of the requests are copied: 50 compared, 49 agree, 1 name another class",
        "  errors: not_enough_data; 300 requests are missing",
        "  no process drives it: make rollout-resume NAME=cells",
        "  no process has driven it for too long: all requests go to the stable revision",
        "  asked to pause",
        "  the step lasts another 12 s at least; without a verdict a person decides",
    ]


def test_the_process_that_drives_a_rollout_is_named_with_its_log() -> None:
    status = replace(RUNNING, driver="process 7, whose log is /home/winnow/cells.log", is_expired=False)
    assert "  driven by process 7, whose log is /home/winnow/cells.log" in lines_of(status)
    assert not [line for line in lines_of(status) if "no process" in line]


EXPERIMENT = """\
name: cells
data: {source: "sklearn:breast_cancer"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.001, 0.1]}}, trials: 2, metric: f1}
serving:
  rollout: {strategy: canary, max_step_duration_seconds: 300, pause_at: [0.5]}
"""


def test_a_planned_rollout_is_a_table_with_keys_that_can_be_pasted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cells.yaml"
    file.write_text(EXPERIMENT)
    assert run(["plan-rollout", "--config", str(file), "--rate", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seconds"], len(found["proposals"])) == (None, 2)
    for each in found["proposals"]:
        keys = yaml.safe_load(each["keys"])["serving"]["rollout"]
        content = yaml.safe_load(EXPERIMENT)
        content["serving"]["rollout"] |= keys
        file.write_text(yaml.safe_dump(content))
        assert run(["plan-rollout", "--config", str(file), "--rate", "100"]) == 0
        minutes = round(each["seconds"] / 60)
        assert f"The whole rollout takes about {minutes} minutes." in capsys.readouterr().out


def test_a_plan_without_traffic_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cells.yaml"
    file.write_text(EXPERIMENT)
    assert run(["plan-rollout", "--config", str(file), "--rate", "0"]) == 2
    assert "expected a number of requests per second above 0, found 0" in capsys.readouterr().err
