"""The connection to the Docker engine.

The SDK is optional and imported when an engine is asked for. This module turns its errors into errors for people.
Executors, deployers and the stack decide what runs on the engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from winnow.config.errors import InputError, UnavailableError, UnreachableError, WinnowError

if TYPE_CHECKING:
    from typing import TypeAlias

    import docker

    Engine: TypeAlias = docker.DockerClient
    """The connection's type, for code that passes it on and does not use it."""

TIMEOUT_S = 60


class EngineError(WinnowError):
    """The engine failed at something that it was asked for."""


def connect(environment: Mapping[str, str] = os.environ) -> docker.DockerClient:
    """The engine that the `docker` command would talk to (`DOCKER_HOST`, else the local one).

    Raises:
        UnavailableError: the SDK is not installed, or no engine answers.
    """
    _check_sdk()
    import docker

    try:
        client = docker.from_env(environment=dict(environment), timeout=TIMEOUT_S)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise UnavailableError(
            f"the Docker engine at {environment.get('DOCKER_HOST') or 'its default address'}",
            expected="one that answers",
            found=_first_line(error),
            remedy="Start Docker, or set DOCKER_HOST to the engine to use; `docker info` has to work.",
        ) from error
    return client


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the SDK's errors into errors for people; the request that was sent is never shown.

    Args:
        what: what the engine is asked for, or about.

    Raises:
        InputError: it refuses, or the SDK is not installed.
        EngineError: it fails.
        UnreachableError: it does not answer.
    """
    _check_sdk()
    import docker
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        found = (error.explanation or str(error)).strip().partition("\n")[0]
        if error.is_client_error():
            remedy = "Ask for something that this engine has, or use another (DOCKER_HOST)."
            expected = "something that the Docker engine can do"
            raise InputError(what, expected=expected, found=found, remedy=remedy) from error
        raise EngineError(f"{what}: expected the Docker engine to do it, found {found!r}.") from error
    except requests.exceptions.RequestException as error:
        raise UnreachableError(
            f"{what}: expected an answer of the Docker engine, found {type(error).__name__}. "
            "Look whether `docker info` works, and run the same command again."
        ) from error


def _check_sdk() -> None:
    try:
        import docker  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "the Docker SDK for Python",
            expected="the package 'docker', which the platform Docker needs",
            found="none",
            remedy="Install it: pip install 'docker>=7.1'.",
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
