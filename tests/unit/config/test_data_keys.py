"""Keys of `data` that have another form, and what of them is part of a study's definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment


def experiment(**data: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "keys",
            "data": {"source": "rows.csv", "target": "y", **data},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": {}, "metric": {"name": "f1"}},
        }
    )


@pytest.mark.parametrize(("old", "new"), [(True, "standard"), (False, "none")])
def test_standardize_is_read_as_scaling_in_files_and_in_stored_studies(old: bool, new: str) -> None:
    found = experiment(standardize=old)
    assert found.data.scaling == new
    assert found.definition() == experiment(scaling=new).definition()
    assert Experiment.model_validate_json(found.model_dump_json(by_alias=True)) == found


def test_accepting_a_number_leaves_the_definition_of_a_study_as_it_is() -> None:
    plain = experiment().definition()
    assert experiment(columns={"income": "number"}).definition() == plain
    assert experiment(columns={"income": "drop"}).definition() != plain
    assert experiment(columns={"income": "category"}).definition() != plain


@pytest.mark.parametrize(
    ("data", "place", "expected"),
    [
        ({"columns": {"plan": "text"}}, "data.columns.plan", "'number', 'category', 'boolean', 'date' or 'drop'"),
        ({"scaling": "minmax"}, "data.scaling", "'standard', 'robust' or 'none'"),
        ({"missing_indicators": "maybe"}, "data.missing_indicators", "auto, true or false"),
        ({"standardize": True, "scaling": "none"}, "data.standardize", "one of "),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(data: Any, place: str, expected: str, tmp_path: Path) -> None:
    whole = experiment().model_dump(mode="json", by_alias=True, exclude_unset=True)
    whole["data"] |= data
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError) as caught:
        load_experiment(tmp_path / "keys.yaml")
    assert caught.value.place.endswith(f": {place}")
    assert caught.value.expected.startswith(expected)


def test_a_schema_file_changes_nothing_that_is_trained() -> None:
    assert experiment(schema="schemas/rows.yaml").definition() == experiment().definition()
