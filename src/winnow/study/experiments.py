"""Experiments: the studies that register versions of one model, those versions, and studies side by side.

Pure functions from what the storage and the registry hold to values, and from these to the tables that people read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from winnow.routing import Versioned
from winnow.study.catalog import StudySummary
from winnow.study.formatting import duration, one_line, score, setting
from winnow.tracking.projection import flatten, mean_and_spread
from winnow.tracking.records import SweepRecord, TrialRecord

_SHORT = 12
"""Shown characters of a digest."""
_COMPARABLE: Mapping[str, str] = {
    "data_sha256": "data",
    "folds": "number of folds",
    "splitter": "splitter",
    "holdout_share": "share of the holdout",
    "metric": "metric",
    "goal": "direction",
    "seed": "seed",
}
"""What has to be the same for scores to be comparable, in words."""


@dataclass(frozen=True)
class ExperimentStudy:
    """A study of an experiment in a few values.

    Attributes:
        state: "in work", "done", "stopped", "refused" or "unfinished".
        trials: number of trials, by state.
        target: how many trials the study is to have.
        winner: number of the trial with the best value; None before the first complete trial.
        metrics: mean over the winner's folds and sample standard deviation (None for one fold), by metric.
        holdout: metrics of the winner's refit on the holdout; empty before the refit.
        params: the winner's parameters.
        folds, seed: of the study.
        splitter: how rows are assigned to folds; empty in a study of an older version.
        holdout_share: `data.holdout` of the experiment.
        data_name, data_rows, data_sha256: the data, its number of rows and its digest.
        settings: the experiment file by dotted keys, without the values of environment variables.
        versions: the versions that it registered, oldest first.
        started_at_ms, changed_at_ms: milliseconds since the epoch; None if unknown.
    """

    name: str
    state: str
    trials: Mapping[str, int]
    target: int
    metric: str
    goal: str
    winner: int | None
    metrics: Mapping[str, tuple[float, float | None]]
    holdout: Mapping[str, float]
    params: Mapping[str, Any]
    folds: int
    splitter: str
    holdout_share: Any
    seed: int
    data_name: str
    data_rows: int
    data_sha256: str
    settings: Mapping[str, Any]
    versions: tuple[str, ...]
    started_at_ms: int | None
    changed_at_ms: int | None


@dataclass(frozen=True)
class ExperimentVersion(Versioned):
    """A registered version.

    Attributes:
        version: its number.
        aliases: those of candidate, staging and champion that it has.
        gates: by stage, what the gates last said, in a sentence.
        semantic: its semantic version; empty where it is not known.
    """

    version: str
    aliases: tuple[str, ...]
    gates: Mapping[str, str]
    semantic: str = ""


@dataclass(frozen=True)
class ChampionChange(Versioned):
    """A change of the champion.

    Attributes:
        since: when, in ISO 8601 and UTC.
        reason: why.
        semantic: the version's semantic version; empty where it is not known.
    """

    version: str
    since: str
    reason: str
    semantic: str = ""


@dataclass(frozen=True)
class TrackedExperiment:
    """An experiment and its model.

    Attributes:
        studies: oldest first.
        versions: of its model, newest first.
        champions: oldest first.
    """

    name: str
    studies: tuple[ExperimentStudy, ...]
    versions: tuple[ExperimentVersion, ...] = ()
    champions: tuple[ChampionChange, ...] = ()


@dataclass(frozen=True)
class StudyComparison:
    """Studies side by side. Each list has a value per study, None where it has none.

    Attributes:
        studies: their names.
        incomparable: why their scores cannot be compared, one clause per reason; empty if they can.
        settings: the settings that differ, by dotted key of the experiment file.
        metrics: mean and spread of the winners, by metric.
        holdout: the winners' metrics on the holdout.
        params: the winners' parameters.
    """

    studies: tuple[str, ...]
    incomparable: tuple[str, ...]
    settings: Mapping[str, tuple[Any, ...]]
    metrics: Mapping[str, tuple[tuple[float, float | None] | None, ...]]
    holdout: Mapping[str, tuple[float | None, ...]]
    params: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Sheet:
    """A table for people, of plain texts.

    Attributes:
        title: its heading.
        notes: lines above the table.
        head, rows: the columns' names (none where they need none), and the cells of each row.
        is_alarm: whether the notes warn.
    """

    title: str
    notes: tuple[str, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_alarm: bool = False


@dataclass(frozen=True)
class TrackedExperiments:
    """Experiments.

    Attributes:
        experiments: in the order of their oldest studies.
        comparison: their studies side by side; None where these were not asked for.
    """

    experiments: tuple[TrackedExperiment, ...]
    comparison: StudyComparison | None = None

    def sheets(self) -> tuple[Sheet, ...]:
        """The tables that the terminal and the page show."""
        compared = () if self.comparison is None else tuple(_compared(self.comparison))
        return (*(sheet for each in self.experiments for sheet in _sheets(each)), *compared)


def study_of(
    summary: StudySummary, sweep: SweepRecord, winner: TrialRecord | None, versions: Sequence[str]
) -> ExperimentStudy:
    """A study's values, from its summary, its definition and its best trial."""
    experiment = dict(sweep.experiment)
    if isinstance(experiment.get("execution"), Mapping):
        experiment["execution"] = {name: value for name, value in experiment["execution"].items() if name != "env"}
    settings = flatten(experiment)
    metrics = {} if winner is None or not winner.folds else mean_and_spread(winner.folds)
    return ExperimentStudy(
        name=summary.name,
        state=summary.state,
        trials=summary.trials,
        target=summary.target,
        metric=sweep.metric,
        goal=sweep.goal,
        winner=summary.best_trial,
        metrics=metrics,
        holdout={} if winner is None else dict(winner.holdout),
        params={} if winner is None else dict(winner.params),
        folds=sweep.folds,
        splitter=sweep.splitter,
        holdout_share=settings.get("data.holdout"),
        seed=sweep.seed,
        data_name=sweep.data_name,
        data_rows=sweep.data_rows,
        data_sha256=sweep.data_sha256,
        settings=settings,
        versions=tuple(sorted(versions, key=int)),
        started_at_ms=summary.created_at_ms,
        changed_at_ms=summary.changed_at_ms,
    )


def compare_studies(studies: Sequence[ExperimentStudy]) -> StudyComparison:
    """Studies side by side: what differs, and whether their scores can be compared."""
    incomparable = []
    for field, words in _COMPARABLE.items():
        values = [getattr(each, field) for each in studies]
        if len(set(map(_text, values))) > 1:
            shown = ", ".join(_text(value)[:_SHORT] if field == "data_sha256" else _text(value) for value in values)
            incomparable.append(f"the {words} differs ({shown})")
    settings = _side_by_side([each.settings for each in studies])
    return StudyComparison(
        studies=tuple(each.name for each in studies),
        incomparable=tuple(incomparable),
        settings={key: values for key, values in settings.items() if len(set(map(_text, values))) > 1},
        metrics=_side_by_side([each.metrics for each in studies]),
        holdout=_side_by_side([each.holdout for each in studies]),
        params=_side_by_side([each.params for each in studies]),
    )


def _side_by_side(found: Sequence[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    keys = dict.fromkeys(key for each in found for key in each)
    return {key: tuple(each.get(key) for each in found) for key in keys}


def _sheets(experiment: TrackedExperiment) -> Iterator[Sheet]:
    head = ("study", "state", "trials", "best", "holdout", "data", "started", "took", "versions")
    rows = tuple(_study_row(each) for each in experiment.studies)
    yield Sheet(experiment.name, (), head, rows)
    versions = tuple(
        (each.label, " ".join(f"@{alias}" for alias in each.aliases), stage, verdict)
        for each in experiment.versions
        for stage, verdict in (each.gates or {"": ""}).items()
    )
    if versions:
        yield Sheet(f"{experiment.name}: versions", (), ("version", "aliases", "gates of", "verdict"), versions)
    champions = tuple(
        (each.since[:16].replace("T", " "), each.label, one_line(each.reason)) for each in experiment.champions
    )
    if champions:
        yield Sheet(f"{experiment.name}: champions", (), ("since (UTC)", "version", "reason"), champions)


def _study_row(study: ExperimentStudy) -> tuple[str, ...]:
    best = "no complete trial"
    if study.winner is not None:
        best = f"{study.metric} {_measured(study.metrics.get(study.metric))} (trial {study.winner})"
    took = "–"
    if study.started_at_ms is not None and study.changed_at_ms is not None:
        took = duration((study.changed_at_ms - study.started_at_ms) / 1000)
    return (
        study.name,
        study.state,
        f"{sum(study.trials.get(each, 0) for each in ('complete', 'pruned', 'failed'))} of {study.target}",
        best,
        score(study.holdout.get(study.metric)),
        f"{study.data_sha256[:_SHORT]}, {study.data_rows:,} rows",
        _when(study.started_at_ms),
        took,
        ", ".join(study.versions) or "–",
    )


def _compared(found: StudyComparison) -> Iterator[Sheet]:
    verdict = "Their scores are comparable: data, folds, metric and seed are the same."
    if found.incomparable:
        verdict = f"Their scores are NOT comparable: {'; '.join(found.incomparable)}."
    metrics = {name: tuple(map(_measured, values)) for name, values in found.metrics.items()}
    holdout = {f"holdout.{name}": tuple(map(score, values)) for name, values in found.holdout.items()}
    winners = _comparing("Winners compared", (verdict,), found, "metric", {**metrics, **holdout})
    yield replace(winners, is_alarm=bool(found.incomparable))
    yield _comparing("Winners' parameters", (), found, "parameter", _texts(found.params))
    notes = () if found.settings else ("The experiment files do not differ.",)
    yield _comparing("Settings that differ", notes, found, "setting", _texts(found.settings))


def _comparing(
    title: str, notes: tuple[str, ...], found: StudyComparison, first: str, rows: Mapping[str, tuple[str, ...]]
) -> Sheet:
    return Sheet(title, notes, (first, *found.studies), tuple((name, *values) for name, values in rows.items()))


def _texts(found: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple("–" if each is None else one_line(setting(each)) for each in of) for name, of in found.items()}


def _measured(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "–"
    mean, spread = value
    return score(mean) if spread is None else f"{score(mean)} ± {score(spread)}"


def _when(ms: int | None) -> str:
    return "–" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
