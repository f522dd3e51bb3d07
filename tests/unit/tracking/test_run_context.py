"""MLFLOW_RUN_CONTEXT: tags for every run, from the environment."""

from __future__ import annotations

import pytest

from winnow.config.errors import InputError
from winnow.tracking.run_context import run_context


def test_tags_are_those_of_the_variable() -> None:
    assert run_context({"MLFLOW_RUN_CONTEXT": '{"airflow.dag": "training"}'}) == {"airflow.dag": "training"}
    assert run_context({}) == run_context({"MLFLOW_RUN_CONTEXT": ""}) == {}


@pytest.mark.parametrize("given", ["airflow", "[1]", '{"trials": 3}'])
def test_anything_but_texts_by_name_is_refused(given: str) -> None:
    with pytest.raises(InputError, match="MLFLOW_RUN_CONTEXT: expected a JSON object with texts"):
        run_context({"MLFLOW_RUN_CONTEXT": given})
