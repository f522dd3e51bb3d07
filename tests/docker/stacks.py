"""A stack for tests: really up, under a name and ports that nobody else has, with secrets and home in a folder."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

from tests.winnow_command import winnow

ROOT = Path(__file__).parents[2]
OWN_SETTINGS = ("WINNOW_", "MLFLOW_", "AWS_", "POSTGRES_", "MINIO_")


@dataclass(frozen=True)
class RunningStack:
    """What a person has after `make mlflow-init`: an environment in which every verb uses the stack."""

    engine: docker.DockerClient
    project: str
    env: dict[str, str]

    def service(self, name: str) -> docker.models.containers.Container:
        """The container of a service."""
        (found,) = self.engine.containers.list(
            all=True,
            filters={
                "label": [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={name}"],
            },
        )
        return found

    @contextlib.contextmanager
    def without(self, name: str) -> Iterator[None]:
        """A service stopped, and started again."""
        self.service(name).kill()
        try:
            yield
        finally:
            self.service(name).start()
            self._await_health(name)

    def _await_health(self, name: str, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while self.service(name).attrs["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, f"{name} did not come back"
            time.sleep(0.2)

    def winnow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command in the stack's environment."""
        return winnow(*arguments, env=self.env, timeout=600)


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without any setting of winnow's or its stores', and with a home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}
    return {**kept, "WINNOW_HOME": str(home)}


@contextlib.contextmanager
def running_stack(engine: docker.DockerClient, folder: Path) -> Iterator[RunningStack]:
    """Bring a stack up with the product's own command, and remove it with its data."""
    project = f"t{uuid.uuid4().hex[:10]}"
    own = {"WINNOW_PROJECT": project, "WINNOW_ENV_FILE": str(folder / "stack.env")}
    stack = RunningStack(engine, project, {**clean_environment(folder / "home"), **own})
    names = ("--mlflow-port", "--postgres-port", "--minio-console-port")
    ports = [word for name in names for word in (name, str(free_port()))]
    try:
        started = stack.winnow("mlflow-init", *ports)
        assert started.returncode == 0, started.stdout + started.stderr
        yield stack
    finally:
        removed = stack.winnow("mlflow-remove", "--volumes")
        assert removed.returncode == 0, removed.stdout + removed.stderr


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
