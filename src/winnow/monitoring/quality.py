"""Live quality: what became of a version's predictions, by window and slice, against rows it was not trained on.

Outcomes arrive late. Predictions that are newer than `delay` are left out, so that what is judged does not depend on
which outcomes come first. The test for degradation is computed anew at every check and keeps no state: it starts once
in each window that has outcomes, and holds however often one looks (`statistics.log_since`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from msgspec import Struct, structs
from numpy.typing import NDArray
from scipy.special import betaincinv, logsumexp, stdtrit

from winnow.bundle.profile import QUANTILES, Losses, Profile
from winnow.config.monitoring import QualityConfig
from winnow.config.quantities import seconds_of
from winnow.finding import Finding, Result
from winnow.monitoring.charts import number
from winnow.monitoring.outcomes import CONFIDENCE, mean_interval
from winnow.monitoring.quality_log import LoggedQuality, Sums, read_quality
from winnow.monitoring.report import LiveQuality, QualityPart
from winnow.report.frame import when
from winnow.routing import OutcomeCounts
from winnow.statistics import BETS, log_excess, log_since
from winnow.study.formatting import duration, score

MONTH_S = 30 * 86400.0
MOST_WINDOWS = 720
"""Predictions count for 30 days, and for as many windows at most."""
SHOWN_WINDOWS = 60
LEAST_EVIDENCE = 20.0
"""Threshold of the test where windows are so long that the allowed false alarms would ask for less."""
QUARTERS = (0.25, 0.5, 0.75)
NOTABLE_DELAY = 0.1
"""Beyond `delay`, as a share of the window: shorter delays hardly show in it."""
FEWEST_FOR_BIAS, BIAS_SIGMA = 50, 3.0
SOURCES = {"holdout": "the holdout", "folds": "held-out folds", "training": "the training rows"}


class Standard(Struct, frozen=True):
    """What live outcomes are held against.

    Attributes:
        known: the metric on rows that the model was not trained on, which `source` names.
        margin: by how much the metric may be worse, in its units.
        loss: a larger mean loss is a degradation; the loss is 1 - accuracy, or the error.
        evidence: the threshold of the test, an e-value.
        needed: about how many outcomes it takes to find twice that loss.
    """

    metric: str
    known: Losses
    source: str
    margin: float
    loss: float
    evidence: float
    needed: int

    @property
    def allowed(self) -> float:
        """`loss` as a value of the metric."""
        return 1 - self.loss if self.metric == "accuracy" else self.loss


def judge_quality(
    paths: Sequence[str],
    profile: Profile,
    config: QualityConfig,
    *,
    deployment: str,
    version: str,
    now: float,
    false_alarms_per_month: float,
    is_open: bool = False,
) -> LiveQuality:
    """Compare the outcomes of a version's predictions with what its profile says of rows it was not trained on.

    Args:
        paths: of the prediction log, as `log_files.local_files`.
        deployment, version: whose predictions count.
        now: seconds since the epoch.
        false_alarms_per_month: how many alarms about quality may be false in 30 days, on average.
        is_open: the alarm holds already. It then ends when no evidence is left, not as soon as there is less than it
            takes to raise it, so that one degradation is one alarm.

    Raises:
        InputError: a path names no file, or outcomes have no value of the metric.
        WinnowError: the files cannot be read.
    """
    metric = config.metric or ("accuracy" if any(each.labels for each in profile.outputs) else "absolute_error")
    window_s, until = seconds_of(config.window), now - seconds_of(config.delay)
    bounds = {name: _quarters(profile, name) for name in config.slices}
    log = read_quality(
        paths,
        metric,
        deployment=deployment,
        version=version,
        since=math.floor((until - min(MONTH_S, MOST_WINDOWS * window_s)) / window_s) * window_s,
        until=until,
        window_s=window_s,
        slices=bounds,
    )

    def window(sums: Sums) -> QualityPart:
        """A window with its own bounds, not those of its predictions."""
        start = sums.window * window_s
        return structs.replace(_together([sums], metric), since=start, until=min(start + window_s, until))

    standard = standard_of(metric, profile, config.margin, window_s, false_alarms_per_month)
    degradation, began = _shown_only(log, metric) if standard is None else _judged(log, standard, is_open)
    return LiveQuality(
        metric=metric,
        reference=None if standard is None else standard.known.mean,
        reference_rows=0 if standard is None else standard.known.rows,
        reference_source=profile.output_source,
        allowed=None if standard is None else standard.allowed,
        degradation=degradation,
        since=None if began is None else began * window_s,
        windows=tuple(window(each) for each in log.windows[-SHOWN_WINDOWS:]),
        slices=tuple(
            part
            for name, found in log.slices.items()
            for part in _slices(name, _since(found or (), began), bounds[name], metric)
        ),
        waiting=log.waiting,
        lag_s=(log.halves[0].median_s, log.halves[0].most_s) if log.halves else None,
        notes=tuple(_notes(log, profile, metric, seconds_of(config.delay), window_s)),
    )


def standard_of(
    metric: str, profile: Profile, margin: float, window_s: float, false_alarms_per_month: float
) -> Standard | None:
    """What the metric is held against; None where the profile does not know it, or where it cannot get worse.

    On a few held-out rows the metric is itself a matter of chance. So a loss is allowed up to the upper end of its
    interval (one-sided, 0.95; Clopper and Pearson's for shares, Student's for means), and `margin` more.
    """
    known = profile.losses.get(metric)
    if known is None or known.rows < 2:
        return None
    if metric == "accuracy":
        wrong = round(known.rows * (1 - known.mean))
        loss = float(betaincinv(wrong + 1, known.rows - wrong, CONFIDENCE)) + margin if wrong < known.rows else 1.0
        twice = min(2 * loss, (1 + loss) / 2)
        variance = twice * (1 - twice)
    else:
        half = float(stdtrit(known.rows - 1, CONFIDENCE)) * math.sqrt(known.variance / (known.rows - 1))
        loss = known.mean + half + margin
        twice, variance = 2 * loss, 4 * known.variance
    if loss <= 0 or (metric == "accuracy" and loss >= 1):
        return None
    evidence = max(MONTH_S / window_s / false_alarms_per_month, LEAST_EVIDENCE)
    # The logarithm that the best bet wins by each outcome, on average, to the second order.
    won = (twice - loss) ** 2 / (2 * (variance + (twice - loss) ** 2))
    needed = math.ceil(math.log(evidence * len(BETS)) / won)
    source = SOURCES.get(profile.output_source, profile.output_source)
    return Standard(metric, known, source, margin, loss, evidence, needed)


def _judged(log: LoggedQuality, standard: Standard, is_open: bool) -> tuple[Finding, int | None]:
    """The verdict, and the window that a degradation began in."""
    keys, log_e = _evidence(log, standard)
    threshold = math.log(len(keys) if is_open else standard.evidence) if len(keys) else 0.0
    is_worse = len(keys) > 0 and float(logsumexp(log_e)) >= threshold
    began = int(keys[np.argmax(log_e)]) if is_worse else None
    found = _together(_since(log.windows, began), standard.metric)
    n, side = found.outcomes, "below" if standard.metric == "accuracy" else "above"
    rule = f"mean {side} {score(standard.allowed)}, by a sequential test that may be looked at at every check"
    known = f"{score(standard.known.mean)} on {standard.known.rows:,} rows of {standard.source}"
    if is_worse:
        result, reason = Result.FAIL, f"{_measured(found, standard.metric)} since {when(found.since)}; it was {known}"
    elif n >= standard.needed:
        result, reason = Result.PASS, f"{_measured(found, standard.metric)}; it was {known}"
    else:
        result = Result.NOT_ENOUGH_DATA
        reason = f"{_measured(found, standard.metric)}; it takes about {standard.needed:,} to tell whether it is worse"
    return Finding(standard.metric, found.estimate, found.interval, n, standard.margin, rule, result, reason), began


def _shown_only(log: LoggedQuality, metric: str) -> tuple[Finding, None]:
    found = _together(log.windows, metric)
    reason = f"{_measured(found, metric)}; the profile has nothing to compare it with"
    result = Result.NOT_ENOUGH_DATA
    return Finding(metric, found.estimate, found.interval, found.outcomes, 0.0, "none", result, reason), None


def _evidence(log: LoggedQuality, standard: Standard) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The windows with outcomes, and log E since the start of each."""
    losses = 1 - log.values if standard.metric == "accuracy" else log.values
    keys, places = np.unique(log.outcome_windows, return_inverse=True)
    excess = np.zeros((len(keys), len(BETS)))
    np.add.at(excess, places, log_excess(losses, standard.loss))
    return keys, log_since(excess)


def _since(sums: Sequence[Sums], began: int | None) -> list[Sums]:
    """Those of the window that a degradation began in, and later ones; all without one."""
    return [each for each in sums if began is None or each.window >= began]


def _together(sums: Sequence[Sums], metric: str, name: str = "") -> QualityPart:
    columns = ([each.requests, each.outcomes, each.total, each.square_total] for each in sums)
    requests, outcomes, total, squares = map(sum, zip((0, 0, 0.0, 0.0), *columns, strict=True))
    since, until = (sums[0].since, sums[-1].until) if sums else (0.0, 0.0)
    estimate = total / outcomes if outcomes else None
    interval = mean_interval(OutcomeCounts(0, requests, outcomes, total, squares), metric)
    return QualityPart(name, since, until, requests, outcomes, estimate, interval)


def _quarters(profile: Profile, name: str) -> tuple[float, ...]:
    """The bounds between the quarters of the training rows; none for a column that is no number."""
    column = profile.column(name)
    if column is None or column.kind != "number" or not column.quantiles:
        return ()
    return tuple(sorted({column.quantiles[QUANTILES.index(share)] for share in QUARTERS}))


def _slices(name: str, found: Sequence[Sums], bounds: Sequence[float], metric: str) -> Iterator[QualityPart]:
    """The most frequent values first, intervals in order, what is rare or missing last."""
    by_key: dict[Any, list[Sums]] = {}
    for each in found:
        by_key.setdefault(each.key, []).append(each)

    def place(key: Any) -> tuple[Any, ...]:
        requests = sum(each.requests for each in by_key[key])
        return (key is None, key) if bounds else (key is None, key == "", -requests, key)

    for key in sorted(by_key, key=place):
        if key is None:
            text = f"{name} missing"
        elif not bounds:
            text = f"{name} = {key}" if key else f"{name}: others"
        elif key == 0:
            text = f"{name} up to {number(bounds[0])}"
        elif key == len(bounds):
            text = f"{name} above {number(bounds[-1])}"
        else:
            text = f"{name} {number(bounds[key - 1])} to {number(bounds[key])}"
        yield _together(by_key[key], metric, text)


def _notes(log: LoggedQuality, profile: Profile, metric: str, delay_s: float, window_s: float) -> Iterator[str]:
    """What may distort the figures."""
    if profile.output_source == "training":
        yield "The model was trained on the rows that it is compared with: live figures look worse than they are."
    for name, found in log.slices.items():
        if found is None:
            yield f"No logged prediction has the column '{name}': add it to `serving.log.fields`."
    if not log.halves or log.halves[0].most_s <= delay_s + NOTABLE_DELAY * window_s:
        return
    yield (
        f"A tenth of the outcomes took longer than {duration(log.halves[0].most_s)}: the newest windows lack some. "
        "`monitoring.quality.delay` says how long to wait."
    )
    if len(log.halves) < 2:
        return
    early, late = log.halves
    if min(early.outcomes, late.outcomes) < FEWEST_FOR_BIAS or early.variance is None or late.variance is None:
        return
    error = math.sqrt(early.variance / early.outcomes + late.variance / late.outcomes)
    if abs(late.mean - early.mean) > BIAS_SIGMA * error:
        is_better = (late.mean > early.mean) == (metric in ("accuracy", "value"))
        yield (
            f"Outcomes that took longer than {duration(early.median_s)} are {'better' if is_better else 'worse'} "
            f"({score(late.mean)}) than earlier ones ({score(early.mean)}): the newest windows look "
            f"{'worse' if is_better else 'better'} than they will."
        )


def _measured(part: QualityPart, metric: str) -> str:
    if not part.outcomes:
        return f"no outcome is known of {part.requests:,} requests"
    low, high = part.interval
    between = "" if low is None or high is None else f"{score(low)} to {score(high)}, "
    return f"{metric.replace('_', ' ')} is {score(part.estimate)} ({between}{part.outcomes:,} outcomes)"
