"""From a registered model to a release: choose the version, fetch its bundle to `HOME/models/DIGEST` once, read it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from winnow.bundle.manifest import REGISTERED, VERDICTS, read_manifest
from winnow.bundle.profile import Profile, read_profile
from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.serving import STAGING
from winnow.config.settings import Settings
from winnow.orchestrators.settings import current
from winnow.routing import Release
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion, NoStoreError, TrackingUnavailableError

CHAMPION = "champion"
"""The alias that is served where no other is named."""


class NoChampionError(InputError):
    """No version of the model has the alias, or the model has no versions."""


def choose_version(
    registry: Registry, name: str, *, store: str, alias: str | None = None, number: str | None = None
) -> ModelVersion:
    """The version of a model with this number, or else with this alias, by default the champion.

    Args:
        number: the registry's, as in `3`, or the semantic version, as in `1.2.0`.
        store: the registry's address, for errors.

    Raises:
        NoChampionError: no version has the alias.
        InputError: there is no such version, or the store does not answer.
    """
    alias = alias or CHAMPION
    with _store_is_needed(name, store):
        if number is None:
            version = registry.champion(name, alias)
            if version is not None:
                return version
            raise NoChampionError(
                f"registered model '{name}' in {store}",
                expected=f"a version with the alias '{alias}'",
                found="none",
                remedy=f"Run `{next_command('promote-model', stage=STAGING, name=name)}`."
                if alias == STAGING
                else f"Run `{next_command('select-model', study=name)}` to choose one.",
            )
        known = registry.versions(name)
    for each in known:
        if str(number) in (each.version, each.semantic):
            return each
    numbers = ", ".join(each.label for each in reversed(known))
    raise InputError(
        f"registered model '{name}' in {store}",
        expected=f"one of its versions: {numbers}" if known else "a model with versions",
        found=f"version '{number}'" if known else "none",
        remedy="Name one of them, or leave it out for the champion."
        if known
        else f"Run `{next_command('select-model', study=name)}` to choose one.",
    )


def fetch_release(registry: Registry, version: ModelVersion, home: Path, *, store: str) -> Release:
    """A version as a release, with its bundle in `HOME/models/DIGEST`. `store`: the registry's address, for errors.

    Raises InputError if the store does not answer, or its bundle is damaged.
    """
    models = home / "models"
    if (kept := _kept(models, version)) is not None:
        _keep_facts(registry, version, kept.bundle, store)
        return kept
    models.mkdir(parents=True, exist_ok=True)
    with _store_is_needed(version.name, store), tempfile.TemporaryDirectory(prefix=".fetch-", dir=models) as folder:
        try:
            bundle = registry.download_bundle(version, Path(folder) / "bundle")
        except ValueError as error:
            raise InputError(
                f"model {version.name} version {version.version}",
                expected="the bundle that was registered",
                found=str(error),
                remedy="Its files in the tracking store were changed or removed: choose another with "
                f"`{next_command('select-model', study=version.name)}`.",
            ) from error
        digest = read_manifest(bundle).digest
        if _digest_of(models / digest) != digest:  # missing or damaged
            shutil.rmtree(models / digest, ignore_errors=True)
            bundle.rename(models / digest)
    note = _note(models, version)
    note.parent.mkdir(exist_ok=True)
    note.write_text(digest, encoding="utf-8")
    _keep_facts(registry, version, models / digest, store)
    return _release(version, models / digest)


def _keep_facts(registry: Registry, version: ModelVersion, bundle: Path, store: str) -> None:
    """Write what the registry knows beside the bundle's own files, for `/model`; no digest covers it."""
    with _store_is_needed(version.name, store):
        found = registry.verdicts(version)
    text = "" if not found else "{" + ",".join(f'"{stage}":{verdict}' for stage, verdict in found.items()) + "}"
    known = {"semantic_version": version.semantic or None, "lineage": version.lineage}
    registered = msgspec.json.encode(known, order="sorted").decode()
    for file, kept in ((bundle / VERDICTS, text), (bundle / REGISTERED, registered)):
        if not kept:
            file.unlink(missing_ok=True)
        elif not file.is_file() or file.read_text(encoding="utf-8") != kept:
            replace_text(file, kept)


@contextmanager
def shown_release(registry: Registry, version: ModelVersion, home: Path, *, store: str) -> Iterator[Release]:
    """The same for a plan that is only shown: a newly fetched bundle is deleted when the context closes.

    Raises InputError if the store does not answer, or its bundle is damaged.
    """
    if (kept := _kept(home / "models", version)) is not None:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="winnow-dry-run-") as folder:
        yield fetch_release(registry, version, Path(folder), store=store)


def as_kept(release: Release, home: Path) -> Release:
    """The release with its bundle where `fetch_release` puts it."""
    return replace(release, bundle=home / "models" / release.digest)


def known_champion(registry: Registry, name: str) -> ModelVersion | None:
    """The champion; None if there is none or the store does not answer."""
    try:
        return registry.champion(name, CHAMPION)
    except TrackingUnavailableError:
        return None


@contextmanager
def _store_is_needed(name: str, store: str) -> Iterator[None]:
    try:
        yield
    except TrackingUnavailableError as error:
        # A store that is a file is created with the first study.
        kind = NoChampionError if isinstance(error, NoStoreError) else InputError
        raise kind(
            f"tracking store {store}",
            expected="a store that answers and holds a registered model",
            found=str(error),
            remedy="Start it, correct MLFLOW_TRACKING_URI, or train a model first "
            f"(`{next_command('train', config=...)}`, then `{next_command('select-model', study=name)}`).",
        ) from error


def _note(models: Path, version: ModelVersion) -> Path:
    """The file that records a version's digest. The bundle of a registered version never changes."""
    return models / "versions" / f"{version.name}-{version.version}-{version.run_id}"


def _kept(models: Path, version: ModelVersion) -> Release | None:
    """The release, if its whole bundle is here.

    Older notes and folders are named by the ONNX file's digest. They do not match, so the bundle is fetched again.
    """
    note = _note(models, version)
    if not note.is_file():
        return None
    digest = note.read_text(encoding="utf-8").strip()
    if _digest_of(models / digest) != digest:
        return None
    return _release(version, models / digest)


def _release(version: ModelVersion, bundle: Path) -> Release:
    digest, lineage = bundle.name, version.lineage
    return Release(version.name, version.version, digest, bundle, semantic=version.semantic, lineage=lineage)


def _digest_of(bundle: Path) -> str | None:
    """The digest of a bundle; None if it is missing or damaged."""
    try:
        return read_manifest(bundle).digest
    except (OSError, ValueError):
        return None


def with_bundle(release: Release, settings: Settings) -> Release:
    """The release with its bundle on this machine, fetched from the registry if need be.

    Raises InputError if the registered bundle is another one, or the store does not answer.
    """
    if _digest_of(release.bundle) == release.digest:
        return release
    store = current().tracking_uri
    registry = Registry(store)
    version = choose_version(registry, release.model, store=store, number=release.version)
    found = fetch_release(registry, version, settings.home, store=store)
    if found.digest != release.digest:
        raise InputError(
            f"model {release.model} version {release.version}",
            expected=f"the bundle that is served (sha256 {release.digest[:12]})",
            found=f"another one in {store} (sha256 {found.digest[:12]})",
            remedy="Its profile would be another model's: correct MLFLOW_TRACKING_URI, or deploy the model again.",
        )
    return replace(release, bundle=found.bundle)


def profile_of(release: Release) -> Profile:
    """The profile in a release's bundle, which is on this machine. Raises InputError if it has none."""
    model = f"model {release.model} version {release.version}"
    try:
        profile = read_profile(release.bundle)
    except ValueError as error:
        raise InputError(
            model, expected="a profile that this version of winnow reads", found=str(error), remedy="Update winnow."
        ) from error
    if profile is None:
        raise InputError(
            model,
            expected="a bundle with a reference profile, to compare requests with",
            found="one of an earlier version of winnow, without",
            remedy=f"Train it again (`{next_command('train', config=...)}`, then "
            f"`{next_command('select-model', study=release.model)}`), and serve the new version.",
        )
    return profile
