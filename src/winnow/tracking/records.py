"""What a study sends to a tracking store.

The study is the truth and the tracking store its projection. A record holds the whole trial with the times of its
events, so that writing it twice, late, or after a crash leaves the same run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TrialState = Literal["waiting", "running", "complete", "pruned", "failed"]
LINEAGE = "winnow.data."
"""What the tags of lineage, and that of the data's sha256, begin with."""


def shown_lineage(lineage: Mapping[str, str]) -> dict[str, str]:
    """Lineage for people: tags without prefix, with short digests, and without the sha256, which is shown apart."""
    short = {
        name.removeprefix(LINEAGE): re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}", r"\1", value)
        for name, value in sorted(lineage.items())
    }
    short.pop("sha256", None)
    return short


@dataclass(frozen=True)
class SweepRecord:
    """One study, for its parent run.

    Attributes:
        study: the name of the study and of the MLflow experiment.
        experiment: the experiment file's content as JSON values.
        environment: `git_commit`, `git_dirty`, `user`, `host`, `python`, `torch`, ….
        started_at_ms: when the study was made, milliseconds since the epoch.
        splitter: empty for a study of an older version.
        code: sha256 of each file of the user's code, by name; None for a study of an older version.
        lineage: where rows that were prepared, versioned or joined come from: tags of every run and model version.
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
    lineage: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """Name of the registered model: the experiment's when the study was made. Older versions had the study's."""
        return str(self.experiment.get("name") or self.study)


Curves = Mapping[str, tuple[tuple[int, float], ...]]
"""Learning curves by name: epochs (1-based) with the values measured after them."""


@dataclass(frozen=True)
class FoldRecord:
    """One scored fold.

    Attributes:
        fold: its number, 0-based.
        metrics: metrics on the validation rows, by name.
        started_at_ms, ended_at_ms: when the ranks got the fold and when its result came, since the epoch.
        worker: the worker group that trained it.
        first_step_s: seconds of `train_s` until the end of the first step.
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


@dataclass(frozen=True, repr=False)
class TrialRecord:
    """One trial at the time of reading.

    Attributes:
        number: its number in the study, 0-based.
        params: its hyperparameters, by name.
        folds: the scored folds.
        value: the mean objective over the folds, for a pruned trial an estimate of it; None before the trial ends.
        attempts: how often it was claimed.
        reason: why it failed or was pruned.
        started_at_ms, ended_at_ms: milliseconds since the epoch.
        run_id: its run in the tracking store.
        holdout: metrics of its refit on the holdout; empty before the refit.
        holdout_at_ms: when these were computed, since the epoch.
        calibration: its refit's temperature and threshold, with the metrics before and after; empty without any.
        code: digest of the user's code that trained its folds; empty if there is none or it is unknown.
        has_other_code: whether that is known to differ from the study's present code.
        curves: learning curves by fold, also of a fold in which the trial was pruned.
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
    calibration: Mapping[str, float] = field(default_factory=dict)
    code: str = ""
    has_other_code: bool = False
    curves: Mapping[int, Mapping[str, tuple[tuple[int, float], ...]]] = field(default_factory=dict)

    def __repr__(self) -> str:
        value = "" if self.value is None else f", {self.value:.4f}"
        return f"<TrialRecord {self.number} of {self.study}: {self.state}{value}, {dict(self.params)}>"
