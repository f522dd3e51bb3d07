"""Images as code outside `platforms/docker` sees them: how this machine's engine builds, finds and delivers them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from winnow.config.addresses import without_password
from winnow.config.error_reports import DSN
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_flag

TRAIN, TRACKING, AIRFLOW = "winnow-train", "winnow-tracking", "winnow-airflow"
"""The repositories of the workers', the tracking server's and Airflow's image, without registry and tag."""

TRAIN_BASE, PROD_BASE = "WINNOW_TRAIN_BASE_IMAGE", "WINNOW_PROD_BASE_IMAGE"
REGISTRY, NETWORK, PIP_CONFIG = "WINNOW_REGISTRY", "WINNOW_BUILD_NETWORK", "WINNOW_PIP_CONFIG"
"""Environment variables of the build options, for verbs that build on the way and have no flags for it."""

LOAD = "WINNOW_IMAGE_LOAD"
"""Environment variable: a command that puts an image of the engine on the cluster's nodes; its name is appended."""

NOTES = "images-loaded.json"
"""The file below the home that records which images were loaded, and onto which cluster."""


@dataclass(frozen=True)
class BuildOptions:
    """How images are built on this machine; nothing here changes what the person's code does.

    Attributes:
        base_image: a base image other than the Dockerfile's own; empty for that one.
        registry: where images are pushed to; empty keeps them on the engine.
        network: Docker's `--network` for the steps that install (`host` where only the host's VPN reaches an index).
        pip_config: a pip.conf that those steps see and that no layer keeps.
        extras: pyproject.toml's extras that a server's image has besides what every server needs.
    """

    base_image: str = ""
    registry: str = ""
    network: str = ""
    pip_config: Path | None = None
    extras: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_registry(self.registry)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, *, base: str) -> BuildOptions:
        """The options that the environment sets. `base`: the variable of the base image."""
        config = environment.get(PIP_CONFIG, "")
        return cls(
            base_image=environment.get(base, ""),
            registry=environment.get(REGISTRY, ""),
            network=environment.get(NETWORK, ""),
            pip_config=checked_pip_config(Path(config), PIP_CONFIG) if config else None,
            extras=("sentry",) if environment.get(DSN) else (),
        )


def check_registry(registry: str) -> None:
    """Raises InputError where images cannot be named by it."""
    scheme, found, _ = registry.partition("://")
    if found:
        raise InputError(
            "REGISTRY",
            expected="where images are pushed to, as their names begin: host/path, without a scheme",
            found=f"'{without_password(registry)}'",
            remedy=f"Leave out '{scheme}://' ({next_flag('registry')}, or {REGISTRY}); which registries need no TLS "
            "is set in Docker's daemon.json (`insecure-registries`).",
        )


def checked_pip_config(path: Path, place: str) -> Path:
    """The absolute path of a pip.conf. Raises InputError where it is no file."""
    if not path.expanduser().is_file():
        raise InputError(place, expected="a pip.conf", found=f"'{path}'", remedy="Name a file that is there.")
    return path.expanduser().absolute()


@dataclass(frozen=True)
class BuildStep:
    """One step of a build.

    Attributes:
        name: what it does, as the build names it.
        took_s: how long it took; None while it runs.
        line: the last line that it printed.
    """

    name: str
    took_s: float | None = None
    line: str = ""


Show = Callable[[BuildStep], None]


def silent(step: BuildStep) -> None:
    """Show nothing."""


class BuildFailedError(WinnowError):
    """A build, a push or a load failed."""

    def __init__(self, tag: str, lines: Iterable[str], *, what: str = "built", remedy: str = "") -> None:
        shown = "".join(f"\n    {line}" for line in lines) or " (empty)"
        end = f"\n{remedy}" if remedy else ""
        super().__init__(f"image '{tag}' was not {what}. The end of the output:{shown}{end}")


def with_route(environment: Mapping[str, str], *, registry: str = "", load: str = "") -> dict[str, str]:
    """The environment with the route that a command's flags name; a flag replaces both variables."""
    return {**environment, REGISTRY: registry, LOAD: load} if registry or load else dict(environment)


@dataclass(frozen=True)
class ImageRoute:
    """How images of this machine's engine reach a cluster's nodes.

    Attributes:
        registry: where they are pushed to; it wins over `load`.
        load: a command that is given an image's name.
        cluster: the cluster's identity: an image on one cluster is not on another.
        notes: the file that records what was loaded; None records nothing.
    """

    registry: str = ""
    load: str = ""
    cluster: str = ""
    notes: Path | None = None

    def __post_init__(self) -> None:
        check_registry(self.registry)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, cluster: str = "", home: Path | None = None
    ) -> ImageRoute:
        """The route that the environment sets; an empty variable counts as not set."""
        notes = None if home is None else home / NOTES
        return cls(environment.get(REGISTRY, ""), environment.get(LOAD, ""), cluster, notes)

    def check(self) -> None:
        """Raises InputError where an image that was only just built could not reach the nodes."""
        if not (self.registry or self.load):
            raise no_route("the cluster's images")

    def render(self, name: str) -> str:
        """The command that would deliver an image, for people."""
        repository = repository_of(name)
        if self.registry:
            return f"docker push {self.registry.rstrip('/')}/{repository}:ID"
        return f"{self.load} {repository}:ID" if self.load else f"# {name} as it was pushed or loaded before"


@dataclass(frozen=True)
class TrainImagesRequest:
    """The images of a sweep: the workers', with the project's code, and the tracking server's.

    Attributes:
        folder: the project's; all of it, less what .dockerignore names, is in the workers' image.
        torch_index: the package index that torch comes from; another one has CUDA or none.
        requirements: a requirements file below `folder`; empty for requirements.txt where there is one.
        extras: pyproject.toml's extras that the tracking server needs: mysql, azure, gcs.
        tag: the text after the colon; empty for the project's own.
        revision: the project's commit.
        is_cached: False builds every layer again.
    """

    folder: Path
    options: BuildOptions = BuildOptions()
    torch_index: str = ""
    requirements: str = ""
    extras: tuple[str, ...] = ()
    tag: str = ""
    revision: str = ""
    is_cached: bool = True


@dataclass(frozen=True)
class ModelImageRequest:
    """The image that serves one model.

    Attributes:
        bundle: the model's folder.
        version: the model's version, as the server names it.
        folder: the project's, with Dockerfile.prod.
        run_id: the tracked run that the bundle comes from.
        tag: the image's name; empty for `winnow-prod-NAME:VERSION-INPUTS`, which no other image takes.
        is_cached: False builds every layer again.
    """

    bundle: Path
    version: str
    folder: Path
    options: BuildOptions = BuildOptions()
    run_id: str = ""
    tag: str = ""
    is_cached: bool = True


class ImageBuild(Protocol):
    """One image as it would be built. Only `find` and `build` contact an engine."""

    @property
    def tag(self) -> str:
        """The image's whole name, with its registry where one is named."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Facts that the plan lacks because no engine answered; another `tag` may follow from them."""

    def render(self) -> str:
        """The commands that build it, and push it where a registry is named."""

    def find(self) -> str | None:
        """The id of the image that was built from the same inputs before; None where there is none."""

    def build(self, show: Show = silent) -> str:
        """Build it unless `find` finds it, and push it where a registry is named.

        Returns:
            The name by which it runs: its id, or `REPOSITORY@sha256:…` after a push.

        Raises:
            InputError: there is no `docker` command.
            BuildFailedError: the build failed, or the registry refused the image.
        """


class Images(Protocol):
    """Builds, finds and delivers images. Making one contacts nothing; every method may.

    Every method raises InputError where no engine answers, and UnreachableError where it stops answering.
    """

    def train_image(self, name: str | None, folder: Path) -> str:
        """The id of the image that workers run.

        Args:
            name: an image that a person named, whatever it holds; None for the one that was built from `folder`.
            folder: the project whose code the image has to hold.

        Raises:
            InputError: there is no such image, or it was built from other code than the folder's.
        """

    def plan_train_images(self, request: TrainImagesRequest) -> tuple[ImageBuild, ...]:
        """The images of a sweep as they would be built; no engine is contacted.

        Raises InputError where the folder is no winnow project, or has no such file or extra.
        """

    def plan_tracking_image(self, folder: Path, options: BuildOptions, extras: Sequence[str]) -> ImageBuild:
        """The tracking server's image alone, as `plan_train_images` plans it; nothing is pushed."""

    def plan_airflow_image(self, request: TrainImagesRequest) -> ImageBuild:
        """Airflow's image, with the project's code, as `plan_train_images` plans the workers'."""

    def plan_model_image(self, request: ModelImageRequest) -> ImageBuild:
        """The image of a model as it would be built. Raises InputError where its bundle is damaged."""

    def plan_router_image(self, folder: Path, options: BuildOptions, *, is_cached: bool = True) -> ImageBuild:
        """The image of the routers between two revisions, which holds no model; else as `plan_model_image`."""

    def size_bytes(self, reference: str) -> int:
        """The size of an image on the engine, by its id or its digest."""

    def project_images(self, folder: Path) -> list[str]:
        """The names of the images on the engine that were built for a project, sorted; ids of those without a name."""

    def sbom(self, reference: str) -> str:
        """What an image of winnow's holds, as a CycloneDX document; equal images give equal text."""

    def deliver(
        self, identifier: str, name: str, route: ImageRoute, show: Show = silent, *, is_forced: bool = False
    ) -> str:
        """Deliver an image to a cluster's nodes unless they have it; return the name by which they run it.

        Args:
            identifier: the image's id.
            name: its name, such as `winnow-train`; a registry and a tag in it are ignored.
            is_forced: load it again where it was loaded before: a node may be new, or have removed it.

        Raises:
            InputError: the route leads nowhere, or its command does not exist.
            BuildFailedError: the registry refused the image, or the command failed.
        """


def no_route(what: str) -> InputError:
    """The error for an image that no route brings to the nodes."""
    return InputError(
        what,
        expected="a way for it to get to the cluster's nodes",
        found="neither a registry nor a command that loads it, and it was never brought there",
        remedy="Name a registry that the cluster pulls from "
        f"({next_flag('registry', 'host/path')}, or WINNOW_REGISTRY), or the command that loads images there "
        f"({next_flag('image_load', 'kind load docker-image')}, or WINNOW_IMAGE_LOAD).",
    )


def repository_of(name: str) -> str:
    """An image's name without its registry, tag and digest."""
    return name.rpartition("/")[2].partition("@")[0].partition(":")[0]
