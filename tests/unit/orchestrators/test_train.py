"""What a sweep's orchestrator decides before it starts anything."""

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from tests.unit.orchestrators.test_groups import CONTAINERS, LOCAL
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.orchestrators.train import preflight

DATA = """
import os
import numpy as np
def load():
    os.environ["GIVEN" if "GIVEN" in os.environ else "PYTEST_CURRENT_TEST"]
    x = np.arange(40.0).reshape(-1, 1)
    return x, (x[:, 0] > 20).astype(int)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


def experiment(**execution: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "cells",
            "data": {"source": "own_data.py:load"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": {"lr": {"float": [0.001, 0.1]}}, "trials": 1, "metric": {"name": "f1"}},
            "cross_validation": {"folds": 2},
            "training": {"epochs": 1},
            "execution": {"device": "cpu", **execution},
        }
    )


def test_a_variable_of_the_shell_that_ranks_will_not_have_is_missed_before_the_sweep(folder: Path) -> None:
    (folder / "own_data.py").write_text(DATA)
    with pytest.raises(InputError) as refused:
        preflight(experiment(), LOCAL)
    assert str(refused.value) == (
        "data.source: expected a function that reads only variables that the experiment names, found "
        "PYTEST_CURRENT_TEST, which is set in this shell and which workers do not inherit. Write it into "
        "execution.env, or pass it on by name: execution.secrets: [PYTEST_CURRENT_TEST]."
    )


@pytest.mark.parametrize(
    "execution", [{"env": {"GIVEN": "1"}}, {"secrets": ["PYTEST_CURRENT_TEST"]}], ids=["env", "secrets"]
)
def test_the_check_sees_the_variables_that_the_experiment_names(folder: Path, execution: dict[str, object]) -> None:
    (folder / "own_data.py").write_text(DATA)
    assert preflight(experiment(**execution), LOCAL).data.rows == 40


def test_the_check_for_containers_keeps_this_terminals_variables(folder: Path) -> None:
    (folder / "own_data.py").write_text(DATA)
    assert preflight(experiment(), CONTAINERS).data.rows == 40
