"""Traefik as the entry point of a deployment: its arguments, and the one file that says where requests go. Pure.

Traefik watches a mounted directory. A new route file is renamed into it, so that it reads the old one or the new one,
never a part (a mounted file would stay the old one, since a rename makes another file). The file's first line is a
comment with the deployment's record, so that what is served and where requests go change in one step.

Traefik neither talks to Docker nor has a dashboard: an attacker who controls it learns the replicas' addresses only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

from winnow.platforms.readiness import READY_PATH
from winnow.routing import Record, record_of, to_json

IMAGE = "traefik:v3.6"
DIRECTORY = "/routes"
FILE = "route.yaml"
ENTRY_PORT = 8080
SERVER_PORT = 8080
SERIAL_HEADER = "x-winnow-serial"
"""On every answer: the number of the change whose routes it came by."""

IDLE_CONNECTION_S = 30
"""Well below the 75 s for which a server keeps an idle connection: the sender has to be the one that closes it."""
ATTEMPTS, FIRST_WAIT_MS = 100, 20
"""Connection failures are tried again, on the next server. With one dead replica of two and requests side by side,
every attempt may meet the dead one again by chance: five attempts would fail one request in thirty. Where all servers
refuse connections, the attempts take four seconds, in which the health check finds the spare ones."""
DIAL_MS = 250
"""A container that vanished refuses nothing: its address is silent, and so is Docker 20.10 when asked for its name.
Each try costs this long, on a network where connecting takes less than a millisecond."""
ANSWER_S = 60
HEALTH_INTERVAL_S, HEALTH_TIMEOUT_S, SPARED_INTERVAL_S = 3, 2, 1
"""The third: of servers that have spare ones."""
GRACE_S = 30
_RECORD = "# winnow record: "
_WHOLE = 10_000
"""Traefik's weights are whole numbers; a hundredth of a percent is the finest share."""


@dataclass(frozen=True)
class Backend:
    """Servers that share requests evenly.

    Attributes:
        hosts: their host names on the deployment's network.
        weight: share of all requests, 0 to 1.
        spare: host names of servers that are asked while none of `hosts` is ready.
    """

    name: str
    hosts: tuple[str, ...]
    weight: float = 1.0
    spare: tuple[str, ...] = ()


def route_file(record: Record, backends: Sequence[Backend]) -> str:
    """The route file: the record in a comment, then the routes."""
    return f"{_first_line(record)}\n{yaml.safe_dump(_routes(record.route.serial, backends), sort_keys=False)}"


def with_record(text: str, record: Record) -> str:
    """A route file with another record and the same routes; without any where `text` is empty."""
    return f"{_first_line(record)}\n{text.partition(chr(10))[2]}"


def record_in(text: str) -> Record:
    """The record in a route file. Raises ValueError where it is none of this version's."""
    first = text.partition("\n")[0]
    if not first.startswith(_RECORD):
        raise ValueError(f"expected a first line that begins with {_RECORD!r}")
    return record_of(first.removeprefix(_RECORD))


def mark(serial: int, backends: Sequence[Backend]) -> str:
    """The value of `SERIAL_HEADER`: the route's serial, and a digest by which other servers make another value."""
    return f"{serial}-{sha256(repr(tuple(backends)).encode()).hexdigest()[:8]}"


def serial_in(mark: str) -> int | None:
    """The route's serial in a mark; None where it is none."""
    serial = mark.partition("-")[0]
    return int(serial) if serial.isdecimal() else None


def _first_line(record: Record) -> str:
    """Traefik reads the file as a template, in which two braces begin an action: JSON has them only within strings."""
    return _RECORD + to_json(record).replace("{{", "{\\u007b")


def _routes(serial: int, backends: Sequence[Backend]) -> dict[str, Any]:
    """The routes in Traefik's own terms; a backend without ready servers gets no requests."""
    timeouts = {
        "dialTimeout": f"{DIAL_MS}ms",
        "responseHeaderTimeout": f"{ANSWER_S}s",
        "idleConnTimeout": f"{IDLE_CONNECTION_S}s",
    }
    services = {each.name: _servers(each.hosts, HEALTH_INTERVAL_S) for each in backends}
    shares = [{"name": each.name, "weight": round(each.weight * _WHOLE)} for each in backends]
    service = backends[0].name
    if len(backends) > 1:
        service = "split"
        services[service] = {"weighted": {"services": shares, "healthCheck": {}}}
    elif spare := backends[0].spare:
        # It is the health check alone that turns requests to the spare servers: until then they are tried in vain.
        services = {
            service: _servers(backends[0].hosts, SPARED_INTERVAL_S),
            "spare": _servers(spare, HEALTH_INTERVAL_S),
        }
        services["spared"] = {"failover": {"service": service, "fallback": "spare"}}
        service = "spared"
    model = {
        "entryPoints": ["web"],
        "rule": "PathPrefix(`/`)",
        "middlewares": ["serial", "retry"],
        "service": service,
    }
    return {
        "http": {
            "routers": {"model": model},
            "middlewares": {
                "serial": {"headers": {"customResponseHeaders": {SERIAL_HEADER: mark(serial, backends)}}},
                "retry": {"retry": {"attempts": ATTEMPTS, "initialInterval": f"{FIRST_WAIT_MS}ms"}},
            },
            "services": services,
            "serversTransports": {"replicas": {"maxIdleConnsPerHost": 200, "forwardingTimeouts": timeouts}},
        }
    }


def _servers(hosts: Sequence[str], interval_s: int) -> dict[str, Any]:
    health = {
        "path": READY_PATH,
        "interval": f"{interval_s}s",
        "unhealthyInterval": "1s",
        "timeout": f"{min(HEALTH_TIMEOUT_S, interval_s)}s",
    }
    servers = [{"url": f"http://{host}:{SERVER_PORT}"} for host in hosts]
    return {"loadBalancer": {"servers": servers, "healthCheck": health, "serversTransport": "replicas"}}


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
