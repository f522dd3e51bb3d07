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
        experiment: as JSON.
        data_sha256: digest of the rows of its study.
        code: sha256 of each file of the person's code, by name; None where the study does not know them.
    """

    experiment: msgspec.Raw
    data_sha256: str
    code: dict[str, str] | None = None


class TrainFold(msgspec.Struct, frozen=True, tag="train_fold"):
    """Train and score one fold of a trial; answered by `Progress`…, then `FoldScored` or `Failed`."""

    trial: int
    fold: int
    params: dict[str, Any]


class Refit(msgspec.Struct, frozen=True, tag="refit"):
    """Train on all but the holdout and write a bundle into `directory`; answered by `Refitted` or `Failed`.

    `metrics` are the trial's cross-validation means, for the manifest.
    """

    trial: int
    params: dict[str, Any]
    metrics: dict[str, float]
    directory: str


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
    loss: float


class FoldScored(msgspec.Struct, frozen=True, tag="fold_scored"):
    """A fold's result. Every metric is finite.

    Seconds are those of rank 0: from the job's arrival to the end of its first optimizer step, and to the end of its
    training; and from there to the metrics.
    """

    trial: int
    fold: int
    metrics: dict[str, float]
    epochs: int
    first_step_s: float
    train_s: float
    score_s: float


class Refitted(msgspec.Struct, frozen=True, tag="refitted"):
    """The bundle is complete in `directory`; `metrics` are those of the holdout (empty where there is none)."""

    trial: int
    directory: str
    metrics: dict[str, float]
    parity: float
    train_s: float


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The job ended without a result, through a fault of its own: it is not tried again.

    `reason` is one line for people; `detail` a traceback or empty. `other_data` and `other_code` end a rank before
    its first job: its rows or its code are not those of the study.
    """

    kind: Literal["exception", "diverged", "out_of_memory", "export_differs", "other_data", "other_code"]
    reason: str
    detail: str


ToRank = TrainFold | Refit | Stop
FromRank = Ready | Progress | FoldScored | Refitted | Failed
