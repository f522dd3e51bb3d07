"""Registered models: their versions, the champion, and the history of champions.

The champion is the version with the registry alias that deployments follow. MLflow keeps no history of aliases, so
`crown` also adds a tag to the registered model:

    winnow.champion.2026-11-21T10:31:02.123456Z.5f0c9d2e = {"version": "3", "run_id": "…", "reason": "…"}

The last part is a digest of the entry, for entries of the same time.

Every version has a semantic version, too, in its tag `winnow.semantic_version`. Versions without one, as new ones are,
get theirs when the versions are read, in the order of their numbers; a tracker reads them when it has registered one.

`note` adds such tags for the records of `winnow.tracking.history`.

Writing it needs no earlier read, so concurrent processes cannot lose each other's entries. It outlives the version, and
the model's page shows it. Trackers register the models.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from winnow.bundle.manifest import MANIFEST, Manifest, read_manifest
from winnow.bundle.row_digests import TRAINED_ROWS, read_digests
from winnow.bundle.semantic import FIRST, Facts, next_version
from winnow.tracking.connection import every_page, failures_as_unavailable, open_client, sqlite_path, transferring
from winnow.tracking.history import KINDS, ModelRecord
from winnow.tracking.mlflow_model import BUNDLE
from winnow.tracking.projection import CODE_SHA256, DATA_RECIPES, DATA_SOURCE, PARENT
from winnow.tracking.records import LINEAGE
from winnow.tracking.run_context import run_context
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

ALIAS = "champion"
FOLD = ".fold"
"""The end of the name of a metric with a step for each fold."""
GATES = "winnow.gates."
SBOM = "winnow.sbom.sha256"
SEMANTIC = "winnow.semantic_version"
Record = TypeVar("Record", bound=ModelRecord)
STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class ChampionRecord:
    """From `since` (UTC) on, `version` was champion, for this reason."""

    version: ModelVersion
    since: datetime
    reason: str


class _Entry(msgspec.Struct, frozen=True):
    """The value of a history tag."""

    version: str
    run_id: str
    reason: str
    semantic: str = ""


class Registry:
    """The registered models of one store. Every call raises TrackingUnavailableError if the store does not answer.

    Making one raises InputError where MLFLOW_RUN_CONTEXT is wrong.
    """

    def __init__(self, uri: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._uri = uri
        self._context = run_context()
        self._now = now
        self._lacks_bundles = False

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, newest first; empty if there is no such model."""
        found = list(every_page(self._client.search_model_versions, f"name = '{name}'", max_results=200))
        return _newest_first(found, self._semantic_versions(found))

    def version_of(self, name: str, run_id: str) -> ModelVersion | None:
        """The newest version that a run has registered; None if there is none."""
        found = every_page(self._client.search_model_versions, f"name = '{name}' and run_id = '{run_id}'")
        return next(map(self._with_semantic, _newest_first(found)), None)

    def registered_by(self, run_id: str) -> list[ModelVersion]:
        """The versions of all models that a run has registered, newest first."""
        quoted = run_id.replace("'", "")
        found = _newest_first(every_page(self._client.search_model_versions, f"run_id = '{quoted}'"))
        return [self._with_semantic(each) for each in found]

    def champion(self, name: str, alias: str = ALIAS) -> ModelVersion | None:
        """The version with the alias; None if there is none."""
        model = self._model(name)
        number = None if model is None else model.aliases.get(alias)
        if number is None:
            return None
        with failures_as_unavailable():
            found = self._client.get_model_version(name, str(number))
        return self._with_semantic(_version(found))

    def crown(self, version: ModelVersion, reason: str, alias: str = ALIAS) -> bool:
        """Give a version the alias and add it to the history; False if both were done already.

        If an earlier call was interrupted between the two, the history entry is added.
        """
        model = self._model(version.name)
        history = [] if model is None else _history(version.name, model.tags, alias)
        holds = model is not None and str(model.aliases.get(alias)) == version.version
        if holds and history and history[-1].version.version == version.version:
            return False
        entry = _Entry(version.version, version.run_id, reason, version.semantic)
        with failures_as_unavailable():
            self._client.set_registered_model_alias(version.name, alias, version.version)
        self._add(version.name, alias, self._now(), msgspec.json.encode(entry))
        return True

    def champions(self, name: str, alias: str = ALIAS) -> list[ChampionRecord]:
        """The history of the alias, oldest first."""
        return _history(name, self._tags(name), alias)

    def note(self, name: str, record: ModelRecord, at: datetime) -> None:
        """Add a record, with the tags of MLFLOW_RUN_CONTEXT, to a model's history; the same one of a time twice is one.

        A model without versions is registered with it.
        """
        from mlflow.exceptions import MlflowException

        if self._model(name) is None:
            with failures_as_unavailable(), contextlib.suppress(MlflowException):  # another process registers it
                self._client.create_registered_model(name)
        tagged = msgspec.structs.replace(record, tags=record.tags or self._context)
        self._add(name, KINDS[type(record)], at, msgspec.json.encode(tagged))

    def records(self, name: str, kind: type[Record]) -> list[tuple[datetime, Record]]:
        """When (UTC) which records of a kind were added to a model's history, oldest first."""
        prefix = _prefix(KINDS[kind])
        return [
            (_stamped(key.removeprefix(prefix)), msgspec.json.decode(value, type=kind))
            for key, value in sorted(self._tags(name).items())
            if key.startswith(prefix)
        ]

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        """Copy a version's bundle to `destination` and check every digest.

        Raises:
            FileExistsError: `destination` exists.
            ValueError: a file is missing or differs from the exported one.
        """
        if destination.exists():
            raise FileExistsError(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".download-") as folder:
            downloaded = self._download(version, folder)
            read_manifest(downloaded)
            shutil.move(downloaded, destination)
        return destination

    def model_uri(self, version: ModelVersion) -> str:
        """Where MLflow keeps the files of a version's MLflow model."""
        with failures_as_unavailable():
            return str(self._client.get_model_version_download_uri(version.name, version.version))

    def keep_verdict(self, version: ModelVersion, stage: str, verdict: str) -> None:
        """Keep the last verdict of a stage's gates with a version: JSON in the version's tag `winnow.gates.STAGE`."""
        with failures_as_unavailable():
            self._client.set_model_version_tag(version.name, version.version, f"{GATES}{stage}", verdict)

    def keep_sbom(self, version: ModelVersion, sha256: str) -> None:
        """Keep the digest of what the last image of a version holds, in the version's tag `winnow.sbom.sha256`."""
        with failures_as_unavailable():
            self._client.set_model_version_tag(version.name, version.version, SBOM, sha256)

    def verdicts(self, version: ModelVersion) -> dict[str, str]:
        """The last verdict of each stage's gates on a version, as JSON, by stage."""
        with failures_as_unavailable():
            tags = self._client.get_model_version(version.name, version.version).tags
        return {key.removeprefix(GATES): value for key, value in sorted(tags.items()) if key.startswith(GATES)}

    def trained_rows(self, version: ModelVersion) -> NDArray[np.uint64] | None:
        """Digests of the rows that a version was trained on, sorted; None where they were not kept, as once."""
        from mlflow.artifacts import download_artifacts

        with tempfile.TemporaryDirectory(prefix="winnow-rows-") as folder, transferring():
            kept = [found.path for found in self._client.list_artifacts(version.run_id)]
            if TRAINED_ROWS not in kept:
                return None
            uri = f"runs:/{version.run_id}/{TRAINED_ROWS}"
            return read_digests(Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri)))

    def fold_scores(self, version: ModelVersion) -> dict[str, NDArray[np.float64]]:
        """What the version's trial scored on each fold, by metric, in the order of the folds."""
        with failures_as_unavailable():
            metrics = self._client.get_run(version.run_id).data.metrics
            names = [name.removesuffix(FOLD) for name in metrics if name.endswith(FOLD)]
            found = {name: self._client.get_metric_history(version.run_id, f"{name}{FOLD}") for name in names}
        by_step = {name: {point.step: point.value for point in points} for name, points in found.items()}
        return {name: np.array([each[step] for step in sorted(each)]) for name, each in by_step.items()}

    def _add(self, name: str, kind: str, at: datetime, value: bytes) -> None:
        """Write an entry under a key of its own: others of the same time have another digest."""
        key = f"{_prefix(kind)}{at.astimezone(UTC):{STAMP}}.{hashlib.sha256(value).hexdigest()[:8]}"
        with failures_as_unavailable():
            self._client.set_registered_model_tag(name, key, value.decode())

    @functools.cached_property
    def _client(self) -> Any:
        return open_client(self._uri)

    def _model(self, name: str) -> Any | None:
        from mlflow.exceptions import MlflowException

        try:
            with failures_as_unavailable():
                return self._client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _tags(self, name: str) -> Mapping[str, str]:
        """A model's tags. An SQLite file is read directly, because importing MLflow takes two seconds."""
        database = sqlite_path(self._uri)
        if database is not None and database.is_file():
            query = "SELECT key, value FROM registered_model_tags WHERE name = ?"
            with (
                contextlib.suppress(sqlite3.OperationalError),
                contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection,
            ):
                return dict(connection.execute(query, (name,)))
        model = self._model(name)
        return {} if model is None else model.tags

    def _with_semantic(self, version: ModelVersion) -> ModelVersion:
        if version.semantic or self._lacks_bundles:
            return version
        return next((each for each in self.versions(version.name) if each == version), version)

    def _semantic_versions(self, found: Iterable[Any]) -> dict[str, str]:
        """The semantic versions of all versions of a model by number; those without one get theirs.

        Where bundles cannot be fetched now, the rest has none for now, and this registry does not try again.
        """
        semantic: dict[str, str] = {}
        if self._lacks_bundles:
            return semantic
        before: ModelVersion | None = None
        facts = functools.cache(self._facts)
        try:
            for version in reversed(_newest_first(found)):
                number = version.semantic
                if not number:
                    number = FIRST
                    if before is not None:
                        number = next_version(semantic[before.version], facts(before), facts(version))
                    with failures_as_unavailable():
                        self._client.set_model_version_tag(version.name, version.version, SEMANTIC, number)
                semantic[version.version], before = number, version
        except TrackingUnavailableError:
            self._lacks_bundles = True
        return semantic

    def _facts(self, version: ModelVersion) -> Facts | None:
        """What decides about a version's number; None where its manifest is lost."""
        from mlflow.exceptions import MlflowException

        try:
            with tempfile.TemporaryDirectory(prefix="winnow-manifest-") as folder:
                content = self._download(version, folder, f"{BUNDLE}/{MANIFEST}").read_bytes()
            manifest = msgspec.json.decode(content, type=Manifest)
        except (OSError, ValueError):
            return None
        try:
            with failures_as_unavailable():
                run = self._client.get_run(version.run_id)
                sweep = self._client.get_run(run.data.tags.get(PARENT, version.run_id)).data
        except MlflowException:  # the runs were deleted
            return Facts(manifest)
        settings = dict(sweep.params)
        if DATA_SOURCE in sweep.tags:  # `data.source` names the files of a version
            settings["data.source"] = sweep.tags[DATA_SOURCE].partition(" rev=")[0]
            settings |= {f"data.{tag}": sweep.tags.get(tag, "") for tag in DATA_RECIPES}
        return Facts(manifest, settings, sweep.tags.get(CODE_SHA256, ""))

    def _download(self, version: ModelVersion, folder: str, path: str = BUNDLE) -> Path:
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        try:
            with transferring():
                source = self._client.get_model_version_download_uri(version.name, version.version)
                uri = f"{source.rstrip('/')}/{path}"
                return Path(download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri))
        except MlflowException as error:  # the store answers that there is no such file
            raise ValueError(f"no files of it in the artifact store (run {version.run_id})") from error


def _newest_first(found: Iterable[Any], semantic: Mapping[str, str] | None = None) -> list[ModelVersion]:
    versions = sorted(map(_version, found), key=lambda version: int(version.version), reverse=True)
    return [replace(each, semantic=(semantic or {}).get(each.version, each.semantic)) for each in versions]


def _version(found: Any) -> ModelVersion:
    lineage = {key: value for key, value in found.tags.items() if key.startswith(LINEAGE)}
    return ModelVersion(str(found.name), str(found.version), str(found.run_id), found.tags.get(SEMANTIC, ""), lineage)


def _stamped(text: str) -> datetime:
    """The time in the rest of a key. Entries of earlier versions have no digest after it."""
    return datetime.strptime(text.partition("Z")[0] + "Z", STAMP).replace(tzinfo=UTC)


def _prefix(alias: str) -> str:
    return f"winnow.{alias}."


def _history(name: str, tags: Mapping[str, str], alias: str) -> list[ChampionRecord]:
    prefix = _prefix(alias)
    records = []
    for key, value in sorted(tags.items()):
        if key.startswith(prefix):
            entry = msgspec.json.decode(value, type=_Entry)
            since = _stamped(key.removeprefix(prefix))
            version = ModelVersion(name, entry.version, entry.run_id, entry.semantic)
            records.append(ChampionRecord(version, since, entry.reason))
    return records
