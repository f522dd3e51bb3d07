"""winnow: sweep, select and serve PyTorch models.

Every public name of `winnow.api` is available here: `winnow.train`, `winnow.select_model`, `winnow.serve`, …. It is
imported when it is first used, so that `import winnow` costs nothing.
"""

# ruff: noqa: F405 (the names of `__all__` come from the star import below)
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from winnow.config.version import __version__

if TYPE_CHECKING:
    from winnow.api import *  # noqa: F403

# ONNX Runtime reports what it runs to its makers since 1.29, unless it finds this when it is imported; on a network
# that leads nowhere it also holds up a server's end by seconds.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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
    "__version__",
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
    if name in __all__:
        from winnow import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
