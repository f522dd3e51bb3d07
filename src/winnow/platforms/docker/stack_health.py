"""Whether a stack's services are as they should be, judged from what the engine says of their containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from winnow.platforms.docker.stack_plan import BUCKET

ONE_SHOTS = frozenset({BUCKET})
"""Services that do their work and end."""


class Health(Enum):
    """One service."""

    READY = "ready"
    STARTING = "starting"
    FAILED = "failed"


@dataclass(frozen=True)
class Container:
    """What the engine says of a service's container; `health` is None where it has no check."""

    service: str
    status: str
    exit_code: int
    restarts: int
    health: str | None


def container_from(attributes: Mapping[str, Any]) -> Container:
    """Read from `docker inspect`."""
    state = attributes["State"]
    return Container(
        service=attributes["Config"]["Labels"]["com.docker.compose.service"],
        status=state["Status"],
        exit_code=state["ExitCode"],
        restarts=attributes.get("RestartCount", 0),
        health=(state.get("Health") or {}).get("Status"),
    )


def judge(services: Sequence[str], containers: Sequence[Container]) -> dict[str, Health]:
    """Every service's health; one without a container is starting."""
    found = {container.service: _judge(container) for container in containers}
    return {service: found.get(service, Health.STARTING) for service in services}


def _judge(container: Container) -> Health:
    if container.service in ONE_SHOTS:
        if container.status != "exited":
            return Health.STARTING
        return Health.READY if container.exit_code == 0 else Health.FAILED
    if container.health == "unhealthy" or container.restarts >= 2:
        return Health.FAILED
    # It exited on its own. Its restart policy starts it again, so it is not failed yet.
    if container.status == "running" and container.health in ("healthy", None):
        return Health.READY
    return Health.STARTING
