"""The entry of a deployment: one Traefik container, published at one port of this machine.

Another port, host or image makes another container. It has answered before the one before it ends, unless both need
one port.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_flag
from winnow.platforms.docker import containers, revision_plan, traefik
from winnow.platforms.docker.engine_deployment import EngineDeployment, is_running
from winnow.platforms.docker.revision_plan import PORTS, ContainerRequest
from winnow.platforms.interrupts import uninterrupted
from winnow.platforms.labels import FOLDER_ID
from winnow.platforms.ports import bound, is_free, url_for_clients
from winnow.platforms.readiness import NoModelError, ask_ready
from winnow.routing import Record

if TYPE_CHECKING:
    from docker.models.containers import Container

    from winnow.platforms.docker.client import Engine

PROXY_IMAGE = "WINNOW_PROXY_IMAGE"
"""Environment variable: the image of Traefik."""
FIRST_OPEN_PORT = 1024
TAKEOVER_S = 20.0


@dataclass(frozen=True)
class Address:
    """An address of this machine that leads to an entry."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return url_for_clients(self.host, self.port)

    def mark(self) -> str | None:
        """The mark of the routes by which it answers; None where it does not."""
        try:
            return ask_ready(self.url, is_proxied=False).headers.get(traefik.SERIAL_HEADER)
        except NoModelError:
            return None

    def follows(self, mark: str | None, clock: Clock) -> bool:
        """Whether it answers by the routes of that mark in time."""
        deadline = clock.now() + TAKEOVER_S
        while self.mark() != mark:
            if clock.now() > deadline:
                return False
            clock.sleep(0.05)
        return True


def address_of(proxy: Container) -> Address:
    bindings = proxy.attrs["HostConfig"]["PortBindings"] or {}
    published = next(iter(bindings.get(f"{traefik.ENTRY_PORT}/tcp") or []), {"HostIp": "", "HostPort": "0"})
    return Address(published["HostIp"] or "0.0.0.0", int(published["HostPort"]))  # nosec B104 (as read)


def folder_of(proxy: Container) -> Path | None:
    sources = [each["Source"] for each in proxy.attrs["Mounts"] if each["Destination"] == traefik.DIRECTORY]
    return Path(sources[0]) if sources else None


def check_address(record: Record, current: Address | None) -> None:
    """Raise InputError where the entry's address is taken, or none of this machine's."""
    host = record.entry.host or revision_plan.DEFAULT_HOST
    port = record.entry.port if record.entry.port is not None else current.port if current is not None else None
    # Below the first open port the engine may listen where this person may not try.
    if port is None or (Address(host, port) != current and port >= FIRST_OPEN_PORT):
        bound(host, port).close()


@contextlib.contextmanager
def entry(engine: Engine, found: EngineDeployment, record: Record, image: str) -> Iterator[Address]:
    """Yield the address of the wanted entry. The one before is removed only when the new one has worked.

    Raises:
        InputError: Traefik's image is nowhere, or there is no free port.
        WinnowError: the engine refuses it.
    """
    current = found.proxies[0] if found.proxies else None
    host = record.entry.host or revision_plan.DEFAULT_HOST
    port = record.entry.port or (address_of(current).port if current is not None else _free_port(host))
    folder_id = str(found.routes.stat().st_ino)
    wanted = revision_plan.proxy(record.name, found.routes, folder_id, image, (host, str(port)))
    old = list(found.proxies)
    if current is not None and _is_as_wanted(current, wanted):
        yield Address(host, port)
        old.remove(current)
    else:
        _pull(engine, image)
        with _set_aside(old, wanted.name, port), contextlib.ExitStack() as undo:
            with uninterrupted():
                proxy, port = _open(engine, wanted, host, port, is_asked=record.entry.port is not None)
                undo.callback(containers.remove, proxy)
            yield Address(host, port)
            undo.pop_all()
    for each in old:
        containers.stop(each, traefik.GRACE_S)
        containers.remove(each)


@contextlib.contextmanager
def _set_aside(old: Sequence[Container], name: str, port: int) -> Iterator[None]:
    """Free the name of an entry, and the port where two would need it: for a moment, none answers. Errors undo it."""
    with contextlib.ExitStack() as undo:
        for each in old:
            undo.callback(each.start)
            undo.callback(containers.rename, each, name)
            containers.rename(each, f"{name}-old")
            if address_of(each).port == port:
                containers.stop(each, traefik.GRACE_S)
        yield
        undo.pop_all()


def _open(engine: Engine, proxy: ContainerRequest, host: str, port: int, *, is_asked: bool) -> tuple[Container, int]:
    """Start the entry at its port, or at another free one where the caller did not choose the port."""
    while True:
        try:
            (started,) = containers.start(engine, [replace(proxy, published=(host, str(port)))])
            return started, port
        except WinnowError:
            if is_asked or is_free(host, port):
                raise
            port = _free_port(host)


def _is_as_wanted(proxy: Container, wanted: ContainerRequest) -> bool:
    """Whether an entry runs as wanted, and has the route folder that is there, not one that was removed."""
    address, config = address_of(proxy), proxy.attrs["Config"]
    published = (address.host, str(address.port))
    found = (published, config["Image"], tuple(config["Cmd"] or ()), proxy.labels.get(FOLDER_ID))
    return is_running(proxy) and found == (wanted.published, wanted.image, wanted.command, wanted.labels[FOLDER_ID])


def _pull(engine: Engine, image: str) -> None:
    """Have the image on the engine. Raises InputError where it is in no registry either."""
    import docker

    try:
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            engine.images.pull(image)
        except docker.errors.APIError as error:
            raise InputError(
                f"image {image}",
                expected="the image of the entry, on the engine or in its registry",
                found=error.explanation or str(error),
                remedy=f"Make it available (`docker pull {image}`), or name another with {PROXY_IMAGE}.",
            ) from error


def _free_port(host: str) -> int:
    """A free port. Raises InputError where there is none, or the address is none of this machine's."""
    bound(host, None).close()
    free = next((port for port in PORTS if is_free(host, port)), None)
    if free is None:
        raise InputError(
            f"ports {PORTS[0]} to {PORTS[-1]} of {host}",
            expected="one that is free",
            found="none",
            remedy=f"Choose another with {next_flag('port')}.",
        )
    return free
