import numpy as np
import pytest

from winnow.bundle.profile import ColumnCounts, ColumnProfile, Profile
from winnow.finding import Result
from winnow.monitoring.importance import Importances, importance_drift, measure_importances

NAMES = ("a", "b", "c", "d", "e", "f")
TRUTH = np.array([0.3, 0.2, 0.12, 0.06, 0.02, 0.0])


def profile(importances: np.ndarray, error: float = 0.01) -> Profile:
    columns = tuple(
        ColumnProfile(name, "number", ColumnCounts((1, 1)), (0.0,), importance=float(value), importance_std=error)
        for name, value in zip(NAMES, importances, strict=True)
    )
    return Profile(500, columns, (), 150, "holdout", metric="f1")


def live(importances: np.ndarray, error: float = 0.01, rows: int = 500) -> Importances:
    return Importances(dict(zip(NAMES, importances.tolist(), strict=True)), dict.fromkeys(NAMES, error), rows)


def test_importances_are_how_much_larger_the_loss_is_without_a_column():
    random = np.random.default_rng(0)
    rows = random.standard_normal((2000, 3)).astype(np.float32)
    target = 2 * rows[:, 0] + rows[:, 1]
    parts = {"a": slice(0, 1), "b": slice(1, 2), "c": slice(2, 3)}
    found = measure_importances(lambda each: (2 * each[:, 0] + each[:, 1] - target) ** 2, rows, parts)
    # A permuted column of variance 1 and weight w adds 2 w² to the squared error.
    assert found.values["a"] == pytest.approx(8, rel=0.1)
    assert found.values["b"] == pytest.approx(2, rel=0.1)
    assert found.values["c"] == 0 and found.errors["c"] == 0
    assert 0 < found.errors["b"] < found.errors["a"] < 0.5


def test_the_same_order_in_another_metric_is_no_drift():
    found = importance_drift(profile(TRUTH), live(TRUTH * 40, error=0.4), 1e-4)
    assert (found.result, found.estimate) == (Result.PASS, 1.0)


def test_another_order_is_found_and_says_which_columns_moved():
    found = importance_drift(profile(TRUTH), live(TRUTH[::-1]), 1e-4)
    assert (found.result, found.estimate) == (Result.FAIL, -1.0)
    assert "a (1 → 6)" in found.reason and "f (6 → 1)" in found.reason


def test_an_order_that_chance_makes_is_no_drift():
    assert importance_drift(profile(TRUTH * 0.01), live(TRUTH[::-1] * 0.01), 1e-3).result is Result.PASS


def test_few_rows_are_not_judged():
    found = importance_drift(profile(TRUTH), live(TRUTH, rows=99), 1e-3)
    assert found.result is Result.NOT_ENOUGH_DATA
    assert "there are 99 and 6" in found.reason


@pytest.mark.parametrize("truth", [TRUTH, TRUTH * 0.1, TRUTH * 0])
def test_chance_is_found_no_more_often_than_promised(truth):
    random = np.random.default_rng(0)
    noisy = [truth + 0.01 * random.standard_normal((2, 6)) for _ in range(300)]
    # The profile has fewer rows than the live ones, and so a larger error than theirs by their number.
    fails = [importance_drift(profile(one[0]), live(one[1], 0.01, 150), 0.05).result is Result.FAIL for one in noisy]
    assert np.mean(fails) <= 0.07
