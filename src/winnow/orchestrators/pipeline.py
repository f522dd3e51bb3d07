"""From raw data to a served model: ingest, validate, prepare, train, select and serve, one after the other.

Each step is a verb that does nothing where its result exists. A step that fails ends the pipeline with its own error,
and the next call goes on there. Data that have changed train the next study, as `retrain` does, and the registered
model's history keeps how it ended, so that no retraining begins anew on the same data; `model_steps` has what comes
after the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from winnow.config.experiment import Experiment
from winnow.config.grid import trials_wanted
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.data.stage.schema import read_schema
from winnow.data.stage.violations import refuse_violations
from winnow.model_query.rules import Rules
from winnow.orchestrators.due import last_study, next_study
from winnow.orchestrators.ingest import Ingestion
from winnow.orchestrators.model_steps import Steps, Tell, carry_out, check_gates, continues, data_digest, known_studies
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.prepare import Preparation
from winnow.orchestrators.validate import Validation, is_validated
from winnow.tracking.history import RetrainRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import NoStoreError

Until = Literal["prepare", "train", "select", "serve"]
State = Literal["planned", "prepared", "trained", "selected", "promoted", "deployed", "refused"]


class PipelineSteps(Steps, Protocol):
    """The verbs that a pipeline consists of. Each may be called again."""

    def ingest(self, *, dry_run: bool = False) -> Ingestion:
        """Copy the raw data to the home."""

    def validate(self) -> Validation:
        """Check the raw rows against their schema."""

    def prepare(self, *, dry_run: bool = False) -> Preparation:
        """Compute the rows that are trained on."""


@dataclass(frozen=True)
class PipelineRequest:
    """What a caller asks for.

    Attributes:
        rules_file: of `rules`, for errors.
        until: the last step.
        platform: where it trains and serves.
    """

    experiment: Experiment
    rules: Rules
    rules_file: Path
    until: Until = "serve"
    platform: str = "local"


@dataclass(frozen=True)
class PipelineStep:
    """A step of a pipeline.

    Attributes:
        step: ingest, validate, prepare, train, select, promote, serve or refused.
        said: what it did or would do, in one line.
    """

    step: str
    said: str


@dataclass(frozen=True)
class Pipeline:
    """How far a pipeline came.

    Attributes:
        model: the name of the registered model.
        state: `planned` by a dry run; the last step that is done; or `refused` by rules, gates or the rollout.
        steps: what each of them did, in their order.
        study: that was trained; empty before.
        version: the number of the selected version; empty before.
        url: where it is served; empty before.
        curl: the command that gets a prediction.
    """

    model: str
    state: State
    steps: tuple[PipelineStep, ...]
    study: str = ""
    version: str = ""
    url: str = ""
    curl: str = ""


def pipeline(
    request: PipelineRequest,
    settings: Settings,
    registry: Registry,
    steps: PipelineSteps,
    *,
    tell: Tell,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Pipeline:
    """Go from raw data to a served model. Steps whose section the experiment lacks are left out.

    Raises InputError if rows violate a schema, or the rules lack gates that the champion passed; WinnowError if a step
    failed.
    """
    experiment, done = request.experiment, list[PipelineStep]()

    def told(step: str, said: str) -> None:
        done.append(PipelineStep(step, said))
        tell(step, said)

    _check_gates(request, registry)
    _prepare_data(experiment, settings, steps, told)
    if request.until == "prepare":
        return Pipeline(experiment.name, "prepared", tuple(done))
    study = study_for(experiment, settings)
    stop_after = "deploy" if request.until == "serve" else request.until
    end = carry_out(study, settings, steps, stop_after, check=lambda: None, tell=told)
    if end.state != "trained":
        trained = find_study(settings, study)
        digest = "" if trained is None else trained.header.sweep.data_sha256
        _note(registry, experiment.name, RetrainRecord(study, end.state, end.reason, end.version, digest), now())
    if end.state == "refused" and done[-1].said != end.reason:
        told("refused", end.reason)
    elif end.state != "refused" and request.until == "serve":
        told("serve", end.reason)
    return Pipeline(experiment.name, end.state, tuple(done), study, end.version)


def _note(registry: Registry, model: str, end: RetrainRecord, at: datetime) -> None:
    """Note an end in the model's history, unless the last record says the same: most calls change nothing."""
    records = registry.records(model, RetrainRecord)
    last = records[-1][1] if records else None
    if last is None or (last.study, last.state, last.version) != (end.study, end.state, end.version):
        registry.note(model, end, at)


def study_for(experiment: Experiment, settings: Settings) -> str:
    """The study that the pipeline trains: the experiment's last one if nothing has changed since, else the next one."""
    known = known_studies(settings)
    last = last_study(experiment.name, known)
    if last is not None and continues(last, experiment, data_digest(experiment, settings), settings):
        return last
    return next_study(experiment.name, known)


def plan(
    request: PipelineRequest, settings: Settings, registry: Registry, steps: PipelineSteps, *, tell: Tell
) -> Pipeline:
    """What `pipeline` would do, as far as it can be said before it is done.

    Raises:
        InputError: as `pipeline`.
    """
    _check_gates(request, registry)
    said = [PipelineStep(*each) for each in _planned(request, settings, steps)]
    for each in said:
        tell(each.step, each.said)
    return Pipeline(request.experiment.name, "planned", tuple(said))


def _check_gates(request: PipelineRequest, registry: Registry) -> None:
    try:
        check_gates(request.experiment.name, request.rules, request.rules_file, registry)
    except NoStoreError:  # the first sweep makes it
        return


def _prepare_data(experiment: Experiment, settings: Settings, steps: PipelineSteps, tell: Tell) -> None:
    """Ingest, validate and prepare."""
    data = experiment.data
    if data.raw is not None:
        tell("ingest", _ingested(steps.ingest()))
    if data.schema_file is not None:
        tell("validate", _validated(data.schema_file, experiment, settings, steps))
    if data.prepare is not None:
        tell("prepare", _prepared(steps.prepare()))


def _validated(schema: str, experiment: Experiment, settings: Settings, steps: PipelineSteps) -> str:
    if is_validated(experiment, settings.home):
        return f"nothing has changed: the rows fit {schema}"
    found = steps.validate()
    remedy = f"Correct the source or the schema; `{next_command('validate', config=...)}` lists all."
    refuse_violations(found.violations, read_schema(Path(schema).expanduser()), "raw rows", remedy)
    return f"{found.rows:,} rows fit {schema}"


def _ingested(found: Ingestion) -> str:
    assert found.ingested is not None
    made = found.ingested
    if found.state == "unchanged":
        return f"nothing has changed: version {made.version}, {made.rows:,} rows"
    kept = f", {_sources(found.kept)} unchanged" if found.kept else ""
    read = f"new version {made.version}: {made.rows:,} rows; {_sources(len(found.read))} read{kept}"
    return "; ".join([read, *found.notes])


def _prepared(found: Preparation) -> str:
    assert found.prepared is not None
    made = found.prepared
    what = f"version {made.version}, {made.rows:,} rows of {len(made.columns)} columns by {found.inputs.engine}"
    return "; ".join([f"new {what}" if found.state == "new" else f"nothing has changed: {what}", *found.notes])


def _sources(number: int) -> str:
    return f"{number} source" if number == 1 else f"{number} sources"


def _planned(request: PipelineRequest, settings: Settings, steps: PipelineSteps) -> Iterator[tuple[str, str]]:
    experiment = request.experiment
    data, is_known = experiment.data, True
    if data.raw is not None:
        found = steps.ingest(dry_run=True)
        is_known = not found.read and found.ingested is not None
        yield "ingest", f"would read {_sources(len(found.read))}; {found.kept} unchanged"
    if data.schema_file is not None:
        is_done = is_known and is_validated(experiment, settings.home)
        yield "validate", f"the rows fit {data.schema_file}" if is_done else f"would check rows by {data.schema_file}"
    if data.prepare is not None:
        is_known = is_known and steps.prepare(dry_run=True).state == "unchanged"
        yield "prepare", "nothing has changed" if is_known else "would compute rows, and keep them if they are new"
    if request.until == "prepare":
        return
    study = study_for(experiment, settings) if is_known else next_study(experiment.name, known_studies(settings))
    unsure = "" if is_known else ", if the rows are new"
    yield "train", f"would train study {study}: {trials_wanted(experiment.search)} trials on {request.platform}{unsure}"
    if request.until == "train":
        return
    yield "select", f"would choose by {request.rules_file.name}"
    gates = request.rules.gates
    stages = [] if gates is None else [stage for stage in ("staging", "production") if gates.of(stage)]
    if stages:
        yield "promote", f"would judge by the gates of {' and '.join(stages)}"
    if request.until == "serve":
        yield "serve", f"would serve the champion on {request.platform}"
