"""What `winnow.train` takes: a file, a mapping, an `Experiment`, or functions and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from winnow.api.experiments import as_given
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment

NOTHING: dict[str, Any] = {"data": None, "model": None, "space": None, "metric": None, "study": None, "sections": {}}
SPACE = {"width": {"choice": [8, 16]}}
WHOLE: dict[str, Any] = {
    "name": "cells",
    "data": {"source": "sklearn:iris"},
    "model": {"factory": "winnow.models:mlp"},
    "search": {"space": SPACE, "trials": 3, "metric": "f1"},
}


def given(config: Any = None, **parts: Any) -> Any:
    with as_given(config, **{**NOTHING, **parts}) as experiment:
        return experiment


def test_a_file_and_an_experiment_are_taken_as_they_are(tmp_path: Path) -> None:
    experiment = Experiment.model_validate(WHOLE)
    assert given(tmp_path / "a.yaml") == tmp_path / "a.yaml"
    assert given(experiment) is experiment


def test_a_mapping_and_an_experiment_load_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(json.dumps(WHOLE))
    loaded = load_experiment(tmp_path / "a.yaml", {"search.trials": 7})
    assert load_experiment(given(WHOLE), {"search.trials": 7}) == loaded
    assert load_experiment(load_experiment(tmp_path / "a.yaml"), {"search.trials": 7}) == loaded


def test_parts_make_an_experiment() -> None:
    made = given(data=json.loads, model="winnow.models:mlp", space=SPACE, metric="f1", sections={"refit": {"top": 1}})
    name = made.pop("name")
    assert name.startswith("session-")
    assert made == {
        "data": {"source": "json:loads"},
        "model": {"factory": "winnow.models:mlp"},
        "search": {"space": SPACE, "metric": {"name": "f1"}},
        "refit": {"top": 1},
    }


def test_parts_add_to_a_mapping() -> None:
    made = given(WHOLE, space={}, sections={"search": {"trials": 9}}, data={"holdout": 0.1})
    assert made == {
        **WHOLE,
        "data": {"source": "sklearn:iris", "holdout": 0.1},
        "search": {**WHOLE["search"], "space": {}, "trials": 9},
    }


def test_the_name_is_that_of_what_is_computed() -> None:
    parts: dict[str, Any] = {"data": "sklearn:iris", "model": "winnow.models:mlp", "metric": "f1"}
    names = [given(**parts, space=space)["name"] for space in (SPACE, SPACE, {})]
    assert names[0] == names[1] != names[2]
    assert given(**parts, space=SPACE, sections={"name": "mine"})["name"] == "mine"


def test_a_mistyped_section_is_refused_by_its_name() -> None:
    with pytest.raises(InputError, match=r"^trainig: expected one of .* Did you mean 'training'\?"):
        load_experiment(given(WHOLE, sections={"trainig": {}}))


def test_a_file_with_parts_is_refused() -> None:
    with pytest.raises(InputError, match=r"^train: expected an experiment, or .*, found an experiment and data\."):
        given("a.yaml", data="x.csv")
