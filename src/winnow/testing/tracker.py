"""A tracker that keeps its runs in memory: the same projection as in MLflow, without a store.

It can be switched off, as if the store were away. Of files it keeps only the names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow.bundle.manifest import read_manifest
from winnow.tracking import projection
from winnow.tracking.projection import Batch, Point, RunStart
from winnow.tracking.records import SweepRecord, TrialRecord
from winnow.tracking.tracker import Keep, KeepAll, ModelVersion, Sent, TrackingUnavailableError, as_offered


@dataclass
class MemoryRun:
    """One run as a store would show it. `points` holds each point once, however often it was sent."""

    run_id: str
    name: str
    started_at_ms: int
    status: str
    tags: dict[str, str]
    ended_at_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    points: set[Point] = field(default_factory=set)
    data_set: tuple[str, str] | None = None
    files: set[str] = field(default_factory=set)

    @property
    def metrics(self) -> dict[str, float]:
        """The newest value of every metric: of the highest step, then the latest time."""
        ordered = sorted(self.points, key=lambda point: (point.step, point.timestamp_ms, point.value))
        return {point.key: point.value for point in ordered}


class MemoryTracker:
    """A `Tracker` whose whole state is `runs` and `versions`; while `is_unavailable`, every call is refused."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.versions: dict[ModelVersion, str] = {}
        self.is_unavailable = False
        self._calls = 0
        self._made = 0

    @property
    def calls(self) -> int:
        """Requests a store would have got."""
        return self._calls

    def start_sweep(self, sweep: SweepRecord, keep: Keep = as_offered, run_id: str | None = None) -> str:
        start = projection.sweep_start(sweep)
        found = self.runs.get(run_id or "") or self._find({projection.KIND: "sweep", projection.STUDY: sweep.study})
        made = found or self._create(start)
        run = self.runs[keep(made.run_id)]
        if run is not made:
            del self.runs[made.run_id]
        if found is not None:
            self._delete_doubles(run.run_id)
        run.tags |= start.tags
        run.params = run.params or projection.sweep_params(sweep)
        run.status = "RUNNING"
        self._log_data_set(run, sweep)
        run.files.add("experiment.yaml")
        return run.run_id

    def add_trials(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], keep: KeepAll
    ) -> Mapping[int, Sent]:
        """Make none: trials are written one by one."""
        return {}

    def sync_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep = as_offered
    ) -> Sent:
        if sent.run_id is None and trial.state == "waiting" and trial.attempts == 0:
            return sent
        run = self.runs.get(sent.run_id or "") or self._find_or_create_trial(sweep, parent_run_id, trial, keep)
        self._add(run, projection.pending(sweep, trial, replace(sent, state=sent.state if run.params else None)))
        if run.status != projection.RUN_STATUS[trial.state]:
            self._request()
            run.status = projection.RUN_STATUS[trial.state]
            run.ended_at_ms = trial.ended_at_ms
        return projection.after(trial, run.run_id)

    def log_bundle(
        self,
        sweep: SweepRecord,
        parent_run_id: str,
        trial: TrialRecord,
        bundle: Path,
        keep: Keep = as_offered,
        artifacts: Sequence[Path] = (),
    ) -> ModelVersion:
        manifest = read_manifest(bundle)
        run_id = str(self.sync_trial(sweep, parent_run_id, trial, Sent(), keep).run_id)
        self._request()
        self.runs[run_id].files |= {path.name for path in artifacts}
        for version, digest in self.versions.items():
            if (version.run_id, digest) == (run_id, manifest.onnx_sha256):
                return version
        number = sum(version.name == manifest.name for version in self.versions) + 1
        version = ModelVersion(manifest.name, str(number), run_id)
        self.versions[version] = manifest.onnx_sha256
        return version

    def finish_sweep(
        self, sweep: SweepRecord, parent_run_id: str, trials: Sequence[TrialRecord], report: Path | None
    ) -> None:
        run = self.runs[parent_run_id]
        self._add(run, projection.sweep_summary(sweep, trials))
        if report is not None:
            run.files.add(report.name)
        self._delete_doubles(parent_run_id, trials)
        self._request()
        run.status = "FINISHED"
        run.ended_at_ms = max((t.ended_at_ms or t.started_at_ms for t in trials), default=sweep.started_at_ms)

    def _find_or_create_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, keep: Keep
    ) -> MemoryRun:
        tags = {projection.KIND: "trial", projection.STUDY: trial.study, projection.TRIAL: str(trial.number)}
        run = self.runs.get(trial.run_id or "") or self._find(tags)
        if run is None:
            run = self._create(projection.trial_start(sweep, parent_run_id, trial))
        kept = self.runs[keep(run.run_id)]
        if kept is not run:
            del self.runs[run.run_id]
        self._log_data_set(kept, sweep)
        return kept

    def _delete_doubles(self, parent_run_id: str, trials: Sequence[TrialRecord] = ()) -> None:
        """Delete running runs that are not the kept ones but start with them."""
        self._request()
        kept_ids = {parent_run_id, *(trial.run_id for trial in trials)}
        for kept in [run for run in self.runs.values() if run.run_id in kept_ids]:
            for run in list(self.runs.values()):
                is_alike = (run.name, run.started_at_ms) == (kept.name, kept.started_at_ms)
                if run is not kept and is_alike and run.status == "RUNNING":
                    del self.runs[run.run_id]

    def _find(self, tags: dict[str, str]) -> MemoryRun | None:
        self._request()
        found = (run for run in self.runs.values() if tags.items() <= run.tags.items())
        return next(found, None)

    def _create(self, start: RunStart) -> MemoryRun:
        self._request()
        self._made += 1
        run_id = f"{self._made:032x}"
        self.runs[run_id] = MemoryRun(run_id, start.name, start.started_at_ms, "RUNNING", dict(start.tags))
        return self.runs[run_id]

    def _log_data_set(self, run: MemoryRun, sweep: SweepRecord) -> None:
        self._request()
        run.data_set = (sweep.data_name, sweep.data_sha256[:16])

    def _add(self, run: MemoryRun, batch: Batch) -> None:
        if batch:
            self._request()
            run.params |= batch.params
            run.points |= set(batch.metrics)
            run.tags |= batch.tags

    def _request(self) -> None:
        self._calls += 1
        if self.is_unavailable:
            raise TrackingUnavailableError("switched off")
