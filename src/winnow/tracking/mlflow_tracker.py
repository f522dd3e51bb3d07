"""Writes a study to MLflow, in few batched requests that can be repeated.

`projection` decides what a run holds; this module finds or makes runs and sends what they lack. Runs are found by their
tags, points carry their own times, and tags and parameters overwrite themselves, so a repeated call changes nothing,
in this process or another.
"""

from __future__ import annotations

import functools
import json
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import yaml

from winnow.bundle.manifest import Manifest, read_manifest
from winnow.config.errors import InputError
from winnow.tracking import mlflow_tables, projection
from winnow.tracking.connection import every_page, failures_as_unavailable, open_client, sqlite_path, transferring
from winnow.tracking.mlflow_model import BUNDLE, write_surroundings
from winnow.tracking.projection import Batch, RunStart
from winnow.tracking.records import SweepRecord, TrialRecord
from winnow.tracking.registry import Registry
from winnow.tracking.store import artifact_root_beside, prepare, refresh_statistics
from winnow.tracking.tracker import Keep, KeepAll, ModelVersion, Sent, TrackingUnavailableError, as_offered

P = ParamSpec("P")
T = TypeVar("T")


class MlflowTracker:
    """A `Tracker` on any store that MLflow opens, for use by one thread.

    Args:
        uri: `sqlite:///…` (made by `store.prepare`), `http(s)://…`, or another database that MLflow supports.
        artifact_root: where artifacts of new experiments go; by default beside an SQLite file, else the server decides.
    """

    def __init__(self, uri: str, artifact_root: str | None = None) -> None:
        self._uri = uri
        self._artifact_root = artifact_root or artifact_root_beside(uri)
        self._calls = 0
        self._experiment_ids: dict[str, str] = {}
        # Trials (study, number) whose run may exist although the request for it has failed.
        self._in_doubt: set[tuple[str, int]] = set()
        # Runs by study and trial: those that the store had at the first look, and those that this tracker made.
        self._known_runs: dict[str, dict[int, str]] = {}

    @property
    def calls(self) -> int:
        """Requests made to the store so far, without uploads."""
        return self._calls

    def start_sweep(self, sweep: SweepRecord, keep: Keep = as_offered, run_id: str | None = None) -> str:
        """Make the sweep's parent run, or find it; see `Tracker`."""
        try:
            if sqlite_path(self._uri) is not None:
                prepare(self._uri)
        except InputError as error:
            raise TrackingUnavailableError(str(error)) from error
        experiment_id = self._experiment_id(sweep)
        start = projection.sweep_start(sweep)
        tags = {projection.KIND: "sweep", projection.STUDY: sweep.study}
        found = self._active(run_id) or self._find(experiment_id, tags)
        own = self._create(experiment_id, start) if found is None else str(found.info.run_id)
        run_id = keep(own)
        if run_id != own:
            self._request(self._client.delete_run, own)
        elif found is None:
            self._known_runs[sweep.study] = {}
            self._send(run_id, Batch(params=projection.sweep_params(sweep)))
        else:
            self._send(run_id, Batch(tags=start.tags))
            if found.info.status != "RUNNING":
                self._set_status(run_id, "RUNNING", found.info.end_time)
            self._delete_doubles(sweep, run_id)
        self._log_data_set(run_id, sweep)
        text = yaml.safe_dump(dict(sweep.experiment), sort_keys=False, allow_unicode=True)
        self._upload(self._client.log_text, run_id, text, "experiment.yaml")
        return run_id

    def add_trials(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], keep: KeepAll
    ) -> Mapping[int, Sent]:
        """Make runs in one transaction, if the store is a database with known tables; see `Tracker`."""
        engine = self._known_database
        new = [] if engine is None else [trial for trial in trials if self._is_new(sweep, trial)]
        if not new:
            return {}
        where = self._experiment_id(sweep)
        target = self._request(mlflow_tables.target_of, engine, where, sweep.data_name, _digest(sweep))
        if target is None:
            return {}
        runs = {trial.number: self._new_run(sweep, parent_run_id, trial) for trial in new}
        self._in_doubt |= {(sweep.study, number) for number in runs}
        self._request(mlflow_tables.add_runs, engine, target, tuple(runs.values()))
        kept = keep({number: run.run_id for number, run in runs.items()})
        sent = {}
        for trial in new:
            run_id = runs[trial.number].run_id
            if kept[trial.number] != run_id:
                self._request(self._client.delete_run, run_id)
                continue
            self._in_doubt.discard((sweep.study, trial.number))
            self._known_runs[sweep.study][trial.number] = run_id
            sent[trial.number] = projection.after(trial, run_id)
        return sent

    @functools.cached_property
    def _known_database(self) -> Any:
        """The engine of a database whose schema is known; None for servers and other schemas."""
        engine = getattr(self._client._tracking_client.store, "engine", None)
        return engine if engine is not None and self._request(mlflow_tables.is_known, engine) else None

    def _is_new(self, sweep: SweepRecord, trial: TrialRecord) -> bool:
        """Whether a trial has begun and certainly has no run."""
        has_run = trial.run_id is not None or trial.number in self._listed(sweep)
        is_in_doubt = trial.attempts > 1 or (trial.study, trial.number) in self._in_doubt
        return trial.state != "waiting" and not has_run and not is_in_doubt

    def _new_run(self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord) -> mlflow_tables.NewRun:
        run_id = uuid.uuid4().hex
        return mlflow_tables.NewRun(
            run_id,
            projection.trial_start(sweep, parent_run_id, trial),
            projection.pending(sweep, trial, Sent(run_id)),
            projection.RUN_STATUS[trial.state],
            None if trial.state == "running" else _end_of(trial),
        )

    def sync_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep = as_offered
    ) -> Sent:
        """Bring the trial's run up to the record; see `Tracker`."""
        if sent.run_id is None and trial.state == "waiting" and trial.attempts == 0:
            return sent
        try:
            return self._sync(sweep, parent_run_id, trial, sent, keep)
        except self._refusal:
            if sent.run_id is None or not self._was_deleted(sweep, sent.run_id):
                raise
            return self._sync(sweep, parent_run_id, trial, Sent(), keep)

    def log_bundle(
        self,
        sweep: SweepRecord,
        parent_run_id: str,
        trial: TrialRecord,
        bundle: Path,
        keep: Keep = as_offered,
        artifacts: Sequence[Path] = (),
    ) -> ModelVersion:
        """Store a refitted model's bundle with its run and register it; see `Tracker`."""
        manifest = read_manifest(bundle)
        run_id = str(self.sync_trial(sweep, parent_run_id, trial, Sent(), keep).run_id)
        registered = self._registered(manifest, run_id)
        if registered is not None:
            return registered
        for path in artifacts:
            self._upload(self._client.log_artifact, run_id, str(path))
        model = self._model_of(sweep, trial, manifest, run_id)
        with tempfile.TemporaryDirectory() as surroundings:
            folder = Path(surroundings)
            write_surroundings(folder, bundle, manifest, run_id=run_id, model_id=model.model_id)
            self._upload(self._client.log_model_artifacts, model.model_id, str(bundle), BUNDLE)
            self._upload(self._client.log_model_artifacts, model.model_id, surroundings)
        points = projection.model_points(sweep, trial, manifest.metrics)
        self._send(run_id, Batch(metrics=points), model=model, data=sweep)
        self._request(self._client.finalize_logged_model, model.model_id, "READY")
        return self._register(sweep, trial, manifest, run_id, model)

    def finish_sweep(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], report: Path | None
    ) -> None:
        """Put summary and report on the parent run, and end it."""
        try:
            self._send(parent_run_id, projection.sweep_summary(sweep, trials))
        except self._refusal:
            if not self._was_deleted(sweep, parent_run_id):
                raise
            parent_run_id = self.start_sweep(sweep)
            self._send(parent_run_id, projection.sweep_summary(sweep, trials))
        if report is not None:
            self._upload(self._client.log_artifact, parent_run_id, str(report))
        self._delete_doubles(sweep, parent_run_id, trials)
        ended = max((trial.ended_at_ms or trial.started_at_ms for trial in trials), default=sweep.started_at_ms)
        self._set_status(parent_run_id, "FINISHED", ended)
        refresh_statistics(self._uri)

    @functools.cached_property
    def _client(self) -> Any:
        return open_client(self._uri)

    @property
    def _refusal(self) -> type[Exception]:
        """MLflow's error for a wrong request, such as writing to a deleted run."""
        from mlflow.exceptions import MlflowException

        refusal: type[Exception] = MlflowException
        return refusal

    def _was_deleted(self, sweep: SweepRecord, run_id: str) -> bool:
        """Whether a run, or its experiment, was deleted in MLflow."""
        self._experiment_ids.pop(sweep.study, None)
        try:
            run = self._request(self._client.get_run, run_id)
        except self._refusal:
            return True
        return bool(run.info.lifecycle_stage == "deleted")

    def _sync(self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep) -> Sent:
        if sent.run_id is None:
            sent = self._find_or_create_trial(sweep, parent_run_id, trial, keep)
        run_id = str(sent.run_id)
        self._send(run_id, projection.pending(sweep, trial, sent))
        if trial.state != sent.state and not (sent.state is None and trial.state == "running"):
            self._set_status(run_id, projection.RUN_STATUS[trial.state], _end_of(trial))
        return projection.after(trial, run_id)

    def _find_or_create_trial(self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, keep: Keep) -> Sent:
        this = (trial.study, trial.number)
        found = None
        if this in self._in_doubt or not projection.has_just_begun(trial):
            found = self._find_trial(sweep, trial)
        self._in_doubt.add(this)
        start = projection.trial_start(sweep, parent_run_id, trial)
        own = self._create(self._experiment_id(sweep), start) if found is None else str(found.info.run_id)
        run_id = keep(own)
        if run_id != own:
            self._request(self._client.delete_run, own)
            found = self._request(self._client.get_run, run_id)
        if found is None or not found.inputs.dataset_inputs:
            self._log_data_set(run_id, sweep)
        self._in_doubt.discard(this)
        if trial.study in self._known_runs:
            self._known_runs[trial.study][trial.number] = run_id
        return Sent(run_id=run_id) if found is None else _held_by(found, trial)

    def _find_trial(self, sweep: SweepRecord, trial: TrialRecord) -> Any | None:
        """The active run that the record names, else the oldest with this trial's tags."""
        kept = self._active(trial.run_id)
        if kept is not None:
            return kept
        if trial.attempts <= 1 and (trial.study, trial.number) not in self._in_doubt:
            run_id = self._listed(sweep).get(trial.number)
            run = None if run_id is None else self._request(self._client.get_run, run_id)
            if run is None or run.info.lifecycle_stage == "active":
                return run
        tags = {projection.KIND: "trial", projection.STUDY: trial.study, projection.TRIAL: str(trial.number)}
        return self._find(self._experiment_id(sweep), tags)

    def _listed(self, sweep: SweepRecord) -> Mapping[int, str]:
        """The oldest run of every trial that has one; those of other processes as of the first call."""
        if sweep.study not in self._known_runs:
            runs = every_page(
                functools.partial(self._request, self._client.search_runs),
                [self._experiment_id(sweep)],
                f"tags.`{projection.KIND}` = 'trial' and tags.`{projection.STUDY}` = '{sweep.study}'",
                max_results=1000,
                order_by=["attributes.start_time DESC"],
            )
            listed = {int(run.data.tags[projection.TRIAL]): str(run.info.run_id) for run in runs}
            self._known_runs[sweep.study] = listed
        return self._known_runs[sweep.study]

    def _experiment_id(self, sweep: SweepRecord) -> str:
        if sweep.study in self._experiment_ids:
            return self._experiment_ids[sweep.study]
        experiment = self._request(self._client.get_experiment_by_name, sweep.study)
        experiment_id = self._create_experiment(sweep) if experiment is None else str(experiment.experiment_id)
        if experiment is not None and experiment.lifecycle_stage == "deleted":
            # A deleted experiment blocks its name; restoring it loses nothing.
            self._request(self._client.restore_experiment, experiment_id)
        self._experiment_ids[sweep.study] = experiment_id
        return experiment_id

    def _create_experiment(self, sweep: SweepRecord) -> str:
        location = None if self._artifact_root is None else f"{self._artifact_root.rstrip('/')}/{sweep.study}"
        tags = projection.experiment_tags(sweep)
        try:
            return str(self._request(self._client.create_experiment, sweep.study, location, tags))
        except self._refusal as error:
            if not _is_taken(error):
                raise
            return str(self._request(self._client.get_experiment_by_name, sweep.study).experiment_id)

    def _find(self, experiment_id: str, tags: Mapping[str, str]) -> Any | None:
        """The oldest active run with these tags, or None."""
        conditions = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        runs = self._request(
            self._client.search_runs,
            [experiment_id],
            conditions,
            max_results=1,
            order_by=["attributes.start_time ASC"],
        )
        return runs[0] if runs else None

    def _active(self, run_id: str | None) -> Any | None:
        """The run, unless it was deleted."""
        if run_id is None:
            return None
        try:
            run = self._request(self._client.get_run, run_id)
        except self._refusal:
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _delete_doubles(self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord] = ()) -> None:
        """Delete runs of the sweep, and of trials, that are not the kept ones.

        A process that is killed after the request for a run, or before it can offer the run to the study, leaves one if
        another process makes a run at the same time. MLflow's client leaves one by itself: it repeats a request whose
        answer was lost. Nothing is ever written to such a run, so it is still running. It starts with the kept run, to
        the millisecond, unlike runs of a study in another database that has the same name.
        """
        kept = {("sweep", None): parent_run_id} | {("trial", str(trial.number)): trial.run_id for trial in trials}
        running = every_page(
            functools.partial(self._request, self._client.search_runs),
            [self._experiment_id(sweep)],
            f"tags.`{projection.STUDY}` = '{sweep.study}' and attributes.status = 'RUNNING'",
            max_results=1000,
        )
        for run in list(running):  # deleting moves the pages
            kept_id = kept.get((run.data.tags.get(projection.KIND), run.data.tags.get(projection.TRIAL)))
            if run.info.run_id == kept_id:
                continue
            other = self._active(kept_id)
            if other is not None and other.info.start_time == run.info.start_time:
                self._request(self._client.delete_run, run.info.run_id)

    def _create(self, experiment_id: str, start: RunStart) -> str:
        run = self._request(
            self._client.create_run,
            experiment_id,
            start_time=start.started_at_ms,
            tags=dict(start.tags),
            run_name=start.name,
        )
        return str(run.info.run_id)

    def _send(self, run_id: str, batch: Batch, model: Any = None, data: SweepRecord | None = None) -> None:
        """Add a batch to a run, and its points to a `model` measured on `data` too."""
        if not batch:
            return
        from mlflow.entities import Metric, Param, RunTag

        link: dict[str, str] = {}
        if model is not None and data is not None:
            link = {"model_id": model.model_id, "dataset_name": data.data_name, "dataset_digest": _digest(data)}
        self._request(
            self._client.log_batch,
            run_id,
            metrics=[Metric(point.key, point.value, point.timestamp_ms, point.step, **link) for point in batch.metrics],
            params=[Param(key, value) for key, value in batch.params.items()],
            tags=[RunTag(key, value) for key, value in batch.tags.items()],
        )

    def _log_data_set(self, run_id: str, sweep: SweepRecord) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        data = Dataset(
            name=sweep.data_name,
            digest=_digest(sweep),
            source_type="winnow",
            source=json.dumps({"uri": sweep.data_source}),
            profile=json.dumps({"num_rows": sweep.data_rows}),
        )
        context = InputTag("mlflow.data.context", "training")
        self._request(self._client.log_inputs, run_id, [DatasetInput(data, [context])])

    def _registered(self, manifest: Manifest, run_id: str) -> ModelVersion | None:
        """The version that was already registered for this run and these weights."""
        condition = f"name = '{manifest.name}' and run_id = '{run_id}'"
        for version in self._request(self._client.search_model_versions, condition):
            if version.tags.get(projection.MODEL_SHA256) == manifest.onnx_sha256:
                return ModelVersion(manifest.name, str(version.version), run_id)
        return None

    def _model_of(self, sweep: SweepRecord, trial: TrialRecord, manifest: Manifest, run_id: str) -> Any:
        """The run's logged model: the one that an interrupted call made, else a new one."""
        from mlflow.entities import LoggedModelOutput

        experiment_id = self._experiment_id(sweep)
        condition = f"source_run_id = '{run_id}' and tags.`{projection.MODEL_SHA256}` = '{manifest.onnx_sha256}'"
        left = self._request(self._client.search_logged_models, [experiment_id], condition, max_results=1)
        if left:
            return left[0]
        model = self._request(
            self._client.create_logged_model,
            experiment_id,
            name=manifest.name,
            source_run_id=run_id,
            tags=projection.model_tags(sweep, trial, manifest),
            params=dict(projection.parameters(trial).params),
            model_type=manifest.task,
        )
        self._request(self._client.log_outputs, run_id, [LoggedModelOutput(model.model_id, step=0)])
        return model

    def _register(
        self, sweep: SweepRecord, trial: TrialRecord, manifest: Manifest, run_id: str, model: Any
    ) -> ModelVersion:
        try:
            self._request(
                self._client.create_registered_model,
                manifest.name,
                {projection.TASK: sweep.task},
                f"Models of the experiment {manifest.name}.",
            )
        except self._refusal as error:
            if not _is_taken(error):
                raise
        version = self._request(
            self._client.create_model_version,
            manifest.name,
            # Not "models:/ID", which MLflow resolves against the process's default store.
            source=model.artifact_location,
            run_id=run_id,
            tags=projection.model_tags(sweep, trial, manifest),
            description=projection.model_description(sweep, trial, manifest),
            await_creation_for=0,
            model_id=model.model_id,
        )
        # MLflow's UI links a model to its versions by this tag.
        link = json.dumps([{"name": manifest.name, "version": int(version.version)}])
        self._request(self._client.set_logged_model_tags, model.model_id, {"mlflow.modelVersions": link})
        registered = ModelVersion(manifest.name, str(version.version), run_id)
        # Reading gives it its semantic version. Here the bundles can be fetched, later readers may lack access to them.
        known = Registry(self._uri).versions(manifest.name)
        return next((each for each in known if each == registered), registered)

    def _set_status(self, run_id: str, status: str, ended_at_ms: int | None) -> None:
        # MLflow's only call that sets a status and an end time in one request.
        self._request(self._client.set_terminated, run_id, status, ended_at_ms)

    def _request(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._calls += 1
        with failures_as_unavailable():
            return call(*args, **kwargs)

    def _upload(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with transferring():
            return call(*args, **kwargs)


def _is_taken(error: Any) -> bool:
    return bool(error.error_code == "RESOURCE_ALREADY_EXISTS")


def _end_of(trial: TrialRecord) -> int:
    """When the run ended: the end of the trial, else of its last fold, else its start."""
    last = max((fold.ended_at_ms for fold in trial.folds), default=trial.started_at_ms)
    return trial.ended_at_ms or last


def _held_by(run: Any, trial: TrialRecord) -> Sent:
    """What an existing run holds: everything if it has the trial's final state, which is written last."""
    run_id, shown = str(run.info.run_id), run.data.tags.get(projection.STATE)
    # The state alone does not distinguish a trial that failed and was tried again.
    is_last_attempt = run.data.tags.get(projection.ATTEMPTS) == str(trial.attempts)
    if trial.state in projection.FINAL and shown == trial.state and is_last_attempt:
        sent = projection.after(trial, run_id)
        status_is_right = run.info.status == projection.RUN_STATUS[trial.state]
        holdout = bool(trial.holdout) and all(f"holdout.{name}" in run.data.metrics for name in trial.holdout)
        return Sent(run_id, sent.folds, True, holdout, trial.state if status_is_right else "running")
    expected = projection.parameters(trial)
    has_parameters = expected.params.keys() <= run.data.params.keys() and all(
        point.key in run.data.metrics for point in expected.metrics
    )
    by_status = {status: state for state, status in projection.RUN_STATUS.items()}
    is_current = has_parameters and shown not in projection.FINAL
    return Sent(run_id, state=by_status.get(run.info.status, "running") if is_current else None)


def _digest(sweep: SweepRecord) -> str:
    # MLflow limits a digest to 36 characters; every run has the whole digest as a tag.
    return sweep.data_sha256[:16]
