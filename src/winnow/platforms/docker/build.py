"""Builds an image by the `docker build` command: only it, not the SDK, speaks BuildKit (cache mounts, secrets)."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.own_files import CLONE, own_folder
from winnow.platforms.images import REGISTRY, BuildFailedError, BuildStep, Show, silent
from winnow.platforms.registries import login_advice

ENVIRONMENT: Mapping[str, str] = {"DOCKER_BUILDKIT": "1"}
"""What the command needs beside the caller's environment; engines before 23.0 build without BuildKit by default."""

END_LINES = 20

CLONE_FILES = ("pyproject.toml", "requirements.lock")
"""What a clone of winnow has beside its Dockerfiles."""

PROJECT = "winnow.project"
"""Label of every image: the project that it was built for (`project_id`)."""
_ID_LENGTH = 8


def project_id(folder: Path) -> str:
    """What tells two projects on one engine apart: 8 digits of the sha256 of the folder's path."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:_ID_LENGTH]


def source_folder(folder: Path, dockerfile: str, clone: Path = CLONE) -> Path:
    """The absolute path of the clone of winnow that a project's images are built from, which may be the project.

    Raises InputError where the project is no clone, and winnow is not installed from one.
    """
    names = (dockerfile, *CLONE_FILES)
    source = own_folder(folder.absolute(), *names, clone=clone)
    for name in names:
        if not (source / name).is_file():
            raise InputError(
                f"{source / name}",
                expected="a file of a clone of winnow, which the image is built from",
                found="none",
                remedy="Run this in a clone, or with the winnow of a clone: `make setup` there, then WINNOW=.",
            )
    return source


@dataclass(frozen=True)
class BuildPlan:
    """One `docker build`.

    Attributes:
        dockerfile, context: absolute; the context is the folder that the file's COPY sees.
        tags: the image's names; the last one is the one to push.
        target: the stage to stop at; empty for the last one.
        arguments: values of the file's ARGs.
        network: Docker's `--network` for the steps that install; empty for its default.
        pip_config: a pip.conf that is lent to the steps that install and is kept in no layer.
        is_cached: False makes every layer again.
    """

    dockerfile: Path
    context: Path
    tags: tuple[str, ...]
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    pip_config: Path | None = None
    is_cached: bool = True

    @property
    def argv(self) -> tuple[str, ...]:
        """The command without the place for the image's id."""
        return (
            "docker",
            "build",
            "--progress=plain",
            f"--file={self.dockerfile}",
            *((f"--target={self.target}",) if self.target else ()),
            *(f"--tag={tag}" for tag in self.tags),
            *(f"--build-arg={name}={value}" for name, value in self.arguments.items()),
            *(f"--label={name}={value}" for name, value in self.labels.items()),
            *((f"--network={self.network}",) if self.network else ()),
            *((f"--secret=id=pip-config,src={self.pip_config}",) if self.pip_config is not None else ()),
            *(() if self.is_cached else ("--no-cache",)),
            str(self.context),
        )

    def render(self) -> str:
        return shlex.join((*(f"{name}={value}" for name, value in ENVIRONMENT.items()), *self.argv))


def build(plan: BuildPlan, show: Show = silent, *, environment: Mapping[str, str] = os.environ) -> str:
    """Build an image and return its id; Ctrl-C stops the build.

    Raises:
        InputError: there is no `docker` command.
        BuildFailedError: the build failed.
    """
    with tempfile.TemporaryDirectory(prefix="winnow-build-") as folder:
        identifier = Path(folder) / "image-id"
        argv = [*plan.argv[:-1], f"--iidfile={identifier}", plan.argv[-1]]
        status, end = _run(argv, show, environment)
        if status != 0 or not identifier.is_file():
            raise BuildFailedError(plan.tags[0], end)
        built = identifier.read_text(encoding="utf-8").strip()
    if PROJECT in plan.labels:
        # The image that had this name before has none now. Docker removes it unless a container is made of it.
        ours = f"--filter=label={PROJECT}={plan.labels[PROJECT]}"
        _run(["docker", "image", "prune", "--force", ours], silent, environment)
    return built


def push(tag: str, show: Show = silent, *, environment: Mapping[str, str] = os.environ) -> None:
    """Push a tag to the registry that it names. Raises BuildFailedError where the registry refuses it."""
    name = f"push {tag}"
    show(BuildStep(name))
    began = time.monotonic()
    status, end = _run(["docker", "push", tag], silent, environment)
    if status != 0:
        host = tag.partition("/")[0]
        remedy = (
            f"{login_advice(tag)} Otherwise look whether this machine's Docker reaches {host}, and whether "
            f"{next_flag('registry')} (or {REGISTRY}) names the right registry; docs/stores.md says more."
        )
        raise BuildFailedError(tag, end, what="pushed", remedy=remedy)
    show(BuildStep(name, took_s=time.monotonic() - began))


def _run(argv: list[str], show: Show, environment: Mapping[str, str]) -> tuple[int, list[str]]:
    """The command's exit status and its last lines."""
    end: deque[str] = deque(maxlen=END_LINES)

    def remembered(lines: Iterable[str]) -> Iterator[str]:
        for line in lines:
            if line.strip():
                end.append(line.rstrip())
            yield line

    try:
        process = subprocess.Popen(
            argv,
            env={**environment, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise InputError(
            "the docker command",
            expected="one on the PATH, which builds images",
            found="none",
            remedy="Install Docker (the engine and its command line); `docker info` has to work.",
        ) from error
    with process:
        assert process.stdout is not None
        try:
            for step in steps(remembered(process.stdout)):
                show(step)
        except BaseException:
            process.terminate()
            raise
    return process.returncode, list(end)


_LINE = re.compile(r"#(?P<id>\d+) (?:\[(?P<stage>.+?)\] (?P<command>.+)|DONE (?P<took>[0-9.]+)s|[0-9.]+ (?P<text>.+))")


def steps(lines: Iterable[str]) -> Iterator[BuildStep]:
    """What BuildKit's plain progress says of the steps that do something; the cached ones are passed over.

    It prints `#5 [train 2/8] RUN …` when a step begins, `#5 1.2 text` for what it prints, `#5 DONE 3.4s` at its end.
    """
    running: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        if match["stage"]:
            # Whether a step is cached is known a line later, so it counts as begun with what it prints.
            running[match["id"]] = _short(f"[{match['stage']}] {match['command']}")
        elif (name := running.get(match["id"])) is None:
            continue
        elif match["took"]:
            yield BuildStep(name, took_s=float(match["took"]))
        else:
            yield BuildStep(name, line=match["text"].strip())


def _short(step: str, width: int = 100) -> str:
    text = " ".join(re.sub(r"--mount=\S+ ", "", step).split())
    return text if len(text) <= width else f"{text[: width - 1]}…"
