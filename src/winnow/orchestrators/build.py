"""From a release to the image that serves it: built once, pushed where a registry is named, addressed by what it is.

Images are built from the project's own folder. Which model is released is left to `deploy`, how it is run to deployers.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.config.errors import InputError
from winnow.platforms.deployer import Release
from winnow.platforms.docker import prod_image
from winnow.platforms.docker.build import push
from winnow.platforms.docker.delivery import deliver, pushed_digest
from winnow.platforms.docker.prod_image import ProdImage
from winnow.platforms.images import BuildOptions, ImageRoute, Show, silent
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine


class Versions(Protocol):
    """What is asked of a registry; `winnow.tracking.registry.Registry` is one."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model."""


def plan_image(
    engine: Engine, registry: Versions, release: Release, options: BuildOptions, folder: Path, *, tag: str = ""
) -> ProdImage:
    """The image of a release, worked out and not built.

    Args:
        folder: the project's, with Dockerfile.prod.
        tag: the image's name; by default `winnow-prod-NAME:VERSION-INPUTS`.

    Raises:
        InputError: the store is away, the bundle is damaged, or the project's files are not in `folder`.
    """
    try:
        runs = {each.version: each.run_id for each in registry.versions(release.model)}
    except TrackingUnavailableError as error:
        raise InputError(
            "tracking store",
            expected="a store that answers",
            found=str(error),
            remedy="Start it, or correct MLFLOW_TRACKING_URI.",
        ) from error
    return prod_image.plan(
        release.bundle,
        release.version,
        run_id=runs.get(release.version, ""),
        folder=folder,
        tag=tag,
        options=options,
        base_id=prod_image.base_id(engine, options.base_image or prod_image.BASE_IMAGE),
    )


def build_image(
    engine: Engine,
    image: ProdImage,
    show: Show = silent,
    *,
    is_cached: bool = True,
    route: ImageRoute | None = None,
) -> str:
    """Build it, unless it is there; what a back-end runs: the image's id, or `REPOSITORY@sha256:…` after a push.

    Args:
        route: how it gets to the nodes of a cluster; None where the engine itself runs it.

    Raises:
        InputError: there is no `docker` command, or no way to the cluster.
        BuildFailedError: the build failed, or the registry, or the cluster, did not take the image.
    """
    if route is not None and not image.is_pushed and prod_image.find(engine, image) is None:
        route.check()  # before minutes go into it
    identifier = prod_image.build(engine, image, show, is_cached=is_cached)
    if image.is_pushed:
        push(image.tag, show)
        return pushed_digest(engine, identifier, image.tag.rpartition(":")[0])
    if route is not None:
        return deliver(engine, identifier, image.tag, route, show, is_forced=not is_cached)
    return identifier


def with_image(
    engine: Engine,
    registry: Versions,
    release: Release,
    options: BuildOptions,
    folder: Path,
    show: Show = silent,
    *,
    route: ImageRoute | None = None,
) -> Release:
    """The release with its image, built where it is not there. Raises what `plan_image` and `build_image` raise."""
    image = plan_image(engine, registry, release, options, folder)
    return dataclasses.replace(release, image=build_image(engine, image, show, route=route))
