"""Releases with images of small models, built once a session; the second time everything comes from Docker's cache."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import msgspec

from tests.unit.serving import bundles
from winnow.bundle.manifest import REFERENCE, Manifest, read_manifest, sha256_of, write_manifest
from winnow.platforms.docker import prod_image
from winnow.platforms.docker.client import connect
from winnow.platforms.images import ModelImageRequest
from winnow.platforms.labels import DEPLOYMENT
from winnow.routing import Release

ROOT = Path(__file__).parents[2]
SITE_PACKAGES = "/opt/venv/lib/python3.11/site-packages/"


def broken_bundle(directory: Path) -> Path:
    """A whole bundle whose model does not answer as its reference rows say: no server takes it."""
    bundle = bundles.classification(directory, scale=3.0)
    other = bundles.classification(directory.with_name(f"{directory.name}-other"), scale=4.0)
    shutil.copyfile(other / REFERENCE, bundle / REFERENCE)
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest)
    files = {**manifest.files, REFERENCE: sha256_of(bundle / REFERENCE)}
    write_manifest(bundle, msgspec.structs.replace(manifest, files=files))
    return bundle


def release_of(bundle: Path, version: str) -> Release:
    """A bundle's release, without an image."""
    return Release("cells", version, read_manifest(bundle).digest, bundle)


def with_image(release: Release) -> Release:
    """The release with an image on the engine."""
    image = prod_image.plan(ModelImageRequest(release.bundle, release.version, ROOT, tag=_tag(release)))
    return replace(release, image=prod_image.build(connect(), image))


@contextlib.contextmanager
def patched(image: str, patch: str, folder: Path) -> Iterator[str]:
    """An image of a model whose Python loads one module more at its start; it goes with the context.

    It has a name, since every build of winnow's removes images of models without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "patch.py").write_text(patch)
    (folder / "patch.pth").write_text("import patch\n")
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY patch.py patch.pth {SITE_PACKAGES}\n")
    engine, name = connect(), f"winnow-test-patched:{secrets.token_hex(4)}"
    made, _ = engine.images.build(path=str(folder), rm=True, tag=name)
    try:
        yield str(made.id)
    finally:
        engine.images.remove(name)


def forget(releases: Iterable[Release]) -> None:
    """Take the images' names away, and with them the images that nobody else names or uses."""
    engine = connect()
    for release in releases:
        with contextlib.suppress(docker.errors.APIError):
            engine.images.remove(_tag(release))


def _tag(release: Release) -> str:
    return f"winnow-test-prod:{release.digest[:12]}"


def make_releases(folder: Path) -> dict[str, Release]:
    """Two models and a broken one, without images."""
    first = bundles.classification(folder / "first")
    second = bundles.classification(folder / "second", scale=2.0)
    broken = broken_bundle(folder / "broken")
    return {"first": release_of(first, "1"), "second": release_of(second, "2"), "broken": release_of(broken, "3")}


def remove_deployment(name: str) -> None:
    """Take away all that carries a deployment's label, however far it got."""
    engine = connect()
    for container in engine.containers.list(all=True, filters={"label": f"{DEPLOYMENT}={name}"}, ignore_removed=True):
        container.remove(force=True, v=True)
    for network in engine.networks.list(filters={"label": f"{DEPLOYMENT}={name}"}):
        network.remove()
