from __future__ import annotations

import json
from pathlib import Path

import msgspec

from tests.unit.study.studies import make_study
from winnow.training.messages import Assignment
from winnow.worker.experiment_file import write_experiment


def test_ranks_get_the_experiment_under_the_name_of_the_studys_model(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    store.create(store.header.experiment.model_copy(update={"name": "renamed"}), store.header.sweep)
    write_experiment(tmp_path / "experiment.json", store)
    assignment = msgspec.json.decode((tmp_path / "experiment.json").read_bytes(), type=Assignment)
    assert json.loads(bytes(assignment.experiment))["name"] == store.header.sweep.model != "renamed"
