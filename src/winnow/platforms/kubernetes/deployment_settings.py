"""How replicas on Kubernetes run and are reached, read from the environment of the `prod` command.

A setting that is not named stays as it is; an empty one goes back to its default. `deployment_plan` puts the settings
into manifests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from winnow.config.errors import InputError
from winnow.platforms.deployer import DeploymentRequest
from winnow.platforms.serving_limits import CPUS, MEMORY, REQUESTS, check_requests, cpus_of, memory_of, wrong

PASSED_ON = (*REQUESTS, "WINNOW_DRAIN_S", "WINNOW_ACCESS_LOG")
"""The serving settings (`winnow.serving.settings`) that a replica takes over as they are."""
SETTLE, DRAIN = "WINNOW_SETTLE_S", "WINNOW_DRAIN_S"
CPU_REQUEST, MEMORY_REQUEST = "WINNOW_REPLICA_CPU_REQUEST", "WINNOW_REPLICA_MEMORY_REQUEST"
MOST, CPU_TARGET, SCALE_DOWN = "WINNOW_MAX_REPLICAS", "WINNOW_REPLICA_CPU_TARGET", "WINNOW_SCALE_DOWN_AFTER_S"
CLASS, HOST, TLS = "WINNOW_INGRESS_CLASS", "WINNOW_INGRESS_HOST", "WINNOW_INGRESS_TLS_SECRET"
ENTRY = "WINNOW_INGRESS_URL"
USUAL_DRAIN_S = 30.0
"""The server's default time for requests to end."""
READY_WITHIN_S = 300.0
"""Default time for new replicas to get ready: longer than on other platforms, since nodes pull the image first."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class DeploymentSettings:
    """How every replica of a deployment runs, and how it is reached.

    Attributes:
        settle_s: how long a terminating replica answers as before, while the routers learn of its end.
        environment: serving settings, by name, without the API key.
        most: the autoscaler's upper bound; None: twice the lower one.
        cpu_target_percent: of what is requested, above which the autoscaler adds replicas.
        scale_down_after_s: how long fewer replicas have to be enough before one is removed.
        ingress_class, host, tls_secret: of the Ingress; empty: the cluster's default, any, none. A `*` in the host is
            the deployment's name.
    """

    cpus: float = 1.0
    memory_bytes: int = 2**30
    cpu_request: float = 0.25
    memory_request_bytes: int = 256 * 2**20
    settle_s: float = 5.0
    environment: dict[str, str] = field(default_factory=dict)
    most: int | None = None
    cpu_target_percent: int = 80
    scale_down_after_s: int = 300
    ingress_class: str = ""
    host: str = ""
    tls_secret: str = ""


def settings_of(
    environment: Mapping[str, str], current: DeploymentSettings, request: DeploymentRequest
) -> DeploymentSettings:
    """How replicas are to run: as those that run do, changed by what the environment of the caller says.

    A variable that is not set changes nothing; an empty one takes the setting back to its default.

    Raises:
        InputError: a variable is not valid.
    """
    usual = DeploymentSettings()
    host = _host_asked(request) or environment.get(HOST, current.host)
    _read(environment, DRAIN, _seconds, 0.0, 0.0)
    check_requests(environment)
    return DeploymentSettings(
        cpus=_read(environment, CPUS, _cpus, current.cpus, usual.cpus),
        memory_bytes=_read(environment, MEMORY, _bytes, current.memory_bytes, usual.memory_bytes),
        cpu_request=_read(environment, CPU_REQUEST, _cpus, current.cpu_request, usual.cpu_request),
        memory_request_bytes=_read(
            environment, MEMORY_REQUEST, _bytes, current.memory_request_bytes, usual.memory_request_bytes
        ),
        settle_s=_read(environment, SETTLE, _seconds, current.settle_s, usual.settle_s),
        environment={
            name: value
            for name in PASSED_ON
            if (value := environment[name] if name in environment else current.environment.get(name, ""))
        },
        most=_read(environment, MOST, _count, current.most, usual.most),
        cpu_target_percent=_read(environment, CPU_TARGET, _count, current.cpu_target_percent, usual.cpu_target_percent),
        scale_down_after_s=int(
            _read(environment, SCALE_DOWN, _seconds, float(current.scale_down_after_s), float(usual.scale_down_after_s))
        ),
        ingress_class=environment.get(CLASS, current.ingress_class),
        host=host.replace("*", request.name),
        tls_secret=environment.get(TLS, current.tls_secret),
    )


def check_entry(entry: str) -> str:
    """The entry point's URL. Raises InputError where it is none."""
    parts = urlsplit(entry)
    if entry and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise InputError(
            ENTRY,
            expected="the URL at which the Ingress controller is reached from here, such as http://localhost:8080",
            found=f"'{entry}'",
            remedy="Correct or unset it.",
        )
    return entry


def _host_asked(request: DeploymentRequest) -> str:
    """The Ingress host that the request names; the default, this machine's own address, counts as none.

    Raises:
        InputError: it is an address and no name.
    """
    try:
        address = ipaddress.ip_address(request.host)
    except ValueError:
        return request.host
    if address.is_loopback:
        return ""
    raise InputError(
        "HOST",
        expected="the host name of an Ingress, such as cells.example.com",
        found=f"the address {address}",
        remedy="Name a host, or leave it out for the Ingress to take any.",
    )


def _read(
    environment: Mapping[str, str], name: str, reader: Callable[[str, str], _Value], current: _Value, usual: _Value
) -> _Value:
    if name not in environment:
        return current
    return reader(name, environment[name]) if environment[name] else usual


def _cpus(name: str, text: str) -> float:
    return cpus_of(name, text, least=0.001)


def _bytes(name: str, text: str) -> int:
    return memory_of(name, text, least=2**20)


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise wrong(name, "seconds, at most 3600", text)
    return seconds


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise wrong(name, "a whole number of at least 1", text)
    return int(text)
