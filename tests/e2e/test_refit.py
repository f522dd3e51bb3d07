"""A selection whose winner has no model yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.sweeps import Sweep

pytestmark = pytest.mark.slow


def test_a_winner_without_a_model_is_refitted_crowned_and_kept(tmp_path: Path) -> None:
    quick = {"epochs": 3, "loop": None}
    space = {"lr": {"float": [0.001, 0.1], "log": True}}
    sweep = Sweep(tmp_path, "quick", search={"space": space, "trials": 2}, training=quick, execution={"workers": 1})
    trained = sweep.run()
    assert trained.returncode == 0, trained.stderr
    best, other = sorted(sweep.trials(), key=lambda trial: -(trial.value or 0.0))
    assert [refit.trial for refit in sweep.store.refits()] == [best.number]
    rules = tmp_path / "rules.yaml"
    rules.write_text("objective: {metric: f1, goal: minimize}\n")
    chosen = sweep.run("--rules", str(rules), "--json", verb="select-model")
    assert chosen.returncode == 0, chosen.stderr
    outcome = json.loads(chosen.stdout)
    assert (outcome["winner"]["trial"], outcome["version"]["version"], outcome["is_new"]) == (other.number, "2", True)
    assert sorted(refit.trial for refit in sweep.store.refits()) == [0, 1]
    assert sweep.store.trial(other.number).holdout.keys() >= {"f1", "loss"}
    again = sweep.run("--rules", str(rules), "--json", verb="select-model")
    assert json.loads(again.stdout)["is_new"] is False
    assert sweep.processes() == []
