"""The reference profile of a model that is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow.bundle.manifest import read_manifest
from winnow.bundle.profile import Profile, read_profile
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.orchestrators.releases import choose_version, fetch_release
from winnow.orchestrators.settings import current
from winnow.routing import Release
from winnow.tracking.registry import Registry


def with_bundle(release: Release, settings: Settings) -> Release:
    """The release with its bundle on this machine, fetched from the registry if need be.

    Raises:
        InputError: the registered bundle is another one, or the store does not answer.
    """
    if _digest_of(release.bundle) == release.digest:
        return release
    return replace(release, bundle=_fetched(release, settings))


def profile_of(release: Release) -> Profile:
    """The profile in a release's bundle, which is on this machine.

    Raises:
        InputError: it has none.
    """
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


def _fetched(release: Release, settings: Settings) -> Path:
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
    return found.bundle


def _digest_of(bundle: Path) -> str | None:
    try:
        return read_manifest(bundle).digest
    except (OSError, ValueError):
        return None
