"""What is added to a registered model's history and never changed: one tag of the model for each record.

    winnow.KIND.2026-11-21T10:31:02.123456Z.5f0c9d2e = {"version": "3", …}

Writing one needs no earlier read, so concurrent processes cannot lose each other's records. `winnow.tracking.registry`
reads and writes them, and keeps the history of aliases the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct


class Noted(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What all records have.

    Attributes:
        tags: of the process that noted it, from MLFLOW_RUN_CONTEXT, such as a DAG run's name.
    """

    tags: Mapping[str, str] = {}


class RejectedRecord(Noted, frozen=True):
    """A version that requests were sent away from: rolled back, or its rollout aborted.

    Attributes:
        deployment: the name of the deployment.
        reason: who or what did it and why, as a clause.
    """

    version: str
    deployment: str
    reason: str


class GateRecord(Noted, frozen=True):
    """What the gates of a stage said of a version.

    Attributes:
        reason: one sentence, which names the gates that it did not pass.
    """

    version: str
    stage: str
    is_promoted: bool
    reason: str


class RolloutRecord(Noted, frozen=True):
    """A rollout that ended, or an update that was made at once.

    Attributes:
        deployment, platform: where.
        replaced: the version that answered before; empty where there was none.
        strategy: rolling, canary, shadow or ab.
        state: how it ended.
        reason: why, as a clause.
    """

    version: str
    deployment: str
    platform: str
    replaced: str
    strategy: str
    state: Literal["promoted", "aborted"]
    reason: str


class AlertRecord(Noted, frozen=True):
    """An alarm that began or ended.

    Attributes:
        version: that served then.
        name, subject: as `monitoring.report.Alarm`.
        summary: one sentence.
    """

    version: str
    deployment: str
    status: Literal["firing", "resolved"]
    name: str
    subject: str
    summary: str


class RetrainRecord(Noted, frozen=True):
    """A step of a retraining, or the end of a pipeline.

    Attributes:
        study: the study that it trains.
        state: `started`, then one of the others; of a pipeline the latter alone.
        reason: why it was started; or how it ended, as a sentence.
        version: that it registered; empty before.
        data_sha256: digest of the data that it trains on.
    """

    study: str
    state: Literal["started", "deployed", "promoted", "selected", "refused", "failed"]
    reason: str
    version: str = ""
    data_sha256: str = ""


class CommitRecord(Noted, frozen=True):
    """A version that a commit put into the manifests of a stage, from which something else deploys it.

    Attributes:
        stage: staging or production.
        replaced: the version that the manifests had before; empty where they had none.
        is_rollback: `version` was there before, and `replaced` was taken out.
        commit, branch, repository: where; the repository's address has no password.
        reason: why, as a clause.
    """

    version: str
    stage: str
    replaced: str
    is_rollback: bool
    commit: str
    branch: str
    repository: str
    reason: str


ModelRecord = CommitRecord | GateRecord | RejectedRecord | RolloutRecord | AlertRecord | RetrainRecord
KINDS: Mapping[type[Any], str] = {
    CommitRecord: "commit",
    GateRecord: "gate",
    RejectedRecord: "rejected",
    RolloutRecord: "rollout",
    AlertRecord: "alert",
    RetrainRecord: "retrain",
}
"""`KIND` in the tags' names."""
