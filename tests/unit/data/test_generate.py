"""Generated data: the written answer is the right one, and a file is written whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LinearRegression, LogisticRegression

from winnow.cli.data import generate_data as command
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.data.generate import Recipe, best_accuracy, describe, generate, write_generated
from winnow.data.sources import load_data


def test_linear_regression_recovers_the_coefficients_and_the_best_score() -> None:
    generated = generate(Recipe(rows=20_000, classes=0, noise=1.5))
    model = LinearRegression().fit(generated.features[:10_000], generated.target[:10_000])
    np.testing.assert_allclose(model.coef_, generated.truth.weights[:, 0], atol=0.06)
    np.testing.assert_allclose(model.intercept_, generated.truth.intercepts[0], atol=0.06)
    score = model.score(generated.features[10_000:], generated.target[10_000:])
    assert score == pytest.approx(generated.truth.best_score, abs=0.02)
    assert 0.5 < generated.truth.best_score < 1


@pytest.mark.parametrize("groups", [0, 200])
def test_logistic_regression_recovers_two_classes(groups: int) -> None:
    recipe = Recipe(rows=20_000, noise=1.0, groups=groups, seed=3)
    generated = generate(recipe)
    model = LogisticRegression(C=1e6).fit(generated.features[:10_000], generated.target[:10_000])
    np.testing.assert_allclose(model.coef_[0], generated.truth.weights[:, 1] / recipe.noise, atol=0.15)
    score = model.score(generated.features[10_000:], generated.target[10_000:])
    assert score == pytest.approx(generated.truth.best_score, abs=0.03 if groups else 0.015)


def test_logistic_regression_recovers_three_classes_up_to_a_common_shift() -> None:
    recipe = Recipe(rows=20_000, classes=3, noise=1.0, seed=1)
    generated = generate(recipe)
    model = LogisticRegression(C=1e6).fit(generated.features[:10_000], generated.target[:10_000])
    truth = generated.truth.weights.T / recipe.noise
    np.testing.assert_allclose(model.coef_ - model.coef_.mean(axis=0), truth - truth.mean(axis=0), atol=0.15)
    score = model.score(generated.features[10_000:], generated.target[10_000:])
    assert score == pytest.approx(generated.truth.best_score, abs=0.015)


def test_without_noise_the_best_accuracy_is_one_and_with_much_noise_a_coin_toss() -> None:
    utilities = np.array([[0.0, 1.0], [2.0, 1.0]])
    assert best_accuracy(utilities, 0.0) == 1.0
    assert best_accuracy(utilities, 1.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert best_accuracy(utilities, 1e9) == pytest.approx(0.5)


def test_only_informative_features_have_coefficients() -> None:
    weights = generate(Recipe(features=8, informative=3, classes=3)).truth.weights
    assert (np.abs(weights).sum(axis=1) > 0).sum() == 3


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again, other = (generate(Recipe(rows=20, seed=seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.features, again.features)
    np.testing.assert_array_equal(first.target, again.target)
    assert not np.array_equal(first.features, other.features)


def test_a_csv_and_a_parquet_file_hold_the_same_data(tmp_path: Path) -> None:
    generated = generate(Recipe(rows=60, groups=6, classes=3))
    digests = set()
    for name in ("rows.csv", "rows.parquet"):
        write_generated(generated, tmp_path / name)
        digests.add(load_data(DataConfig(source=str(tmp_path / name), target="target", group="group")).sha256)
    assert len(digests) == 1


def test_the_answer_lies_beside_the_file_and_nothing_else(tmp_path: Path) -> None:
    generated = generate(Recipe(rows=30))
    answer = write_generated(generated, tmp_path / "new" / "rows.csv")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["rows.csv", "rows.csv.answer.json"]
    written = json.loads(answer.read_text())
    assert written == describe(generated)
    assert written["best"] == {"metric": "accuracy", "score": generated.truth.best_score}
    assert list(written["coefficients"]) == ["0", "1"]
    assert len(pd.read_csv(tmp_path / "new" / "rows.csv")) == 30


def test_a_file_that_exists_is_overwritten_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("mine")
    with pytest.raises(InputError, match="overwrite it with"):
        write_generated(generate(Recipe(rows=30)), path)
    assert path.read_text() == "mine"
    write_generated(generate(Recipe(rows=30)), path, force=True)
    assert path.read_text().startswith("x1,x2")


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="permission and room to write") as caught:
        write_generated(generate(Recipe(rows=30)), tmp_path / "file" / "rows.csv")
    assert caught.value.place == str(tmp_path / "file" / "rows.csv")


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path) -> None:
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "from winnow.cli import main; main(sys.argv[1:])"
    )
    arguments = ["generate-data", "--output", str(tmp_path / "rows.csv")]
    ended = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert "expected permission and room to write, found 'File too large'" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "option"),
    [
        (Recipe(rows=3), "--rows"),
        (Recipe(features=0), "--features"),
        (Recipe(informative=11), "--informative"),
        (Recipe(classes=1), "--classes"),
        (Recipe(noise=-1), "--noise"),
        (Recipe(noise=float("nan")), "--noise"),
        (Recipe(groups=1), "--groups"),
        (Recipe(seed=-1), "--seed"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(recipe: Recipe, option: str) -> None:
    with pytest.raises(InputError) as caught:
        generate(recipe)
    assert caught.value.place == option


def test_another_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ends with \.csv or \.parquet"):
        write_generated(generate(Recipe(rows=30)), tmp_path / "sub" / "rows.txt")
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_wrote(tmp_path: Path) -> None:
    output = tmp_path / "rows.parquet"
    result = CliRunner().invoke(command, ["--rows", "50", "--classes", "0", "--output", str(output)])
    assert result.exit_code == 0
    assert "the best possible r2 is 0." in result.output
    assert output.exists()
