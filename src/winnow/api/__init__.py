"""winnow as a library: every verb of the `winnow` command as a function.

    import winnow

    winnow.train("experiments/breast_cancer.yaml", trials=60)
    winnow.select_model("experiments/breast_cancer.yaml")
    served = winnow.serve("experiments/breast_cancer.yaml")
    winnow.predict(served.url, [{"mean radius": 14.2, …}])

A function does what the command of the same name does, but returns frozen values instead of printing text, and raises
WinnowError instead of printing an error. The same environment variables apply (WINNOW_HOME, MLFLOW_TRACKING_URI, …).
Functions that take `config` and `study` work on the study named by `study`, else by the experiment file. Arguments that
several functions share are described in `winnow.api.arguments.ARGUMENTS`.

Importing this package is cheap: functions import what they need when they are called, and the types they return are
imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from winnow.api.airflow import AirflowStart, airflow_init, airflow_local, airflow_logs, airflow_remove
from winnow.api.data_versions import data_version
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
from winnow.api.evaluation import compare_ab, evaluate, predict_table, promote_model
from winnow.api.generation import GeneratedData, generate_data
from winnow.api.history import why
from winnow.api.images import (
    ImageOptions,
    build_prod,
    build_train,
    image_sbom,
    plan_build_prod,
    plan_build_train,
    project_images,
)
from winnow.api.ingestion import ingest
from winnow.api.monitoring import monitor
from winnow.api.monitoring_stack import (
    MonitoringStart,
    monitoring_dashboard,
    monitoring_init,
    monitoring_remove,
    monitoring_rules,
)
from winnow.api.pipelines import pipeline
from winnow.api.prediction_log import outcomes
from winnow.api.preparation import prepare
from winnow.api.project import init, schema
from winnow.api.retraining import render_calls, retrain
from winnow.api.rollouts import (
    change_rollout,
    detach_rollout,
    drive_rollout,
    plan_rollout,
    render,
    render_stage,
    rollout_status,
    rollout_verdict,
    serve_hooks,
)
from winnow.api.selection import check_runs, explain_run, parameter_importances, select_model, winner_certainty
from winnow.api.spark import SparkStart, spark_init, spark_remove
from winnow.api.stack import (
    MadeSecrets,
    PrintedLogs,
    StackStart,
    StackStatus,
    compose_logs,
    dashboard,
    kubernetes_secrets,
    mlflow_init,
    mlflow_remove,
    mlflow_status,
    stack_settings,
    ui,
)
from winnow.api.study import delete_study, plan_deletion, studies, track_experiments, write_report
from winnow.api.sweep import plan, retry, train
from winnow.api.tools import feature_server, install_tool
from winnow.api.validation import infer_schema, validate
from winnow.api.workers import cancel, jobs, logs
from winnow.config.errors import InputError, UnreachableError, WinnowError

if TYPE_CHECKING:
    from winnow.config.experiment import Experiment
    from winnow.config.loader import load_experiment
    from winnow.config.settings import Variable
    from winnow.data.stage.summary import ColumnSummary, Summary, Suspect
    from winnow.data.stage.versions import Ingested, Inputs, Prepared, RawColumn, RawPart
    from winnow.data.stage.violations import Violation
    from winnow.finding import Finding
    from winnow.model_query.ranking import Demand, Miss, Selection
    from winnow.monitoring.outcomes import JoinedOutcomes, RevisionOutcomes
    from winnow.monitoring.report import Alarm, ColumnDrift, LiveQuality, MonitoringReport, QualityPart
    from winnow.orchestrators.airflow import AirflowError
    from winnow.orchestrators.build import BuiltImage, PlannedBuild
    from winnow.orchestrators.cancel import Cancelled
    from winnow.orchestrators.dashboard import Dashboard
    from winnow.orchestrators.deploy import Difference, RolloutAbortedError, ServePlan, ServePreview, ServeRequest
    from winnow.orchestrators.deployments import (
        Access,
        Deployment,
        DeploymentState,
        Removal,
        Replica,
        ServedDeployment,
        Serving,
        Share,
    )
    from winnow.orchestrators.dvc import DataVersion
    from winnow.orchestrators.evaluate import Comparison, Evaluation, MeasuredMetric, RowSlice
    from winnow.orchestrators.evidence import HoldoutRow
    from winnow.orchestrators.inference import Inference
    from winnow.orchestrators.ingest import Ingestion
    from winnow.orchestrators.model_history import RejectedVersionError
    from winnow.orchestrators.new_project import NewProject
    from winnow.orchestrators.pages import TrackingPages
    from winnow.orchestrators.pipeline import Pipeline, PipelineStep
    from winnow.orchestrators.predict import Scored
    from winnow.orchestrators.prepare import Preparation
    from winnow.orchestrators.promote import Promotion
    from winnow.orchestrators.refit import RefitFailedError
    from winnow.orchestrators.releases import NoChampionError
    from winnow.orchestrators.retrain import Retraining
    from winnow.orchestrators.rollouts import RevisionCounts, RolloutStatus
    from winnow.orchestrators.select_model import CheckedRun, Explanation, Outcome
    from winnow.orchestrators.several_deployments import SeveralDeploymentsError
    from winnow.orchestrators.studies import Deletion, ListedStudy
    from winnow.orchestrators.supervise import SweepFailedError
    from winnow.orchestrators.train import SweepResult
    from winnow.orchestrators.validate import Validation
    from winnow.orchestrators.workers import Jobs, WorkerGroup
    from winnow.platforms.deployer import DeploymentFailedError, ManualAccess, UnknownDeploymentError
    from winnow.platforms.diagnosis import Diagnosis
    from winnow.platforms.executor import GroupState, GroupStatus
    from winnow.platforms.images import BuildFailedError, BuildStep
    from winnow.platforms.rollout_driver import RolloutDriver
    from winnow.platforms.stack import StackEnd, StackError
    from winnow.rollout.forecast import Forecast, Need, Proposal
    from winnow.rollout.verdict import Verdict
    from winnow.routing import OutcomeCounts, Rejected, Release, RolloutState
    from winnow.serving.client import NoAnswerError
    from winnow.study.catalog import StudySummary
    from winnow.study.certainty import Certainty, Lead
    from winnow.study.experiments import (
        ChampionChange,
        ExperimentStudy,
        ExperimentVersion,
        Sheet,
        StudyComparison,
        TrackedExperiment,
        TrackedExperiments,
    )
    from winnow.study.fold_racing import FoldRacing
    from winnow.study.store import RefitResult
    from winnow.study.story import Asked, Event, GateVerdict, ModelStory, Origin
    from winnow.tracking.records import FoldRecord, TrialRecord
    from winnow.tracking.run_search import Order, TrackedRun
    from winnow.tracking.tracker import ModelVersion

_LATE = {
    name: f"winnow.{module}"
    for module, names in {
        "config.experiment": "Experiment",
        "config.loader": "load_experiment",
        "config.settings": "Variable",
        "data.stage.summary": "ColumnSummary Summary Suspect",
        "data.stage.violations": "Violation",
        "finding": "Finding",
        "model_query.ranking": "Demand Miss Selection",
        "monitoring.outcomes": "JoinedOutcomes RevisionOutcomes",
        "monitoring.report": "Alarm ColumnDrift LiveQuality MonitoringReport QualityPart",
        "orchestrators.build": "BuiltImage PlannedBuild",
        "orchestrators.cancel": "Cancelled",
        "orchestrators.dashboard": "Dashboard",
        "orchestrators.deploy": "Difference RolloutAbortedError ServePlan ServePreview ServeRequest",
        "orchestrators.deployments": "Access Deployment DeploymentState Removal Replica ServedDeployment Serving Share",
        "orchestrators.evaluate": "Comparison Evaluation MeasuredMetric RowSlice",
        "orchestrators.inference": "Inference",
        "orchestrators.ingest": "Ingestion",
        "data.stage.versions": "Ingested Inputs Prepared RawColumn RawPart",
        "orchestrators.prepare": "Preparation",
        "orchestrators.new_project": "NewProject",
        "orchestrators.pages": "TrackingPages",
        "orchestrators.pipeline": "Pipeline PipelineStep",
        "orchestrators.predict": "Scored",
        "orchestrators.promote": "Promotion",
        "orchestrators.refit": "RefitFailedError",
        "orchestrators.releases": "NoChampionError",
        "orchestrators.retrain": "Retraining",
        "orchestrators.rollouts": "RevisionCounts RolloutStatus",
        "orchestrators.select_model": "CheckedRun Explanation Outcome",
        "orchestrators.several_deployments": "SeveralDeploymentsError",
        "orchestrators.studies": "Deletion ListedStudy",
        "orchestrators.supervise": "SweepFailedError",
        "orchestrators.train": "SweepResult",
        "orchestrators.validate": "Validation",
        "orchestrators.workers": "Jobs WorkerGroup",
        "orchestrators.model_history": "RejectedVersionError",
        "orchestrators.evidence": "HoldoutRow",
        "orchestrators.dvc": "DataVersion",
        "orchestrators.airflow": "AirflowError",
        "platforms.deployer": "DeploymentFailedError ManualAccess UnknownDeploymentError",
        "rollout.forecast": "Forecast Need Proposal",
        "rollout.verdict": "Verdict",
        "routing": "OutcomeCounts Rejected Release RolloutState",
        "platforms.diagnosis": "Diagnosis",
        "platforms.executor": "GroupState GroupStatus",
        "platforms.images": "BuildFailedError BuildStep",
        "platforms.rollout_driver": "RolloutDriver",
        "platforms.stack": "StackEnd StackError",
        "serving.client": "NoAnswerError",
        "study.catalog": "StudySummary",
        "study.certainty": "Certainty Lead",
        "study.story": "Asked Event GateVerdict ModelStory Origin",
        "study.experiments": "ChampionChange ExperimentStudy ExperimentVersion Sheet StudyComparison "
        "TrackedExperiment TrackedExperiments",
        "study.fold_racing": "FoldRacing",
        "study.store": "RefitResult",
        "tracking.records": "FoldRecord TrialRecord",
        "tracking.run_search": "Order TrackedRun",
        "tracking.tracker": "ModelVersion",
    }.items()
    for name in names.split()
}
"""The modules of names that are imported only when first used, because their modules are slow to import."""

__all__ = [
    "Access",
    "AirflowError",
    "AirflowStart",
    "Alarm",
    "Asked",
    "BuildFailedError",
    "BuildStep",
    "BuiltImage",
    "Cancelled",
    "Certainty",
    "ChampionChange",
    "CheckedRun",
    "ColumnDrift",
    "ColumnSummary",
    "Comparison",
    "Dashboard",
    "DataVersion",
    "Deletion",
    "Demand",
    "Deployment",
    "DeploymentFailedError",
    "DeploymentState",
    "Diagnosis",
    "Difference",
    "Document",
    "Evaluation",
    "Event",
    "Experiment",
    "ExperimentStudy",
    "ExperimentVersion",
    "Explanation",
    "Finding",
    "FoldRacing",
    "FoldRecord",
    "Forecast",
    "GateVerdict",
    "GeneratedData",
    "GroupState",
    "GroupStatus",
    "HoldoutRow",
    "ImageOptions",
    "Inference",
    "Ingested",
    "Ingestion",
    "InputError",
    "Inputs",
    "Jobs",
    "JoinedOutcomes",
    "Lead",
    "ListedStudy",
    "LiveQuality",
    "MadeSecrets",
    "ManualAccess",
    "MeasuredMetric",
    "Miss",
    "ModelStory",
    "ModelVersion",
    "MonitoringReport",
    "MonitoringStart",
    "Need",
    "NewProject",
    "NoAnswerError",
    "NoChampionError",
    "Order",
    "Origin",
    "Outcome",
    "OutcomeCounts",
    "Pipeline",
    "PipelineStep",
    "PlannedBuild",
    "Preparation",
    "Prepared",
    "PrintedLogs",
    "Promotion",
    "Proposal",
    "QualityPart",
    "RawColumn",
    "RawPart",
    "RefitFailedError",
    "RefitResult",
    "Rejected",
    "RejectedVersionError",
    "Release",
    "Removal",
    "Replica",
    "Retraining",
    "RevisionCounts",
    "RevisionOutcomes",
    "RolloutAbortedError",
    "RolloutDriver",
    "RolloutState",
    "RolloutStatus",
    "RowSlice",
    "Scored",
    "Selection",
    "ServePlan",
    "ServePreview",
    "ServeRequest",
    "ServedDeployment",
    "Serving",
    "SeveralDeploymentsError",
    "Share",
    "Sheet",
    "SparkStart",
    "StackEnd",
    "StackError",
    "StackStart",
    "StackStatus",
    "StudyComparison",
    "StudySummary",
    "Summary",
    "Suspect",
    "SweepFailedError",
    "SweepResult",
    "TrackedExperiment",
    "TrackedExperiments",
    "TrackedRun",
    "TrackingPages",
    "TrialRecord",
    "UnknownDeploymentError",
    "UnreachableError",
    "Validation",
    "Variable",
    "Verdict",
    "Violation",
    "WinnowError",
    "WorkerGroup",
    "airflow_init",
    "airflow_local",
    "airflow_logs",
    "airflow_remove",
    "build_prod",
    "build_train",
    "cancel",
    "change_rollout",
    "check_runs",
    "compare_ab",
    "compose_logs",
    "config_reference",
    "dashboard",
    "data_version",
    "delete_study",
    "detach_rollout",
    "diff",
    "drive_rollout",
    "evaluate",
    "explain_run",
    "feature_server",
    "generate_data",
    "holdout_row",
    "image_sbom",
    "infer_schema",
    "inference_one",
    "ingest",
    "init",
    "install_tool",
    "jobs",
    "kubernetes_secrets",
    "load_experiment",
    "logs",
    "mlflow_init",
    "mlflow_remove",
    "mlflow_status",
    "monitor",
    "monitoring_dashboard",
    "monitoring_init",
    "monitoring_remove",
    "monitoring_rules",
    "outcomes",
    "parameter_importances",
    "pipeline",
    "plan",
    "plan_build_prod",
    "plan_build_train",
    "plan_deletion",
    "plan_rollback",
    "plan_rollout",
    "plan_serving",
    "predict",
    "predict_table",
    "prepare",
    "preview_serving",
    "project_images",
    "promote_model",
    "remove_deployment",
    "render",
    "render_calls",
    "render_stage",
    "retrain",
    "retry",
    "rollback",
    "rollout_status",
    "rollout_verdict",
    "schema",
    "select_model",
    "serve",
    "serve_hooks",
    "spark_init",
    "spark_remove",
    "stack_settings",
    "status",
    "stop_serving",
    "studies",
    "track_experiments",
    "train",
    "ui",
    "validate",
    "why",
    "winner_certainty",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
