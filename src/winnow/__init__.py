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
    "__version__",
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
    if name in __all__:
        from winnow import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
