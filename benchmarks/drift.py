"""How often drift is found where there is none, and how soon where there is some.

A data set stands for the population. A replay draws the training rows, the holdout and the live rows from it with
replacement, makes a reference profile of the first two, and counts the live rows in the profile's bins, as replicas do.

- False alarms: a month of 720 hourly checks of 1,000 rows each, without drift. At the default of one false alarm in 30
  days, the mean number over many months has to be 1 or less. Every column that begins to alarm counts as one.
- Detection: the live rows have one of five drifts. How many windows of 1,000 rows, and of 500, show it?

    python benchmarks/drift.py [months] [windows] [data sets]

Data sets that need the extra `bench` are left out without it. Seeds are fixed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
from msgspec.structs import replace as with_
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from winnow.bundle.columns import Column
from winnow.bundle.profile import CONFIDENCE, PREDICTION, ColumnCounts, ColumnProfile, Profile
from winnow.finding import Result
from winnow.monitoring.drift import OUTPUTS, alpha_per_check, find_drift, gaps_between
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.thresholds import CURVATURE, divergence, wasserstein
from winnow.training.profiling import column_profiles

Floats = NDArray[np.float64]
CHECKS, ROWS = 720, 1000
ALPHA = alpha_per_check(1.0, 3600)
LEAST_VALUES = 5
"""Columns that are shifted, or change their unit, have as many distinct values, and not mostly the smallest one."""
SCREEN = 1e-4
"""A column is judged by `find_drift` where its asymptotic p-value is below this, which is far above any test's α."""


@dataclass(frozen=True)
class Population:
    """Rows to draw from.

    Attributes:
        values: [rows, columns]; codes for categories, NaN where a value is missing, -1 for a new category.
        labels: of each column, the texts of its codes; none for numbers.
        target: a class's code, or a number.
        predict: answers to rows: a class's code and its probability, or a number and nothing.
        classes: how many; 0 for regression.
    """

    name: str
    values: Floats
    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    target: Floats
    predict: Callable[[Floats], tuple[Floats, ...]]
    classes: int


def population(name: str, values: Floats, names: Any, target: Any, labels: Any = None, classes: int = 0) -> Population:
    """A population, with a model that was trained on half of its rows."""
    target = np.asarray(target, dtype=float)
    half = np.random.default_rng(0).permutation(len(values))[: len(values) // 2]
    model = _model(classes).fit(values[half], target[half])

    def predict(rows: Floats) -> tuple[Floats, ...]:
        if not classes:
            return (model.predict(rows),)
        chances = model.predict_proba(rows)
        return chances.argmax(axis=1).astype(float), chances.max(axis=1)

    texts = labels or ((),) * values.shape[1]
    return Population(name, values, tuple(map(str, names)), texts, target, predict, classes)


def _model(classes: int) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000) if classes else Ridge())


def bundled(name: str) -> Population:
    """A data set of scikit-learn, whose first column with enough values becomes a category: its quarters."""
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    values = bunch.data.astype(float)
    values = values[:, values.std(axis=0) > 0]
    first = next(each for each in range(values.shape[1]) if len(np.unique(values[:, each])) >= LEAST_VALUES)
    values[:, first] = np.searchsorted(np.quantile(values[:, first], [0.25, 0.5, 0.75]), values[:, first])
    labels = [()] * values.shape[1]
    labels[first] = ("low", "below", "above", "high")
    names = range(values.shape[1])
    classes = 0 if name == "diabetes" else len(bunch.target_names)
    return population(name, values, names, bunch.target, tuple(labels), classes)


def penguins() -> Population:
    """Species by measurements, sex, island and year, with the blanks of the original."""
    import palmerpenguins

    return _frame("penguins", palmerpenguins.load_penguins(), "species", ("island", "sex"))


def fair() -> Population:
    """Whether there was an affair, by the answers to a magazine's survey."""
    import statsmodels.datasets

    frame = statsmodels.datasets.fair.load_pandas().data
    frame["affairs"] = (frame["affairs"] > 0).astype(int)
    return _frame("fair", frame, "affairs", ("occupation", "occupation_husb"))


def anes96() -> Population:
    """The vote for president, by the answers to the American National Election Study of 1996."""
    import statsmodels.datasets

    frame = statsmodels.datasets.anes96.load_pandas().data
    return _frame("anes96", frame, "vote", ("educ",))


def _frame(name: str, frame: Any, target: str, categories: tuple[str, ...]) -> Population:
    columns = [each for each in frame.columns if each != target]
    values, labels = np.empty((len(frame), len(columns))), []
    for index, column in enumerate(columns):
        if column in categories:
            codes = frame[column].astype("category").cat
            values[:, index] = np.where(codes.codes < 0, np.nan, codes.codes)
            labels.append(tuple(map(str, codes.categories)))
        else:
            values[:, index], labels = frame[column], [*labels, ()]
    classes = frame[target].astype("category").cat
    return population(name, values, columns, classes.codes, tuple(labels), len(classes.categories))


@dataclass(frozen=True)
class Counter:
    """Rows of a population in the bins of a profile: what each row adds, so that counts of windows are one product."""

    profile: Profile
    added: Floats
    parts: tuple[tuple[bool, ColumnProfile, slice], ...]

    def windows(self, drawn: Floats) -> Iterator[LiveCounts]:
        """Counts of windows of which each has so many of each row of the population, [windows, rows]."""
        for number, line in enumerate(drawn @ self.added):
            columns: dict[str, ColumnCounts] = {}
            outputs: dict[str, ColumnCounts] = {}
            for is_output, column, part in self.parts:
                *bins, missing, unknown, total, square = line[part].tolist()
                counts = ColumnCounts(tuple(map(round, bins)), round(missing), round(unknown), total, square)
                (outputs if is_output else columns)[column.name] = counts
            since, rows = number * 3600.0, round(drawn[number].sum())
            yield LiveCounts("m", "1", "d", since, since + 3600, rows, columns, outputs)


def reference(source: Population, random: np.random.Generator) -> Profile:
    """The profile of training rows and a holdout of a quarter as many, together as many as the population has."""
    rows = len(source.values)
    trained = source.values[random.integers(0, rows, round(0.8 * rows))]
    held_out = source.predict(source.values[random.integers(0, rows, round(0.2 * rows))])
    columns = [_codec(name, labels) for name, labels in zip(source.names, source.labels, strict=True)]
    outputs = [Column("target")]
    if source.classes:
        outputs = [_codec(PREDICTION, tuple(map(str, range(source.classes)))), Column(CONFIDENCE)]
    profiles = [_counted(columns, trained), _counted(outputs, np.stack(held_out, axis=1))]
    return Profile(len(trained), *profiles, len(held_out[0]), "holdout")


def _codec(name: str, labels: tuple[str, ...]) -> Column:
    return Column(name, "category", "string", labels) if labels else Column(name)


def _counted(columns: list[Column], values: Floats) -> tuple[ColumnProfile, ...]:
    """The profile that a refit would compute of these rows."""
    found = []
    for column, mine in zip(column_profiles(values.astype(np.float32), columns), values.T, strict=True):
        *bins, missing, unknown, total, square = _added(column, mine).sum(axis=0).tolist()
        counts = ColumnCounts(tuple(map(round, bins)), round(missing), round(unknown), total, square)
        found.append(with_(column, counts=counts))
    return tuple(found)


def _added(column: ColumnProfile, values: Floats) -> Floats:
    """What each row adds to bins, missing, unknown, sum and sum of squares, [rows, bins + 4]."""
    bins = len(column.labels) or len(column.edges) + 1
    edges = np.array(column.edges, dtype=np.float32)
    index = values if column.labels else np.searchsorted(edges, values.astype(np.float32))
    index = np.where(np.isnan(values), bins, np.where((index < 0) & bool(column.labels), bins + 1, index)).astype(int)
    added = np.zeros((len(values), bins + 4))
    added[np.arange(len(values)), index] = 1
    if not column.labels:
        added[:, -2] = np.nan_to_num(values - column.centre)
        added[:, -1] = added[:, -2] ** 2
    return added


def counter(profile: Profile, source: Population) -> Counter:
    """Count a population's rows, and its model's answers, in the bins of a profile."""
    answers = source.predict(np.where(source.values < 0, np.nan, source.values) if _has_new(source) else source.values)
    compared = [(True, *pair) for pair in zip(profile.outputs, answers, strict=True)]
    compared += [(False, *pair) for pair in zip(profile.columns, source.values.T, strict=True)]
    blocks = [_added(column, values) for _, column, values in compared]
    ends = np.cumsum([0] + [block.shape[1] for block in blocks])
    parts = tuple(
        (is_output, column, slice(start, end))
        for (is_output, column, _), (start, end) in zip(compared, pairwise(ends.tolist()), strict=True)
    )
    return Counter(profile, np.concatenate(blocks, axis=1), parts)


def _has_new(source: Population) -> bool:
    return any(labels and (source.values[:, index] < 0).any() for index, labels in enumerate(source.labels))


def false_alarms(source: Population, random: np.random.Generator) -> tuple[int, int]:
    """A month without drift: checks that find some, and columns that begin to alarm."""
    profile, rows = reference(source, random), len(source.values)
    outputs = len(profile.outputs)
    counted = counter(profile, source)
    drawn = random.multinomial(ROWS, np.full(rows, 1 / rows), CHECKS).astype(float)
    suspects = suspicious(counted, drawn)
    tests = sum(len(each.findings) for each in find_drift(profile, next(counted.windows(drawn[:1])), ALPHA)[outputs:])
    asked = np.flatnonzero(suspects.any(axis=1))
    begun: list[tuple[int, str]] = []
    for number, live in zip(asked.tolist(), counted.windows(drawn[asked]), strict=True):
        some = tuple(
            one for one, is_suspect in zip(profile.columns, suspects[number, outputs:], strict=True) if is_suspect
        )
        # Every test has the α that it has among those of all columns.
        columns = with_(profile, columns=some, outputs=())
        part = sum(len(each.findings) for each in find_drift(columns, live, ALPHA)) / tests
        found = find_drift(with_(profile, columns=()), live, ALPHA * OUTPUTS)
        found += find_drift(columns, live, ALPHA * (1 - OUTPUTS) * part) if some else ()
        begun += [(number, f"{one.is_output} {one.name}") for one in found if one.result is Result.FAIL]
    still = {(number + 1, name) for number, name in begun}
    return len({number for number, _ in begun}), len(set(begun) - still)


def suspicious(counted: Counter, drawn: Floats) -> NDArray[np.bool_]:
    """Columns whose statistics are beyond what 1 of 10,000 windows has, [windows, columns]: thresholds are further."""
    lines, found = drawn @ counted.added, []
    for _, column, part in counted.parts:
        bins, known = lines[:, part][:, :-4], np.array(column.counts.bins)
        n, rows = bins.sum(axis=1), known.sum()
        both, places = 1 / n + 1 / rows, np.concatenate([[0.0], np.cumsum(gaps_between(column))])
        limit = chi2.isf(SCREEN, max(np.count_nonzero(known) - 1, 1))
        mine = np.zeros(len(drawn), dtype=bool)
        for terms, curvature in CURVATURE.items():
            mine |= divergence(terms, bins, known) * curvature / both > limit
        if not column.labels:
            spread = np.sqrt(np.cov(places, fweights=known) * both) if len(known) > 1 else 1.0
            mine |= wasserstein(bins, known, gaps_between(column)) > norm.isf(SCREEN / 2) * spread
        for index, before in ((part.stop - 4, column.counts.missing), (part.stop - 3, column.counts.unknown)):
            p, q, all_rows = lines[:, index] / ROWS, before / column.counts.rows, column.counts.rows
            middle = (lines[:, index] + before) / (ROWS + all_rows)
            spread = np.sqrt(middle * (1 - middle) * (1 / ROWS + 1 / all_rows))
            mine |= np.abs(p - q) > norm.isf(SCREEN / 2) * spread
        found.append(mine)
    return np.stack(found, axis=1)


Drifted = tuple[Population, Floats]
"""The population with a drift, and the chances of its rows to be drawn."""


def _evenly(source: Population, values: Floats) -> Drifted:
    return replace(source, values=values), np.full(len(values), 1 / len(values))


def _numbers(source: Population) -> list[int]:
    present = [each[~np.isnan(each)] for each in source.values.T]
    varied = [len(np.unique(each)) >= LEAST_VALUES and np.median(each) > each.min() for each in present]
    return [index for index, labels in enumerate(source.labels) if not labels and varied[index]]


def shifted(source: Population, random: np.random.Generator) -> Drifted:
    """A number is larger by half a standard deviation."""
    values, index = source.values.copy(), random.choice(_numbers(source))
    values[:, index] += 0.5 * np.nanstd(values[:, index])
    return _evenly(source, values)


def other_unit(source: Population, random: np.random.Generator) -> Drifted:
    """A number is in centimetres instead of inches."""
    values, index = source.values.copy(), random.choice(_numbers(source))
    values[:, index] *= 2.54
    return _evenly(source, values)


def new_category(source: Population, random: np.random.Generator) -> Drifted:
    """A tenth of the rows have a new category."""
    values = source.values.copy()
    index = random.choice([index for index, labels in enumerate(source.labels) if labels])
    values[random.random(len(values)) < 0.1, index] = -1
    return _evenly(source, values)


def nulls(source: Population, random: np.random.Generator) -> Drifted:
    """A tenth of the rows have no value in a column."""
    values = source.values.copy()
    values[random.random(len(values)) < 0.1, random.integers(values.shape[1])] = np.nan
    return _evenly(source, values)


def label_shift(source: Population, random: np.random.Generator) -> Drifted:
    """A class is more frequent by 20 points; of a number the larger half."""
    is_more = source.target > np.median(source.target)
    if source.classes:
        is_more = source.target == random.integers(source.classes)
    share = is_more.mean()
    return source, np.where(is_more, (share + 0.2) / share, (0.8 - share) / (1 - share)) / len(is_more)


DRIFTS = (shifted, other_unit, new_category, nulls, label_shift)


def is_found(source: Population, drift: Callable[..., Drifted], rows: int, random: np.random.Generator) -> bool:
    """Whether a window of so many rows with a drift shows that something moved."""
    profile = reference(source, random)
    drifted, chances = drift(source, random)
    drawn = random.multinomial(rows, chances, 1).astype(float)
    found = find_drift(profile, next(counter(profile, drifted).windows(drawn)), ALPHA)
    return any(each.result is Result.FAIL for each in found)


SETS: dict[str, Callable[[], Population]] = {
    **{name: (lambda name=name: bundled(name)) for name in ("breast_cancer", "wine", "digits", "diabetes")},
    "penguins": penguins,
    "fair": fair,
    "anes96": anes96,
}


def interval(values: Floats) -> tuple[float, float]:
    """Of the mean, at a confidence of 0.95, by the bootstrap: months with many alarms are rare."""
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (10_000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main(months: int = 200, windows: int = 50, *names: str) -> None:
    """Print both tables."""
    needs = {"penguins": "palmerpenguins", "fair": "statsmodels", "anes96": "statsmodels"}
    chosen = [name for name in (names or SETS) if name not in needs or find_spec(needs[name])]
    sources = {name: SETS[name]() for name in chosen}
    print(f"{months} months of {CHECKS} checks of {ROWS} rows without drift, with 1 false alarm a month allowed\n")
    print("| data | training rows, columns | checks with a finding | alarms begun, mean a month | 95 % interval |")
    print("|---|---|---|---|---|")
    for name, source in sources.items():
        found = np.array(
            [false_alarms(source, np.random.default_rng([1, each])) for each in range(months)], dtype=float
        )
        low, high = interval(found[:, 1])
        size = f"{round(0.8 * len(source.values))}, {source.values.shape[1]}"
        print(
            f"| {name} | {size} | {found[:, 0].sum():.0f} | {found[:, 1].mean():.2f} | {low:.2f} to {high:.2f} |",
            flush=True,
        )
    print(f"\nShare of {windows} windows of {ROWS} rows (of {ROWS // 2} rows) in which the drift is found\n")
    print("| data | " + " | ".join(each.__name__.replace("_", " ") for each in DRIFTS) + " |")
    print("|---" * (len(DRIFTS) + 1) + "|")
    for name, source in sources.items():
        cells = []
        for drift in DRIFTS:
            random = np.random.default_rng(2)
            shares = [
                np.mean([is_found(source, drift, rows, random) for _ in range(windows)]) for rows in (ROWS, ROWS // 2)
            ]
            cells.append(f"{shares[0]:.0%} ({shares[1]:.0%})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*(int(each) for each in sys.argv[1:3]), *sys.argv[3:])
