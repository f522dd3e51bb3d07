"""The images of a sweep: `winnow-tracking` for the MLflow server, `winnow-train` for the workers; and `winnow-airflow`.

A worker's image contains the project's code and winnow's. A project outside the clone lends the build a copy of
winnow's source, in `SOURCE`. A label holds the digest of that code, and a sweep refuses an image that
was built from other code than the folder's.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.own_files import own_folder
from winnow.config.tools import TOOLS
from winnow.config.version import __version__
from winnow.platforms.docker.build import CLONE_FILES, PROJECT, BuildPlan, project_id, source_folder
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.requirements import read_project
from winnow.platforms.images import AIRFLOW, TRACKING, TRAIN, BuildOptions, TrainImagesRequest

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine

Target = Literal["tracking", "train", "airflow"]
TARGETS: tuple[Target, ...] = ("tracking", "train")
"""What a sweep needs."""
DOCKERFILE = "Dockerfile.train"
CODE, NAMED = "winnow.code", "winnow.requirements"
"""Labels: digest of the code that the image holds; the requirements file that a person named for it."""

AIRFLOW_DRIVERS = ("apache-airflow-providers-postgres>=6,<7",)
"""What Airflow needs for a database on Postgres besides what it needs here."""

SOURCE = ".winnow/source"
"""Where a project outside the clone has the copy, within the build's context. Its .dockerignore lets it pass."""

_NAMES: Mapping[Target, str] = {"tracking": TRACKING, "train": TRAIN, "airflow": AIRFLOW}
_NAME_LENGTH = 60
_CODE_NAMES = (DOCKERFILE, ".dockerignore", "pyproject.toml", "requirements.lock")
_NO_CODE = frozenset({"__pycache__", "node_modules"})
_NO_CODE_AT_TOP = frozenset({"build", "data", "dist", "docs"})


def plan(request: TrainImagesRequest, target: Target) -> BuildPlan:
    """Work out the build of one of the images. Raises InputError where there is no such file or extra, or no clone."""
    folder, options = request.folder.absolute(), request.options
    source = source_folder(folder, DOCKERFILE)
    project = read_project(source / "pyproject.toml")
    _check_extras(project, request.extras)
    file = _checked_requirements(folder, request.requirements)
    has_code = target != "tracking"
    arguments = {"BASE_IMAGE": options.base_image, "EXTRAS": ",".join(request.extras)}
    labels = {
        "org.opencontainers.image.version": str(project.get("version", __version__)),
        "org.opencontainers.image.revision": request.revision,
        PROJECT: project_id(folder),
    }
    if has_code:
        arguments |= {"TORCH_INDEX": request.torch_index, "REQUIREMENTS": file, "VERSION": __version__}
        arguments |= {} if source == folder else {"WINNOW": SOURCE}
        labels |= {CODE: code_digest(folder, file), NAMED: file}
    if target == "airflow":
        arguments |= {"AIRFLOW": " ".join((*TOOLS["airflow"], *AIRFLOW_DRIVERS))}
    reference = f"{_NAMES[target]}:{request.tag or project_tag(folder)}"
    return BuildPlan(
        dockerfile=source / DOCKERFILE,
        context=folder if has_code else source,
        tags=(reference, f"{options.registry.rstrip('/')}/{reference}") if options.registry else (reference,),
        target=target,
        arguments={name: value for name, value in arguments.items() if value},
        labels={name: value for name, value in labels.items() if value},
        network=options.network,
        pip_config=options.pip_config,
        is_cached=request.is_cached,
    )


def lend_source(plan: BuildPlan) -> None:
    """Copy winnow's source to where the build of a project outside the clone expects it."""
    if plan.arguments.get("WINNOW") != SOURCE:
        return
    clone, copy = plan.dockerfile.parent, plan.context / SOURCE
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("src/winnow", "airflow"):
        shutil.copytree(clone / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*CLONE_FILES, "README.md", "LICENSE"):
        shutil.copy2(clone / name, copy / name)  # with its mode, so that layers of the clone are found in the cache


def plan_tracking(folder: Path, options: BuildOptions, extras: Sequence[str], tag: str = "") -> BuildPlan:
    """Work out the build of the tracking server's image for a stack. Raises InputError as `plan` does.

    It is not pushed with other images: the stack's own engine runs it, or its delivery to a cluster pushes it.
    """
    return plan(TrainImagesRequest(folder, replace(options, registry=""), extras=tuple(extras), tag=tag), "tracking")


def project_tag(folder: Path) -> str:
    """The tag of a project's images: the folder's name, and what tells it from others of that name on the engine."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:_NAME_LENGTH]
    return "-".join(part for part in (name, project_id(folder)) if part)


def image_name(image: str | None, folder: Path) -> str:
    """The image that workers run: the one that a person named, else the one that is built from a project's folder."""
    return image or f"{TRAIN}:{project_tag(folder)}"


@asking("the workers' image")
def check(engine: Engine, image: str | None, folder: Path) -> str:
    """See `Images.train_image`."""
    import docker.errors

    name = image_name(image, folder)
    try:
        found = engine.images.get(name)
    except docker.errors.ImageNotFound as error:
        raise InputError(
            f"image '{name}'",
            expected="an image on the Docker engine",
            found="none of that name",
            remedy=f"Make it with `{next_command('build-train')}`."
            if image is None
            else f"Pull it, or correct {next_flag('image')}.",
        ) from error
    if image is None:
        built, here = found.labels.get(CODE, ""), code_digest(folder, found.labels.get(NAMED, ""))
        if built != here:
            raise InputError(
                f"image '{name}'",
                expected=f"one built from the code in {folder} ({here[:12]})",
                found=f"one built from {built[:12]}" if built else "one that does not say what it was built from",
                remedy=f"Build it again with `{next_command('build-train')}` (seconds), or name it to use it anyway: "
                f"{next_flag('image', name)}.",
            )
    return str(found.id)


def code_digest(folder: Path, requirements: str = "") -> str:
    """sha256 over the names and bytes of a project's code and winnow's: Python files, requirements, how it is built.

    Folders that are hidden or hold no code (caches, virtual environments, data) are passed over.

    Args:
        requirements: a requirements file of another name than requirements*.txt.
    """
    total = hashlib.sha256()
    named = {folder / requirements} if requirements and (folder / requirements).is_file() else set()
    source = own_folder(folder.absolute(), DOCKERFILE, *CLONE_FILES)
    if source != folder.absolute():
        named |= {*_code(source / "src"), *(source / name for name in (DOCKERFILE, *CLONE_FILES))}
    for path in sorted({*_code(folder), *named}):
        name = path.relative_to(folder if path.is_relative_to(folder) else source).as_posix()
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _code(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        is_top = here == folder
        folders[:] = [name for name in folders if _has_code(here / name, is_top=is_top)]
        for name in files:
            is_python = name.endswith(".py") and not name.startswith(".")
            is_requirements = name.startswith("requirements") and name.endswith(".txt")
            if is_python or is_requirements or (is_top and name in _CODE_NAMES):
                yield here / name


def _has_code(folder: Path, *, is_top: bool) -> bool:
    name = folder.name
    if name.startswith(".") or name in _NO_CODE or name.endswith(".egg-info"):
        return False
    return not (is_top and name in _NO_CODE_AT_TOP) and not (folder / "pyvenv.cfg").is_file()


def _check_extras(project: Mapping[str, Any], extras: Sequence[str]) -> None:
    unknown = [name for name in extras if name not in project.get("optional-dependencies", {})]
    if unknown:
        raise InputError(
            "--extras",
            expected="extras of pyproject.toml that a tracking server needs: mysql, azure, gcs",
            found=", ".join(f"'{name}'" for name in unknown),
            remedy="Name some of these, with commas between them.",
        )


def _checked_requirements(folder: Path, given: str) -> str:
    """The requirements file's path below the folder; empty where none is given: the Dockerfile has a default."""
    if not given:
        return ""
    path, root = (folder / given).resolve(), folder.resolve()
    if not path.is_file() or not path.is_relative_to(root):
        raise InputError(
            "--requirements",
            expected="a requirements file in the project's folder",
            found=f"'{given}'",
            remedy="Name one by its path from there, or leave it out to use requirements.txt.",
        )
    return path.relative_to(root).as_posix()
