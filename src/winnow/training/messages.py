"""The messages between a group's supervisor and its rank 0: one JSON object a line over a socket.

The supervisor owns the study and sends jobs; rank 0 owns the model and answers. Neither imports what the other needs:
the supervisor has no torch, the ranks have no study, no Optuna and no MLflow.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Assignment(msgspec.Struct, frozen=True):
    """What a rank reads when it starts.

    Attributes:
        code: sha256 of each file of user code, by name; None for a study that recorded none.
    """

    experiment: msgspec.Raw
    data_sha256: str
    code: dict[str, str] | None = None


class FoldJob(msgspec.Struct, frozen=True):
    """One fold (0-based) of one trial, with the trial's parameters."""

    trial: int
    fold: int
    params: dict[str, Any]


class TrainFolds(msgspec.Struct, frozen=True, tag="train_folds"):
    """Train and score these folds, as one batched model where that is exact and pays.

    Every member is answered once, in a `FoldsTrained`, in any order. The job ends with the last answer.
    """

    members: tuple[FoldJob, ...]


class Refit(msgspec.Struct, frozen=True, tag="refit"):
    """Train on all but the holdout and write a bundle into `directory`; answered by `Refitted` or `Failed`.

    `metrics` are the trial's cross-validation means and `study` its study, for the manifest; `outputs` what its folds
    kept (`out_of_fold`).
    """

    trial: int
    params: dict[str, Any]
    metrics: dict[str, float]
    directory: str
    outputs: dict[int, bytes] = {}
    study: str = ""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End all ranks with exit code 0."""


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The group is up: data loaded, process group formed. `device` is the kind of all ranks."""

    world_size: int
    device: str
    folds: int
    startup_s: float


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """An epoch has ended (1-based)."""

    epoch: int
    epochs: int


class EpochScored(msgspec.Struct, frozen=True, tag="epoch_scored"):
    """The objective on the validation rows after an epoch (1-based); the rank waits for an `EpochVerdict`."""

    trial: int
    fold: int
    epoch: int
    value: float


class EpochVerdict(msgspec.Struct, frozen=True, tag="epoch_verdict"):
    """Whether the fold ends with this epoch."""

    is_stopped: bool


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job ended without a result, through a fault of its own: it is not tried again.

    `reason` is one line for people; `detail` a traceback or empty. `other_data` and `other_code` end a rank before
    its first job: its rows or its code are not those of the study.
    """

    kind: Literal["exception", "diverged", "out_of_memory", "export_differs", "other_data", "other_code"]
    reason: str
    detail: str


class FoldScored(msgspec.Struct, frozen=True, tag="fold_scored"):
    """A fold's result. Every metric is finite.

    Seconds are those of rank 0: from the fold's start to the end of its first optimizer step, and to the end of its
    training; and from there to the metrics. A fold that trained with others has an equal share of their seconds.

    Attributes:
        packed: how many models trained as one.
        cost: what such a model costs where so many train as one, as a share of its cost alone.
        not_packed: why the fold trained alone although others were asked for with it.
        curves: epochs (1-based) with what was measured after them, by name.
        outputs: the network's for the fold's validation rows (`out_of_fold`); None where nothing is calibrated.
    """

    trial: int
    fold: int
    metrics: dict[str, float]
    epochs: int
    first_step_s: float
    train_s: float
    score_s: float
    packed: int = 1
    cost: float = 1.0
    not_packed: str | None = None
    curves: dict[str, tuple[tuple[int, float], ...]] = {}
    outputs: bytes | None = None


class FoldFailed(msgspec.Struct, frozen=True, tag="fold_failed"):
    """A fold ended without a result."""

    trial: int
    fold: int
    failure: Failed


class FoldStopped(msgspec.Struct, frozen=True, tag="fold_stopped"):
    """A fold ended by an `EpochVerdict`, or did not begin because another fold of its trial was; see `FoldScored`."""

    trial: int
    fold: int
    curves: dict[str, tuple[tuple[int, float], ...]] = {}


FoldResult = FoldScored | FoldFailed | FoldStopped


class FoldsTrained(msgspec.Struct, frozen=True, tag="folds_trained"):
    """What came of folds that trained together."""

    results: tuple[FoldResult, ...]


class Refitted(msgspec.Struct, frozen=True, tag="refitted"):
    """The bundle is complete in `directory`; `metrics` are those of the holdout (empty where there is none).

    Attributes:
        artifacts: files beside the bundle that belong to the trial's run.
        calibration: temperature and threshold, and the metrics that they were chosen by; empty without any.
    """

    trial: int
    directory: str
    metrics: dict[str, float]
    parity: float
    train_s: float
    artifacts: tuple[str, ...] = ()
    calibration: dict[str, float] = {}


ToRank = TrainFolds | Refit | EpochVerdict | Stop
FromRank = Ready | Progress | EpochScored | FoldsTrained | Refitted | Failed
