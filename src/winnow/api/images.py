"""Build the images that workers and servers run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import connected, model_name, silent
from winnow.config.errors import UnreachableError

if TYPE_CHECKING:
    from winnow.orchestrators.build import BuiltImage, PlannedBuild
    from winnow.platforms.images import BuildOptions, BuildStep
    from winnow.routing import Release


@dataclass(frozen=True)
class ImageOptions:
    """How to build images and deliver them to a cluster. The environment supplies what is empty here.

    Attributes:
        base_image: base of the image; by default WINNOW_TRAIN_BASE_IMAGE or WINNOW_PROD_BASE_IMAGE, else the
            Dockerfile's own.
        registry: HOST/PATH to push the image to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto the cluster's nodes; by default WINNOW_IMAGE_LOAD.
        network: Docker's network for steps that install; by default WINNOW_BUILD_NETWORK.
        pip_config: a pip.conf that these steps see and no layer keeps; by default WINNOW_PIP_CONFIG.
        is_cached: False builds every layer again.
    """

    base_image: str = ""
    registry: str = ""
    image_load: str = ""
    network: str = ""
    pip_config: Path | None = None
    is_cached: bool = True


def project_images() -> list[str]:
    """The names of the images on the engine that were built for the working directory.

    Returns:
        Names, sorted; the id of an image that has none.

    Raises:
        InputError: no engine answers.
    """
    from winnow.platforms.table import images

    return images(os.environ).project_images(Path.cwd())


def image_sbom(image: str) -> str:
    """What an image of winnow's Dockerfiles holds: Python, packages of all its environments, and those of Debian.

    Equal images give equal text, so its sha256 names it: it is `sbom_sha256` in `/model` of a server.

    Args:
        image: its name or id on the engine.

    Returns:
        A CycloneDX document in JSON.

    Raises:
        InputError: there is no such image, it is no image of winnow's, or no engine answers.
    """
    from winnow.platforms.table import images

    return images(os.environ).sbom(image)


def plan_build_train(
    *,
    torch_index: str = "",
    requirements: str = "",
    extras: Sequence[str] = (),
    tag: str = "",
    options: ImageOptions = ImageOptions(),
) -> tuple[PlannedBuild, ...]:
    """Plan what `build_train` builds. No engine is contacted.

    Args:
        tag: tag of the images; by default one that belongs to this folder.

    Returns:
        The images; call `run` to build one.

    Raises:
        InputError: the working directory is not a winnow project, or has no such file or extra.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.build import PlannedBuild, load_routes
    from winnow.orchestrators.environment import describe_environment
    from winnow.platforms.images import TRAIN_BASE, TrainImagesRequest
    from winnow.platforms.table import images

    environment, build = _options(options, TRAIN_BASE)
    engine, folder = images(environment), Path.cwd()
    commit = describe_environment(folder).get("git_commit", "")
    request = TrainImagesRequest(
        folder, build, torch_index, requirements, tuple(extras), tag, commit, options.is_cached
    )
    routes = load_routes(Settings.from_environment(), environment, build)
    return tuple(PlannedBuild(each, engine, routes) for each in engine.plan_train_images(request))


def build_train(
    *,
    torch_index: str = "",
    requirements: str = "",
    extras: Sequence[str] = (),
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    show: Callable[[BuildStep], None] = silent,
) -> tuple[BuiltImage, ...]:
    """Build the workers' image, with the code in the working directory, and the tracking server's.

    Args:
        tag: as for `plan_build_train`.

    Returns:
        The images, whether built now or before.

    Raises:
        InputError: the working directory is not a winnow project, or no engine answers.
        BuildFailedError: a build, a push or a load failed.
    """
    plans = plan_build_train(
        torch_index=torch_index, requirements=requirements, extras=extras, tag=tag, options=options
    )
    return tuple(plan.run(show) for plan in plans)


def plan_build_prod(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    dry_run: bool = False,
) -> PlannedBuild:
    """Plan what `build_prod` builds. The model is downloaded; nothing is built.

    Args:
        dry_run: delete the model again; the plan can be shown, but not run.

    Returns:
        The image; call `run` to build it.

    Raises:
        InputError: there is no such version, or the store does not answer.
    """
    model = model_name(config, study, name)
    from winnow.orchestrators.build import PlannedBuild, load_routes
    from winnow.orchestrators.releases import choose_version, fetch_release, shown_release
    from winnow.platforms.images import PROD_BASE, ModelImageRequest
    from winnow.platforms.table import images
    from winnow.tracking.tracker import TrackingUnavailableError

    settings, registry = connected()
    environment, build = _options(options, PROD_BASE)
    store, home = settings.tracking_uri, settings.home
    chosen = choose_version(registry, model, store=store, alias=alias, number=version)

    def keep_sbom(sha256: str) -> None:
        try:
            registry.keep_sbom(chosen, sha256)
        except TrackingUnavailableError as error:
            lacks = f"version {chosen.label} in {store} lacks the digest of its image's software"
            raise UnreachableError(f"the image was built; {lacks}: {error}") from error

    def plan(release: Release) -> PlannedBuild:
        request = ModelImageRequest(
            release.bundle, release.version, Path.cwd(), build, chosen.run_id, tag, options.is_cached
        )
        engine = images(environment)
        routes = load_routes(settings, environment, build)
        return PlannedBuild(engine.plan_model_image(request), engine, routes, release, keep_sbom)

    if dry_run:
        with shown_release(registry, chosen, home, store=store) as shown:
            return plan(shown)
    return plan(fetch_release(registry, chosen, home, store=store))


def build_prod(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    show: Callable[[BuildStep], None] = silent,
) -> BuiltImage:
    """Build the image that serves a registered model, unless it exists.

    Raises:
        InputError: there is no such version, or the store or the engine does not answer.
        BuildFailedError: the build, a push or a load failed.
    """
    plan = plan_build_prod(config, study=study, name=name, alias=alias, version=version, tag=tag, options=options)
    return plan.run(show)


def _options(options: ImageOptions, base: str) -> tuple[dict[str, str], BuildOptions]:
    """The environment with the options' route to a cluster, and how to build. `base`: the base image's variable."""
    from winnow.platforms.images import BuildOptions, checked_pip_config, with_route

    environment = with_route(os.environ, registry=options.registry, load=options.image_load)
    found = BuildOptions.from_environment(environment, base=base)
    config = options.pip_config
    return environment, replace(
        found,
        base_image=options.base_image or found.base_image,
        registry=options.registry or found.registry,
        network=options.network or found.network,
        pip_config=found.pip_config if config is None else checked_pip_config(config, "pip_config"),
    )
