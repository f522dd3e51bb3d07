"""The experiment files that come with the project."""

import re
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest

from winnow.config.keys import PARAMETERS, SPACE, fields_of, sections
from winnow.config.loader import load_experiment
from winnow.config.yaml_text import read_yaml

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SHIPPED = [*sorted(EXPERIMENTS.glob("*.yaml")), EXPERIMENTS / "weather" / "weather.yaml"]
MANUAL = EXPERIMENTS / "breast_cancer.yaml"


def manual_with_every_setting_used() -> str:
    """The manual with its settings that stand as comments (`#key: value`, no blank after the #) taken into use."""
    return re.sub(r"^( *)#(?=[a-z_]+:)", r"\1", MANUAL.read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_experiment_loads_and_is_named_after_its_file(path: Path) -> None:
    assert load_experiment(path).name == path.stem.replace("_", "-")


def test_the_manual_holds_every_key() -> None:
    keys = {(*path, key) for path, model in sections() for key in fields_of(model)}
    lines = read_yaml(manual_with_every_setting_used()).lines
    assert keys - set(lines) == set()
    in_space = {path[3] for path in lines if path[:2] == SPACE and len(path) > 3}
    assert in_space == {key for model in PARAMETERS.values() for key in fields_of(model)}


def test_the_manual_loads_with_every_setting_used(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(manual_with_every_setting_used())
    load_experiment(tmp_path / "all.yaml")


def test_settings_that_stand_as_comments_show_the_default() -> None:
    fields = {(*path, key): field for path, model in sections() for key, field in fields_of(model).items()}
    document = read_yaml(manual_with_every_setting_used())
    commented = set(document.lines) - set(read_yaml(MANUAL.read_text()).lines)
    defaults = {path: field.get_default() for path, field in fields.items() if path in commented}
    scalars = {path: default for path, default in defaults.items() if isinstance(default, (bool, int, float, str))}
    assert len(scalars) > 10
    assert {path: reduce(getitem, path, document.content) for path in scalars} == scalars
