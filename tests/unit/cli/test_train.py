"""What `train` says at its end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow.cli.train import describe, status_of
from winnow.orchestrators.train import SweepResult
from winnow.tracking.records import TrialRecord


def test_what_comes_next_is_named_for_the_tier_and_for_what_came_out() -> None:
    counts = {"complete": 0, "pruned": 0, "failed": 2}
    nothing = SweepResult("a-study", True, 2, counts, None, "f1", (), (), Path("report.html"))
    said = describe(nothing, Path("x.yaml"), "docker")
    assert "more: make train-docker CONFIG=x.yaml TRIALS=4" in said
    assert said.endswith("\n  runs: make ui")
    assert "more: make train CONFIG=x.yaml TRIALS=4" in describe(nothing, Path("x.yaml"))


def test_a_study_that_was_named_is_named_in_the_commands_that_follow() -> None:
    counts = {"complete": 2, "pruned": 0, "failed": 0}
    best = TrialRecord("another", 0, "complete", {"width": 8}, (), 0.9, 1, None, 0, 1)
    done = SweepResult("another", True, 2, counts, best, "f1", (), (), Path("report.html"))
    of_other_code = replace(done, best=replace(best, has_other_code=True))
    assert "\n  best: trial 0 (other code), f1 0.9000 (width=8)\n" in describe(of_other_code, Path("x.yaml"))
    said = describe(done, Path("my file.yaml"), "local", "another").splitlines()
    assert said[1] == "  nothing was left to do; more: make train CONFIG='my file.yaml' STUDY=another TRIALS=4"
    assert said[-2:] == ["  next: make select-model STUDY=another", "  runs: make ui"]
    on_a_server = replace(done, page="http://localhost:5000/#/experiments/1/runs")
    assert describe(on_a_server, Path("x.yaml")).endswith("\n  runs: http://localhost:5000/#/experiments/1/runs")


def test_a_sweep_of_which_no_trial_completed_has_failed_and_names_what_trains_them_again() -> None:
    failed = SweepResult(
        "a-study", False, 2, {"complete": 0, "pruned": 0, "failed": 2}, None, "f1", (), (), Path("r.html")
    )
    assert status_of(failed) == 1
    again = "  train failed trials again (add ALLOW_CHANGED_CODE=1 if you changed your code): make retry CONFIG=x.yaml"
    assert again in describe(failed, Path("x.yaml")).splitlines()
    assert status_of(replace(failed, counts={"complete": 1, "pruned": 0, "failed": 1})) == 0
