from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.model_query.gates import GATES, ChampionGate, MetricGate, compares
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
    filters = [line for line in examples if line.startswith("- {") and "{type: " not in line]
    simplest = next(line for line in examples if line.startswith("{metric: param.width"))
    rules = load_rules(written(tmp_path, "\n".join(["filters:", *filters, f"one_standard_error: {simplest}"])))
    assert len(rules.filters) == 7
    assert rules.one_standard_error == Criterion(metric="param.width", goal="minimize")


def test_every_key_is_explained_in_the_default_file() -> None:
    text = DEFAULT_RULES.read_text()
    assert {*yaml.safe_load(text), "alias", "gates"} == set(Rules.model_fields)
    gates = {name for gate in GATES.values() for name in gate.model_fields}
    for name in {field.alias or name for name, field in Filter.model_fields.items()} | gates | {*GATES, "alias"}:
        assert re.search(rf"\b{name}\b", text), name


def test_the_gates_of_the_default_file_are_right_without_their_hashes(tmp_path: Path) -> None:
    text = DEFAULT_RULES.read_text()
    lines = text.splitlines()
    start = lines.index("# gates:")
    section = "\n".join(line[2:] for line in lines[start : lines.index("#", start)])
    shipped = load_rules(written(tmp_path, section)).gates
    assert shipped is not None
    limits = (
        MetricGate(type="metric", metric={"name": "accuracy"}, min=0.85),
        MetricGate(type="metric", metric={"name": "f1"}, min=0.8),
    )
    best = ChampionGate(type="champion", metric={"name": "accuracy"}, margin=0.01, scale="absolute", confidence=0.95)
    assert (shipped.of("staging"), shipped.of("production")) == (limits, (*limits, best))
    further = [line[1:] for line in lines if line.startswith("#   - {type: ")][5:]
    every = load_rules(written(tmp_path, "\n".join(["gates:", "  production:", *further]))).gates
    assert every is not None
    found = every.of("production")
    assert {gate.type for gate in (*limits, *found)} == set(GATES)
    assert [str(gate) for gate in found if compares(gate)] == [
        "f1 better than the champion's by 0.01 of its value",
        "more right predictions than the champion",
        "f1 over the folds better than the champion's by 0.005",
        "cost better than the champion's",
    ]


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
        ("alias: champion\ngates: {staging: [{type: size, max_mib: 1}]}", "expected `alias` or `gates`"),
        ("gates: {}", "gates: expected a list of gates for `staging`, `production` or both"),
        ("gates: {staging: []}", "expected a list of gates for"),
        ("gates: {prod: []}", r"gates\.prod: expected one of staging, production, found the unknown key 'prod'"),
        ("gates: {staging: {type: size}}", r"gates\.staging: expected a list, found"),
        ("gates: {staging: [3]}", r"gates\.staging\[0\]: expected a mapping, found 3"),
        ("gates:\n  staging:\n  - {type: metrik}", r"yaml:3: gates\.staging\[0\]: .* Did you mean 'metric'\?"),
        ("gates: {staging: [{metric: f1}]}", "expected `type`: metric, champion, .* found a gate without `type`"),
        ("gates: {staging: [{type: metric, metric: f1}]}", "expected `min`, `max` or both"),
        ("gates: {staging: [{type: metric, metric: f1, mim: 1}]}", r"\[0\]\.mim: .* Did you mean 'min'\?"),
        ("gates: {staging: [{type: metric, min: 1}]}", r"staging\[0\]: expected `metric`, found nothing"),
        ("gates: {staging: [{type: metric, metric: f1, min: .inf}]}", "expected a finite number"),
        ("gates: {staging: [{type: metric, metric: {nam: f1}, min: 1}]}", r"\[0\]\.metric: expected `name`"),
        ("gates: {staging: [{type: champion, metric: f1, margin: 0.1}]}", "`scale: absolute` or `scale: relative`"),
        ("gates: {staging: [{type: mcnemar, confidence: 1}]}", "confidence: expected less than 1, found 1"),
        ("gates: {staging: [{type: fairness, metric: f1, column: sex}]}", "one of `max_difference` and `min_ratio`"),
        ("gates: {staging: [{type: business, function: profit, min: 1}]}", "expected a function as"),
        ("gates: {staging: [{type: business, function: 'a.py:f'}]}", "expected `min`, `max` or `margin`"),
        ("gates: {staging: [{type: business, function: 'a.py:f', min: 1, margin: 0}]}", "expected either `min` and"),
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
