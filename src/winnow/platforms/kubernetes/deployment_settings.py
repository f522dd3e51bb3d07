"""How replicas on Kubernetes run and are reached, read from the environment of the `prod` command.

A variable that is not set leaves its setting as it is; an empty one resets it to the default. `release_plan` puts
the settings into manifests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from winnow.config.errors import InputError
from winnow.platforms.release_deployer import DeploymentRequest
from winnow.platforms.serving_limits import CPUS, MEMORY, REQUESTS, check_requests, cpus_of, memory_of, wrong

PASSED_ON = (*REQUESTS, "WINNOW_DRAIN_S", "WINNOW_ACCESS_LOG")
"""Serving settings (`winnow.serving.settings`) that are passed on to replicas unchanged."""
SETTLE, DRAIN = "WINNOW_SETTLE_S", "WINNOW_DRAIN_S"
CPU_REQUEST, MEMORY_REQUEST = "WINNOW_REPLICA_CPU_REQUEST", "WINNOW_REPLICA_MEMORY_REQUEST"
MOST, CPU_TARGET, SCALE_DOWN = "WINNOW_MAX_REPLICAS", "WINNOW_REPLICA_CPU_TARGET", "WINNOW_SCALE_DOWN_AFTER_S"
CLASS, HOST, TLS = "WINNOW_INGRESS_CLASS", "WINNOW_INGRESS_HOST", "WINNOW_INGRESS_TLS_SECRET"
ENTRY = "WINNOW_INGRESS_URL"
USUAL_DRAIN_S = 30.0
"""The server's default time for requests to end."""
READY_WITHIN_S = 300.0
"""Longer than on other platforms, since nodes pull the image first."""


@dataclass(frozen=True)
class DeploymentSettings:
    """How every replica of a deployment runs, and how it is reached.

    Attributes:
        settle_s: how long a terminating replica still answers, until routers no longer send it requests.
        environment: serving settings, by variable, without the API key.
        most: the autoscaler's upper bound; None: twice the lower one.
        cpu_target_percent: of the requested CPUs; above it the autoscaler adds replicas.
        scale_down_after_s: how long fewer replicas have to be enough before one is removed.
        ingress_class, host, tls_secret: of the Ingress; empty: the cluster's default, any, none. A `*` in the host
            stands for the deployment's name.
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
    """The current settings, changed by the variables that are set. Raises InputError for one that is not valid."""
    if environment.get(DRAIN):
        _seconds(DRAIN, environment[DRAIN])
    check_requests(environment)
    usual = DeploymentSettings()
    given = {
        setting: read(name, environment[name]) if environment[name] else getattr(usual, setting)
        for name, (setting, read) in _VARIABLES.items()
        if name in environment
    }
    passed_on = {**current.environment, **{name: environment[name] for name in PASSED_ON if name in environment}}
    host = _host_asked(request) or environment.get(HOST, current.host)
    return replace(
        current,
        **given,
        environment={name: passed_on[name] for name in PASSED_ON if passed_on.get(name)},
        host=host.replace("*", request.name),
    )


def check_entry(entry: str) -> str:
    """The Ingress controller's URL. Raises InputError where it is none."""
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
    """The request's Ingress host; its default, this machine's own address, counts as none.

    Raises:
        InputError: it is another address.
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


_VARIABLES: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    CPUS: ("cpus", _cpus),
    MEMORY: ("memory_bytes", _bytes),
    CPU_REQUEST: ("cpu_request", _cpus),
    MEMORY_REQUEST: ("memory_request_bytes", _bytes),
    SETTLE: ("settle_s", _seconds),
    MOST: ("most", _count),
    CPU_TARGET: ("cpu_target_percent", _count),
    SCALE_DOWN: ("scale_down_after_s", lambda name, text: int(_seconds(name, text))),
    CLASS: ("ingress_class", lambda _, text: text),
    TLS: ("tls_secret", lambda _, text: text),
}
"""Variable → setting, and the function that reads its text."""
