"""`winnow select-model` as a person calls it, on a store of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.tracking.made_up import STUDY, bundle, new_store, sweep, trial
from winnow.cli.select_model import command, telling_order
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import TrackedRun
from winnow.tracking.tracker import Sent


@pytest.fixture
def uri(tmp_path: Path) -> str:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    trials = [trial(0, (0.90,) * 5), trial(1, (0.95,) * 5), trial(2, (), "failed", reason="boom")]
    trials[1] = trial(1, (0.95,) * 5, params={"activation": "[relu]", "lr": 0.01})
    for one in trials:
        tracker.sync_trial(record, parent, one, Sent())
    tracker.log_bundle(record, parent, trials[1], bundle(tmp_path / "bundle", trials[1]))
    return uri


def call(uri: str, *arguments: str) -> Result:
    # Unlike the `winnow` command, a command invoked alone gives its status as its return value.
    return CliRunner().invoke(
        command, ["--study", STUDY, *arguments], env={"MLFLOW_TRACKING_URI": uri}, standalone_mode=False
    )


def rules(folder: Path, text: str) -> str:
    (folder / "rules.yaml").write_text(text)
    return str(folder / "rules.yaml")


def test_the_winner_is_shown_and_crowned(uri: str) -> None:
    result = call(uri)
    assert result.return_value is None
    assert "→  trial 001" in result.output
    assert "activation=[relu]" in result.output
    assert f"{STUDY} version 1 (1.0.0) is now @candidate and @champion." in result.output
    assert "is already @" in call(uri).output


def test_a_dry_run_crowns_nobody(uri: str) -> None:
    assert f"Dry run: {STUDY} version 1 (1.0.0) would become @candidate and @champion." in call(uri, "--dry-run").output
    assert Registry(uri).champion(STUDY) is None


def test_no_run_that_passes_is_status_3_with_the_nearest_misses(uri: str, tmp_path: Path) -> None:
    result = call(uri, "--rules", rules(tmp_path, "filters: [{metric: f1, min: 0.99}]"))
    assert result.return_value == 3
    assert f"No run of {STUDY} passes the rules." in result.output
    assert "Rejected by: metric f1 at least 0.99" in result.output
    assert "f1 is 0.95 (0.04 off)" in result.output


def test_json_is_for_programs(uri: str, tmp_path: Path) -> None:
    result = call(uri, "--json", "--all", "--rules", rules(tmp_path, "filters: [{metric: f1, min: 0.92}]"))
    values = json.loads(result.output)
    assert (values["winner"]["trial"], values["version"]) == (1, {"name": STUDY, "version": "1", "semantic": "1.0.0"})
    assert [(one["trial"], one["state"], one["reasons"]) for one in values["all"]] == [
        (1, "complete", []),
        (0, "complete", ["f1 is 0.9"]),
        (2, "failed", ["has no metric f1"]),
    ]
    assert values["misses"]["metric f1 at least 0.92"][0]["distance"] == pytest.approx(0.02)


@pytest.mark.parametrize("name", ["0", "trial 000"])
def test_one_run_is_explained_demand_by_demand(uri: str, tmp_path: Path, name: str) -> None:
    result = call(uri, "--explain", name, "--rules", rules(tmp_path, "filters: [{metric: f1, min: 0.92}]"))
    assert "  NO   metric f1 at least 0.92: f1 is 0.9\n" in result.output
    assert "  yes  trial is complete: it is complete\n" in result.output
    assert "  f1 = 0.9\n" in result.output


def test_a_run_that_nobody_knows_is_an_input_error(uri: str) -> None:
    assert "run '77': expected the id, name or trial number of a run" in str(call(uri, "--explain", "77").exception)


def test_every_trial_is_listed(uri: str) -> None:
    output = call(uri, "--all", "--dry-run").output
    assert "All trials" in output
    assert "no: not complete" in output


def run(params: dict[str, str]) -> TrackedRun:
    return TrackedRun("an-id", "a run", params, {}, {}, 0)


def test_parameters_that_matter_come_first_and_constant_ones_last() -> None:
    runs = [run({"a": "1", "b": "2", "lr": "0.1", "width": "8"}), run({"a": "1", "b": "2", "lr": "0.2", "width": "9"})]
    assert telling_order(runs, {}) == ["lr", "width", "a", "b"]
    assert telling_order(runs, {"width": 0.9, "lr": 0.1}) == ["width", "lr", "a", "b"]
