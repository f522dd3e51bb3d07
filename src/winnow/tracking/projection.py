"""What the runs of a study and of its trials hold: pure functions from records to names and values.

People see these names in MLflow, and selection filters by them. A fold is a step: `f1.fold` has one point per fold. The
run of a complete trial gets

    f1, f1.std          mean over the folds and sample standard deviation (ddof = 1)
    train_s             seconds of training, all folds together

and from a refit `holdout.f1`. A learning curve has epochs for steps, and a name for each fold: `train_loss/fold_1`.
`param.NAME` repeats every numeric parameter as a metric, because MLflow's search has no `<` for parameters. A point
carries the time at which it was measured, so that sending it twice leaves one point.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from winnow.bundle.manifest import Manifest
from winnow.config.names import recorded_name as _key
from winnow.config.user_code import digest_of_code
from winnow.tracking.records import Curves, FoldRecord, SweepRecord, TrialRecord, TrialState
from winnow.tracking.tracker import Sent

KIND, STUDY, TRIAL, STATE, REASON = "winnow.kind", "winnow.study", "winnow.trial", "winnow.state", "winnow.reason"
METRIC, GOAL, TASK, SEED, FOLDS = "winnow.metric", "winnow.goal", "winnow.task", "winnow.seed", "winnow.folds"
ATTEMPTS, NOT_PACKED, ENDED_BY = "winnow.attempts", "winnow.not_packed", "winnow.ended_by"
CODE_SHA256, CODE_FILES = "winnow.code.sha256", "winnow.code.files"
DATA_SHA256, BEST_TRIAL = "winnow.data.sha256", "winnow.best_trial"
DATA_SOURCE = "winnow.data.source"
"""Of lineage: the source as the experiment file has it."""
DATA_RECIPES = ("winnow.data.recipe", "winnow.data.feast_definition")
"""Of lineage: digests of how rows are prepared and joined."""
MODEL, MODEL_SHA256 = "winnow.model", "winnow.model.sha256"
PARENT, DESCRIPTION = "mlflow.parentRunId", "mlflow.note.content"

RUN_STATUS: Mapping[TrialState, str] = {
    "waiting": "SCHEDULED",
    "running": "RUNNING",
    "complete": "FINISHED",
    "pruned": "KILLED",
    "failed": "FAILED",
}
"""The MLflow status of a trial's run, by the trial's state."""

FINAL: frozenset[TrialState] = frozenset({"complete", "pruned", "failed"})

_VIEW = "sweep"
_LONGEST_PARAM, _LONGEST_TAG = 6000, 5000
_MOST_POINTS = 50
"""Of a learning curve; a point takes MLflow's database some ten microseconds."""


@dataclass(frozen=True)
class Point:
    """One value of a metric, and when it was measured (milliseconds since the epoch)."""

    key: str
    value: float
    timestamp_ms: int
    step: int = 0


@dataclass(frozen=True)
class RunStart:
    """What a run is created with."""

    name: str
    tags: Mapping[str, str]
    started_at_ms: int


@dataclass(frozen=True)
class Batch:
    """What is added to a run in one request."""

    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.params or self.metrics or self.tags)


def trial_name(number: int) -> str:
    """The name of a trial's run, padded so that names sort by number: "trial 017"."""
    return f"trial {number:03d}"


def experiment_tags(sweep: SweepRecord) -> dict[str, str]:
    """Tags of the MLflow experiment: its kind, a description, and a shared view of the UI with the table of trials."""
    return {
        # Without this tag MLflow 3 shows the pages for language models in place of the runs.
        "mlflow.experimentKind": "custom_model_development",
        DESCRIPTION: f"Cross-validated search of {sweep.study}: {sweep.goal} {sweep.metric} on {sweep.data_name}.",
        f"mlflow.sharedViewState.{_VIEW}": json.dumps(_view(sweep)),
    }


def page(experiment_id: str) -> str:
    """The path of the table of trials on MLflow's server."""
    return f"/#/experiments/{experiment_id}/runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"


def sweep_start(sweep: SweepRecord) -> RunStart:
    """The parent run of a study."""
    own = {KIND: "sweep", METRIC: sweep.metric, GOAL: sweep.goal, TASK: sweep.task, FOLDS: str(sweep.folds)}
    own[MODEL] = sweep.model
    if sweep.code:
        own[CODE_SHA256] = digest_of_code(sweep.code)
        files = {name: sha256[:12] for name, sha256 in sorted(sweep.code.items())}
        own[CODE_FILES] = json.dumps(files)[:_LONGEST_TAG]
    return RunStart(
        name=f"{sweep.study} sweep",
        tags=_shared_tags(sweep) | _environment_tags(sweep) | own,
        started_at_ms=sweep.started_at_ms,
    )


def sweep_params(sweep: SweepRecord) -> dict[str, str]:
    """The experiment file's values that never change, flattened: `training.epochs`, `search.space.lr.log`.

    Values that a resume may change (trials, workers, …) are left out, because a run's parameters cannot change.
    """
    kept = {key: sweep.experiment.get(key, {}) for key in ("data", "model", "cross_validation", "training")}
    kept["training"] = {key: value for key, value in kept["training"].items() if key != "curves"}
    search = {key: sweep.experiment.get("search", {}).get(key) for key in ("space", "metric", "metrics", "seed")}
    flat = flatten(kept | {"search": search})
    return {_key(name): _text(value)[:_LONGEST_PARAM] for name, value in flat.items() if value not in (None, {}, [])}


def has_just_begun(trial: TrialRecord) -> bool:
    """Whether the store certainly has no run of this trial."""
    return trial.state == "running" and trial.attempts <= 1 and not trial.folds and trial.run_id is None


def trial_start(sweep: SweepRecord, parent_run_id: str, trial: TrialRecord) -> RunStart:
    """The run of a trial, a child of its sweep's."""
    own = {KIND: "trial", TRIAL: str(trial.number), STATE: "running", PARENT: parent_run_id} | _code_tag(trial)
    return RunStart(
        name=trial_name(trial.number),
        tags=_shared_tags(sweep) | _environment_tags(sweep) | own,
        started_at_ms=trial.started_at_ms,
    )


def parameters(trial: TrialRecord) -> Batch:
    """A trial's parameters; the numeric ones are metrics, too."""
    return Batch(
        params={_key(name): _text(value)[:_LONGEST_PARAM] for name, value in trial.params.items()},
        metrics=tuple(
            Point(_key(f"param.{name}"), float(value), trial.started_at_ms)
            for name, value in trial.params.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ),
    )


def pending(sweep: SweepRecord, trial: TrialRecord, sent: Sent) -> Batch:
    """What a trial's run lacks."""
    params = parameters(trial) if sent.state is None else Batch()
    points = list(params.metrics)
    folds = sorted(trial.folds, key=lambda fold: fold.fold)
    for done, fold in enumerate(folds, start=1):
        if fold.fold not in sent.folds:
            points += _fold_points(fold, done)
            points += _curve_points(trial.curves.get(fold.fold, {}), fold.fold, fold.ended_at_ms)
    # A retried trial's run still has the tags of the failure.
    tags = {STATE: trial.state, REASON: ""} if sent.state is None and trial.attempts > 1 else {}
    if trial.state in FINAL and not sent.is_final:
        for stopped in sorted(trial.curves.keys() - {fold.fold for fold in folds}):
            points += _curve_points(trial.curves[stopped], stopped, trial.ended_at_ms or trial.started_at_ms)
        points += _final_points(sweep, trial, folds)
        tags |= _final_tags(sweep, trial)
    if trial.holdout and not sent.holdout:
        at = trial.holdout_at_ms or trial.ended_at_ms or trial.started_at_ms
        points += [Point(_key(f"holdout.{name}"), value, at) for name, value in trial.holdout.items()]
        summary = _in_words(sweep, trial)
        tags |= {} if summary is None else {DESCRIPTION: summary}
    finite = tuple(point for point in points if math.isfinite(point.value))
    return Batch(params=params.params, metrics=finite, tags=tags)


def after(trial: TrialRecord, run_id: str) -> Sent:
    """What the run holds once `pending` was sent."""
    return Sent(
        run_id=run_id,
        folds=frozenset(fold.fold for fold in trial.folds),
        is_final=trial.state in FINAL,
        holdout=bool(trial.holdout),
        state=trial.state,
    )


def sweep_summary(sweep: SweepRecord, trials: Sequence[TrialRecord]) -> Batch:
    """The parent run's summary: counts by state, the best trial, and a description."""
    at = max((trial.ended_at_ms or trial.started_at_ms for trial in trials), default=sweep.started_at_ms)
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    points = [Point(f"trials.{state}", float(count), at) for state, count in counts.items()]
    best = best_of(sweep, trials)
    tags = {DESCRIPTION: _description(sweep, trials, counts)}
    tags |= {name: sweep.tags[name][:_LONGEST_TAG] for name in (NOT_PACKED, ENDED_BY) if name in sweep.tags}
    if best and best[0].value is not None:
        points.append(Point(_key(f"best.{sweep.metric}"), best[0].value, at))
        tags[BEST_TRIAL] = str(best[0].number)
    return Batch(metrics=tuple(points), tags=tags)


def model_tags(sweep: SweepRecord, trial: TrialRecord, manifest: Manifest) -> dict[str, str]:
    """Tags of a model and of its registered version."""
    tags = {
        TRIAL: str(trial.number),
        MODEL_SHA256: manifest.onnx_sha256,
        DATA_SHA256: sweep.data_sha256,
        "mlflow.source.git.commit": manifest.git_commit,
        **sweep.lineage,
    }
    return {key: value for key, value in tags.items() if value}


def model_points(sweep: SweepRecord, trial: TrialRecord, metrics: Mapping[str, float]) -> tuple[Point, ...]:
    """A model's metrics: the run's means, spreads and holdout, and what only the manifest's `metrics` contain."""
    known = pending(sweep, trial, Sent(folds=frozenset(fold.fold for fold in trial.folds), state=trial.state)).metrics
    at = trial.holdout_at_ms or trial.ended_at_ms or trial.started_at_ms
    names = {point.key for point in known}
    more = [Point(_key(name), value, at) for name, value in metrics.items() if _key(name) not in names]
    return (*known, *(point for point in more if math.isfinite(point.value)))


def model_description(sweep: SweepRecord, trial: TrialRecord, manifest: Manifest) -> str:
    """One sentence about a registered version: its origin and its scores."""
    metrics = manifest.metrics
    name = sweep.metric
    parts = [f"{trial_name(trial.number)} of {sweep.study}, refitted on all but the holdout"]
    if name in metrics:
        spread = f" ± {metrics[f'{name}.std']:.3g}" if f"{name}.std" in metrics else ""
        parts.append(f"{name} {metrics[name]:.5g}{spread} over {sweep.folds} folds")
    if f"holdout.{name}" in metrics:
        parts.append(f"{metrics[f'holdout.{name}']:.5g} on the holdout")
    return "; ".join(parts) + "."


def best_of(sweep: SweepRecord, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The complete trials with a finite value, best first, the earlier of two equal ones first."""
    sign = -1.0 if sweep.goal == "maximize" else 1.0
    scored = [t for t in trials if t.state == "complete" and t.value is not None and math.isfinite(t.value)]
    return sorted(scored, key=lambda t: (sign * (t.value or 0.0), t.number))


def _fold_points(fold: FoldRecord, done: int) -> list[Point]:
    at, step = fold.ended_at_ms, fold.fold
    scores = [Point(_key(f"{name}.fold"), value, at, step) for name, value in fold.metrics.items()]
    return [
        *scores,
        Point("epochs.fold", float(fold.epochs), at, step),
        Point("train_s.fold", fold.train_s, at, step),
        Point("folds.done", float(done), at, step),
    ]


def _curve_points(curves: Curves, fold: int, at_ms: int) -> list[Point]:
    """MLflow's charts put what has the same name before the slash side by side."""
    found: list[Point] = []
    for name, points in curves.items():
        key, last = _key(f"{name}/fold_{fold + 1}"), len(points) - 1
        if last >= _MOST_POINTS:
            points = tuple(points[round(place * last / (_MOST_POINTS - 1))] for place in range(_MOST_POINTS))
        found += [Point(key, value, at_ms, epoch) for epoch, value in points]
    return found


def _final_points(sweep: SweepRecord, trial: TrialRecord, folds: Sequence[FoldRecord]) -> list[Point]:
    if not folds:
        return []
    at = max(fold.ended_at_ms for fold in folds)
    points = [Point("train_s", math.fsum(fold.train_s for fold in folds), at)]
    if trial.state != "complete":
        return points
    means = mean_and_spread(folds)
    if trial.value is not None and sweep.metric in means:
        # The study's own value, so that both agree exactly.
        means[sweep.metric] = (trial.value, means[sweep.metric][1])
    for name, (mean, std) in means.items():
        points.append(Point(_key(name), mean, at))
        if std is not None:
            points.append(Point(_key(f"{name}.std"), std, at))
    return points


def mean_and_spread(folds: Sequence[FoldRecord]) -> dict[str, tuple[float, float | None]]:
    """Mean and sample standard deviation (None for one fold) of each metric that every fold has."""
    names = [name for name in folds[0].metrics if all(name in fold.metrics for fold in folds)]
    values = {name: [fold.metrics[name] for fold in folds] for name in names}
    return {
        name: (statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None)
        for name, found in values.items()
        if all(math.isfinite(value) for value in found)
    }


def _final_tags(sweep: SweepRecord, trial: TrialRecord) -> dict[str, str]:
    tags = {STATE: trial.state, ATTEMPTS: str(trial.attempts)} | _code_tag(trial)
    workers = ", ".join(sorted({fold.worker for fold in trial.folds}))
    if workers:
        tags["winnow.workers"] = workers
    summary = _in_words(sweep, trial)
    if summary is not None:
        tags[DESCRIPTION] = summary
    elif trial.reason:
        tags[REASON] = trial.reason[:_LONGEST_TAG]
        tags[DESCRIPTION] = f"**{trial.state}**: {trial.reason}"[:_LONGEST_TAG]
    return tags


def _code_tag(trial: TrialRecord) -> dict[str, str]:
    return {CODE_SHA256: trial.code} if trial.code else {}


def _in_words(sweep: SweepRecord, trial: TrialRecord) -> str | None:
    """A complete trial's result as a sentence."""
    mean, spread = mean_and_spread(trial.folds).get(sweep.metric, (None, None)) if trial.folds else (None, None)
    if trial.state != "complete" or mean is None:
        return None
    held = trial.holdout.get(sweep.metric)
    return (
        f"{sweep.metric} **{mean:.5g}**"
        + ("" if spread is None else f" ± {spread:.3g}")
        + f" over {len(trial.folds)} folds"
        + ("" if held is None else f", {held:.5g} on the holdout")
    )


def _view(sweep: SweepRecord) -> dict[str, Any]:
    """Columns and order of the table of trials, in the format of MLflow's UI."""
    metrics = [sweep.metric, f"{sweep.metric}.std", f"holdout.{sweep.metric}", "folds.done", "train_s"]
    params = sweep.experiment.get("search", {}).get("space", {})
    return {
        "selectedColumns": [
            f"tags.`{STATE}`",
            *(f"metrics.`{_key(name)}`" for name in metrics),
            *(f"params.`{_key(name)}`" for name in params),
        ],
        "orderByKey": f"metrics.`{_key(sweep.metric)}`",
        "orderByAsc": sweep.goal == "minimize",
    }


def _description(sweep: SweepRecord, trials: Sequence[TrialRecord], counts: Mapping[str, int]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [
        f"{len(trials)} trials ({states or 'none ended'}) of {sweep.folds}-fold cross-validation "
        f"on {sweep.data_name} ({sweep.data_rows} rows); {sweep.goal} {sweep.metric}.",
    ]
    best = best_of(sweep, trials)[:5]
    if best:
        lines += ["", f"| trial | {sweep.metric} | holdout | parameters |", "|---|---|---|---|"]
    for trial in best:
        held = trial.holdout.get(sweep.metric)
        values = ", ".join(f"{name} = {_short(value)}" for name, value in trial.params.items())
        lines.append(f"| {trial.number} | {trial.value:.5g} | {'' if held is None else f'{held:.5g}'} | {values} |")
    return "\n".join(lines)


def _shared_tags(sweep: SweepRecord) -> dict[str, str]:
    own = {STUDY: sweep.study, SEED: str(sweep.seed), DATA_SHA256: sweep.data_sha256}
    given = {_key(name): value[:_LONGEST_TAG] for name, value in sweep.tags.items()}
    return given | dict(sweep.lineage) | own


def _environment_tags(sweep: SweepRecord) -> dict[str, str]:
    """The environment: MLflow's own tags where it has some, else tags that begin with `env.`."""
    known = {"git_commit": "mlflow.source.git.commit", "user": "mlflow.user"}
    tags = {_key(f"env.{name}"): value[:_LONGEST_TAG] for name, value in sweep.environment.items() if name not in known}
    tags |= {tag: sweep.environment[name] for name, tag in known.items() if sweep.environment.get(name)}
    return tags | {"mlflow.source.type": "LOCAL", "mlflow.source.name": "winnow train"}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted keys."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        flat |= flatten(inner, f"{name}.") if isinstance(inner, Mapping) and inner else {name: inner}
    return flat


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _text(value)
