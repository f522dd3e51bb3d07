"""Starts and ends the containers of deployments. What they are is in `revision_plan`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.errors import WinnowError
from winnow.platforms.docker import engine_deployment as on_engine
from winnow.platforms.docker.client import ignoring
from winnow.platforms.docker.revision_plan import ContainerRequest
from winnow.platforms.interrupts import uninterrupted

if TYPE_CHECKING:
    from docker.models.containers import Container

    from winnow.platforms.docker.client import Engine

UNKNOWN_STOP_S = 40.0
"""How long a replica of an earlier version may take to end."""
KEPT_LINES, KEPT_LOGS = 1000, 20


def start(engine: Engine, requests: Sequence[ContainerRequest]) -> list[Container]:
    """Create and start containers in parallel. Raises WinnowError where one is refused, of which nothing is left."""
    with uninterrupted(), ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda each: _start(engine, each), requests))


def retire(containers: Iterable[Container], logs: Path, within_s: float | None = None) -> None:
    """Stop containers in parallel, keep the end of their logs, and remove them.

    Args:
        logs: the folder for the logs.
        within_s: how long they may take to end; by default as long as each was made for.
    """

    def retire_one(container: Container) -> None:
        stop(container, _stop_within_s(container) if within_s is None else within_s)
        _keep_log(container, logs)
        remove(container)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(retire_one, {each.id: each for each in containers}.values()))


def stop(container: Container, within_s: float) -> None:
    """Ask a container to end, and kill it after that time."""
    with ignoring(HTTPStatus.NOT_FOUND):
        container.stop(timeout=int(within_s))


def remove(container: Container) -> None:
    """Remove a container, unless another process does."""
    with ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
        container.remove(force=True, v=True)


def rename(container: Container, name: str) -> None:
    if container.name != name:
        container.rename(name)
        container.reload()


def is_untried(container: Container) -> bool:
    """Whether a container was never ready: the engine does not restart it."""
    return bool(container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "no")


def _start(engine: Engine, request: ContainerRequest) -> Container:
    import docker

    api: Any = engine.api
    try:
        made = api.create_container_from_config(request.body(), request.name)
        container = engine.containers.get(made["Id"])
    except docker.errors.APIError as error:
        raise _refused(request.name, error.explanation or str(error)) from error
    try:
        container.start()
    except docker.errors.APIError as error:
        remove(container)
        raise _refused(request.name, error.explanation or str(error)) from error
    container.reload()
    return container


def _stop_within_s(container: Container) -> float:
    """How long a container may take to end. One that never served may be loading, and not handle SIGTERM yet."""
    return 0 if is_untried(container) else container.attrs["Config"].get("StopTimeout") or UNKNOWN_STOP_S


def _keep_log(container: Container, folder: Path) -> None:
    """Keep the end of a container's log, and only the newest `KEPT_LOGS` logs."""
    import docker

    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = "\n".join(on_engine.log(container, KEPT_LINES))
    except docker.errors.NotFound:  # another process has removed it
        return
    (folder / f"{container.name}.log").write_text(f"{text}\n", encoding="utf-8")
    kept = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for path in kept[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


def _refused(name: str, reason: str) -> WinnowError:
    return WinnowError(f"container {name}: the Docker engine refused it: {reason}")
