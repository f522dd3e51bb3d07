"""The Docker engine, as everything here that makes images and containers meets it: one connection, one set of labels.

What winnow makes on an engine is found again by label, by any process, and never by the memory of the one that made it.
The SDK is optional and is imported when an engine is asked for. What is run on it is left to executors, deployers and
the stack.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from winnow.config.errors import InputError

if TYPE_CHECKING:
    from typing import TypeAlias

    import docker

    Engine: TypeAlias = docker.DockerClient
    """The connection's type, for layers that hand it on and do not speak Docker themselves."""

STUDY, GROUP, NODE = "winnow.study", "winnow.group", "winnow.node"
"""Labels of a worker group's containers and networks: its study, its name, the index of its node."""

DEPLOYMENT, SERIAL, RELEASE, PREVIOUS, ROLE = (
    "winnow.deployment",
    "winnow.serial",
    "winnow.release",
    "winnow.previous",
    "winnow.role",
)
"""Labels of what serves: the deployment, the number of the change that made it, the release as JSON, and its part."""

TIMEOUT_S = 60


def connect(environment: Mapping[str, str] = os.environ) -> docker.DockerClient:
    """The engine that the `docker` command would talk to (`DOCKER_HOST`, else the local one).

    Raises:
        InputError: the SDK is not installed, or no engine answers.
    """
    try:
        import docker
    except ImportError as error:
        raise InputError(
            "the Docker SDK for Python",
            expected="the package 'docker', which the Docker back-ends need",
            found="none",
            remedy="Install it: pip install 'docker>=7.1'.",
        ) from error
    try:
        client = docker.from_env(environment=dict(environment), timeout=TIMEOUT_S)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise InputError(
            f"the Docker engine at {environment.get('DOCKER_HOST') or 'its default address'}",
            expected="one that answers",
            found=_first_line(error),
            remedy="Start Docker, or set DOCKER_HOST to the engine to use; `docker info` has to work.",
        ) from error
    return client


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
