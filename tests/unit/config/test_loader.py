"""From a file to a typed experiment, or to one error that a person can act on."""

from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import ChoiceParameter, FloatParameter, PrunerConfig
from winnow.config.loader import load_experiment, located

SMALLEST = """\
name: tiny
data: {source: "sklearn:iris"}
model: {factory: "winnow.models:mlp"}
search:
  space:
    lr: {float: [1e-4, 1e-1], log: true}
    hidden: {choice: [[64], [128, 64]]}
  metric: {name: f1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "experiment.yaml"


def refusal(file: Path, text: str, overrides: dict[str, Any] | None = None) -> InputError:
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        load_experiment(file, overrides or {})
    return refused.value


def test_the_smallest_file_is_complete(file: Path) -> None:
    file.write_text(SMALLEST)
    experiment = load_experiment(file)
    assert experiment.search.space == {
        "lr": FloatParameter(bounds=(1e-4, 1e-1), log=True),
        "hidden": ChoiceParameter(choices=([64], [128, 64])),
    }


def test_overrides_replace_what_the_file_says_and_none_does_not(file: Path) -> None:
    file.write_text(SMALLEST)
    experiment = load_experiment(file, {"search.trials": 7, "execution.workers": 3, "name": None})
    assert (experiment.search.trials, experiment.execution.workers, experiment.name) == (7, 3, "tiny")


def test_off_and_no_are_text(file: Path) -> None:
    file.write_text(SMALLEST + "  pruner: off\ntraining: {precision: no}\n")
    experiment = load_experiment(file)
    assert (experiment.search.pruner.type, experiment.training.precision) == ("off", "no")


def test_a_pruner_is_a_name_or_a_mapping(file: Path) -> None:
    for text, pruner in {
        "median": PrunerConfig(type="median"),
        "{type: racing, threshold: 0.001}": PrunerConfig(type="racing", threshold=0.001),
        "{threshold: 0.001}": PrunerConfig(type="auto", threshold=0.001),
    }.items():
        file.write_text(SMALLEST + f"  pruner: {text}\n")
        assert load_experiment(file).search.pruner == pruner


def test_a_threshold_that_is_no_small_probability_is_refused(file: Path) -> None:
    error = refusal(file, SMALLEST + "  pruner: {type: racing, threshold: 1}\n")
    assert error.place == f"{file}:9: search.pruner.threshold"


def test_an_unknown_key_names_its_line_and_the_nearest_valid_name(file: Path) -> None:
    error = refusal(file, SMALLEST + "training:\n  epoch: 3\n")
    assert (error.place, error.found, error.remedy) == (
        f"{file}:10: training.epoch",
        "the unknown key 'epoch'",
        "Did you mean 'epochs'?",
    )


def test_a_key_of_another_section_is_told_where_it_belongs(file: Path) -> None:
    assert refusal(file, SMALLEST + "refit: {epochs: 3}\n").remedy == "It belongs to `training`."
    assert refusal(file, SMALLEST + "refit: {tags: {}}\n").remedy == "It belongs to the top level."


def test_an_unknown_key_of_a_parameter_is_found_at_its_own_path(file: Path) -> None:
    error = refusal(file, SMALLEST.replace("log: true", "logg: true"))
    assert (error.place, error.expected) == (f"{file}:6: search.space.lr.logg", "one of float, log, step, when")


@pytest.mark.parametrize(
    ("line", "place", "expected", "found"),
    [
        ("training: {epochs: ten}", "training.epochs", "a whole number", "'ten'"),
        ('training: {epochs: "10"}', "training.epochs", "a whole number", "'10'"),
        ("training: {epochs: true}", "training.epochs", "a whole number", "true"),
        ("training: {epochs: 0}", "training.epochs", "at least 1", "0"),
        (
            "training: {class_weights: blanced}",
            "training.class_weights",
            "balanced, or a mapping of classes",
            "'blanced'",
        ),
        ("training: {class_weights: {a: -1}}", "training.class_weights", "balanced, or a mapping of", "{'a': -1}"),
        ("training: {clip_norm: 0}", "training.clip_norm", "more than 0.0", "0"),
        ("training: [epochs]", "training", "a mapping of epochs, ", "['epochs']"),
        ("training:", "training", "a mapping of epochs, ", "nothing"),
        ("training: {scheduler: {warmup_steps: 3}}", "training.scheduler.type", "a value", "nothing"),
        ("execution: {env: {OMP_NUM_THREADS: 1}}", "execution.env.OMP_NUM_THREADS", "text (in quotes", "1"),
        ("execution: {secrets: TOKEN}", "execution.secrets", "a list", "'TOKEN'"),
        ("execution: {device: gpu}", "execution.device", "'auto', 'cpu' or 'cuda'", "'gpu'"),
    ],
)
def test_a_wrong_value_says_what_was_expected_and_found(
    file: Path, line: str, place: str, expected: str, found: str
) -> None:
    error = refusal(file, f"{SMALLEST}{line}\n")
    assert error.place == f"{file}:9: {place}"
    assert error.expected.startswith(expected)
    assert error.found == found


def in_space(parameter: str) -> str:
    """The smallest experiment with this in place of its learning rate."""
    return SMALLEST.replace("lr: {float: [1e-4, 1e-1], log: true}", parameter)


@pytest.mark.parametrize(
    ("parameter", "place", "expected", "found"),
    [
        ("x: {float: [0.1, .inf]}", "x.float[1]", "a finite number", "infinity"),
        ("x: {float: [1e999, 1]}", "x.float[0]", "a finite number", "infinity"),
        ("x: {float: [-.inf, 1]}", "x.float[0]", "a finite number", "minus infinity"),
        ("x: {float: [.nan, 1]}", "x.float[0]", "a finite number", "NaN"),
        ("x: {float: [0, 1], step: .inf}", "x.step", "a finite number", "infinity"),
        ("x: {choice: [1, .nan]}", "x.choice[1]", "a finite number", "NaN"),
        ("x: {choice: [[1], [.inf]]}", "x.choice[1][0]", "a finite number", "infinity"),
        ("x: {float: [-1e308, 1e308]}", "x.float", "bounds whose difference", "[-1e+308, 1e+308]"),
        ('x: {float: ["0.1", 1]}', "x.float[0]", "a number", "'0.1'"),
        ("x: {float: [false, 1]}", "x.float[0]", "a number", "false"),
        ("x: {int: [true, 4]}", "x.int[0]", "a whole number", "true"),
        ("x: {int: [1.5, 4]}", "x.int[0]", "a whole number", "1.5"),
        ("x: {int: [1, 4], step: 0}", "x.step", "at least 1", "0"),
        ("x: {int: [1, 4], log: 1}", "x.log", "true or false", "1"),
        ("x: {float: [0, 1], step: 0}", "x.step", "more than 0.0", "0"),
        ("x: {float: [0, 1], step: -0.1}", "x.step", "more than 0.0", "-0.1"),
        ("x: {float: [0, 1], step: 1.5}", "x.step", "at most 1, the width", "1.5, with which only 0 is ever tried"),
        ("x: {int: [1, 10], step: 10}", "x.step", "at most 9, the width", "10, with which only 1 is ever tried"),
        ("x: {float: [0, 1], step: 1e-300}", "x.step", "a step that divides the range into at most", "1e-300"),
        ("x: {int: [0, 9007199254740993]}", "x.int", "bounds between -9007199254740992", "[0, 9007199254740993]"),
        ("x: {choice: [1, 1.0]}", "x.choice", "choices that differ", "1 and 1.0"),
        ("x: {choice: [true, 1]}", "x.choice", "choices that differ", "true and 1"),
        ("x: {choice: [0, 0.5, false]}", "x.choice", "choices that differ", "0 and false"),
        ("x: {choice: [relu, tanh, relu]}", "x.choice", "choices that differ", '"relu" and "relu"'),
        ("x: {choice: [[1, 2], '[1, 2]']}", "x.choice", "choices that differ", '[1, 2] and "[1, 2]"'),
        ("x: {choice: [{a: 1, b: 2}, {b: 2, a: 1}]}", "x.choice", "choices that differ", '{"a": 1, "b": 2} and'),
        ("x: {choice: [1, 9007199254740993]}", "x.choice", "whole numbers between", "9007199254740993"),
        ("batch_size: {float: [8, 32]}", "batch_size.float", "whole numbers for batch_size", "a range of real numbers"),
        ("training.epochs: {float: [1, 3]}", "training.epochs.float", "whole numbers", "a range of real numbers"),
        ("epochs: {int: [0, 3]}", "epochs", "values that training.epochs takes (greater than or equal to 1)", "0"),
        ("batch_size: {choice: [8, 16.5]}", "batch_size", "values that training.batch_size takes", "16.5"),
        ("clip_norm: {float: [0, 1]}", "clip_norm", "values that training.clip_norm takes (greater than 0)", "0.0"),
        ("kernel/: {choice: [1, 2]}", "kernel/", "a name of 1 to 200 characters", "'kernel/'"),
        ('"": {choice: [1, 2]}', "", "a name of 1 to 200 characters", "''"),
        ("/x: {choice: [1, 2]}", "/x", "a name of 1 to 200 characters", "'/x'"),
        ("a//b: {choice: [1, 2]}", "a//b", "a name of 1 to 200 characters", "'a//b'"),
        (".: {choice: [1, 2]}", ".", "a name of 1 to 200 characters", "'.'"),
        ("..: {choice: [1, 2]}", "..", "a name of 1 to 200 characters", "'..'"),
        ("a/../b: {choice: [1, 2]}", "a/../b", "a name of 1 to 200 characters", "'a/../b'"),
        (f"? {'a' * 201}\n    : {{choice: [1]}}", "a" * 201, "a name of 1 to 200", f"'{'a' * 60}…', which has 201"),
    ],
)
def test_a_space_that_is_not_what_is_written_is_refused(
    file: Path, parameter: str, place: str, expected: str, found: str
) -> None:
    error = refusal(file, in_space(parameter))
    assert error.place == f"{file}:6: search.space.{place}"
    assert error.expected.startswith(expected)
    assert error.found.startswith(found)


def test_names_that_mlflow_records_alike_are_refused(file: Path) -> None:
    error = refusal(file, in_space("a(b): {int: [1, 2]}\n    'a[b]': {int: [1, 2]}"))
    assert (error.place, error.found) == (
        f"{file}:7: search.space.a[b]",
        "'a(b)' and 'a[b]', which MLflow both records as 'a_b_'",
    )


@pytest.mark.parametrize(
    "parameter",
    [
        "x: {int: [4, 4], step: 3}",
        "x: {float: [0.5, 0.5], step: 0.1}",
        "x: {float: [0, 1], step: 0.3}",
        "x: {float: [1, 4]}",
        "x: {choice: [0, 0.5, true, null, '0', [0], [0.0]]}",
        "a/b.c-d: {int: [1, 2]}",
        "batch_size: {choice: [8, 16]}",
        "clip_norm: {choice: [null, 1]}",
    ],
)
def test_a_space_that_is_what_is_written_is_taken(file: Path, parameter: str) -> None:
    file.write_text(in_space(parameter))
    assert load_experiment(file).name == "tiny"


def test_a_training_function_of_ones_own_takes_any_value(file: Path) -> None:
    file.write_text(in_space("batch_size: {float: [8, 32]}") + "training: {loop: 'mine:train_fold'}\n")
    assert load_experiment(file).search.space["batch_size"] == FloatParameter(bounds=(8.0, 32.0))


def test_infinity_is_refused_wherever_it_stands(file: Path) -> None:
    error = refusal(file, SMALLEST + "training:\n  clip_norm: .inf\n")
    assert (error.place, error.found) == (f"{file}:10: training.clip_norm", "infinity")


def test_a_number_with_thousands_of_digits_is_refused(file: Path) -> None:
    error = refusal(file, in_space(f"x: {{int: [1, {'9' * 5000}]}}"))
    assert (error.place, error.found) == (f"{file}:6", "a whole number of 5000 characters")


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("{float: [1e-1, 1e-4]}", "the lower bound first and the upper bound second"),
        ("{float: [0, 1], log: true}", "bounds above 0 where `log: true` is set"),
        ("{float: [1, 2], int: [1, 2]}", "exactly one of `float: [low, high]`"),
        ("{}", "exactly one of `float: [low, high]`"),
        ("{choice: []}", "at least 1 values"),
        ("{int: [1.5, 3]}", "a whole number"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(file: Path, parameter: str, expected: str) -> None:
    error = refusal(file, SMALLEST.replace("{float: [1e-4, 1e-1], log: true}", parameter))
    assert error.place.startswith(f"{file}:6: search.space.lr")
    assert error.expected.startswith(expected)


def test_all_faults_are_told_at_once(file: Path) -> None:
    error = refusal(file, SMALLEST + "refit: {top: 0}\ntraining: {epoch: 1}\nextra: 1\n")
    assert error.place == f"{file}:10: training.epoch"
    assert [note.partition(" expected")[0] for note in error.__notes__] == [
        f"{file}:9: refit.top:",
        f"{file}:11: extra:",
    ]


def test_a_wrong_override_is_not_blamed_on_a_line(file: Path) -> None:
    assert refusal(file, SMALLEST, {"execution.workers": 0}).place == f"execution.workers (overriding {file})"


def test_a_missing_section_is_named(file: Path) -> None:
    error = refusal(file, "name: tiny\n")
    assert error.place == f"{file}: data"
    assert len(error.__notes__) == 1


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("", "", "an empty file"),
        ("- 1\n", "", "[1]"),
        ("name: a\nname: b\n", ":2", "the key 'name' a second time"),
        ("name: [a\n", ":2", "expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(file: Path, text: str, place: str, found: str) -> None:
    error = refusal(file, text)
    assert (error.place, error.found) == (f"{file}{place}", found)


def test_a_missing_file_is_refused(file: Path) -> None:
    with pytest.raises(InputError) as refused:
        load_experiment(file)
    assert (refused.value.place, refused.value.found) == (str(file), "no such file")


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"name: \xff\n")
    with pytest.raises(InputError) as refused:
        load_experiment(file)
    assert refused.value.found == "'bytes that are not UTF-8 text'"
    with pytest.raises(InputError):
        load_experiment(file.parent)


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        ("search.space.lr", "FILE:6: search.space.lr"),
        ("search.space.hidden.choice[1]", "FILE:7: search.space.hidden.choice[1]"),
        ("model.factory", "FILE:3: model.factory"),
        ("data.target", "FILE:2: data.target"),
        ("cross_validation.folds", "FILE: cross_validation.folds"),
        ("search.trials", "search.trials (overriding FILE)"),
        ("data.csv", "data.csv"),
        ("WINNOW_HOME", "WINNOW_HOME"),
        ("study 'tiny': search.space.lr", "study 'tiny': search.space.lr"),
    ],
)
def test_errors_about_a_key_name_the_file_and_the_line(raised: str, shown: str, file: Path) -> None:
    file.write_text(SMALLEST)
    with pytest.raises(InputError) as refused, located(file, {"search.trials": 3}):
        raise InputError(raised, expected="this", found="that", remedy="Change it.")
    place = shown.replace("FILE", str(file))
    assert (refused.value.place, str(refused.value)) == (
        place,
        f"{place}: expected this, found that. Change it.",
    )


def test_a_mistyped_kind_of_parameter_is_told_the_nearest_one(file: Path) -> None:
    error = refusal(file, SMALLEST.replace("lr: {float:", "lr: {flaot:"))
    assert (error.place, error.remedy) == (f"{file}:6: search.space.lr", "Did you mean 'float' instead of 'flaot'?")


def test_a_mistyped_path_is_told_the_nearest_file(file: Path) -> None:
    file.write_text(SMALLEST)
    with pytest.raises(InputError) as refused:
        load_experiment(file.with_name("experimnt.yaml"))
    assert refused.value.remedy == f"Did you mean '{file}'? Name one with CONFIG=…."


def test_a_name_that_is_too_long_is_told_its_length(file: Path) -> None:
    error = refusal(file, SMALLEST.replace("tiny", "t" * 100))
    assert (error.expected, error.found) == ("at most 63 characters", f"'{'t' * 60}…', which has 100 characters")
