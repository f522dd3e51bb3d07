"""Bounds against published values and against SciPy's own tests, and false alarms by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from winnow import fixed_sample


def test_exact_bounds_of_a_share_are_those_of_clopper_and_pearson() -> None:
    for k, n in ((0, 10), (3, 20), (20, 20), (950, 1000)):
        interval = stats.binomtest(k, n).proportion_ci(0.9, method="exact")
        assert [float(each) for each in fixed_sample.share_bounds(k, n, 0.05)] == pytest.approx(list(interval))


def test_the_bounds_of_a_share_without_trials_are_open() -> None:
    assert [float(each) for each in fixed_sample.share_bounds(0, 0, 0.05)] == [0.0, 1.0]


def test_mcnemar_is_the_one_sided_binomial_test_of_the_rows_that_differ() -> None:
    for gained, lost in ((10, 2), (2, 10), (5, 5), (0, 0), (1, 0)):
        expected = stats.binomtest(gained, gained + lost, alternative="greater").pvalue if gained + lost else 1.0
        assert float(fixed_sample.mcnemar(gained, lost)) == pytest.approx(expected)


def test_mcnemar_finds_a_gain_that_is_none_in_no_more_than_alpha_of_samples() -> None:
    random = np.random.default_rng(0)
    differing = random.binomial(1000, 0.1, 20_000)
    gained = random.binomial(differing, 0.5)
    assert (fixed_sample.mcnemar(gained, differing - gained) <= 0.05).mean() <= 0.05


def test_mcnemar_finds_two_points_on_five_thousand_rows_in_most_samples() -> None:
    random = np.random.default_rng(0)
    counts = random.multinomial(5000, (0.06, 0.04, 0.9), 5000)
    assert (fixed_sample.mcnemar(counts[:, 0], counts[:, 1]) <= 0.05).mean() > 0.95


def cross_validated(repeats: int, rows: int, spoilt: float) -> np.ndarray:
    """How much larger the squared errors of one linear regression are than another's, by fold: (repeats, 5).

    Each learner has eight columns of its own, which are equally good; noise of the size `spoilt` is added to those of
    the first.
    """
    random = np.random.default_rng(0)
    both = random.normal(size=(2, repeats, rows, 8))
    y = 0.5 * both.sum((0, 3)) + random.normal(size=(repeats, rows))
    both[0] += spoilt * random.normal(size=both[0].shape)
    found = []
    for fold in np.split(np.arange(rows), 5):
        train = np.delete(np.arange(rows), fold)
        errors = []
        for columns in both:
            x, wanted = columns[:, train], y[:, train, np.newaxis]
            weights = np.linalg.solve(x.swapaxes(1, 2) @ x, x.swapaxes(1, 2) @ wanted)
            errors.append(((y[:, fold] - (columns[:, fold] @ weights)[..., 0]) ** 2).mean(1))
        found.append(errors[0] - errors[1])
    return np.stack(found, axis=1)


def test_over_folds_a_better_model_is_found_and_an_equal_one_seldom() -> None:
    equal, better = cross_validated(3000, 60, 0.0), cross_validated(200, 1000, 1.5)
    assert (fixed_sample.fold_difference(equal, 48, 12, 0.05)[1] > 0).mean() <= 0.05
    assert (fixed_sample.fold_difference(better, 800, 200, 0.05)[1] > 0).mean() > 0.9
    # The plain t-test finds too much.
    assert (stats.ttest_1samp(equal, 0, axis=1, alternative="greater").pvalue < 0.05).mean() > 0.06


def test_bounds_of_a_quantile_hold_as_often_as_they_promise() -> None:
    random = np.random.default_rng(0)
    true = float(stats.lognorm.ppf(0.95, 1.0))
    bounds = [fixed_sample.quantile_bounds(each, 0.95, 0.05) for each in random.lognormal(size=(2000, 200))]
    assert np.mean([high is not None and high < true for _, high in bounds]) <= 0.05
    assert np.mean([low is not None and low > true for low, _ in bounds]) <= 0.05
    assert np.mean([high is not None and high < 2 * true for _, high in bounds]) > 0.8


def test_a_quantile_has_an_upper_bound_from_its_fewest_values_on() -> None:
    assert fixed_sample.rows_for_quantile(0.95, 0.05) == 59
    assert fixed_sample.quantile_bounds(np.arange(58), 0.95, 0.05)[1] is None
    assert fixed_sample.quantile_bounds(np.arange(59), 0.95, 0.05)[1] == 58


def test_rows_needed_halve_the_interval_fourfold() -> None:
    assert fixed_sample.rows_needed(1000, 0.90, 0.86, 0.88) == 4000
    assert fixed_sample.rows_needed(100, 4.0, 7.0, 5.0) == 900
    assert fixed_sample.rows_needed(1000, 0.85, 0.8, 0.85) is None
    assert fixed_sample.rows_needed(1000, 0.80, 0.7, 0.85) is None
