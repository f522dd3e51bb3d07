"""Build the images that workers and servers run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent, study_name

if TYPE_CHECKING:
    from winnow.orchestrators.build import BuiltImage, PlannedBuild
    from winnow.platforms.deployer import Release
    from winnow.platforms.images import BuildOptions, BuildStep


@dataclass(frozen=True)
class ImageOptions:
    """How images are built, and how they get to a cluster. The environment answers what is empty here.

    Attributes:
        base_image: base of the image; by default WINNOW_TRAIN_BASE_IMAGE or WINNOW_PROD_BASE_IMAGE, else the
            Dockerfile's own.
        registry: HOST/PATH that the image is pushed to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto a cluster's nodes; by default WINNOW_IMAGE_LOAD.
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
        torch_index: package index of torch; another one has CUDA, or none.
        requirements: your requirements, a file below the working directory; by default requirements.txt.
        extras: what the tracking server needs beside Postgres and S3: "mysql", "azure", "gcs".
        tag: the images' tag; by default one of this folder's own.
        options: how the images are built and delivered.

    Returns:
        The images, which `run` builds.

    Raises:
        InputError: the working directory is no project of winnow's, or has no such file or extra.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.build import plan_train_builds
    from winnow.platforms.images import TRAIN_BASE
    from winnow.platforms.table import images

    environment, build_options = _options(options, TRAIN_BASE)
    return plan_train_builds(
        images(environment),
        Settings.from_environment(),
        environment,
        build_options,
        Path.cwd(),
        torch_index=torch_index,
        requirements=requirements,
        extras=tuple(extras),
        tag=tag,
        is_cached=options.is_cached,
    )


def build_train(
    *,
    torch_index: str = "",
    requirements: str = "",
    extras: Sequence[str] = (),
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    show: Callable[[BuildStep], None] = silent,
) -> tuple[BuiltImage, ...]:
    """Build the workers' image, with the code of the working directory, and the tracking server's.

    Args:
        torch_index: package index of torch; another one has CUDA, or none.
        requirements: your requirements, a file below the working directory; by default requirements.txt.
        extras: what the tracking server needs beside Postgres and S3: "mysql", "azure", "gcs".
        tag: the images' tag; by default one of this folder's own.
        options: how the images are built and delivered.
        show: is called with each step of the builds.

    Returns:
        The images that were built, or were there.

    Raises:
        InputError: the working directory is no project of winnow's, or no engine answers.
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
    alias: str = "champion",
    version: str | None = None,
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    dry_run: bool = False,
) -> PlannedBuild:
    """Plan what `build_prod` builds. The model is fetched; nothing is built.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        alias: alias of the model's version in the registry.
        version: number of the version, instead of an alias.
        tag: the image's name; by default `winnow-prod-NAME:VERSION-INPUTS`, which no other image takes.
        options: how the image is built and delivered.
        dry_run: keep no file, so that the plan can be shown and not run.

    Returns:
        The image, which `run` builds.

    Raises:
        InputError: there is no such version, or the store does not answer.
    """
    name = study_name(config, study)
    from winnow.orchestrators.build import plan_model_build
    from winnow.orchestrators.releases import choose_version, fetch_release, shown_release
    from winnow.orchestrators.settings import current
    from winnow.platforms.images import PROD_BASE
    from winnow.platforms.table import images
    from winnow.tracking.registry import Registry

    settings = current()
    environment, build_options = _options(options, PROD_BASE)
    registry, store, home = Registry(settings.tracking_uri), settings.tracking_uri, settings.home
    chosen = choose_version(registry, name, store=store, alias=alias, number=version)

    def plan(release: Release) -> PlannedBuild:
        return plan_model_build(
            images(environment),
            settings,
            environment,
            build_options,
            Path.cwd(),
            release,
            chosen,
            tag=tag,
            is_cached=options.is_cached,
        )

    if dry_run:
        with shown_release(registry, chosen, home, store=store) as shown:
            return plan(shown)
    return plan(fetch_release(registry, chosen, home, store=store))


def build_prod(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    alias: str = "champion",
    version: str | None = None,
    tag: str = "",
    options: ImageOptions = ImageOptions(),
    show: Callable[[BuildStep], None] = silent,
) -> BuiltImage:
    """Build the image that serves a registered model, unless it is there.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        alias: alias of the model's version in the registry.
        version: number of the version, instead of an alias.
        tag: the image's name; by default `winnow-prod-NAME:VERSION-INPUTS`, which no other image takes.
        options: how the image is built and delivered.
        show: is called with each step of the build.

    Returns:
        The image.

    Raises:
        InputError: there is no such version, or neither the store nor an engine answers.
        BuildFailedError: the build, a push or a load failed.
    """
    plan = plan_build_prod(config, study=study, alias=alias, version=version, tag=tag, options=options)
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
        pip_config=found.pip_config if config is None else checked_pip_config(config, "--pip-config"),
    )
