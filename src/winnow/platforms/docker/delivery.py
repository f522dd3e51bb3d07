"""Brings an image of this engine to where a cluster's nodes find it: pushes it to a registry, or loads it by a command.

Nodes run an image by a name that only it can have: `REPOSITORY@sha256:…` after a push, a tag that contains the image's
id after a load. So no node runs an older image of the same name. How nodes log in to a registry is left to the
cluster's administrator.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.platforms.docker.build import END_LINES, push
from winnow.platforms.docker.client import asking
from winnow.platforms.images import BuildFailedError, BuildStep, ImageRoute, Show, no_route, repository_of, silent

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine

_ID_LENGTH = 12


def deliver(
    engine: Engine, identifier: str, name: str, route: ImageRoute, show: Show = silent, *, is_forced: bool = False
) -> str:
    """See `Images.deliver`."""
    repository = repository_of(name)
    if route.registry:
        repository = f"{route.registry.rstrip('/')}/{repository}"
        # Pushing an image that is there takes a second, and the registry may have been emptied since the last push.
        push(_tagged(engine, identifier, repository), show)
        return pushed_digest(engine, identifier, repository)
    loaded = _read(route.notes).get(route.cluster, {}).get(identifier)
    if loaded is not None and not (route.load and is_forced):
        return loaded
    if route.load:
        return _loaded(engine, identifier, repository, route, show)
    if known := _digests(engine, identifier):
        return next((digest for digest in known if repository_of(digest) == repository), known[0])
    raise no_route(f"image '{name}'")


def pushed_digest(engine: Engine, identifier: str, repository: str) -> str:
    """`REPOSITORY@sha256:…` of an image that was pushed. Raises BuildFailedError where the engine knows none."""
    from docker.auth import resolve_repository_name

    # Docker names repositories of its hub without a host, even where they were given with one.
    meant, known = resolve_repository_name(repository), _digests(engine, identifier)
    for name, _, digest in (each.partition("@") for each in known):
        if resolve_repository_name(name) == meant:
            return f"{repository}@{digest}"
    raise BuildFailedError(repository, [f"{identifier} is known as: {', '.join(known) or 'nothing'}"], what="pushed")


@asking("an image for the cluster")
def _digests(engine: Engine, identifier: str) -> list[str]:
    digests: list[str] = engine.images.get(identifier).attrs.get("RepoDigests") or []
    return digests


@asking("an image for the cluster")
def _tagged(engine: Engine, identifier: str, repository: str) -> str:
    """The image under a name that no other image gets."""
    tag = identifier.removeprefix("sha256:")[:_ID_LENGTH]
    engine.images.get(identifier).tag(repository, tag)
    return f"{repository}:{tag}"


def _loaded(engine: Engine, identifier: str, repository: str, route: ImageRoute, show: Show) -> str:
    tag = _tagged(engine, identifier, repository)
    name = f"{route.load} {tag}"
    show(BuildStep(name))
    began = time.monotonic()
    try:
        argv = [*shlex.split(route.load), tag]
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except (ValueError, OSError) as error:
        raise InputError(
            "IMAGE_LOAD",
            expected="a command that puts an image on the cluster's nodes",
            found=f"'{route.load}': {getattr(error, 'strerror', None) or error}",
            remedy=f"Correct it, for example {next_flag('image_load', 'kind load docker-image')}, or name a registry "
            f"({next_flag('registry')}).",
        ) from error
    if done.returncode != 0:
        raise BuildFailedError(tag, done.stdout.splitlines()[-END_LINES:], what=f"loaded by `{shlex.join(argv)}`")
    show(BuildStep(name, took_s=time.monotonic() - began))
    if route.notes is not None:
        notes = _read(route.notes)
        notes = {**notes, route.cluster: {**notes.get(route.cluster, {}), identifier: tag}}
        replace_text(route.notes, json.dumps(notes, indent=1))
    return tag


def _read(notes: Path | None) -> dict[str, dict[str, str]]:
    """What was loaded: cluster → image's id → tag. A truncated file costs one more load."""
    try:
        found = json.loads(notes.read_text(encoding="utf-8")) if notes is not None and notes.is_file() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
