"""Worker groups for tests on a real engine: studies of names that nobody else has, and nothing left of them."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker

from winnow.platforms.docker.client import connect
from winnow.platforms.docker.executor import DockerExecutor, DockerWorkers
from winnow.platforms.executor import GroupSpec
from winnow.platforms.labels import STUDY

IMAGE = "python:3.11-slim-bookworm"
WORKERS = DockerWorkers(image=IMAGE)

SLEEP = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    "print('at work', flush=True); time.sleep(60)"
)


@dataclass(frozen=True)
class Sandbox:
    """A study of its own on an engine; `home` is where executors over it keep logs."""

    engine: docker.DockerClient
    study: str
    home: Path
    workers: DockerWorkers = WORKERS

    def executor(self, **workers: Any) -> DockerExecutor:
        """Another one over the same engine, as another process would have it."""
        return DockerExecutor(replace(self.workers, **workers), self.home, engine=self.engine)

    def group(self, code: str = SLEEP, name: str = "c0", **others: Any) -> GroupSpec:
        """A group that runs Python code, by default until it is stopped."""
        return GroupSpec(self.study, name, ("python3", "-c", code), {"WINNOW_TEST": "1"}, **others)

    def left(self) -> list[str]:
        """Names of all that the engine holds for this study."""
        label = {"label": f"{STUDY}={self.study}"}
        listed = self.engine.api.containers(all=True, filters=label)
        names = [name for each in listed for name in each["Names"]]
        names += [network["Name"] for network in self.engine.api.networks(filters=label)]
        return names + [volume.name for volume in self.engine.volumes.list(filters=label)]


@contextlib.contextmanager
def sandbox(home: Path) -> Iterator[Sandbox]:
    """A study without groups; all that carries its label is removed at the end."""
    engine = connect()
    made = Sandbox(engine, f"t{uuid.uuid4().hex[:10]}", home)
    try:
        yield made
    finally:
        label = {"label": f"{STUDY}={made.study}"}
        for container in engine.api.containers(all=True, filters=label):
            engine.api.remove_container(container["Id"], v=True, force=True)
        for network in engine.api.networks(filters=label):
            engine.api.remove_network(network["Id"])
        engine.close()


def wait_until(fact: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.05)
