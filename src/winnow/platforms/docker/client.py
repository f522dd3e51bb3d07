"""The connection to the Docker engine, and its errors as errors for people. The SDK is optional, and imported late."""

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
    """The engine that `docker` would talk to. Raises UnavailableError without the SDK, or where none answers."""
    _check_sdk()
    import docker

    try:
        client = docker.from_env(environment=dict(environment), timeout=TIMEOUT_S)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise UnavailableError(
            f"the Docker engine at {environment.get('DOCKER_HOST') or 'its default address'}",
            expected="one that answers",
            found=(str(error).strip() or type(error).__name__).splitlines()[0],
            remedy="Start Docker, or set DOCKER_HOST to the engine to use; `docker info` has to work.",
        ) from error
    return client


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turn the SDK's errors into errors for people about `what`; the request that was sent is never shown.

    Raises:
        InputError: the engine refuses, or the SDK is not installed.
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


@contextmanager
def ignoring(*statuses: int) -> Iterator[None]:
    """Take refusals with these statuses for success: a container is gone (404), or is being removed (409)."""
    import docker.errors

    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in statuses:
            raise


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
