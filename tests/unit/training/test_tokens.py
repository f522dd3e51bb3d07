"""Tokens are told from numbers by what the network does with them."""

import pytest

from tests.unit.training import words
from tests.unit.training.test_jobs import _jobs
from winnow.config.experiment import Experiment
from winnow.training.messages import FoldJob, Refit
from winnow.training.notes import notes_of
from winnow.training.preparation import prepare


def prepared(source="load", how="words", factory=f"{words.__name__}:build", **data):
    experiment = {
        "name": "words",
        "data": {"source": f"{words.__name__}:{source}", **data},
        "model": {"factory": factory, "options": {"how": how} if "build" in factory else {}},
        "search": {"space": {"lr": {"float": [0.01, 0.1]}}, "metric": {"name": "f1"}},
    }
    return prepare(Experiment.model_validate(experiment))


def scaling(*args, **kwargs):
    return prepared(*args, **kwargs).scaling


@pytest.mark.parametrize("how", ["words", "begin"])
@pytest.mark.parametrize("kind", ["int64", "float32", "uint8"])
def test_whole_numbers_that_a_network_looks_up_are_not_scaled(how, kind):
    assert scaling(how=how, options={"kind": kind}) == "none"


def test_numbers_that_no_table_takes_are_scaled():
    assert scaling(how="places") == "standard"
    assert scaling(factory="winnow.models:mlp") == "standard"
    assert scaling(factory="winnow.models:mlp", scaling="robust") == "robust"
    assert scaling("measured") == "standard"


def test_a_line_says_that_tokens_are_not_scaled():
    (line,) = notes_of(prepared())
    assert line.endswith("looks up in a table: they are not scaled (data.scaling: none)")
    assert notes_of(prepared(scaling="none")) == notes_of(prepared("measured")) == ()


def test_a_network_of_tokens_trains_and_exports(world, tmp_path):
    jobs = _jobs(world, source=f"{words.__name__}:load", factory=f"{words.__name__}:build", training={"epochs": 60})
    assert jobs.train_fold(FoldJob(0, 0, {"lr": 0.03})).metrics["accuracy"] > 0.9
    assert jobs.refit(Refit(0, {"lr": 0.03}, {}, str(tmp_path / "bundle"))).parity < 1e-4
