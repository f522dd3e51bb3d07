"""Where a registered version comes from and what became of it: facts and one time line. Values, and pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from winnow.routing import Versioned
from winnow.study.experiments import Sheet
from winnow.study.formatting import one_line, score, setting
from winnow.tracking.history import AlertRecord, CommitRecord, GateRecord, ModelRecord, RejectedRecord, RolloutRecord
from winnow.tracking.records import shown_lineage
from winnow.tracking.run_context import shown_context

EventKind = Literal["trained", "gates", "alias", "rollout", "rejected", "alert", "retrain", "commit"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    Attributes:
        at: when, in UTC.
        kind: what it is about.
        text: what and why, as a sentence without its full stop.
    """

    at: datetime
    kind: EventKind
    text: str


@dataclass(frozen=True)
class AliasChange:
    """From `at` on, a version had an alias of the model."""

    at: datetime
    alias: str
    version: str
    reason: str


@dataclass(frozen=True)
class GateVerdict:
    """The last verdict of a stage's gates.

    Attributes:
        at: when it was given.
        stage: staging or production.
        reason: what follows, in one line.
        gates: name, verdict and reason of each one.
    """

    at: datetime
    stage: str
    reason: str
    gates: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Asked:
    """One row of a request that the prediction log has.

    Attributes:
        at: when it was answered.
        request_id: of the request.
        row: number of the row in the request, from 0.
        deployment: that answered.
        revision: that answered it.
        kind: how it came there: assigned, fallback, mirrored or chosen.
        version: of the model that answered.
        prediction: what it answered.
        probability: of the predicted class; None for numbers.
        outcome: what turned out to be true; None where that is not known.
    """

    at: datetime
    request_id: str
    row: int
    deployment: str
    revision: int
    kind: str
    version: str
    prediction: Any
    probability: float | None
    outcome: Any


@dataclass(frozen=True)
class Origin(Versioned):
    """Where a version comes from.

    Attributes:
        version: its number.
        semantic: its semantic version; empty where it is not known.
        digest: of its bundle.
        created_at: when the bundle was written.
        metrics: means over the folds; `holdout.` and `.std` as in the manifest.
        trial: number of the trial in the study.
        data_name, data_source: what the data are called, and where they were read from.
        data_sha256: digest of the data.
        lineage: where the data come from, in the version's tags `winnow.data.NAME`.
        tags: of the study's runs: those of the experiment file and of MLFLOW_RUN_CONTEXT, such as a DAG run's name.
        git_commit: of the code; empty where none is known.
        study_started_at: when the study was made; None where it is gone.
        data_rows: of the study's data, None where the study is gone; `data_source` is then empty.
        has_changes: the code differed from the commit.
        environment: of the process that made the study: `user`, `host`, `python`, `torch`, `winnow`; empty where the
            study is gone.
    """

    name: str
    version: str
    semantic: str
    run_id: str
    digest: str
    created_at: datetime
    study: str
    trial: int
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    data_name: str
    data_source: str
    data_sha256: str
    data_rows: int | None
    lineage: Mapping[str, str]
    tags: Mapping[str, str]
    git_commit: str
    has_changes: bool
    environment: Mapping[str, str]
    study_started_at: datetime | None


@dataclass(frozen=True)
class ModelStory:
    """The answer to `winnow why`.

    Attributes:
        origin: where the version comes from.
        aliases: that the version has now.
        verdicts: of gates, the latest of each stage.
        events: about this version, oldest first.
        asked: rows of the request that was asked about; empty where none was.
    """

    origin: Origin
    aliases: tuple[str, ...]
    verdicts: tuple[GateVerdict, ...]
    events: tuple[Event, ...]
    asked: tuple[Asked, ...] = ()

    def sheets(self) -> tuple[Sheet, ...]:
        """The tables that the terminal and the page show."""
        return tuple(_sheets(self))


def events_of(
    origin: Origin,
    changes: Sequence[AliasChange],
    records: Sequence[tuple[datetime, ModelRecord]],
    labels: Mapping[str, str],
) -> tuple[Event, ...]:
    """What happened to one version, oldest first.

    Args:
        changes: of all aliases of the model, oldest first within an alias.
        records: of the model, of all versions.
        labels: what people see of a version, by its number.
    """
    found = [
        *_of_training(origin),
        *_of_aliases(origin.version, changes, labels),
        *(
            replace(event, text=f"{event.text}{_by(record)}")
            for at, record in records
            if (event := _of_record(origin, at, record, labels)) is not None
        ),
    ]
    return tuple(sorted(found, key=lambda each: each.at))


def _by(record: ModelRecord) -> str:
    return f" ({shown_context(record.tags)})" if record.tags else ""


def _of_training(origin: Origin) -> Iterator[Event]:
    if origin.study_started_at is not None:
        by = f" by {origin.environment['user']}" if origin.environment.get("user") else ""
        yield Event(origin.study_started_at, "trained", f"study {origin.study} was started{by}")
    yield Event(
        origin.created_at, "trained", f"trial {origin.trial} was trained on all rows but the holdout and registered"
    )


def _of_aliases(version: str, changes: Sequence[AliasChange], labels: Mapping[str, str]) -> Iterator[Event]:
    """When the version got an alias and why, and which one took its place."""
    holders: dict[str, str] = {}
    for each in changes:
        before = holders.get(each.alias)
        holders[each.alias] = each.version
        if each.version == version:
            place = "" if before in (None, version) else f" in place of version {labels.get(before, before)}"
            yield Event(each.at, "alias", f"became @{each.alias}{place}: {each.reason}")
        elif before == version:
            other = labels.get(each.version, each.version)
            yield Event(each.at, "alias", f"version {other} became @{each.alias} in its place: {each.reason}")


def _of_record(origin: Origin, at: datetime, record: ModelRecord, labels: Mapping[str, str]) -> Event | None:
    version = origin.version
    if isinstance(record, GateRecord):
        text = f"gates of {record.stage}: {record.reason}"
        return Event(at, "gates", text) if record.version == version else None
    if isinstance(record, RejectedRecord):
        text = f"was sent away from {record.deployment}: {record.reason}"
        return Event(at, "rejected", text) if record.version == version else None
    if isinstance(record, RolloutRecord):
        return _of_rollout(version, at, record, labels)
    if isinstance(record, CommitRecord):
        return _of_commit(version, at, record, labels)
    if isinstance(record, AlertRecord):
        about = f" ({record.subject})" if record.subject else ""
        text = (
            f"{record.name}{about} began: {record.summary}"
            if record.status == "firing"
            else f"{record.name}{about} ended"
        )
        return Event(at, "alert", text) if record.version == version else None
    if record.study == origin.study or record.version == version:
        return Event(at, "retrain", f"training by study {record.study} {record.state}: {record.reason}")
    return None


def _of_rollout(version: str, at: datetime, record: RolloutRecord, labels: Mapping[str, str]) -> Event | None:
    where = f"{record.deployment} on {record.platform}"
    how = "" if record.strategy == "rolling" else f" after a rollout ({record.strategy})"
    if record.version == version:
        if record.state == "aborted":
            return Event(at, "rollout", f"its rollout ({record.strategy}) to {where} was aborted: {record.reason}")
        replaced = labels.get(record.replaced, record.replaced)
        instead = f" in place of version {replaced}" if record.replaced not in ("", version) else ""
        return Event(at, "rollout", f"answers all requests to {where}{instead}{how}: {record.reason}")
    if record.replaced == version and record.state == "promoted":
        other = labels.get(record.version, record.version)
        return Event(at, "rollout", f"version {other} took its place in {where}{how}: {record.reason}")
    return None


def _of_commit(version: str, at: datetime, record: CommitRecord, labels: Mapping[str, str]) -> Event | None:
    by = f"commit {record.commit[:12]} on {record.branch} of {record.repository}"
    if record.version == version:
        how = "puts it back into" if record.is_rollback else "puts it into"
        replaced = labels.get(record.replaced, record.replaced)
        instead = f" in place of version {replaced}" if record.replaced not in ("", version) else ""
        return Event(at, "commit", f"{by} {how} the manifests of {record.stage}{instead}: {record.reason}")
    if record.replaced == version:
        how = "takes it out of" if record.is_rollback else "replaces it in"
        other = labels.get(record.version, record.version)
        return Event(at, "commit", f"{by} {how} the manifests of {record.stage} for version {other}: {record.reason}")
    return None


def _sheets(story: ModelStory) -> Iterator[Sheet]:
    if story.asked:
        yield _asked(story.asked)
    yield _origin(story.origin, story.aliases)
    if story.verdicts:
        gates = tuple((each.stage, *gate) for each in story.verdicts for gate in each.gates)
        notes = tuple(f"{shown(each.at)} · {each.stage}: {each.reason}" for each in story.verdicts)
        yield Sheet("Gates", notes, ("stage", "gate", "verdict", "reason"), gates)
    rows = tuple((shown(each.at), each.kind, one_line(each.text)) for each in story.events)
    yield Sheet("What happened", (), ("when (UTC)", "", "what and why"), rows)


def _asked(asked: Sequence[Asked]) -> Sheet:
    head = ("when (UTC)", "row", "deployment", "revision", "version", "came as", "prediction", "probability", "outcome")
    rows = tuple(
        (
            shown(each.at),
            str(each.row),
            each.deployment,
            str(each.revision),
            each.version,
            each.kind,
            setting(each.prediction),
            "" if each.probability is None else score(each.probability),
            "not known" if each.outcome is None else setting(each.outcome),
        )
        for each in asked
    )
    return Sheet(f"Request {asked[0].request_id}", (), head, rows)


def _origin(origin: Origin, aliases: Sequence[str]) -> Sheet:
    rows_text = "" if origin.data_rows is None else f", {origin.data_rows:,} rows"
    source = "" if origin.data_source in ("", origin.data_name) else f" ({origin.data_source})"
    changes = ", with changes" if origin.has_changes else ""
    made = ", ".join(f"{name} {value}" for name, value in origin.environment.items() if name != "user" and value)
    holdout = {name.removeprefix("holdout."): value for name, value in origin.metrics.items() if "holdout." in name}
    folds = {name: value for name, value in origin.metrics.items() if "." not in name}
    facts = {
        "aliases": ", ".join(f"@{each}" for each in aliases) or "none",
        "registered": f"{shown(origin.created_at)} UTC",
        "study": f"{origin.study}, trial {origin.trial}",
        "run": origin.run_id,
        "parameters": _listed(origin.params),
        "cross-validation": ", ".join(
            f"{name} {score(value)}" + (f" ± {score(spread)}" if (spread := origin.metrics.get(f"{name}.std")) else "")
            for name, value in folds.items()
        ),
        "holdout": ", ".join(f"{name} {score(value)}" for name, value in holdout.items()) or "none",
        "data": f"{origin.data_name}{source}{rows_text}, sha256 {origin.data_sha256[:12]}",
        "lineage": ", ".join(f"{name} {value}" for name, value in shown_lineage(origin.lineage).items()),
        "tags": _listed(origin.tags),
        "code": f"commit {origin.git_commit[:12]}{changes}" if origin.git_commit else "no commit known",
        "made with": made or "not known",
        "bundle": f"sha256 {origin.digest[:12]}",
    }
    rows = tuple((name, value) for name, value in facts.items() if value)
    return Sheet(f"Where {origin.name} version {origin.label} comes from", (), (), rows)


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={setting(value)}" for name, value in params.items())


def shown(at: datetime) -> str:
    """A time for people, to the second, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
