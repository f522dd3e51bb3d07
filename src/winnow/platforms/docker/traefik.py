"""Traefik as the entry point of a deployment: its arguments, and the one file that says where requests go. Pure.

Traefik watches a mounted directory. A new route file is renamed into it, so that it reads the old one or the new one,
never a part (a mounted file would stay the old one, since a rename makes another file). The file's first line is a
comment with the release that the routes lead to, so that what is served and where requests go change in one step.

Traefik neither talks to Docker nor has a dashboard: an attacker who controls it learns the replicas' addresses only.
"""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from winnow.platforms.readiness import READY_PATH
from winnow.platforms.release_json import path_of
from winnow.routing import Release

IMAGE = "traefik:v3.6"
DIRECTORY = "/routes"
FILE = "route.yaml"
ENTRY_PORT = 8080
SERVER_PORT = 8080
SERIAL_HEADER = "x-winnow-serial"
"""On every answer: the number of the change whose routes it came by."""

IDLE_CONNECTION_S = 30
"""Well below the 75 s for which a server keeps an idle connection: the sender has to be the one that closes it."""
ATTEMPTS, FIRST_WAIT_MS = 20, 20
"""Connection failures are tried again, on the next replica. With one dead replica of two and requests side by side,
every attempt may meet the dead one again by chance: five attempts would fail one request in thirty."""
DIAL_MS = 250
"""A container that vanished refuses nothing: its address is silent, and so is Docker 20.10 when asked for its name.
Each try costs this long, on a network where connecting takes less than a millisecond."""
ANSWER_S = 60
HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S = 3, 2
GRACE_S = 30
_STATE = "# winnow: "


class Route(msgspec.Struct, frozen=True):
    """Where requests go.

    Attributes:
        serial: number of the change that wrote it.
        replicas: labels of the replicas that get them, each also its host name on the deployment's network.
        previous: what a rollback would bring back.
    """

    serial: int
    release: Release
    previous: Release | None
    replicas: tuple[str, ...]


def arguments() -> tuple[str, ...]:
    """Traefik's static configuration. Its access log stays off: every server has its own."""
    transport = "--entryPoints.web.transport"
    return (
        f"--entryPoints.web.address=:{ENTRY_PORT}",
        f"{transport}.lifeCycle.graceTimeOut={GRACE_S}s",
        f"{transport}.respondingTimeouts.readTimeout=60s",
        f"{transport}.respondingTimeouts.idleTimeout=180s",
        f"--providers.file.directory={DIRECTORY}",
        "--providers.file.watch=true",
        "--providers.providersThrottleDuration=100ms",
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
        "--log.level=WARN",
    )


def render(route: Route) -> str:
    """The route file."""
    state = msgspec.json.encode(route, enc_hook=str).decode()
    return f"{_STATE}{state}\n{yaml.safe_dump(_dynamic(route), sort_keys=False)}"


def parse(text: str) -> Route:
    """The route that a file was rendered from.

    Raises:
        ValueError: it is no route file of winnow's.
    """
    first = text.partition("\n")[0]
    if not first.startswith(_STATE):
        raise ValueError(f"expected a first line that begins with {_STATE!r}")
    return msgspec.json.decode(first.removeprefix(_STATE), type=Route, dec_hook=path_of)


def _dynamic(route: Route) -> dict[str, Any]:
    """The routes in Traefik's own terms."""
    servers = [{"url": f"http://{label}:{SERVER_PORT}"} for label in route.replicas]
    health = {"path": READY_PATH, "interval": f"{HEALTH_INTERVAL_S}s", "timeout": f"{HEALTH_TIMEOUT_S}s"}
    timeouts = {
        "dialTimeout": f"{DIAL_MS}ms",
        "responseHeaderTimeout": f"{ANSWER_S}s",
        "idleConnTimeout": f"{IDLE_CONNECTION_S}s",
    }
    return {
        "http": {
            "routers": {
                "model": {
                    "entryPoints": ["web"],
                    "rule": "PathPrefix(`/`)",
                    "middlewares": ["serial", "retry"],
                    "service": "model",
                }
            },
            "middlewares": {
                "serial": {"headers": {"customResponseHeaders": {SERIAL_HEADER: str(route.serial)}}},
                "retry": {"retry": {"attempts": ATTEMPTS, "initialInterval": f"{FIRST_WAIT_MS}ms"}},
            },
            "services": {
                "model": {"loadBalancer": {"servers": servers, "healthCheck": health, "serversTransport": "replicas"}}
            },
            "serversTransports": {"replicas": {"maxIdleConnsPerHost": 200, "forwardingTimeouts": timeouts}},
        }
    }
