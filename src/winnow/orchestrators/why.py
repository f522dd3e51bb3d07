"""Gather where a registered version comes from and what became of it, from the registry, its bundle and its study."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.private import share
from winnow.config.settings import Settings
from winnow.monitoring.requests import find_request
from winnow.orchestrators.experiments import ALIASES
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.releases import choose_version, fetch_release
from winnow.orchestrators.report import write_html
from winnow.orchestrators.select_model import store_is_needed
from winnow.study.story import AliasChange, Asked, GateVerdict, ModelStory, Origin, events_of
from winnow.tracking.history import KINDS, ModelRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion

Record = TypeVar("Record", bound=ModelRecord)


def why_version(
    name: str, registry: Registry, settings: Settings, *, alias: str | None = None, number: str | None = None
) -> ModelStory:
    """The story of a version, by default of the champion.

    Raises InputError if there is no such version, or a store does not answer.
    """
    return _story(
        choose_version(registry, name, store=settings.tracking_uri, alias=alias, number=number), registry, settings
    )


def why_run(run_id: str, registry: Registry, settings: Settings) -> ModelStory:
    """The story of the version that a run has registered.

    Raises InputError if it has registered none, or a store does not answer.
    """
    with store_is_needed(settings.tracking_uri):
        found = registry.registered_by(run_id)
    if not found:
        raise InputError(
            f"run {run_id!r}",
            expected=f"the id of a run in {settings.tracking_uri} that registered a version",
            found="none with that id",
            remedy=f"`{next_command('track-experiments')}` lists the versions; "
            f"`{next_command('select-model', explain=run_id)}` says why a trial was not selected.",
        )
    return _story(found[0], registry, settings)


def why_request(
    request_id: str, paths: Sequence[str], registry: Registry, settings: Settings, *, place: str
) -> ModelStory:
    """What was answered to a request, and the story of the version that answered.

    Args:
        paths: of the prediction log.
        place: what errors about the paths name.

    Raises:
        InputError: no paths are known, the log lacks the request, the version is no longer registered, or a store does
            not answer.
    """
    if not paths:
        raise InputError(
            place,
            expected="where the prediction log is",
            found="nothing",
            remedy=f"Name its files ({next_flag('input')}), or list them in the experiment file.",
        )
    rows = find_request(paths, request_id, place)
    first = rows[0]
    story = why_version(first.model, registry, settings, number=first.version)
    asked = tuple(
        Asked(
            at=datetime.fromtimestamp(each.time, UTC),
            request_id=request_id,
            row=each.row,
            deployment=each.deployment,
            revision=each.revision,
            kind=each.kind,
            version=each.version,
            prediction=each.prediction,
            probability=each.probability,
            outcome=each.outcome,
        )
        for each in rows
    )
    return ModelStory(story.origin, story.aliases, story.verdicts, story.events, asked)


def write_story(story: ModelStory, page: Path) -> None:
    """Write the story as one self-contained page. Raises InputError where it cannot be written."""
    from winnow.report.sheets import render_sheets

    title = f"{story.origin.name} version {story.origin.label}"
    write_html(render_sheets(title, story.sheets()), page)
    share(page)


def _story(version: ModelVersion, registry: Registry, settings: Settings) -> ModelStory:
    store = settings.tracking_uri
    origin = _origin(version, registry, settings)
    with store_is_needed(store):
        changes = [
            AliasChange(each.since, alias, each.version.version, each.reason)
            for alias in ALIASES
            for each in registry.champions(version.name, alias)
        ]
        records: list[tuple[datetime, ModelRecord]] = []
        for kind in KINDS:
            records += registry.records(version.name, kind)
        labels = {each.version: each.label for each in registry.versions(version.name)}
        verdicts = tuple(_verdict(stage, text) for stage, text in registry.verdicts(version).items())
        aliases = tuple(each for each in ALIASES if registry.champion(version.name, each) == version)
    return ModelStory(origin, aliases, verdicts, events_of(origin, changes, records, labels))


def _origin(version: ModelVersion, registry: Registry, settings: Settings) -> Origin:
    manifest = read_manifest(fetch_release(registry, version, settings.home, store=settings.tracking_uri).bundle)
    study = find_study(settings, manifest.study)
    sweep = None if study is None else study.header.sweep
    told = {} if sweep is None else sweep.environment
    named = {
        **{name: told.get(name, "") for name in ("user", "host", "python")},
        **{name: told.get(f"version.{name}", "") for name in ("torch", "winnow")},
    }
    return Origin(
        name=version.name,
        version=version.version,
        semantic=version.semantic,
        run_id=version.run_id,
        digest=manifest.digest,
        created_at=datetime.fromisoformat(manifest.created_at),
        study=manifest.study,
        trial=manifest.trial,
        params=manifest.params,
        metrics=manifest.metrics,
        data_name=manifest.data_name,
        data_source="" if sweep is None else sweep.data_source,
        data_sha256=manifest.data_sha256,
        data_rows=None if sweep is None else sweep.data_rows,
        lineage=version.lineage,
        tags={} if sweep is None else {k: v for k, v in sweep.tags.items() if not k.startswith("winnow.")},
        git_commit=manifest.git_commit,
        has_changes=told.get("git_dirty") == "true",
        environment={name: value for name, value in named.items() if value},
        study_started_at=None if sweep is None else datetime.fromtimestamp(sweep.started_at_ms / 1000, UTC),
    )


def _verdict(stage: str, text: str) -> GateVerdict:
    found = msgspec.json.decode(text)
    gates = tuple((each["condition"], each["result"], each["reason"]) for each in found["findings"])
    return GateVerdict(datetime.fromisoformat(found["at"]), stage, found["reason"], gates)
