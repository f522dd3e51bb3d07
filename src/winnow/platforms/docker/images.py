"""The images of a Docker engine: implements `Images`, which hides the engine from the rest."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config import sbom as program
from winnow.config.errors import InputError, UnavailableError
from winnow.platforms.docker import build as docker_build
from winnow.platforms.docker import delivery, prod_image, train_image
from winnow.platforms.docker.build import BuildPlan, push
from winnow.platforms.docker.client import asking, connect
from winnow.platforms.docker.prod_image import ProdImage
from winnow.platforms.images import BuildOptions, ImageRoute, ModelImageRequest, Show, TrainImagesRequest, silent
from winnow.platforms.sweep import CONTAINER_PYTHON

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine


class DockerImages:
    """Implements `Images` on the engine that the environment names, or on one that is connected already."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, engine: Engine | None = None) -> None:
        self._environment = environment
        self._given = engine

    @functools.cached_property
    def engine(self) -> Engine:
        return self._given if self._given is not None else connect(self._environment)

    def train_image(self, name: str | None, folder: Path) -> str:
        return train_image.check(self.engine, name, folder)

    def plan_train_images(self, request: TrainImagesRequest) -> tuple[TrainImageBuild, ...]:
        is_pushed = bool(request.options.registry)
        return tuple(TrainImageBuild(train_image.plan(request, each), is_pushed) for each in train_image.TARGETS)

    def plan_tracking_image(self, folder: Path, options: BuildOptions, extras: Sequence[str]) -> TrainImageBuild:
        return TrainImageBuild(train_image.plan_tracking(folder, options, extras), is_pushed=False)

    def plan_airflow_image(self, request: TrainImagesRequest) -> TrainImageBuild:
        return TrainImageBuild(train_image.plan(request, "airflow"), bool(request.options.registry))

    def plan_model_image(self, request: ModelImageRequest) -> ModelImageBuild:
        base_id, unknown = self._base(request.options)
        return ModelImageBuild(prod_image.plan(request, base_id), request.is_cached, unknown, lambda: self.engine)

    def plan_router_image(self, folder: Path, options: BuildOptions, *, is_cached: bool = True) -> ModelImageBuild:
        base_id, unknown = self._base(options)
        image = prod_image.plan_router(folder, options, base_id)
        return ModelImageBuild(image, is_cached, unknown, lambda: self.engine)

    def _base(self, options: BuildOptions) -> tuple[str, tuple[str, ...]]:
        """The base image's id, empty where it is not known, and what is unknown then."""
        base = options.base_image or prod_image.BASE_IMAGE
        try:
            return prod_image.base_id(self.engine, base), ()
        except UnavailableError:
            return "", (f"the id of the base image {base}, on which the image's tag depends: no Docker engine answers",)

    @asking("an image")
    def size_bytes(self, reference: str) -> int:
        return int(self.engine.images.get(reference).attrs["Size"])

    @asking("the project's images")
    def project_images(self, folder: Path) -> list[str]:
        found = self.engine.images.list(filters={"label": f"{docker_build.PROJECT}={docker_build.project_id(folder)}"})
        return sorted(each.tags[0] if each.tags else str(each.id) for each in found)

    @asking("an image's software")
    def sbom(self, reference: str) -> str:
        # Root reads the image's files, without a network and without changing them.
        import docker.errors

        try:
            image = self.engine.images.get(reference)  # `run` would pull one that is not there
        except docker.errors.ImageNotFound as error:
            raise _unreadable(reference, "none") from error
        try:
            printed: bytes = self.engine.containers.run(
                image,
                ["-I", "-c", Path(program.__file__).read_text(encoding="utf-8")],
                entrypoint=CONTAINER_PYTHON,
                user="0:0",
                cap_drop=["ALL"],
                cap_add=["DAC_READ_SEARCH"],
                network_mode="none",
                read_only=True,
                remove=True,
            )
        except (docker.errors.ContainerError, docker.errors.APIError) as error:
            raise _unreadable(reference, "one that does not run it") from error
        return printed.decode()

    def deliver(
        self, identifier: str, name: str, route: ImageRoute, show: Show = silent, *, is_forced: bool = False
    ) -> str:
        return delivery.deliver(self.engine, identifier, name, route, show, is_forced=is_forced)


@dataclass(frozen=True)
class TrainImageBuild:
    """`ImageBuild` of one image of a sweep. Docker's cache decides which of its layers are built again."""

    plan: BuildPlan
    is_pushed: bool
    unknown: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        return self.plan.tags[-1]

    def render(self) -> str:
        return f"{self.plan.render()}\ndocker push {self.tag}" if self.is_pushed else self.plan.render()

    def find(self) -> None:
        """See `ImageBuild.find`."""

    def build(self, show: Show = silent) -> str:
        train_image.lend_source(self.plan)
        identifier = docker_build.build(self.plan, show)
        if self.is_pushed:
            push(self.tag, show)
        return identifier


@dataclass(frozen=True)
class ModelImageBuild:
    """`ImageBuild` of a model's or the router's image, on an engine that is connected when it is needed."""

    image: ProdImage
    is_cached: bool
    unknown: tuple[str, ...]
    engine: Callable[[], Engine]

    @property
    def tag(self) -> str:
        return self.image.tag

    def render(self) -> str:
        return self.image.render()

    def find(self) -> str | None:
        return prod_image.find(self.engine(), self.image)

    def build(self, show: Show = silent) -> str:
        identifier = prod_image.build(self.engine(), self.image, show, is_cached=self.is_cached)
        if not self.image.is_pushed:
            return identifier
        push(self.tag, show)
        return delivery.pushed_digest(self.engine(), identifier, self.tag.rpartition(":")[0])


def _unreadable(reference: str, found: str) -> InputError:
    return InputError(
        f"image '{reference}'",
        expected=f"an image on the engine with {CONTAINER_PYTHON}, as `build-train` and `build-prod` make it",
        found=found,
        remedy="Build or pull it, or name another one.",
    )
