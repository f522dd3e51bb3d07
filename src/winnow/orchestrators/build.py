"""Build an image and load it onto clusters' nodes. How images are built and delivered is left to `winnow.platforms`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from winnow.config.settings import Settings
from winnow.platforms.images import BuildOptions, ImageBuild, ImageRoute, Images, Show, silent
from winnow.platforms.table import all_platforms
from winnow.routing import Release


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

    `routes` has one entry for each cluster. It is empty if the image is pushed or stays on the engine.

    Attributes:
        release: the model that the image serves; None for the images of a sweep.
    """

    image: ImageBuild = field(repr=False)
    images: Images = field(repr=False)
    routes: tuple[ImageRoute, ...] = field(repr=False)
    release: Release | None = None
    keep_sbom: Callable[[str], None] | None = field(default=None, repr=False)
    """Is given the sha256 of what the image holds, as CycloneDX has it."""

    @property
    def tag(self) -> str:
        """The image's full name, including the registry if there is one."""
        return self.image.tag

    @property
    def unknown(self) -> tuple[str, ...]:
        """Facts missing from the plan because no engine answered. They may change `tag`."""
        return self.image.unknown

    def is_built(self) -> bool:
        """Whether the engine has the image, built from the same inputs."""
        return self.image.find() is not None

    def render(self) -> str:
        """The commands that build, push and load it."""
        return "\n".join((self.image.render(), *(each.render(self.tag) for each in self.routes)))

    def run(self, show: Show = silent) -> BuiltImage:
        """Build the image unless it exists, push it to the registry if there is one, and load it.

        Raises:
            InputError: no engine answers, or the `docker` command or the load command does not exist.
            BuildFailedError: a build, a push or a load failed.
        """
        reference = self.image.build(show)
        for each in self.routes:
            # A node may be new or may have removed the image, so load it even if it was loaded before.
            self.images.deliver(reference, self.tag, each, show, is_forced=True)
        if self.keep_sbom is not None:
            self.keep_sbom(sbom_digest(self.images, reference))
        return BuiltImage(self.tag, reference, self.images.size_bytes(reference))


def sbom_digest(images: Images, reference: str) -> str:
    """sha256 of the CycloneDX document of what an image holds; its server shows the same in `/model`."""
    return hashlib.sha256(images.sbom(reference).encode()).hexdigest()


def load_routes(settings: Settings, environment: Mapping[str, str], options: BuildOptions) -> tuple[ImageRoute, ...]:
    """How to load images onto clusters' nodes. Empty if they are pushed, or if there is no load command.

    Each load is recorded for its cluster, so that later verbs find the image there.
    """
    if options.registry:
        return ()
    routes = (each.image_route() for each in all_platforms(settings, environment))
    return tuple(route for route in routes if route is not None and route.load)
