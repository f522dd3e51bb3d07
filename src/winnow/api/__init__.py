"""winnow as a library: every verb of the `winnow` command as a function.

    import winnow

    winnow.train("experiments/breast_cancer.yaml", trials=60)
    winnow.select_model("experiments/breast_cancer.yaml")
    served = winnow.serve("experiments/breast_cancer.yaml")
    winnow.predict(served.url, [{"mean radius": 14.2, …}])

A function does what the command of its name does, returns frozen values in place of text, and raises WinnowError where
the command ends with a message. The environment's settings apply (WINNOW_HOME, MLFLOW_TRACKING_URI, …). Functions that
take `config` and `study` mean one study: the one that is named, else that of the experiment file.

Importing this package is cheap: a function imports what it needs when it is called, and the types that functions return
are imported when they are first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from winnow.api.deployments import holdout_row, predict, serve, stop_serving
from winnow.api.documents import Document, config_reference
from winnow.api.generation import GeneratedData, generate_data
from winnow.api.selection import check_runs, explain_run, parameter_importances, select_model
from winnow.api.stack import StackStatus, mlflow_status, ui
from winnow.api.study import delete_study, plan_deletion, studies, write_report
from winnow.api.sweep import plan, retry, train
from winnow.api.workers import cancel, jobs, logs
from winnow.config.errors import InputError, UnreachableError, WinnowError

if TYPE_CHECKING:
    from winnow.config.experiment import Experiment
    from winnow.config.loader import load_experiment
    from winnow.model_query.ranking import Demand, Miss, Selection
    from winnow.orchestrators.cancel import Cancelled
    from winnow.orchestrators.holdout import HoldoutRow
    from winnow.orchestrators.pages import TrackingPages
    from winnow.orchestrators.refit import RefitFailedError
    from winnow.orchestrators.select_model import CheckedRun, Explanation, Outcome
    from winnow.orchestrators.studies import Deletion, ListedStudy
    from winnow.orchestrators.supervise import SweepFailedError
    from winnow.orchestrators.train import SweepResult
    from winnow.orchestrators.workers import Jobs, WorkerGroup
    from winnow.platforms.deployer import Deployment, DeploymentFailedError, DeploymentState, Release, Replica
    from winnow.platforms.diagnosis import Diagnosis
    from winnow.platforms.executor import GroupState, GroupStatus
    from winnow.serving.client import NoAnswerError
    from winnow.study.catalog import StudySummary
    from winnow.study.store import RefitResult
    from winnow.tracking.records import FoldRecord, TrialRecord
    from winnow.tracking.run_search import Order, TrackedRun
    from winnow.tracking.tracker import ModelVersion

_LATE = {
    "Cancelled": "winnow.orchestrators.cancel",
    "CheckedRun": "winnow.orchestrators.select_model",
    "Deletion": "winnow.orchestrators.studies",
    "Demand": "winnow.model_query.ranking",
    "Deployment": "winnow.platforms.deployer",
    "DeploymentFailedError": "winnow.platforms.deployer",
    "DeploymentState": "winnow.platforms.deployer",
    "Diagnosis": "winnow.platforms.diagnosis",
    "Experiment": "winnow.config.experiment",
    "Explanation": "winnow.orchestrators.select_model",
    "FoldRecord": "winnow.tracking.records",
    "GroupState": "winnow.platforms.executor",
    "GroupStatus": "winnow.platforms.executor",
    "HoldoutRow": "winnow.orchestrators.holdout",
    "Jobs": "winnow.orchestrators.workers",
    "ListedStudy": "winnow.orchestrators.studies",
    "Miss": "winnow.model_query.ranking",
    "ModelVersion": "winnow.tracking.tracker",
    "NoAnswerError": "winnow.serving.client",
    "Order": "winnow.tracking.run_search",
    "Outcome": "winnow.orchestrators.select_model",
    "RefitFailedError": "winnow.orchestrators.refit",
    "RefitResult": "winnow.study.store",
    "Release": "winnow.platforms.deployer",
    "Replica": "winnow.platforms.deployer",
    "Selection": "winnow.model_query.ranking",
    "StudySummary": "winnow.study.catalog",
    "SweepFailedError": "winnow.orchestrators.supervise",
    "SweepResult": "winnow.orchestrators.train",
    "TrackedRun": "winnow.tracking.run_search",
    "TrackingPages": "winnow.orchestrators.pages",
    "TrialRecord": "winnow.tracking.records",
    "WorkerGroup": "winnow.orchestrators.workers",
    "load_experiment": "winnow.config.loader",
}
"""Names whose modules import much, by module; they are imported when they are first named."""

__all__ = [
    "Cancelled",
    "CheckedRun",
    "Deletion",
    "Demand",
    "Deployment",
    "DeploymentFailedError",
    "DeploymentState",
    "Diagnosis",
    "Document",
    "Experiment",
    "Explanation",
    "FoldRecord",
    "GeneratedData",
    "GroupState",
    "GroupStatus",
    "HoldoutRow",
    "InputError",
    "Jobs",
    "ListedStudy",
    "Miss",
    "ModelVersion",
    "NoAnswerError",
    "Order",
    "Outcome",
    "RefitFailedError",
    "RefitResult",
    "Release",
    "Replica",
    "Selection",
    "StackStatus",
    "StudySummary",
    "SweepFailedError",
    "SweepResult",
    "TrackedRun",
    "TrackingPages",
    "TrialRecord",
    "UnreachableError",
    "WinnowError",
    "WorkerGroup",
    "cancel",
    "check_runs",
    "config_reference",
    "delete_study",
    "explain_run",
    "generate_data",
    "holdout_row",
    "jobs",
    "load_experiment",
    "logs",
    "mlflow_status",
    "parameter_importances",
    "plan",
    "plan_deletion",
    "predict",
    "retry",
    "select_model",
    "serve",
    "stop_serving",
    "studies",
    "train",
    "ui",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
