"""Which model a study registers, and which `serving` section it is served by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.study.studies import experiment, make_study, sweep
from winnow.config.serving import ServingConfig
from winnow.config.settings import Settings
from winnow.orchestrators.serving_config import model_of_study, serving_config


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    store = make_study(tmp_path)
    kept = experiment().model_copy(update={"serving": ServingConfig(replicas=2)})
    store.create(kept, sweep())
    return Settings.from_environment({"WINNOW_HOME": str(tmp_path)})


def test_a_study_names_the_model_that_it_was_made_for(settings: Settings) -> None:
    assert sweep(experiment={"name": "wine"}).model == "wine"
    assert model_of_study(settings, "a-study") == "a-study"
    assert model_of_study(settings, "another") == "another"


def test_the_file_of_the_model_says_how_it_is_served(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    content = experiment().model_dump(mode="json", by_alias=True)
    file.write_text(json.dumps({**content, "serving": {"replicas": 3}}))
    assert serving_config(settings, "a-study", config=file, study=None).replicas == 3


def test_without_its_file_a_model_is_served_as_its_study_says(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    content = experiment().model_dump(mode="json", by_alias=True)
    file.write_text(json.dumps({**content, "name": "other", "serving": {"replicas": 3}}))
    for config in (None, tmp_path / "missing.yaml", file):
        assert serving_config(settings, "a-study", config=config, study=None).replicas == 2
    assert serving_config(settings, "wine", config=file, study="a-study").replicas == 2


def test_a_model_without_file_and_study_is_served_by_the_defaults(settings: Settings) -> None:
    assert serving_config(settings, "unknown", config=None, study=None) == ServingConfig()
