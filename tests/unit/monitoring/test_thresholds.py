import numpy as np
import pytest
from scipy.stats import hypergeom

from winnow.monitoring.thresholds import (
    divergence,
    divergence_threshold,
    jensen_shannon_terms,
    most_rows,
    psi_terms,
    wasserstein,
    wasserstein_threshold,
)

COUNTS = {
    "even bins": ([50] * 20, [23] * 20),
    "rare bins": ([700, 250, 40, 5, 3, 2, 0, 0], [330, 110, 12, 0, 2, 0, 1, 0]),
    "two bins": ([640, 360], [70, 44]),
    "few rows": ([9, 7, 4], [30, 50, 20]),
    "many rows": ([2000] * 5, [1800, 2200, 2000, 1990, 2010]),
}


def drawn(live: np.ndarray, reference: np.ndarray, draws: int) -> np.ndarray:
    """Live counts of other rows of both samples, [draws, bins]."""
    return np.random.default_rng(0).multivariate_hypergeometric(live + reference, int(live.sum()), draws)


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("alpha", [0.01, 0.002])
def test_chance_exceeds_a_threshold_as_rarely_as_promised_and_little_more_rarely(name, alpha):
    live, reference = (np.array(each) for each in COUNTS[name])
    pooled, gaps = live + reference, np.linspace(0.5, 1.5, len(live) - 1)
    found = {psi_terms: [], jensen_shannon_terms: [], wasserstein: []}
    for other in drawn(live, reference, 10_000):
        for terms in (psi_terms, jensen_shannon_terms):
            found[terms].append(divergence(terms, other, pooled - other))
        found[wasserstein].append(wasserstein(other, pooled - other, gaps))
    for statistic, values in found.items():
        if statistic is wasserstein:
            threshold = wasserstein_threshold(live, reference, gaps, alpha)
        else:
            threshold = divergence_threshold(statistic, live, reference, alpha)
        above = np.mean(np.array(values) > threshold * (1 + 1e-9))
        assert above <= alpha + 3 * np.sqrt(alpha / 10_000)
        assert threshold <= 1.8 * np.quantile(values, 1 - alpha)


def test_thresholds_hold_where_no_simulation_reaches():
    live, reference, alpha = np.array([640, 360]), np.array([290, 165]), 1e-9
    counts = np.arange(475, 931)
    chances = hypergeom.pmf(counts, 1455, 930, 1000)
    for threshold, statistic in (
        (divergence_threshold(psi_terms, live, reference, alpha), psi),
        (divergence_threshold(jensen_shannon_terms, live, reference, alpha), jensen_shannon),
        (wasserstein_threshold(live, reference, np.array([2.0]), alpha), distance),
    ):
        values = np.array([statistic(np.array([each, 1000 - each])) for each in counts])
        beyond = chances[values > threshold * (1 + 1e-9)].sum()
        assert alpha / 100 < beyond <= alpha


def psi(live):
    return divergence(psi_terms, live, np.array([930, 525]) - live)


def jensen_shannon(live):
    return divergence(jensen_shannon_terms, live, np.array([930, 525]) - live)


def distance(live):
    return wasserstein(live, np.array([930, 525]) - live, np.array([2.0]))


def test_divergences_and_distances_of_known_distributions():
    live, reference = np.array([300, 100]), np.array([100, 300])
    assert divergence(psi_terms, live, reference) == pytest.approx(np.log(3), rel=0.01)  # 2 * (3/4 - 1/4) * ln 3
    assert divergence(jensen_shannon_terms, live, reference) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert divergence(jensen_shannon_terms, np.array([5, 0]), np.array([0, 7])) == pytest.approx(np.log(2))
    assert wasserstein(live, reference, np.array([3.0])) == 1.5


def test_too_many_rows_are_those_that_fishers_test_finds():
    # All three of a kind among three live and three training rows: one of 20 equally likely draws.
    assert most_rows(0, 3, 3, 0.051) == 2
    assert most_rows(0, 3, 3, 0.049) == 3
    assert most_rows(0, 569, 1000, 1e-6) == 30
