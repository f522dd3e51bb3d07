"""From the registry's champion to something that answers: fetch its bundle once, and hand it to a deployer."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Protocol

from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.deployers.deployer import Deployer, Release
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

TARGETS = ("local",)


class Champions(Protocol):
    """What is asked of a registry; `winnow.tracking.registry.Registry` is one."""

    def champion(self, name: str, alias: str = ...) -> ModelVersion | None:
        """The version that holds the alias, or None."""

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        """Copy a version's bundle to `destination`, which does not exist yet."""


def deployer_for(target: str, settings: Settings) -> Deployer[Any]:
    """The deployer of a target.

    Raises:
        InputError: there is no such target.
    """
    if target == "local":
        from winnow.deployers.local import LocalDeployer

        return LocalDeployer(settings.home)
    raise InputError("--target", expected=f"one of {', '.join(TARGETS)}", found=f"'{target}'", remedy="Choose one.")


def champion_release(
    registry: Champions, name: str, alias: str, home: Path, *, store: str, is_kept: bool = True
) -> Release:
    """The champion as a release, with its bundle in `HOME/models/DIGEST`.

    Args:
        store: what the registry is called in errors: its address.
        is_kept: False leaves no file behind, for plans that are only shown.

    Raises:
        InputError: there is no champion, the store does not answer, or its bundle is damaged.
    """
    try:
        version = registry.champion(name, alias)
        if version is None:
            raise _no_champion(name, alias, store)
        return _release(registry, version, home / "models", is_kept=is_kept)
    except TrackingUnavailableError as error:
        raise InputError(
            f"tracking store {store}",
            expected="a store that answers and holds a registered model",
            found=str(error),
            remedy="Start it, correct MLFLOW_TRACKING_URI, or train a model first (`make train`, `make select-model`).",
        ) from error


def _release(registry: Champions, version: ModelVersion, models: Path, *, is_kept: bool) -> Release:
    # A registered version's bundle never changes, so its digest is noted under the names that tell versions apart.
    note = models / "versions" / f"{version.name}-{version.version}-{version.run_id}"
    if note.is_file():
        digest = note.read_text(encoding="utf-8").strip()
        if _is_whole(models / digest):
            return Release(version.name, version.version, digest, models / digest)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models if _made(models, is_kept) else None) as folder:
        bundle = _download(registry, version, Path(folder) / "bundle")
        digest = read_manifest(bundle).digest
        if is_kept:
            _keep(bundle, models / digest)
            note.parent.mkdir(exist_ok=True)
            note.write_text(digest, encoding="utf-8")
    return Release(version.name, version.version, digest, models / digest)


def _download(registry: Champions, version: ModelVersion, destination: Path) -> Path:
    try:
        return registry.download_bundle(version, destination)
    except ValueError as error:
        raise InputError(
            f"model {version.name} version {version.version}",
            expected="the bundle that was registered",
            found=str(error),
            remedy="Its files in the tracking store were changed: choose another version with `make select-model`.",
        ) from error


def _keep(bundle: Path, place: Path) -> None:
    """Move a bundle to its place, which holds the same bundle already, a damaged one, or nothing."""
    if _is_whole(place):
        return
    shutil.rmtree(place, ignore_errors=True)
    bundle.rename(place)


def _is_whole(bundle: Path) -> bool:
    try:
        read_manifest(bundle)
    except (OSError, ValueError):
        return False
    return True


def _made(folder: Path, is_wanted: bool) -> bool:
    if is_wanted:
        folder.mkdir(parents=True, exist_ok=True)
    return is_wanted


def _no_champion(name: str, alias: str, store: str) -> InputError:
    return InputError(
        f"registered model '{name}' in {store}",
        expected=f"a version with the alias '{alias}'",
        found="none",
        remedy="Run `make select-model` to choose one.",
    )
