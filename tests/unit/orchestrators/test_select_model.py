from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.unit.tracking.made_up import STUDY, bundle, new_store, sweep, trial
from winnow.config.errors import InputError
from winnow.model_query.rules import Rules
from winnow.orchestrators.select_model import choose_among_all, select_model, store_is_needed
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.projection import MODEL
from winnow.tracking.records import TrialRecord
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import MlflowRunSearch, TrackedRun
from winnow.tracking.tracker import ModelVersion, Sent


class Study:
    """Three complete trials in a store of their own; trial 1 is the best, trial 2 has a model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = new_store(folder)
        self.tracker, self.sweep = MlflowTracker(self.uri), sweep()
        self.parent = self.tracker.start_sweep(self.sweep)
        self.trials = [trial(0, (0.90,) * 5), trial(1, (0.95,) * 5), trial(2, (0.93,) * 5)]
        for one in self.trials:
            self.tracker.sync_trial(self.sweep, self.parent, one, Sent())
        self.register(self.trials[2])
        self.search, self.registry = MlflowRunSearch(self.uri), Registry(self.uri)

    def register(self, one: TrialRecord) -> ModelVersion:
        folder = bundle(self.folder / f"bundle-{one.number}", one)
        return self.tracker.log_bundle(self.sweep, self.parent, one, folder)

    def refit(self, run: TrackedRun) -> ModelVersion:
        assert run.trial is not None
        return self.register(self.trials[run.trial])


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


REFITTED = Rules.model_validate({"filters": [{"metric": "holdout.f1", "min": 0.9}]})


def test_a_winner_with_a_model_becomes_champion_once(study: Study) -> None:
    outcome = select_model(STUDY, REFITTED, study.search, study.registry)
    assert outcome.selection.winner is not None
    assert (outcome.selection.winner.trial, outcome.is_new) == (2, True)
    assert study.registry.champion(STUDY) == outcome.version
    assert [record.reason for record in study.registry.champions(STUDY)] == [outcome.reason]
    assert outcome.reason == "trial 002: f1 0.93 ± 0, the highest of the runs that pass 1 filter(s)"
    assert not select_model(STUDY, REFITTED, study.search, study.registry).is_new


def test_a_winner_gets_the_candidates_alias_and_that_of_the_rules(study: Study) -> None:
    first = select_model(STUDY, REFITTED, study.search, study.registry)
    assert first.aliases == ("candidate", "champion")
    assert study.registry.champion(STUDY, "candidate") == study.registry.champion(STUDY) == first.version
    other = REFITTED.model_copy(update={"alias": "challenger"})
    again = select_model(STUDY, other, study.search, study.registry)
    assert (again.aliases, again.is_new) == (("candidate", "challenger"), True)
    assert study.registry.champion(STUDY, "challenger") == first.version


def test_studies_of_one_experiment_register_versions_of_one_model(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker = MlflowTracker(uri)
    for number, name in enumerate(("wine", "wine-2")):
        begun = sweep(name, experiment={"name": "wine"})
        parent, one = tracker.start_sweep(begun), trial(number, study=name)
        tracker.sync_trial(begun, parent, one, Sent())
        tracker.log_bundle(begun, parent, one, bundle(tmp_path / name, one, name="wine"))
    outcome = select_model("wine-2", Rules(), MlflowRunSearch(uri), Registry(uri))
    assert outcome.version is not None
    assert (outcome.version.name, outcome.version.version) == ("wine", "2")
    assert Registry(uri).champion("wine") == outcome.version


def test_a_study_of_an_older_version_keeps_the_model_that_is_named_like_it(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, begun, one = MlflowTracker(uri), sweep("wine-2"), trial(0, study="wine-2")
    parent = tracker.start_sweep(begun)
    tracker.sync_trial(begun, parent, one, Sent())
    version = tracker.log_bundle(begun, parent, one, bundle(tmp_path / "bundle", one))
    MlflowClient(uri, registry_uri=uri).delete_tag(parent, MODEL)
    assert select_model("wine-2", Rules(), MlflowRunSearch(uri), Registry(uri)).version == version


def test_a_winner_without_a_model_is_refitted_first(study: Study) -> None:
    outcome = select_model(STUDY, Rules(), study.search, study.registry, study.refit)
    assert outcome.version == ModelVersion(
        STUDY, "2", str(outcome.selection.winner and outcome.selection.winner.run_id)
    )
    assert study.registry.champion(STUDY) == outcome.version


def test_without_a_way_to_refit_a_winner_without_a_model_is_an_input_error(study: Study) -> None:
    with pytest.raises(InputError, match="run trial 001: expected a registered model"):
        select_model(STUDY, Rules(), study.search, study.registry)
    assert study.registry.champion(STUDY) is None


def test_a_dry_run_changes_nothing(study: Study) -> None:
    assert select_model(STUDY, Rules(), study.search, study.registry, study.refit, dry_run=True).version is None
    dry = select_model(STUDY, REFITTED, study.search, study.registry, dry_run=True)
    assert (dry.version, dry.is_new) == (ModelVersion(STUDY, "1", dry.version.run_id if dry.version else ""), True)
    assert study.registry.champion(STUDY) is None


def test_no_run_that_passes_crowns_nobody(study: Study) -> None:
    none = Rules.model_validate({"filters": [{"metric": "f1", "min": 0.99}]})
    outcome = select_model(STUDY, none, study.search, study.registry)
    assert (outcome.selection.winner, outcome.version) == (None, None)
    (misses,) = outcome.selection.misses.values()
    assert [miss.run.trial for miss in misses] == [1, 2, 0]


def test_all_the_runs_give_the_same_selection_as_the_few(study: Study) -> None:
    assert (
        choose_among_all(STUDY, REFITTED, study.search)[0]
        == select_model(STUDY, REFITTED, study.search, study.registry, dry_run=True).selection
    )


def test_an_unknown_study_is_an_input_error(study: Study) -> None:
    with pytest.raises(InputError, match="study 'nobody': expected a study with runs"):
        select_model("nobody", Rules(), study.search, study.registry)


def test_a_store_that_is_away_is_an_input_error(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/nothing.db"
    with pytest.raises(InputError, match="expected an answer"), store_is_needed(uri):
        select_model(STUDY, Rules(), MlflowRunSearch(uri), Registry(uri))
