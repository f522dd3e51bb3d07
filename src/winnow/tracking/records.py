"""What a study has to tell a tracking store, as frozen values read from the study.

The study is the truth and the tracking store its projection: a record holds the whole trial as it stands, with the
times at which things happened, so that writing it twice, late, or after a crash leaves the same run behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class SweepRecord:
    """One study, for its parent run.

    Attributes:
        study: name of the study, of the MLflow experiment and of the registered model.
        experiment: the experiment file's content as JSON values.
        data: facts of the data set: name, rows, sha256, source.
        environment: what the code ran on, by name: `git_commit`, `git_dirty`, `user`, `host`, `python`, `torch`, ….
        started_at_ms: when the study was made, milliseconds since the epoch.
        splitter: the splitter that deals the folds; empty for a study that was made before this was kept.
        code: sha256 of each file of the person's own code, by name; None for a study that was made before these were
            kept and has not been resumed since.
    """

    study: str
    metric: str
    goal: Literal["maximize", "minimize"]
    experiment: Mapping[str, Any]
    data_name: str
    data_rows: int
    data_sha256: str
    data_source: str
    task: Literal["classification", "regression"]
    folds: int
    seed: int
    environment: Mapping[str, str]
    started_at_ms: int
    tags: Mapping[str, str] = field(default_factory=dict)
    splitter: str = ""
    code: Mapping[str, str] | None = None


@dataclass(frozen=True)
class FoldRecord:
    """One scored fold: every metric, and how long it took.

    Attributes:
        fold: its number, 0-based.
        metrics: every metric on the validation rows, by name.
        epochs: how many were trained.
        train_s: seconds of training.
        started_at_ms, ended_at_ms: when the ranks got the fold and when its result came, since the epoch.
        worker: the group that trained it.
        first_step_s: seconds of `train_s` until the first step was done.
        score_s: seconds of scoring the validation rows.
    """

    fold: int
    metrics: Mapping[str, float]
    epochs: int
    train_s: float
    started_at_ms: int
    ended_at_ms: int
    worker: str
    first_step_s: float = 0.0
    score_s: float = 0.0


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study holds it now.

    Attributes:
        study: name of the study.
        number: its number in the study, 0-based.
        state: how far it is.
        params: its hyperparameters, by name.
        folds: the folds that are scored.
        value: mean of the objective over the folds, of a pruned trial an estimate of it; None before the trial ends.
        attempts: how often it was claimed.
        reason: why it failed or was pruned, else None.
        started_at_ms, ended_at_ms: milliseconds since the epoch; the end is None before there is one.
        run_id: its run in the tracking store, where one is known.
        holdout: metrics of its refit on the holdout; empty before the refit.
        holdout_at_ms: when these were computed, since the epoch.
        code: digest of the person's own code that its folds were trained with; empty where there is none, or where it
            is not known.
        has_other_code: whether that is not the study's present code.
    """

    study: str
    number: int
    state: TrialState
    params: Mapping[str, Any]
    folds: tuple[FoldRecord, ...]
    value: float | None
    attempts: int
    reason: str | None
    started_at_ms: int
    ended_at_ms: int | None
    run_id: str | None = None
    holdout: Mapping[str, float] = field(default_factory=dict)
    holdout_at_ms: int | None = None
    code: str = ""
    has_other_code: bool = False
