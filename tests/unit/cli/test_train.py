"""What `train` says at its end."""

from __future__ import annotations

from pathlib import Path

from winnow.cli.train import describe
from winnow.orchestrators.train import SweepResult


def test_what_comes_next_is_named_for_the_tier_and_for_what_came_out() -> None:
    counts = {"complete": 0, "pruned": 0, "failed": 2}
    nothing = SweepResult("a-study", True, 2, counts, None, "f1", (), Path("report.html"))
    said = describe(nothing, Path("x.yaml"), "docker")
    assert "more: make train-docker CONFIG=x.yaml TRIALS=4" in said
    assert said.endswith("\n  next: make ui shows the runs")
    assert "more: make train CONFIG=x.yaml TRIALS=4" in describe(nothing, Path("x.yaml"))
