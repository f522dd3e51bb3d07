"""Build the images of a sweep and of a model, from the project's own folder, and load them onto a cluster's nodes.

Which model an image serves is left to `releases`, how images are built and delivered to `winnow.platforms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.settings import Settings
from winnow.orchestrators.environment import describe_environment
from winnow.platforms.deployer import Release
from winnow.platforms.images import (
    BuildOptions,
    ImageBuild,
    ImageRoute,
    Images,
    ModelImageRequest,
    Show,
    TrainImagesRequest,
    silent,
)
from winnow.platforms.table import all_platforms
from winnow.tracking.tracker import ModelVersion


@dataclass(frozen=True)
class BuiltImage:
    """An image on this machine's engine.

    Attributes:
        tag: its name.
        reference: its id, or `REPOSITORY@sha256:…` after a push.
        size_bytes: its size on the engine.
    """

    tag: str
    reference: str
    size_bytes: int


@dataclass(frozen=True)
class PlannedBuild:
    """An image to build, and the clusters whose nodes it is loaded onto.

    `routes` has one for each cluster; it is empty where the image is pushed, or stays on the engine.

    Attributes:
        release: the model that the image serves; None for the images of a sweep.
    """

    image: ImageBuild = field(repr=False)
    images: Images = field(repr=False)
    routes: tuple[ImageRoute, ...] = field(repr=False)
    release: Release | None = None

    @property
    def tag(self) -> str:
        """The image's whole name, with its registry where one is named."""
        return self.image.tag

    @property
    def unknown(self) -> tuple[str, ...]:
        """Facts that the plan lacks because no engine answered; another `tag` may follow from them."""
        return self.image.unknown

    def is_built(self) -> bool:
        """Whether the engine has the image, built from the same inputs."""
        return self.image.find() is not None

    def render(self) -> str:
        """The commands that build, push and load it."""
        return "\n".join((self.image.render(), *(each.render(self.tag) for each in self.routes)))

    def run(self, show: Show = silent) -> BuiltImage:
        """Build the image unless it is there, push it where a registry is named, and load it.

        Raises:
            InputError: no engine answers, there is no `docker` command, or no such command as loads images.
            BuildFailedError: a build, a push or a load failed.
        """
        reference = self.image.build(show)
        for each in self.routes:
            # A node may be new, or have removed the image: load it also where it was loaded before.
            self.images.deliver(reference, self.tag, each, show, is_forced=True)
        return BuiltImage(self.tag, reference, self.images.size_bytes(reference))


def plan_train_builds(
    images: Images,
    settings: Settings,
    environment: Mapping[str, str],
    options: BuildOptions,
    folder: Path,
    *,
    torch_index: str = "",
    requirements: str = "",
    extras: tuple[str, ...] = (),
    tag: str = "",
    is_cached: bool = True,
) -> tuple[PlannedBuild, ...]:
    """The tracking server's image and the workers', with the code in `folder`. No engine is contacted.

    Args:
        environment: names the command that loads images onto a cluster's nodes.
        torch_index, requirements, extras, tag, is_cached: as in `TrainImagesRequest`.

    Raises:
        InputError: the folder is no winnow project, or has no such file or extra.
    """
    revision = describe_environment(folder).get("git_commit", "")
    request = TrainImagesRequest(folder, options, torch_index, requirements, extras, tag, revision, is_cached)
    routes = _load_routes(settings, environment, options)
    return tuple(PlannedBuild(each, images, routes) for each in images.plan_train_images(request))


def plan_model_build(
    images: Images,
    settings: Settings,
    environment: Mapping[str, str],
    options: BuildOptions,
    folder: Path,
    release: Release,
    version: ModelVersion,
    *,
    tag: str = "",
    is_cached: bool = True,
) -> PlannedBuild:
    """The image that serves a release.

    Args:
        environment: names the command that loads images onto a cluster's nodes.
        tag, is_cached: as in `ModelImageRequest`.

    Raises:
        InputError: the bundle is damaged, or the project's files are not in `folder`.
    """
    image = plan_model_image(images, release, version, options, folder, tag=tag, is_cached=is_cached)
    return PlannedBuild(image, images, _load_routes(settings, environment, options), release)


def plan_model_image(
    images: Images,
    release: Release,
    version: ModelVersion,
    options: BuildOptions,
    folder: Path,
    *,
    tag: str = "",
    is_cached: bool = True,
) -> ImageBuild:
    """The image that serves a release, as it would be built. Arguments and errors are those of `plan_model_build`."""
    request = ModelImageRequest(release.bundle, release.version, folder, options, version.run_id, tag, is_cached)
    return images.plan_model_image(request)


def _load_routes(settings: Settings, environment: Mapping[str, str], options: BuildOptions) -> tuple[ImageRoute, ...]:
    """How images are loaded onto clusters' nodes; empty where they are pushed, or stay on this engine.

    A load is recorded for its cluster, so that a verb that serves or trains there finds the image.
    """
    if options.registry:
        return ()
    routes = (each.image_route() for each in all_platforms(settings, environment))
    return tuple(route for route in routes if route is not None and route.load)
