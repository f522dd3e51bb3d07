"""The images of a sweep: `winnow-tracking`, the MLflow server's, and `winnow-train`, the workers', with the code here.

A worker's image holds the code that it was built from, which the terminal cannot see. So a digest of the code is put on
the image as a label, and a sweep refuses an image that was built from other code than lies here.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.platforms.docker.build import PROJECT, BuildPlan, project_folder, project_id
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.requirements import read_project
from winnow.platforms.images import TRACKING, TRAIN, BuildOptions

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine

Target = Literal["tracking", "train"]
TARGETS: tuple[Target, ...] = ("tracking", "train")
DOCKERFILE = "Dockerfile.train"
REQUIREMENTS = "requirements.txt"
"""A person's own requirements, where there is such a file and no other is named."""

CODE, NAMED = "winnow.code", "winnow.requirements"
"""Labels: digest of the code that the image holds; the requirements file that a person named for it."""

_NAME_LENGTH = 60
_CODE_NAMES = (DOCKERFILE, ".dockerignore", "pyproject.toml", "requirements.lock")
_NO_CODE = frozenset({"__pycache__", "node_modules"})
_NO_CODE_AT_TOP = frozenset({"build", "data", "dist", "docs"})


def plan(
    folder: Path,
    target: Target,
    *,
    options: BuildOptions,
    torch_index: str = "",
    requirements: str = "",
    extras: Sequence[str] = (),
    tag: str = "",
    revision: str = "",
    is_cached: bool = True,
) -> BuildPlan:
    """Work out the build of one of the two images.

    Args:
        folder: the project's: the whole of it, less what .dockerignore names, is in the worker's image.
        torch_index: package index that torch comes from: another one has CUDA or none.
        requirements: a requirements file below `folder`; by default requirements.txt where there is one.
        extras: pyproject.toml's extras that the tracking server needs: mysql, azure, gcs.
        tag: what stands behind the colon; by default the project's own (`project_tag`).
        revision: the project's commit.

    Raises:
        InputError: the folder is no winnow project, or has no such file or extra.
    """
    folder = project_folder(folder, DOCKERFILE)
    _check_extras(folder, extras)
    file = _checked_requirements(folder, requirements)
    arguments = {
        "BASE_IMAGE": options.base_image,
        "EXTRAS": ",".join(extras),
        **({"TORCH_INDEX": torch_index, "REQUIREMENTS": file} if target == "train" else {}),
    }
    name = TRAIN if target == "train" else TRACKING
    reference = f"{name}:{tag or project_tag(folder)}"
    return BuildPlan(
        dockerfile=folder / DOCKERFILE,
        context=folder,
        tags=(reference, f"{options.registry.rstrip('/')}/{reference}") if options.registry else (reference,),
        target=target,
        arguments={key: value for key, value in arguments.items() if value},
        labels=_labels(folder, target, revision, file),
        network=options.network,
        pip_config=options.pip_config,
        is_cached=is_cached,
    )


def plan_tracking(folder: Path, options: BuildOptions, extras: Sequence[str], tag: str = "") -> BuildPlan:
    """Work out the build of the tracking server's image for a stack.

    It is not pushed with other images: the stack's own engine runs it, or its delivery to a cluster pushes it.

    Raises:
        InputError: as for `plan`.
    """
    return plan(folder, "tracking", options=replace(options, registry=""), extras=extras, tag=tag)


def project_tag(folder: Path) -> str:
    """The tag of a project's images: the folder's name, and what tells it from others of that name on the engine."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:_NAME_LENGTH]
    return "-".join(part for part in (name, project_id(folder)) if part)


def image_name(image: str | None, folder: Path) -> str:
    """The image that workers run: the one that a person named, else the one that is built from a project's folder."""
    return image or f"{TRAIN}:{project_tag(folder)}"


@asking("the workers' image")
def check(engine: Engine, image: str | None, folder: Path) -> str:
    """The id of the image that workers are to run.

    Args:
        image: one that a person named, with any content; None for the one that was built here.
        folder: the project whose code the image has to hold.

    Raises:
        InputError: there is no such image, or it was built from other code than lies in `folder`.
    """
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
    if image is None and (built := found.labels.get(CODE, "")) != (
        here := code_digest(folder, found.labels.get(NAMED, ""))
    ):
        raise InputError(
            f"image '{name}'",
            expected=f"one built from the code in {folder} ({here[:12]})",
            found=f"one built from {built[:12]}" if built else "one that does not say what it was built from",
            remedy=f"Build it again with `{next_command('build-train')}` (seconds), or name it to use it anyway: "
            f"{next_flag('image', name)}.",
        )
    return str(found.id)


def code_digest(folder: Path, requirements: str = "") -> str:
    """sha256 over the names and bytes of a project's code: Python files, what it requires, how it is built.

    Folders that are hidden or hold no code (caches, virtual environments, data) are passed over.

    Args:
        requirements: a requirements file of another name than requirements*.txt.
    """
    total = hashlib.sha256()
    named = {folder / requirements} if requirements and (folder / requirements).is_file() else set()
    for path in sorted({*_code(folder), *named}):
        name = path.relative_to(folder).as_posix()
        total.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _code(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        here = Path(place)
        is_top = here == folder
        folders[:] = [name for name in folders if _has_code(here / name, is_top=is_top)]
        for name in files:
            if _is_code(name, is_top=is_top):
                yield here / name


def _is_code(name: str, *, is_top: bool) -> bool:
    if name.startswith("requirements") and name.endswith(".txt"):
        return True
    return (name.endswith(".py") and not name.startswith(".")) or (is_top and name in _CODE_NAMES)


def _has_code(folder: Path, *, is_top: bool) -> bool:
    name = folder.name
    if name.startswith(".") or name in _NO_CODE or name.endswith(".egg-info"):
        return False
    return not (is_top and name in _NO_CODE_AT_TOP) and not (folder / "pyvenv.cfg").is_file()


def _labels(folder: Path, target: Target, revision: str, requirements: str) -> Mapping[str, str]:
    is_worker = target == "train"
    labels = {
        "org.opencontainers.image.version": str(read_project(folder / "pyproject.toml").get("version", "")),
        "org.opencontainers.image.revision": revision,
        PROJECT: project_id(folder),
        CODE: code_digest(folder, requirements) if is_worker else "",
        NAMED: requirements if is_worker else "",
    }
    return {name: value for name, value in labels.items() if value}


def _check_extras(folder: Path, extras: Sequence[str]) -> None:
    known = read_project(folder / "pyproject.toml").get("optional-dependencies", {})
    unknown = [name for name in extras if name not in known]
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
    path = (folder / given).resolve()
    if not path.is_file() or not path.is_relative_to(folder.resolve()):
        raise InputError(
            "--requirements",
            expected="a requirements file in the project's folder",
            found=f"'{given}'",
            remedy="Name one by its path from there, or leave it out to use requirements.txt.",
        )
    return path.relative_to(folder.resolve()).as_posix()
