"""A look at a deployment whose rows and outcomes have moved: real columns, injected drifts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_breast_cancer

from winnow.bundle.profile import QUANTILES, ColumnCounts, ColumnProfile, Losses, Profile
from winnow.config.monitoring import QualityConfig
from winnow.finding import Finding, Result
from winnow.monitoring.drift import find_drift, needed_rows
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.quality import judge_quality
from winnow.monitoring.report import Alarm, LiveQuality, MonitoringReport

DAY = 86400.0
NOW = 20_000.5 * DAY
ALPHA = 1e-3
REGIONS = ("north", "south", "east", "west & <b>isles</b>")


def number(name: str, values: np.ndarray, importance: float | None = None) -> ColumnProfile:
    edges = tuple(float(each) for each in np.unique(np.quantile(values, np.linspace(0, 1, 21)[1:-1])))
    centre, scale = float(np.median(values)), float(values.std())
    quantiles = tuple(float(each) for each in np.quantile(values, QUANTILES))
    empty = ColumnProfile(name, "number", ColumnCounts(()), edges, (), centre, scale, quantiles, importance, 0.002)
    return ColumnProfile(name, "number", counted(empty, values), edges, (), centre, scale, quantiles, importance, 0.002)


def category(name: str, labels: tuple[str, ...], codes: np.ndarray, importance: float | None = None) -> ColumnProfile:
    counts = ColumnCounts(tuple(np.bincount(codes, minlength=len(labels)).tolist()))
    return ColumnProfile(name, "category", counts, labels=labels, importance=importance)


def counted(column: ColumnProfile, values: np.ndarray) -> ColumnCounts:
    """Numbers into the column's bins; NaN is missing."""
    present = values[~np.isnan(values)]
    bins = np.bincount(np.searchsorted(column.edges, present), minlength=len(column.edges) + 1)
    rest = present - column.centre
    return ColumnCounts(tuple(bins.tolist()), len(values) - len(present), 0, float(rest.sum()), float((rest**2).sum()))


def sample_profile() -> Profile:
    rng, data = np.random.default_rng(1), load_breast_cancer()
    columns = [
        number(str(name), data.data[:, index], max(0.03 - 0.004 * index, -0.001) if index < 12 else 0.0)
        for index, name in enumerate(data.feature_names)
    ]
    columns.insert(2, category("region", REGIONS, rng.choice(4, 569, p=[0.4, 0.3, 0.2, 0.1]), 0.017))
    outputs = (
        category("prediction", ("benign", "malignant"), (rng.random(114) < 0.37).astype(int)),
        number("confidence", rng.beta(20, 1, 114)),
    )
    known = {"accuracy": Losses(114, 110 / 114, 110 / 114 * 4 / 114)}
    return Profile(569, tuple(columns), outputs, 114, "holdout", known, 0, "f1")


def sample_live(profile: Profile, rows: int = 1200) -> LiveCounts:
    """Resampled training rows; a shift, a unit, nulls, a new region, and other answers."""
    rng, data = np.random.default_rng(2), load_breast_cancer()
    chosen = data.data[rng.integers(0, len(data.data), rows)]
    columns = {}
    for index, name in enumerate(data.feature_names):
        values = chosen[:, index].copy()
        if index == 0:
            values += 0.5 * data.data[:, 0].std()
        if index == 3:
            values *= 10
        if index == 7:
            values[rng.random(rows) < 0.1] = np.nan
        column = profile.column(str(name))
        assert column is not None
        columns[str(name)] = counted(column, values)
    regions = rng.multinomial(rows - 90, [0.25, 0.25, 0.25, 0.25])
    columns["region"] = ColumnCounts(tuple(regions.tolist()), unknown=90)
    answers = rng.multinomial(rows, [0.25, 0.75])
    outputs = {
        "prediction": ColumnCounts(tuple(answers.tolist())),
        "confidence": counted(profile.outputs[1], rng.beta(20, 1, rows)),
    }
    return LiveCounts("cancer", "4", "3f9c" * 16, NOW - DAY / 24, NOW, rows, columns, outputs)


def sample_quality(folder: Path, profile: Profile) -> LiveQuality:
    """Three weeks of outcomes, which are worse from the last three days on."""
    rng, lines = np.random.default_rng(3), []
    for day in range(-21, 0):
        for place in range(120):
            at, request = NOW + day * DAY + 700 * place, f"{day}-{place}"
            region = REGIONS[int(rng.choice(4))]
            is_right = rng.random() < (0.965 if day < -3 else 0.7 if region != "north" else 0.93)
            fields = {"region": region, "mean radius": float(rng.normal(14, 3))}
            predicted = {"event": "prediction", "kind": "assigned", "deployment": "cancer", "version": "4", "time": at}
            lines.append(predicted | {"request_id": request, "prediction": "benign", "fields": fields})
            if rng.random() < 0.8:
                outcome = "benign" if is_right else "malignant"
                arrival = at + rng.exponential(4 * 3600)
                lines.append({"event": "outcome", "time": arrival, "request_id": request, "outcome": outcome})
    (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    return judge_quality(
        [str(folder / "log.jsonl")],
        profile,
        QualityConfig(slices=("region", "mean radius", "age"), delay="6h"),
        deployment="cancer",
        version="4",
        now=NOW,
        false_alarms_per_month=0.25,
    )


def sample_report(folder: Path) -> tuple[MonitoringReport, Profile]:
    profile = sample_profile()
    live = sample_live(profile)
    quality = sample_quality(folder, profile)
    drift = find_drift(profile, live, ALPHA)
    moved = [each for each in drift if each.result is Result.FAIL]
    found = {each.name: next(one for one in each.findings if one.result is Result.FAIL) for each in moved}
    alarms = [Alarm("WinnowDrift", name, each.reason, live.since - 3 * DAY) for name, each in found.items()]
    alarms.append(Alarm("WinnowQuality", quality.metric, quality.degradation.reason, quality.since or NOW))
    told = "A classifier tells live rows from training rows with an AUC of 0.81; chance reaches 0.55."
    joint = Finding("joint", 0.81, (0.78, 0.84), 1200, 0.55, "AUC", Result.FAIL, told)
    rules = (
        Finding("SlowAnswers", 0.02, (None, None), 9, 0.25, "latency", Result.PASS, "The 0.95 quantile is 20 ms."),
        Finding("ManyErrors", 0.08, (None, None), 9, 0.05, "error_rate", Result.FAIL, "8 % are errors, above 5 %."),
    )
    report = MonitoringReport(
        deployment="cancer",
        model="cancer",
        version="4",
        digest=live.digest,
        checked_at=NOW,
        since=live.since,
        until=live.until,
        rows=live.rows,
        needed_rows=needed_rows(profile, ALPHA),
        source="2 replicas",
        drift=drift,
        joint=joint,
        quality=quality,
        rules=rules,
        skipped=("importances: the reference rows cannot be read.",),
        alarms=tuple(alarms),
    )
    return report, profile
