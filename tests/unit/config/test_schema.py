"""The JSON schema of experiment files: it accepts what the loader accepts, and names what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.unit.test_shipped_experiments import SHIPPED, manual_with_every_setting_used
from winnow.config.loader import load_experiment
from winnow.config.reference import experiment_schema
from winnow.config.yaml_text import read_yaml
from winnow.orchestrators.new_project import project_files

SCHEMA = json.loads(experiment_schema())
CHECK = jsonschema.Draft202012Validator(SCHEMA)
SMALL: dict[str, Any] = {
    "name": "a",
    "data": {"source": "sklearn:iris"},
    "model": {"factory": "winnow.models:mlp"},
    "search": {"space": {"lr": {"float": [1, 2]}}, "metric": {"name": "f1"}},
}


def faults(text: str) -> list[str]:
    """What the schema refuses, each with its path."""
    content = json.loads(json.dumps(read_yaml(text).content, default=str))
    return [f"{each.json_path}: {each.message}" for each in CHECK.iter_errors(content)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_is_valid(path: Path) -> None:
    assert faults(path.read_text()) == []


def test_the_manual_with_every_setting_used_is_valid() -> None:
    assert faults(manual_with_every_setting_used()) == []


def test_a_new_projects_experiment_is_valid_and_names_its_schema() -> None:
    files = project_files("cells", "winnow")
    assert faults(files["experiment.yaml"]) == []
    assert files["experiment.yaml"].startswith("# yaml-language-server: $schema=experiment.schema.json\n")
    assert json.loads(files["experiment.schema.json"]) == SCHEMA


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("training", {"optimizer": "sgd"}),
        ("training", {"optimizer": {"type": "sgd", "momentum": 0.9}}),
        ("training", {"scheduler": None}),
        ("training", {"scheduler": "cosine"}),
        ("search", {**SMALL["search"], "pruner": "median"}),
        ("search", {**SMALL["search"], "pruner": {"type": "racing", "threshold": 0.1}}),
        ("search", {**SMALL["search"], "sampler": "samplers.py:Mine", "pruner": "off"}),
        ("search", {**SMALL["search"], "sampler": {"type": "tpe", "group": True, "multivariate": True}}),
        ("search", {**SMALL["search"], "metric": "f1"}),
        ("execution", {"pack": "off"}),
        ("execution", {"pack": 4}),
        ("data", {"source": "x.csv", "target": "y", "holdout": 0}),
        ("serving", {"resources": {"cpu": 0.5}, "rollout": "canary", "stages": {"prod": {"replicas": 2}}}),
        ("serving", {"rollout": {"strategy": "canary", "conditions": ["errors", {"type": "latency", "margin": 0.1}]}}),
    ],
)
def test_both_forms_of_a_setting_are_valid(section: str, value: Any, tmp_path: Path) -> None:
    content = {**SMALL, section: value}
    assert list(CHECK.iter_errors(content)) == []
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    load_experiment(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("training", {"epoch": 3}),
        ("training", {"epochs": 0}),
        ("training", {"epochs": "3"}),
        ("training", {"epochs": True}),
        ("cross_validation", {"splitter": "kfolds"}),
        ("search", {**SMALL["search"], "space": {"lr": {"floats": [1, 2]}}}),
        ("search", {**SMALL["search"], "sampler": "tpo"}),
        ("search", {**SMALL["search"], "pruner": {"type": "medain"}}),
        ("execution", {"pack": 0.5}),
        ("data", {}),
        ("serving", {"rollout": "canari"}),
        ("serving", {"stages": {"prod": {"replica": 2}}}),
        ("serving", {"rollout": {"conditions": [{"type": "error"}]}}),
        ("tags", {"a": 1}),
    ],
)
def test_what_the_loader_refuses_is_invalid(section: str, value: Any, tmp_path: Path) -> None:
    content = {**SMALL, section: value}
    (tmp_path / "a.yaml").write_text(json.dumps(content))
    with pytest.raises(Exception, match=rf"a\.yaml.*{section}"):
        load_experiment(tmp_path / "a.yaml")
    assert list(CHECK.iter_errors(content)) != []
