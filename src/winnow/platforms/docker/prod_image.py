"""The images that serve: one per model, and the router's, which holds none. Their contents, names, labels; find, build.

An image is a function of its inputs: the bundle, the serving part of this package, the lock, the Dockerfile, the base.
Their digest is a label by which an image built from the same inputs is found, so asking again changes nothing. The
orchestrators decide which model it is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.bundle.manifest import MANIFEST, REGISTERED, VERDICTS, Manifest, read_manifest, sha256_of
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.version import __version__
from winnow.platforms.docker import build as docker_build
from winnow.platforms.docker.build import PROJECT, BuildPlan, project_id, source_folder
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.engine_deployment import images_of
from winnow.platforms.docker.requirements import extras, read_project
from winnow.platforms.images import BuildOptions, ModelImageRequest, Show, silent

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine

BASE_IMAGE = "python:3.11-slim-bookworm"
DOCKERFILE = "Dockerfile.prod"
ROUTER, ROUTER_TARGET = "winnow-router", "router"
"""The repository of the router's image, and the stage of the Dockerfile that makes it."""
INPUTS = "winnow.image.inputs"
"""Label: sha256 over everything that the image is made of."""

CONFIG = ("__init__.py", "atomic_write.py", "error_reports.py")
PARTS = ("__init__.py", "bundle", *(f"config/{name}" for name in CONFIG), "routing.py", "serving")
"""The files and folders of the package that a server or a router imports: no other change makes another image."""

SBOM = "sbom.py"
"""The program that writes down what the image holds; it is no part of it."""
_PACKAGE = Path(__file__).parents[2]
_LIMIT = 128
"""Characters that an image's name may have after its registry, generously below Docker's 255."""


@dataclass(frozen=True)
class ProdImage:
    """An image as it will be built; nothing is written or run by making one.

    Attributes:
        folder: the clone of winnow, with Dockerfile.prod and requirements.lock.
        requirements: what a server needs, as pip reads it.
        bundle: the model's folder; None for the router's image.
        version: what the server calls the model's version; no part of the model's layer.
        inputs: digest over all of it.
    """

    folder: Path
    requirements: str
    bundle: Path | None
    tag: str
    version: str
    labels: Mapping[str, str]
    options: BuildOptions
    inputs: str

    @property
    def is_pushed(self) -> bool:
        return bool(self.options.registry)

    def command(self, context: Path) -> BuildPlan:
        """The build, with its files laid out in `context`."""
        version = {} if self.bundle is None else {"MODEL_VERSION": self.version}
        return BuildPlan(
            dockerfile=self.folder / DOCKERFILE,
            context=context,
            tags=(self.tag,),
            target=ROUTER_TARGET if self.bundle is None else "",
            arguments={"BASE_IMAGE": self.options.base_image or BASE_IMAGE, **version},
            labels={**self.labels, INPUTS: self.inputs},
            network=self.options.network,
            pip_config=self.options.pip_config,
        )

    def render(self) -> str:
        parts = ", ".join(f"winnow/{name}" for name in (*PARTS, "config/version.py"))
        push = f"\ndocker push {self.tag}" if self.is_pushed else ""
        model = "" if self.bundle is None else ", the model as model.tar"
        return (
            f"# CONTEXT: requirements.txt (what a server needs), requirements.lock, {parts}{model}\n"
            f"{self.command(Path('CONTEXT')).render()}{push}"
        )


def plan(request: ModelImageRequest, base_id: str = "") -> ProdImage:
    """Work out the image of a bundle. Raises InputError where the bundle is damaged, or there is no clone of winnow.

    Args:
        base_id: id of the base where it is known: a newer base under the same name makes another image.
    """
    folder, version, options = source_folder(request.folder, DOCKERFILE), request.version, request.options
    manifest = _manifest(request.bundle)
    base_image = options.base_image or BASE_IMAGE
    labels = {**labels_of(manifest, version, request.run_id, base_image), PROJECT: project_id(request.folder)}
    needed = ["serve", *([] if manifest.images is None else ["images"]), *options.extras]
    requirements = "\n".join((*extras(read_project(folder / "pyproject.toml"), needed), ""))
    facts = {**labels, "base": base_id or base_image, "version": version, "requirements": requirements}
    model = {name: sha256_of(request.bundle / name) for name in _files_of_model(request.bundle)}
    inputs = _digest(folder, {**facts, **model})
    return ProdImage(
        folder=folder,
        requirements=requirements,
        bundle=request.bundle.absolute(),
        tag=full_tag(request.tag, manifest.name, version, options.registry, inputs),
        version=version,
        labels=labels,
        options=options,
        inputs=inputs,
    )


def plan_router(project: Path, options: BuildOptions, base_id: str = "") -> ProdImage:
    """Work out the router's image as `plan` does. It depends on no model; its packages are those of a model's image."""
    folder, base_image = source_folder(project, DOCKERFILE), options.base_image or BASE_IMAGE
    requirements = "\n".join((*extras(read_project(folder / "pyproject.toml"), ["serve", *options.extras]), ""))
    labels = {
        "org.opencontainers.image.title": ROUTER,
        "org.opencontainers.image.description": "splits the requests of a deployment between two revisions",
        "org.opencontainers.image.base.name": base_image,
    }
    inputs = _digest(folder, {**labels, "base": base_id or base_image, "requirements": requirements})
    return ProdImage(
        folder=folder,
        requirements=requirements,
        bundle=None,
        tag=full_tag(f"{ROUTER}:{inputs[:8]}", "", "", options.registry, inputs),
        version="",
        labels=labels,
        options=options,
        inputs=inputs,
    )


def labels_of(manifest: Manifest, version: str, run_id: str, base_image: str) -> Mapping[str, str]:
    """What an image says about its model. The time is the model's own, so that the same model has the same labels.

    All of winnow's begin with `winnow.model.`: a container inherits its image's labels, and `winnow.study` on one would
    make it a worker of that study.
    """
    score = ", ".join(f"{name} {value:.4g}" for name, value in sorted(manifest.metrics.items()) if "." not in name)
    labels = {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.description": f"{manifest.task} model {manifest.name}, version {version}: {score}",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": manifest.git_commit,
        "org.opencontainers.image.created": manifest.created_at,
        "org.opencontainers.image.base.name": base_image,
        "winnow.model.name": manifest.name,
        "winnow.model.version": version,
        "winnow.model.run": run_id,
        "winnow.model.study": manifest.study,
        "winnow.model.trial": str(manifest.trial),
        "winnow.model.sha256": manifest.digest,
        "winnow.model.data": manifest.data_name,
        "winnow.model.data.sha256": manifest.data_sha256,
    }
    return {name: value for name, value in labels.items() if value}


def full_tag(tag: str, name: str, version: str, registry: str, inputs: str) -> str:
    """The image's whole name: `tag`, else `winnow-prod-NAME` in Docker's alphabet; its version; below a registry.

    By default 8 digits of the inputs follow the version. So neither another project's model of this name nor a build on
    a newer base takes the name: without its name, `docker image prune` would remove an image that was served before.
    """
    repository = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:_LIMIT] or "model"
    shown = re.sub(r"[^A-Za-z0-9_.-]+", "-", version).lstrip(".-")[: _LIMIT - 9] or "0"
    chosen = tag or f"winnow-prod-{repository}:{shown}-{inputs[:8]}"
    if ":" not in chosen.rpartition("/")[2]:
        chosen += f":{shown}"
    return f"{registry.rstrip('/')}/{chosen}" if registry else chosen


def build(engine: Engine, image: ProdImage, show: Show = silent, *, is_cached: bool = True) -> str:
    """The image's id: of the one that was built from the same inputs before, else of a new one; raises as `build`."""
    found = find(engine, image)
    if is_cached and found is not None:
        return found
    repository, _, tag = image.tag.rpartition(":")
    with asking("a model's image"):
        if found is not None and found in images_of(engine):
            # A deployment serves it, or may roll back to it: without a name, it would be removed.
            engine.images.get(found).tag(repository, f"{tag}-{found.removeprefix('sha256:')[:8]}")
    with tempfile.TemporaryDirectory(prefix="winnow-prod-") as place:
        context = Path(place)
        lay_out(image, context)
        return docker_build.build(dataclasses.replace(image.command(context), is_cached=is_cached), show)


@asking("a model's image")
def find(engine: Engine, image: ProdImage) -> str | None:
    """The id of an image that was built from the same inputs, tagged again where another took its name since."""
    found = engine.images.list(filters={"label": f"{INPUTS}={image.inputs}"})
    if not found:
        return None
    chosen = next((each for each in found if image.tag in each.tags), found[0])
    if image.tag not in chosen.tags:
        repository, _, tag = image.tag.rpartition(":")
        chosen.tag(repository, tag)
    return str(chosen.id)


@asking("the base image")
def base_id(engine: Engine, base_image: str) -> str:
    """The id of a base image that the engine holds; empty where it does not hold it yet."""
    import docker.errors

    try:
        return str(engine.images.get(base_image).id)
    except docker.errors.ImageNotFound:
        return ""


def lay_out(image: ProdImage, context: Path) -> None:
    """Put all that Dockerfile.prod copies into an empty folder."""
    (context / "requirements.txt").write_text(image.requirements, encoding="utf-8")
    for name, content in _files(image.folder):
        destination = context / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(content)
        destination.chmod(0o644)
    for folder in context.rglob("*/"):
        folder.chmod(0o755)
    if image.bundle is not None:
        write_model_layer(image.bundle, context / "model.tar")


def write_model_layer(bundle: Path, destination: Path) -> None:
    """The bundle's files as `/model`, in a tar that depends on their names and bytes alone."""
    with tarfile.open(destination, "w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo("model")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        for name in _files_of_model(bundle):
            # A fresh header has no time, owner or owner's name.
            header = tarfile.TarInfo(f"model/{name}")
            header.size, header.mode = (bundle / name).stat().st_size, 0o644
            with (bundle / name).open("rb") as stream:
                tar.addfile(header, stream)


def _files_of_model(bundle: Path) -> list[str]:
    """The bundle's files, and what the registry knows of it."""
    beside = [name for name in (VERDICTS, REGISTERED) if (bundle / name).is_file()]
    return sorted((MANIFEST, *read_manifest(bundle).files, *beside))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the context's files of code, in a fixed order."""
    yield "requirements.lock", (folder / "requirements.lock").read_bytes()
    for part in PARTS:
        place = _PACKAGE / part
        for path in sorted(place.rglob("*")) if place.is_dir() else (place,):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"winnow/{path.relative_to(_PACKAGE).as_posix()}", path.read_bytes()
    yield SBOM, (_PACKAGE / "config" / SBOM).read_bytes()
    # The package is not installed in the image, so its version cannot be read from there.
    yield "winnow/config/version.py", f'__version__ = "{__version__}"\n'.encode()


def _digest(folder: Path, facts: Mapping[str, str]) -> str:
    files = {name: hashlib.sha256(content).hexdigest() for name, content in _files(folder)}
    made_of = {**facts, **files, DOCKERFILE: sha256_of(folder / DOCKERFILE)}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def _manifest(bundle: Path) -> Manifest:
    try:
        return read_manifest(bundle)
    except (OSError, ValueError) as error:
        raise InputError(
            f"bundle {bundle}",
            expected="a whole model bundle",
            found=str(error),
            remedy=f"Choose another version with `{next_command('select-model')}`, or remove the folder so that it is "
            "fetched again.",
        ) from error
