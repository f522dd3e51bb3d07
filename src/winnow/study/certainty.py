"""How sure it is that a study's winner is its best trial: what the folds can tell, and what they cannot.

The best of many trials looks better than it is, since some of its lead is luck (the winner's curse). Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median, variance

from winnow.study.formatting import score
from winnow.study.student import student_cdf
from winnow.study.view import StudyView

Scores = Sequence[float]
"""A trial's objective on each fold."""

FEWEST_TRIALS, FEWEST_FOLDS = 3, 2
FEW_TRIALS = 10
MOST_TRIALS = 300
"""Trials that are compared; below the best ones, none can be the best."""
STEPS = 200
CHANCES = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Quantiles of the estimated noise that probabilities are averaged over."""
SHOWN = 5
BEST_SIXTH = 0.8413
"""The share of a normal distribution that is less than one standard deviation above its median."""
ALARM = 0.025
"""One-sided: how seldom a holdout falls so far below the cross-validation by chance."""


@dataclass(frozen=True)
class Lead:
    """The winner's lead over another trial.

    Attributes:
        trial: the other one.
        estimate: mean over the folds of the winner's score minus the other's; positive where the winner is better.
        low, high: the corrected 95 % interval.
    """

    trial: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Certainty:
    """What the folds say about the winner.

    Attributes:
        winner: number of the trial.
        trials: complete trials that were compared.
        shares: for the trials that are likeliest the best, the probability of it, highest first; and the winner's.
        expected: the winner's mean less its expected luck.
        runner_up, champion: leads over the next trial and over the champion's, where that is a trial of this study.
        within_one_error: trials whose mean lies within one standard error of the best mean, the best one included.
        noise: share of the spread between the trials' means that the folds' noise explains, 0 to 1.
        alarms: one sentence for each sign of overtuning.
        verdict: one sentence on how far the winner can be told from the others.
    """

    winner: int
    trials: int
    shares: Mapping[int, float]
    expected: float
    runner_up: Lead | None
    champion: Lead | None
    within_one_error: tuple[int, ...]
    noise: float
    alarms: tuple[str, ...]
    verdict: str


def certainty_of(view: StudyView, winner: int | None = None) -> Certainty | None:
    """What a study's folds say about its winner; None with fewer than three complete trials or with a single fold.

    Args:
        winner: the trial that was selected, by its number; by default the view's.
    """
    number = view.winner if winner is None else winner
    sign = 1.0 if view.sweep.goal == "maximize" else -1.0
    scores = _scores(view)
    if number not in scores or len(scores) < FEWEST_TRIALS or len(scores[number]) < FEWEST_FOLDS:
        return None
    means = {each: sign * fmean(scores[each]) for each in scores}
    trials = sorted(scores, key=lambda each: (-means[each], each))
    overlap = 1 / (_folds_at_once(view) - 1)
    noise = noise_of([[sign * value for value in scores[each]] for each in trials], overlap)
    kept = trials[:MOST_TRIALS] if number in trials[:MOST_TRIALS] else [*trials[: MOST_TRIALS - 1], number]
    likely = dict(zip(kept, probabilities([means[each] for each in kept], noise), strict=True))
    best = sorted(likely, key=lambda each: -likely[each])[:SHOWN]
    error = math.sqrt(variance(scores[trials[0]]) / len(scores[number]))
    near = tuple(each for each in trials if means[trials[0]] - means[each] <= error)
    other = next((each for each in trials if each != number), None)
    held = None if view.champion is None else view.champion.trial
    return Certainty(
        winner=number,
        trials=len(trials),
        shares={each: likely[each] for each in dict.fromkeys((*best, number))},
        expected=sign * noise.without_luck(means[number]),
        runner_up=None if other is None else lead(number, other, scores, sign, overlap),
        champion=lead(number, held, scores, sign, overlap) if held in scores and held != number else None,
        within_one_error=near,
        noise=noise.share,
        alarms=tuple(_alarms(view, number, scores, sign, overlap, noise)),
        verdict=_verdict(number, len(trials), likely, len(near)),
    )


@dataclass(frozen=True)
class Noise:
    """How far trials' means differ by chance.

    Attributes:
        center: the median of the trials' means.
        variance: of one trial's mean.
        freedom: degrees of freedom of this estimate.
        spread: variance of the true means; 0 where noise explains all differences.
    """

    center: float
    variance: float
    freedom: int
    spread: float

    @property
    def share(self) -> float:
        """Of the variance between the observed means, what noise explains."""
        return self.variance / (self.variance + self.spread) if self.variance + self.spread > 0 else 0.0

    def without_luck(self, mean: float) -> float:
        """A trial's expected level: its mean, moved towards the center by the share of noise."""
        return self.center + (1 - self.share) * (mean - self.center)


def noise_of(table: Sequence[Scores], overlap: float) -> Noise:
    """The noise of the means of a table of scores, trials by folds, the best trial first and higher scores better.

    A score is the trial's own level, plus the fold's difficulty, plus noise, whose variance s² is estimated from the
    residuals of the better half of the trials. A mean then has the variance (1/J + n_test/n_train)·s²: the second term
    is for the overlap of training sets (Nadeau and Bengio, "Inference for the generalization error", Machine Learning
    52, 2003). The spread of the true levels is what the observed one exceeds this by. It is measured on the better
    side, between the median and the best sixth, since trials that diverge lie on the other; of a few trials, all count.

    Args:
        overlap: n_test/n_train.
    """
    means = [fmean(each) for each in table]
    better = table[: max(3, (len(table) + 1) // 2)]
    folds = [fmean(column) for column in zip(*better, strict=True)]
    level = fmean(folds)
    residuals = [
        value - mean - fold + level
        for scores, mean in zip(better, means, strict=False)
        for value, fold in zip(scores, folds, strict=True)
    ]
    freedom = (len(better) - 1) * (len(folds) - 1)
    noise = math.fsum(each**2 for each in residuals) / freedom * (1 / len(folds) + overlap)
    if noise < 1e-24 * level**2:  # rounding
        noise = 0.0
    half = quantile(sorted(means), BEST_SIXTH) - median(means)
    observed = half**2 if len(means) >= FEW_TRIALS else variance(means)
    return Noise(median(means), noise, freedom, max(observed - noise, 0.0))


def probabilities(means: Sequence[float], noise: Noise) -> list[float]:
    """For each trial the probability that it is the best, by its mean; higher is better.

    Posteriors are normal: a prior around the center with the true levels' spread, which takes back what is luck, so
    that the probabilities also hold for the best of many trials (Efron and Morris, "Data analysis using Stein's
    estimator", 1975), and the noise. The probability of trial t is the integral of its density times the others'
    distribution functions, averaged over what the noise may be, given its estimate (Wilson and Hilferty's quantiles of
    chi-squared).
    """
    if noise.variance == 0 or noise.spread == 0:
        equal = [noise.variance > 0 or mean == max(means) for mean in means]
        return [each / sum(equal) for each in equal]
    averaged = [0.0] * len(means)
    for chance in CHANCES:
        freedom = noise.freedom
        ratio = (1 - 2 / (9 * freedom) + NormalDist().inv_cdf(chance) * math.sqrt(2 / (9 * freedom))) ** 3
        found = Noise(noise.center, noise.variance / max(ratio, 0.05), freedom, noise.spread)
        levels = [found.without_luck(mean) for mean in means]
        for index, share in enumerate(_best(levels, math.sqrt((1 - found.share) * found.variance))):
            averaged[index] += share / len(CHANCES)
    return averaged


def _best(levels: Sequence[float], width: float) -> list[float]:
    """For each of normal variables with these means and this standard deviation, how likely it is the largest."""
    top = max(levels)
    low, high = top - 5 * width, top + 5 * width
    shares = [0.0] * len(levels)
    for step in range(STEPS):
        x = low + (high - low) * (step + 0.5) / STEPS
        below = [max(0.5 * math.erfc((level - x) / (width * math.sqrt(2))), 1e-300) for level in levels]
        all_below = math.fsum(map(math.log, below))
        for index, level in enumerate(levels):
            shares[index] += math.exp(all_below - math.log(below[index]) - 0.5 * ((x - level) / width) ** 2)
    total = math.fsum(shares)
    return [share / total for share in shares]


def lead(winner: int, other: int, scores: Mapping[int, Scores], sign: float, overlap: float) -> Lead:
    """A trial's lead over another one, paired over the folds, with Nadeau and Bengio's corrected interval."""
    difference = [sign * (mine - others) for mine, others in zip(scores[winner], scores[other], strict=True)]
    folds, estimate = len(difference), fmean(difference)
    half = student(0.975, folds - 1) * math.sqrt((1 / folds + overlap) * variance(difference))
    return Lead(other, estimate, estimate - half, estimate + half)


def student(chance: float, freedom: int) -> float:
    """Quantile of Student's t above its median, by bisection, which spares the report an import of SciPy."""
    low, high = 0.0, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if student_cdf(middle, freedom) < chance else (low, middle)
    return high


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of ascending numbers, interpolated between the two nearest."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _scores(view: StudyView) -> dict[int, Scores]:
    """The objective of the complete trials on each fold, by trial. All have the same folds."""
    metric, folds = view.sweep.metric, view.sweep.folds
    found: dict[int, Scores] = {}
    for trial in view.trials:
        row = [each.metrics.get(metric, math.nan) for each in sorted(trial.folds, key=lambda each: each.fold)]
        if trial.state == "complete" and len(row) == folds and all(map(math.isfinite, row)):
            found[trial.number] = row
    return found


def _folds_at_once(view: StudyView) -> int:
    """Into how many parts the rows are split at a time; repeated splits do it several times."""
    section = view.sweep.experiment.get("cross_validation")
    repeats = section.get("repeats", 1) if isinstance(section, Mapping) else 1
    return max(view.sweep.folds // max(int(repeats or 1), 1), 2)


def _alarms(
    view: StudyView, winner: int, scores: Mapping[int, Scores], sign: float, overlap: float, noise: Noise
) -> list[str]:
    metric = view.sweep.metric
    refits = {each.number: each.holdout[metric] for each in view.trials if metric in each.holdout}
    found = []
    if winner in refits:
        found += _below(view, refits[winner], scores[winner], sign, overlap)
        others = [value for number, value in refits.items() if number != winner]
        if len(others) >= 2 and all(sign * refits[winner] < sign * each for each in others):
            best = max(others) if sign > 0 else min(others)
            found.append(
                f"On the holdout, trial {winner} is the worst of the {len(refits)} refitted trials: {metric} "
                f"{score(refits[winner])}, the best has {score(best)}."
            )
    if noise.share > 0.5:
        found.append(
            f"More configurations than the folds can rank: {noise.share:.0%} of the spread between {len(scores)} "
            "complete trials is noise. More folds or more rows tell them apart; more trials do not."
        )
    return found


def _below(view: StudyView, holdout: float, folds: Scores, sign: float, overlap: float) -> list[str]:
    """An alarm where the holdout is further below the cross-validation than chance explains.

    A score's variance is taken to fall with the number of rows. The gap then has the variance
    s²·(1/J + n_test/n_train + n_validation/n_holdout), with Student's t for the estimated s².
    """
    section = view.sweep.experiment.get("data")
    share = section.get("holdout") if isinstance(section, Mapping) else None
    if not isinstance(share, int | float) or not 0 < share < 1:
        return []
    validation = (1 - share) / _folds_at_once(view)
    error = math.sqrt(variance(folds) * (1 / len(folds) + overlap + validation / share))
    gap = sign * (fmean(folds) - holdout)
    most = student(1 - ALARM, len(folds) - 1) * error
    if gap <= most:
        return []
    return [
        f"The holdout is far below the cross-validation: {view.sweep.metric} {score(holdout)} against "
        f"{score(fmean(folds))}, where chance explains {score(most)}. The sweep has tuned to its folds, or the "
        "holdout's rows are of another kind."
    ]


def _verdict(winner: int, trials: int, likely: Mapping[int, float], near: int) -> str:
    share = likely[winner]
    other = max((each for each in likely if each != winner), key=lambda each: likely[each])
    chance = f"Trial {winner} is the best of the {trials} complete trials with probability {_chance(share)}"
    if share >= 0.95:
        return f"{chance}: the folds single it out."
    rival = f"; the likeliest other is trial {other} with {_chance(likely[other])}"
    if near > 1:
        return f"{chance}{rival}. {near} trials are within one standard error of the best mean."
    return f"{chance}{rival}."


def _chance(share: float) -> str:
    return "below 0.01" if share < 0.01 else "above 0.99" if share > 0.99 else f"{share:.2f}"
