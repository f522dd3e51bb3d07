from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.model_query.rules import DEFAULT_RULES, Criterion, Filter, Objective, Rules, load_rules


def written(folder: Path, text: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(text)
    return file


def test_the_default_file_takes_the_sweeps_own_metric_and_filters_nothing() -> None:
    assert load_rules() == Rules(
        objective=Objective(metric="auto", goal="auto"),
        tie_breaks=(Criterion(metric="train_s", goal="minimize"),),
    )


def test_every_example_in_the_default_file_is_right(tmp_path: Path) -> None:
    examples = [line[1:].strip() for line in DEFAULT_RULES.read_text().splitlines() if line.startswith("#   ")]
    filters = [line for line in examples if line.startswith("- {")]
    simplest = next(line for line in examples if line.startswith("{metric: param.width"))
    rules = load_rules(written(tmp_path, "\n".join(["filters:", *filters, f"one_standard_error: {simplest}"])))
    assert len(rules.filters) == 7
    assert rules.one_standard_error == Criterion(metric="param.width", goal="minimize")


def test_every_key_is_explained_in_the_default_file() -> None:
    text = DEFAULT_RULES.read_text()
    assert set(yaml.safe_load(text)) == set(Rules.model_fields)
    for name, field in Filter.model_fields.items():
        assert f" {field.alias or name}" in text


def test_an_empty_file_is_the_plain_rules(tmp_path: Path) -> None:
    assert load_rules(written(tmp_path, "# nothing yet\n")) == Rules()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objectve: {}", r"rules\.yaml:1: objectve: expected one of objective, .* Did you mean 'objective'\?"),
        ("filters:\n- {metric: f1, mim: 1}", r"rules\.yaml:2: filters\[0\]\.mim: .* Did you mean 'min'\?"),
        ("filters:\n- {metric: f1, min: high}", r"rules\.yaml:2: filters\[0\]\.min: expected a valid number.*'high'"),
        ("filters:\n- {min: 1}", r"rules\.yaml:2: filters\[0\]: expected exactly one of `metric`, `param` and `tag`"),
        ("filters:\n- {metric: f1, tag: x, min: 1}", "expected exactly one of"),
        ("filters:\n- {metric: f1}", "expected at least one of `min`, `max`"),
        ("filters:\n- {metric: f1, min: .nan}", "expected a finite number"),
        ("filters:\n- {metric: f1, min: 2, max: 1}", "expected `min` below `max`, found 2 and 1"),
        ("filters:\n- {param: act, matches: '('}", "expected a regular expression"),
        ("filters:\n- {metric: f1, matches: '0.*'}", "for a metric, which is a number"),
        ("filters:\n- {tag: a, min: 1}", "for a tag, which is text"),
        ("filters:\n- {param: act, in: []}", r"filters\[0\]\.in: expected .* at least 1 item"),
        ("objective: {metric: accuracy}", "`goal: maximize` or `goal: minimize` for a named metric"),
        ("objective: {metric: holdout.f1, goal: maximize}", "the holdout may be used in `filters`"),
        ("tie_breaks: [{metric: holdout.f1, goal: maximize}]", "the holdout may be used in `filters`"),
        ("tie_breaks: [{metric: train_s}]", r"rules\.yaml:1: tie_breaks\[0\].*: expected `goal`, found nothing"),
        ("alias: v1", "alias: expected"),
        ("- filters", "expected a mapping of objective"),
        ("filters: [", r"rules\.yaml:1: expected YAML|expected YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_rules(written(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no such file"):
        load_rules(tmp_path / "rules.yaml")


def test_further_faults_are_notes_of_the_first(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_rules(written(tmp_path, "filters:\n- {metric: f1}\n- {tag: x, min: 1}\nwhat: 1\n"))
    assert len(caught.value.__notes__) == 2
