"""Reads what a Docker engine has of a deployment, and whether it answers. Changes nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.platforms.docker import release_plan as docker_plan
from winnow.platforms.docker import traefik
from winnow.platforms.docker.release_plan import EngineDeployment, ProxyFound, ReplicaFound, ReplicaSettings
from winnow.platforms.labels import DEPLOYMENT, RELEASE, ROLE, SERIAL
from winnow.platforms.ports import url_for_clients
from winnow.platforms.readiness import READY_PATH, ask_own
from winnow.platforms.release_json import release_of

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.models.networks import Network

    from winnow.platforms.docker.client import Engine

PYTHON = "/opt/venv/bin/python"
PROBE = f"""
import socket, sys, time
until = time.monotonic() + float(sys.argv[1])
while True:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2) as connection:
            connection.sendall(b"GET {READY_PATH} HTTP/1.0\\r\\n\\r\\n")
            if b" 200 " in connection.recv(32):
                sys.exit(0)
    except OSError:
        pass
    if time.monotonic() >= until:
        sys.exit(1)
    time.sleep(0.05)
"""
"""A program that runs inside a replica, which publishes no port: wait so many seconds until its port is ready."""


def names(engine: Engine) -> set[str]:
    """What is deployed."""
    return {each.labels[DEPLOYMENT] for each in _labelled(engine, DEPLOYMENT, f"{ROLE}={docker_plan.PROXY}")}


def find(engine: Engine, name: str, *, is_probed: bool = True) -> EngineDeployment:
    """What the engine has of a deployment; without probing, no replica counts as ready.

    Raises:
        InputError: the route file cannot be read as one.
    """
    proxies = sorted((_proxy(each) for each in containers(engine, name, docker_plan.PROXY)), key=_by_fitness)
    found = containers(engine, name, docker_plan.REPLICA)
    with ThreadPoolExecutor(max_workers=8) as pool:
        ready = list(pool.map(lambda each: is_probed and becomes_ready(each, 0), found))
    replicas = [_replica(each, is_ready) for each, is_ready in zip(found, ready, strict=True)]
    route = _read(proxies[0].directory) if proxies else None
    return EngineDeployment(tuple(proxies), tuple(sorted(replicas, key=lambda each: (each.serial, each.name))), route)


def containers(engine: Engine, name: str, role: str) -> list[Container]:
    """A deployment's containers of one role, whether they run or not."""
    return _labelled(engine, f"{DEPLOYMENT}={name}", f"{ROLE}={role}")


def network(engine: Engine, name: str) -> Network | None:
    """A deployment's network.

    Raises:
        InputError: its name is taken by another.
    """
    wanted = docker_plan.network_name(name)
    found = [each for each in engine.networks.list(names=[wanted]) if each.name == wanted]
    if found and (found[0].attrs.get("Labels") or {}).get(DEPLOYMENT) != name:
        raise taken("network", wanted)
    return found[0] if found else None


def becomes_ready(container: Container, within_s: float) -> bool:
    """Whether a replica gets ready in that time. The probe runs inside it, since a replica publishes no port."""
    import docker

    command = [PYTHON, "-IS", "-c", PROBE, f"{within_s:g}", str(traefik.SERVER_PORT)]
    try:
        code, _ = container.exec_run(command)
    except docker.errors.APIError:  # it does not run
        return False
    return bool(code == 0)


def route_serial(host: str, port: int) -> str | None:
    """The serial of the route by which a ready replica answers; None where none does."""
    answer = ask_own(url_for_clients(host, port))
    return None if answer is None else answer.headers.get(traefik.SERIAL_HEADER)


def log(container: Container, lines: int) -> list[str]:
    """The last lines of a container's log."""
    text: bytes = container.logs(tail=lines)
    return text.decode(errors="replace").splitlines()


def taken(kind: str, name: str) -> InputError:
    """The error for a name that something else has taken."""
    return InputError(
        f"{kind} '{name}'",
        expected="a name that is free, or a deployment of winnow's",
        found=f"a {kind} that was not made by winnow",
        remedy=f"Remove or rename it, or serve under another name with {next_flag('study')}.",
    )


def _labelled(engine: Engine, *labels: str) -> list[Container]:
    return engine.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)


def _by_fitness(proxy: ProxyFound) -> tuple[bool, str]:
    return (not proxy.is_running, proxy.name)


def _proxy(container: Container) -> ProxyFound:
    attrs = container.attrs
    bindings = attrs["HostConfig"]["PortBindings"] or {}
    published = next(iter(bindings.get(f"{traefik.ENTRY_PORT}/tcp") or []), {"HostIp": "", "HostPort": "0"})
    sources = [each["Source"] for each in attrs["Mounts"] if each["Destination"] == traefik.DIRECTORY]
    return ProxyFound(
        name=str(container.name),
        host=published["HostIp"] or "0.0.0.0",
        port=int(published["HostPort"]),
        image=attrs["Config"]["Image"],
        arguments=tuple(attrs["Config"]["Cmd"] or ()),
        directory=Path(sources[0] if sources else os.devnull),
        is_running=attrs["State"]["Running"],
    )


def _replica(container: Container, is_ready: bool) -> ReplicaFound:
    attrs: dict[str, Any] = container.attrs
    labels = container.labels
    variables = (each.partition("=") for each in attrs["Config"]["Env"] or ())
    environment = tuple(sorted((name, value) for name, _, value in variables if name in docker_plan.PASSED_ON))
    limits = attrs["HostConfig"]
    return ReplicaFound(
        name=str(container.name),
        serial=int(labels[SERIAL]),
        release=release_of(labels[RELEASE]),
        settings=ReplicaSettings(limits["NanoCpus"] / 1e9, limits["Memory"], environment),
        is_ready=is_ready,
    )


def _read(directory: Path) -> traefik.Route | None:
    try:
        return traefik.parse((directory / traefik.FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(
            str(directory / traefik.FILE),
            expected="a route file as this version writes it",
            found=str(error),
            remedy="Remove it, and deploy again.",
        ) from error
