"""What every container of winnow's has in common on an engine, and its request as a `docker` command.

A request is the body of `POST /containers/create`, Engine API 1.41 (Docker 20.10), so that tests compare what is sent.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Set
from typing import Any

from winnow.config.addresses import shown_value

LOCKED_DOWN: Mapping[str, Any] = {
    "ReadonlyRootfs": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
}
"""The part of `HostConfig` that is the same for all: nothing is written but what is mounted, and logs stay small."""


def cpu_limit(cpus: float) -> dict[str, Any]:
    """The part of `HostConfig` that limits CPUs."""
    return {"NanoCpus": round(cpus * 1e9)}


def memory_limit(memory_bytes: int) -> dict[str, Any]:
    """The part of `HostConfig` that limits memory; the limit includes swap, which no container may use."""
    return {"Memory": memory_bytes, "MemorySwap": memory_bytes}


def docker_command(verb: str, name: str, body: Mapping[str, Any], secrets: Set[str]) -> str:
    """The command that sends the same request, to be pasted into a shell.

    Passwords in variables are masked. Of `secrets` only the names are shown: `docker` takes their values from the
    environment of the shell.
    """
    variables = []
    for text in body["Env"]:
        variable, _, value = text.partition("=")
        shown = "" if variable in secrets else f"={shlex.quote(shown_value(variable, value))}"
        variables.append(f"--env {variable}{shown}")
    flags = shlex.join(("--name", name, *(part for flag in _flags(body) for part in flag)))
    return " ".join((verb, flags, *variables, shlex.join((body["Image"] or "IMAGE-TO-BE-BUILT", *body["Cmd"]))))


def _flags(body: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    host: Mapping[str, Any] = body["HostConfig"]
    yield "--hostname", body["Hostname"]
    if host["NetworkMode"] != "default":
        yield "--network", host["NetworkMode"]
    for endpoint in body.get("NetworkingConfig", {}).get("EndpointsConfig", {}).values():
        yield from (("--network-alias", alias) for alias in endpoint["Aliases"])
    for port, bindings in host.get("PortBindings", {}).items():
        yield from (("--publish", f"{each['HostIp']}:{each['HostPort']}:{port}") for each in bindings)
    yield from (("--label", f"{name}={value}") for name, value in body["Labels"].items())
    yield "--user", body["User"], "--read-only"
    yield from (("--tmpfs", f"{path}:{options}") for path, options in host["Tmpfs"].items())
    for mount in host["Mounts"]:
        read_only = ",readonly" if mount["ReadOnly"] else ""
        yield "--mount", f"type={mount['Type']},source={mount['Source']},target={mount['Target']}{read_only}"
    yield from (("--cap-drop", capability) for capability in host["CapDrop"])
    yield from (("--security-opt", option) for option in host["SecurityOpt"])
    if "NanoCpus" in host:
        yield "--cpus", f"{host['NanoCpus'] / 1e9:g}"
    for flag, key in (("memory", "Memory"), ("memory-swap", "MemorySwap"), ("shm-size", "ShmSize")):
        if key in host:
            yield f"--{flag}", str(host[key])
    yield "--pids-limit", str(host["PidsLimit"])
    yield from (("--dns", address) for address in host.get("Dns", ()))
    for device in host.get("DeviceRequests", ()):
        yield "--gpus", f'"device={",".join(device["DeviceIDs"])}"'
    restart = host["RestartPolicy"]
    yield "--restart", ":".join(str(part) for part in restart.values())
    if "StopTimeout" in body:
        yield "--stop-timeout", str(body["StopTimeout"])
    yield "--log-driver", host["LogConfig"]["Type"]
    yield from (("--log-opt", f"{name}={value}") for name, value in host["LogConfig"]["Config"].items())
