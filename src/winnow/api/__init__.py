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

from winnow.api.deployments import (
    diff,
    holdout_row,
    inference_one,
    plan_rollback,
    plan_serving,
    predict,
    preview_serving,
    remove_deployment,
    rollback,
    serve,
    status,
    stop_serving,
)
from winnow.api.documents import Document, config_reference
from winnow.api.generation import GeneratedData, generate_data
from winnow.api.images import ImageOptions, build_prod, build_train, plan_build_prod, plan_build_train
from winnow.api.selection import check_runs, explain_run, parameter_importances, select_model
from winnow.api.stack import (
    MadeSecrets,
    PrintedLogs,
    StackStart,
    StackStatus,
    compose_logs,
    kubernetes_secrets,
    mlflow_init,
    mlflow_remove,
    mlflow_status,
    stack_settings,
    ui,
)
from winnow.api.study import delete_study, plan_deletion, studies, write_report
from winnow.api.sweep import plan, retry, train
from winnow.api.workers import cancel, jobs, logs
from winnow.config.errors import InputError, UnreachableError, WinnowError

if TYPE_CHECKING:
    from winnow.config.experiment import Experiment
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Variable
    from winnow.model_query.ranking import Demand, Miss, Selection
    from winnow.orchestrators.build import BuiltImage, PlannedBuild
    from winnow.orchestrators.cancel import Cancelled
    from winnow.orchestrators.deploy import ServePlan, ServePreview, ServeRequest
    from winnow.orchestrators.deployments import Access, Removal, ServedDeployment, Serving, SeveralDeploymentsError
    from winnow.orchestrators.difference import Difference
    from winnow.orchestrators.holdout import HoldoutRow
    from winnow.orchestrators.inference import Inference
    from winnow.orchestrators.pages import TrackingPages
    from winnow.orchestrators.refit import RefitFailedError
    from winnow.orchestrators.releases import NoChampionError
    from winnow.orchestrators.select_model import CheckedRun, Explanation, Outcome
    from winnow.orchestrators.studies import Deletion, ListedStudy
    from winnow.orchestrators.supervise import SweepFailedError
    from winnow.orchestrators.train import SweepResult
    from winnow.orchestrators.workers import Jobs, WorkerGroup
    from winnow.platforms.deployer import (
        Deployment,
        DeploymentFailedError,
        DeploymentState,
        ManualAccess,
        Release,
        Replica,
        UnknownDeploymentError,
    )
    from winnow.platforms.diagnosis import Diagnosis
    from winnow.platforms.executor import GroupState, GroupStatus
    from winnow.platforms.images import BuildFailedError, BuildStep
    from winnow.platforms.stack import StackEnd, StackError
    from winnow.serving.client import NoAnswerError
    from winnow.study.catalog import StudySummary
    from winnow.study.fold_racing import FoldRacing
    from winnow.study.store import RefitResult
    from winnow.tracking.records import FoldRecord, TrialRecord
    from winnow.tracking.run_search import Order, TrackedRun
    from winnow.tracking.tracker import ModelVersion

_LATE = {
    "Access": "winnow.orchestrators.deployments",
    "BuildFailedError": "winnow.platforms.images",
    "BuildStep": "winnow.platforms.images",
    "BuiltImage": "winnow.orchestrators.build",
    "Cancelled": "winnow.orchestrators.cancel",
    "CheckedRun": "winnow.orchestrators.select_model",
    "Deletion": "winnow.orchestrators.studies",
    "Demand": "winnow.model_query.ranking",
    "Deployment": "winnow.platforms.deployer",
    "DeploymentFailedError": "winnow.platforms.deployer",
    "DeploymentState": "winnow.platforms.deployer",
    "Diagnosis": "winnow.platforms.diagnosis",
    "Difference": "winnow.orchestrators.difference",
    "Experiment": "winnow.config.experiment",
    "Explanation": "winnow.orchestrators.select_model",
    "FoldRacing": "winnow.study.fold_racing",
    "FoldRecord": "winnow.tracking.records",
    "GroupState": "winnow.platforms.executor",
    "GroupStatus": "winnow.platforms.executor",
    "HoldoutRow": "winnow.orchestrators.holdout",
    "Inference": "winnow.orchestrators.inference",
    "Jobs": "winnow.orchestrators.workers",
    "ListedStudy": "winnow.orchestrators.studies",
    "ManualAccess": "winnow.platforms.deployer",
    "Miss": "winnow.model_query.ranking",
    "ModelVersion": "winnow.tracking.tracker",
    "NoAnswerError": "winnow.serving.client",
    "NoChampionError": "winnow.orchestrators.releases",
    "Order": "winnow.tracking.run_search",
    "Outcome": "winnow.orchestrators.select_model",
    "PlannedBuild": "winnow.orchestrators.build",
    "RefitFailedError": "winnow.orchestrators.refit",
    "RefitResult": "winnow.study.store",
    "Release": "winnow.platforms.deployer",
    "Removal": "winnow.orchestrators.deployments",
    "Replica": "winnow.platforms.deployer",
    "Selection": "winnow.model_query.ranking",
    "ServePlan": "winnow.orchestrators.deploy",
    "ServePreview": "winnow.orchestrators.deploy",
    "ServeRequest": "winnow.orchestrators.deploy",
    "ServedDeployment": "winnow.orchestrators.deployments",
    "Serving": "winnow.orchestrators.deployments",
    "SeveralDeploymentsError": "winnow.orchestrators.deployments",
    "StackEnd": "winnow.platforms.stack",
    "StackError": "winnow.platforms.stack",
    "StudySummary": "winnow.study.catalog",
    "SweepFailedError": "winnow.orchestrators.supervise",
    "SweepResult": "winnow.orchestrators.train",
    "TrackedRun": "winnow.tracking.run_search",
    "TrackingPages": "winnow.orchestrators.pages",
    "TrialRecord": "winnow.tracking.records",
    "UnknownDeploymentError": "winnow.platforms.deployer",
    "Variable": "winnow.config.settings",
    "WorkerGroup": "winnow.orchestrators.workers",
    "load_experiment": "winnow.config.loader",
}
"""Names whose modules import much, by module; they are imported when they are first named."""

__all__ = [
    "Access",
    "BuildFailedError",
    "BuildStep",
    "BuiltImage",
    "Cancelled",
    "CheckedRun",
    "Deletion",
    "Demand",
    "Deployment",
    "DeploymentFailedError",
    "DeploymentState",
    "Diagnosis",
    "Difference",
    "Document",
    "Experiment",
    "Explanation",
    "FoldRacing",
    "FoldRecord",
    "GeneratedData",
    "GroupState",
    "GroupStatus",
    "HoldoutRow",
    "ImageOptions",
    "Inference",
    "InputError",
    "Jobs",
    "ListedStudy",
    "MadeSecrets",
    "ManualAccess",
    "Miss",
    "ModelVersion",
    "NoAnswerError",
    "NoChampionError",
    "Order",
    "Outcome",
    "PlannedBuild",
    "PrintedLogs",
    "RefitFailedError",
    "RefitResult",
    "Release",
    "Removal",
    "Replica",
    "Selection",
    "ServePlan",
    "ServePreview",
    "ServeRequest",
    "ServedDeployment",
    "Serving",
    "SeveralDeploymentsError",
    "StackEnd",
    "StackError",
    "StackStart",
    "StackStatus",
    "StudySummary",
    "SweepFailedError",
    "SweepResult",
    "TrackedRun",
    "TrackingPages",
    "TrialRecord",
    "UnknownDeploymentError",
    "UnreachableError",
    "Variable",
    "WinnowError",
    "WorkerGroup",
    "build_prod",
    "build_train",
    "cancel",
    "check_runs",
    "compose_logs",
    "config_reference",
    "delete_study",
    "diff",
    "explain_run",
    "generate_data",
    "holdout_row",
    "inference_one",
    "jobs",
    "kubernetes_secrets",
    "load_experiment",
    "logs",
    "mlflow_init",
    "mlflow_remove",
    "mlflow_status",
    "parameter_importances",
    "plan",
    "plan_build_prod",
    "plan_build_train",
    "plan_deletion",
    "plan_rollback",
    "plan_serving",
    "predict",
    "preview_serving",
    "remove_deployment",
    "retry",
    "rollback",
    "select_model",
    "serve",
    "stack_settings",
    "status",
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
