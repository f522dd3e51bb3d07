"""Serves on a Docker engine: replicas of an immutable image behind one Traefik container.

A change starts new replicas beside the old ones, waits until they are ready, moves all requests in one rename of the
route file, sees through the entry point that Traefik has taken it over, and only then lets the old ones end. What is
planned, and how things are called, is in `docker_plan`; what Traefik is told, in `traefik`.

The engine has to be the one of this machine, since a folder is mounted.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.errors import InputError, WinnowError
from winnow.containers.engine import DEPLOYMENT, RELEASE, ROLE, SERIAL, connect
from winnow.deployers import docker_plan, traefik
from winnow.deployers.deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    Replica,
    UnknownDeploymentError,
    no_previous,
)
from winnow.deployers.docker_plan import ContainerRequest, DockerPlan, Found, ProxyFound, ReplicaFound, ReplicaSettings

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.networks import Network

PORTS = range(8100, 8200)
"""Where a free port is looked for: below those that the system hands out by itself, so that it is free tomorrow too."""
TAKEOVER_S = 20.0
DEFAULT_DRAIN_S, SPARE_S = 30.0, 5.0
SHOWN_LINES, KEPT_LINES, KEPT_LOGS = 20, 1000, 20
PYTHON = "/opt/venv/bin/python"
PROBE = """
import socket, sys, time
until = time.monotonic() + float(sys.argv[1])
while True:
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2) as connection:
            connection.sendall(b"GET /readyz HTTP/1.0\\r\\n\\r\\n")
            if b" 200 " in connection.recv(32):
                sys.exit(0)
    except OSError:
        pass
    if time.monotonic() >= until:
        sys.exit(1)
    time.sleep(0.05)
"""
"""Runs inside the replica, which publishes no port: whether it gets ready within so many seconds."""


@dataclass(frozen=True)
class Clock:
    """Time, as a value that tests replace."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class DockerDeployer:
    """`Deployer` with containers.

    Args:
        home: folder below which a new deployment's files are kept.
        environment: where the engine is, and what replicas take over: API key, limits.

    Every method raises InputError where no engine answers.
    """

    def __init__(self, home: Path, *, environment: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._root = home.absolute() / "deployments" / "docker"
        self._environment = environment
        self._clock = clock if clock is not None else Clock()

    @cached_property
    def _engine(self) -> docker.DockerClient:
        return connect(self._environment)

    def plan(self, request: DeploymentRequest) -> DockerPlan:
        """See `Deployer.plan`. A release without an image is planned as one whose image is still to be built."""
        found = self._look(request.name)
        current = found.live[0].settings if found.live else None
        settings = docker_plan.settings_of(self._environment, current, request.settle_s, _key_file(self._environment))
        port = request.port or (found.proxy.port if found.proxy is not None else _free_port(request.host))
        image = self._environment.get(docker_plan.PROXY_IMAGE) or traefik.IMAGE
        made = docker_plan.plan(request, found, settings, self._directory(request.name, found), port, image)
        self._check(made, found)
        return made

    def plan_rollback(self, name: str) -> DockerPlan:
        """See `Deployer.plan_rollback`."""
        found = self._found(name)
        if found.route is None or found.route.previous is None:
            raise no_previous(name)
        proxy = found.proxies[0]
        return self.plan(DeploymentRequest(name, found.route.previous, host=proxy.host, port=proxy.port))

    def deploy(self, plan: DockerPlan) -> Deployment:
        """See `Deployer.deploy`."""
        name = plan.request.name
        if plan.action is Action.NOTHING and not plan.removes:
            return self.status(name)
        if plan.starts and not plan.request.release.image:
            raise ValueError("a release without an image can only be planned")
        directory = plan_directory(plan, self._directory(name, self._look(name)))
        with _locked(directory.parent):
            found = self._look(name)
            if found.serial != plan.basis:
                raise _changed_meanwhile(name)
            self._retire(plan.removes, directory.parent)
            if plan.action is not Action.NOTHING:
                self._change(plan, found, directory)
                self._retire(plan.drains, directory.parent)
        return self.status(name)

    def status(self, name: str) -> Deployment:
        """See `Deployer.status`."""
        found = self._found(name)
        proxy = found.proxies[0]
        route = found.route
        if route is None:
            raise _no_route(name, proxy)
        url = f"http://{_host_for_clients(proxy.host)}:{proxy.port}"
        is_open = proxy.is_running and _answers(proxy.host, proxy.port) is not None
        by_label = {each.label: each for each in found.live}
        replicas = tuple(
            _replica(label, by_label.get(label), route.release.version, is_open) for label in route.replicas
        )
        ready = sum(each.state is DeploymentState.READY for each in replicas)
        state = DeploymentState.DEGRADED if 0 < ready < len(replicas) else replicas[0].state
        return Deployment(name, state, url, route.release, replicas, route.previous)

    def names(self) -> tuple[str, ...]:
        """See `Deployer.names`."""
        found = self._labelled(DEPLOYMENT, f"{ROLE}={docker_plan.PROXY}")
        return tuple(sorted({each.labels[DEPLOYMENT] for each in found}))

    def logs(self, name: str, lines: int = SHOWN_LINES) -> list[str]:
        """See `Deployer.logs`."""
        found = self._look(name, is_probed=False)
        if found.live:
            newest = max(found.live, key=lambda each: (each.serial, each.name))
            return _log(self._engine.containers.get(newest.name), lines)
        kept = sorted(self.log_path(name).glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        if not kept:
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:]

    def log_path(self, name: str) -> Path:
        """The folder with the logs of replicas that are gone."""
        return self._root / name / "logs"

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images stay."""
        found = self._look(name, is_probed=False)
        if not found.proxies and not found.replicas:
            self._remove_network(name)
            return False
        directory = self._directory(name, found)
        with _locked(directory.parent):
            # The entry point first: it takes no new requests, and ends when those that it has are answered.
            for container in self._containers(name, docker_plan.PROXY):
                _stop(container, traefik.GRACE_S + SPARE_S)
            replicas = [each.name for each in self._containers(name, docker_plan.REPLICA)]
            self._retire([str(each) for each in replicas], directory.parent)
            for container in self._containers(name, docker_plan.PROXY):
                _remove(container)
            self._remove_network(name)
            shutil.rmtree(directory, ignore_errors=True)
        return True

    # Looking

    def _found(self, name: str) -> Found:
        found = self._look(name)
        if not found.proxies:
            raise UnknownDeploymentError(name, self.names())
        return found

    def _look(self, name: str, *, is_probed: bool = True) -> Found:
        """What there is of a deployment now; without probing, no replica counts as ready."""
        proxies = sorted((_proxy(each) for each in self._containers(name, docker_plan.PROXY)), key=_by_fitness)
        containers = self._containers(name, docker_plan.REPLICA)
        with ThreadPoolExecutor(max_workers=8) as pool:
            ready = list(pool.map(lambda each: is_probed and _becomes_ready(each, 0), containers))
        replicas = [_replica_found(each, is_ready) for each, is_ready in zip(containers, ready, strict=True)]
        route = _read(proxies[0].directory) if proxies else None
        return Found(tuple(proxies), tuple(sorted(replicas, key=lambda each: (each.serial, each.name))), route)

    def _containers(self, name: str, role: str) -> list[Container]:
        return self._labelled(f"{DEPLOYMENT}={name}", f"{ROLE}={role}")

    def _labelled(self, *labels: str) -> list[Container]:
        return self._engine.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)

    def _directory(self, name: str, found: Found) -> Path:
        """What an entry point mounts: that of the current one, else a folder of this home."""
        if found.proxy is not None and found.proxy.directory.is_dir():
            return found.proxy.directory
        return self._root / name / "routes"

    def _check(self, plan: DockerPlan, found: Found) -> None:
        """Refuse what cannot be done before anything is done.

        Raises:
            InputError: an image is missing, or a name or the port is somebody else's.
        """
        import docker

        image = plan.request.release.image
        if plan.starts and image:
            try:
                self._engine.images.get(image)
            except docker.errors.ImageNotFound as error:
                raise _no_image(plan) from error
        for each in (*plan.starts, *([plan.proxy] if plan.proxy is not None else [])):
            with contextlib.suppress(docker.errors.NotFound):
                taken = self._engine.containers.get(each.name)
                if taken.labels.get(DEPLOYMENT) != plan.request.name:
                    raise _taken("container", each.name)
        self._network(plan.request.name)
        is_held = any(each.port == plan.port for each in found.proxies)
        if plan.proxy is not None and not is_held:
            _bind(plan.host, plan.port)

    def _network(self, name: str) -> Network | None:
        wanted = docker_plan.network_name(name)
        found = [each for each in self._engine.networks.list(names=[wanted]) if each.name == wanted]
        if found and (found[0].attrs.get("Labels") or {}).get(DEPLOYMENT) != name:
            raise _taken("network", wanted)
        return found[0] if found else None

    # Changing

    def _change(self, plan: DockerPlan, found: Found, directory: Path) -> None:
        """Start what is new, and move the requests to it.

        Raises:
            DeploymentFailedError: it does not work; all is as it was before.
        """
        name = plan.request.name
        try:
            self._prepare(plan, directory)
            for request in plan.starts:
                self._start(request)
            self._wait_until_ready(plan, found, directory.parent)
            self._move(plan, found, directory)
        except BaseException:
            self._retire([each.name for each in plan.starts], directory.parent, within_s=0)
            if found.proxy is None:
                self._retire([docker_plan.container_name(name, docker_plan.PROXY)], directory.parent, within_s=0)
                self._remove_network(name)
                shutil.rmtree(directory, ignore_errors=True)
            raise

    def _prepare(self, plan: DockerPlan, directory: Path) -> None:
        """Image of the entry point, network and folder."""
        import docker

        if plan.proxy is not None:
            try:
                self._engine.images.get(plan.proxy.image)
            except docker.errors.ImageNotFound:
                self._pull(plan.proxy.image)
        if self._network(plan.request.name) is None:
            # Without masquerading nothing leaves it: a replica answers its entry point and reaches nobody.
            self._engine.networks.create(
                docker_plan.network_name(plan.request.name),
                driver="bridge",
                labels={DEPLOYMENT: plan.request.name},
                options={"com.docker.network.bridge.enable_ip_masquerade": "false"},
            )
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)  # whatever the umask: the entry point is another user

    def _pull(self, image: str) -> None:
        import docker

        try:
            self._engine.images.pull(image)
        except docker.errors.APIError as error:
            raise InputError(
                f"image {image}",
                expected="the image of the entry point, on the engine or in its registry",
                found=error.explanation or str(error),
                remedy=f"Make it available (`docker pull {image}`), or name another with {docker_plan.PROXY_IMAGE}.",
            ) from error

    def _start(self, request: ContainerRequest, *, restart: str = "no") -> None:
        """Create and start a container; a replica restarts only once it was ready, so that its end is seen."""
        import docker
        from docker.types import LogConfig, Mount

        mounts = []
        if request.directory is not None:
            mounts = [Mount(traefik.DIRECTORY, str(request.directory), type="bind", read_only=True)]
        endpoint = self._engine.api.create_endpoint_config(aliases=[request.hostname])
        try:
            container = self._engine.containers.create(
                **request.arguments(),
                mounts=mounts,
                network=request.network,
                networking_config={request.network: endpoint},
                log_config=LogConfig(type=LogConfig.types.JSON, config=dict(docker_plan.LOGGED)),
                restart_policy=_restart(restart),
                detach=True,
            )
            container.start()
        except docker.errors.APIError as error:
            raise _refused(request.name, error) from error

    def _wait_until_ready(self, plan: DockerPlan, found: Found, folder: Path) -> None:
        deadline = self._clock.now() + plan.request.ready_within_s
        waiting = [self._engine.containers.get(each.name) for each in plan.starts]
        while waiting:
            for each in waiting:
                each.reload()
                if not each.attrs["State"]["Running"]:
                    raise _not_ready(plan, each, found, folder, _end_of(each))
            if _becomes_ready(waiting[0], 1):
                # From now on a replica that dies comes back.
                waiting.pop(0).update(restart_policy=_restart("unless-stopped"))
            elif self._clock.now() > deadline:
                limit = f"was not ready within {plan.request.ready_within_s:g} s"
                raise _not_ready(plan, waiting[0], found, folder, limit)

    def _move(self, plan: DockerPlan, found: Found, directory: Path) -> None:
        """Let requests take the new route; where that cannot be seen to work, they take the old one again."""
        before = found.route
        _write(directory, plan.route)
        try:
            with self._entry_point(plan, found) as (host, port):
                self._wait_for_takeover(plan, host, port, plan.route.serial, found)
        except BaseException:
            if before is None:
                (directory / traefik.FILE).unlink(missing_ok=True)
            else:
                _write(directory, before)
                with contextlib.suppress(DeploymentFailedError):
                    proxy = found.proxies[0]
                    self._wait_for_takeover(plan, proxy.host, proxy.port, before.serial, found)
            raise

    @contextlib.contextmanager
    def _entry_point(self, plan: DockerPlan, found: Found) -> Iterator[tuple[str, int]]:
        """Yield the address of the entry point that is wanted; the one before goes only when that has proved itself."""
        if plan.proxy is None:
            yield plan.host, plan.port
            return
        old = [self._engine.containers.get(each.name) for each in found.proxies]
        is_same_port = any(each.port == plan.port for each in found.proxies)
        for number, each in enumerate(old):
            _rename(each, docker_plan.container_name(plan.request.name, f"{docker_plan.PROXY}-old-{number}"))
            if is_same_port:  # one port has one holder: for a moment nobody answers
                _stop(each, traefik.GRACE_S)
        try:
            yield plan.host, self._open(plan.proxy, plan)
        except BaseException:
            self._retire([plan.proxy.name], None, within_s=0)
            for each in old[:1]:
                _rename(each, plan.proxy.name)
                each.start()
            raise
        for each in old:
            _stop(each, traefik.GRACE_S)
            _remove(each)

    def _open(self, proxy: ContainerRequest, plan: DockerPlan) -> int:
        """Start the entry point at its port, or at another free one where nobody asked for that; return which."""
        port = plan.port
        while True:
            try:
                self._start(replace(proxy, published=(plan.host, port)), restart="unless-stopped")
            except WinnowError:
                self._retire([proxy.name], None, within_s=0)
                if plan.is_port_asked or _is_free(plan.host, port):
                    raise
                port = _free_port(plan.host)
            else:
                return port

    def _wait_for_takeover(self, plan: DockerPlan, host: str, port: int, serial: int, found: Found) -> None:
        deadline = self._clock.now() + TAKEOVER_S
        while _answers(host, port) != str(serial):
            if self._clock.now() > deadline:
                proxy = self._engine.containers.get(docker_plan.container_name(plan.request.name, docker_plan.PROXY))
                raise DeploymentFailedError(
                    plan.request.name,
                    f"the entry point at {host}:{port} did not take the new route over within {TAKEOVER_S:g} s",
                    _log(proxy, SHOWN_LINES),
                    f"the log of {proxy.name}",
                    is_old_serving=bool(found.live),
                )
            self._clock.sleep(0.05)

    def _retire(self, names: Sequence[str], folder: Path | None, within_s: float | None = None) -> None:
        """Let containers end, all at once; keep the end of their logs, and remove them."""
        import docker

        def retire(name: str) -> None:
            with contextlib.suppress(docker.errors.NotFound):
                container = self._engine.containers.get(name)
                _stop(container, _grace_of(container) if within_s is None else within_s)
                if folder is not None:
                    _keep_log(container, folder / "logs")
                _remove(container)

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(retire, names))

    def _remove_network(self, name: str) -> None:
        network = self._network(name)
        if network is not None:
            network.remove()


def _restart(policy: str) -> Any:
    """A restart policy; the SDK's published types know only two of the four."""
    return {"Name": policy}


def plan_directory(plan: DockerPlan, current: Path) -> Path:
    """The folder of the routes: what the plan mounts anew, else what is mounted."""
    return plan.proxy.directory if plan.proxy is not None and plan.proxy.directory is not None else current


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


def _replica_found(container: Container, is_ready: bool) -> ReplicaFound:
    attrs: dict[str, Any] = container.attrs
    labels = container.labels
    variables = (each.partition("=") for each in attrs["Config"]["Env"] or ())
    environment = tuple(sorted((name, value) for name, _, value in variables if name in docker_plan.PASSED_ON))
    limits = attrs["HostConfig"]
    return ReplicaFound(
        name=str(container.name),
        serial=int(labels[SERIAL]),
        release=docker_plan.release_of(labels[RELEASE]),
        settings=ReplicaSettings(limits["NanoCpus"] / 1e9, limits["Memory"], environment),
        is_ready=is_ready,
    )


def _replica(label: str, found: ReplicaFound | None, version: str, is_open: bool) -> Replica:
    if found is None:
        return Replica(label, version, DeploymentState.DOWN)
    is_ready = found.is_ready and is_open
    return Replica(found.name, found.release.version, DeploymentState.READY if is_ready else DeploymentState.DOWN)


def _becomes_ready(container: Container, within_s: float) -> bool:
    """Ask the replica from inside, for it publishes nothing."""
    import docker

    command = [PYTHON, "-IS", "-c", PROBE, f"{within_s:g}", str(traefik.SERVER_PORT)]
    try:
        code, _ = container.exec_run(command)
    except docker.errors.APIError:  # it does not run
        return False
    return bool(code == 0)


def _end_of(container: Container) -> str:
    state = container.attrs["State"]
    why = "was stopped for using more memory than its limit" if state["OOMKilled"] else "ended before it was ready"
    return f"{why} (exit code {state['ExitCode']})"


def _not_ready(
    plan: DockerPlan, container: Container, found: Found, folder: Path, reason: str
) -> DeploymentFailedError:
    lines = _log(container, SHOWN_LINES)
    log = folder / "logs" / f"{container.name}.log"
    is_old_serving = bool(found.live)
    return DeploymentFailedError(
        plan.request.name, f"replica {container.name} {reason}", lines, str(log), is_old_serving=is_old_serving
    )


def _log(container: Container, lines: int) -> list[str]:
    text: bytes = container.logs(tail=lines)
    return text.decode(errors="replace").splitlines()


def _keep_log(container: Container, folder: Path) -> None:
    """Keep the end of a replica's log, and of the newest few of them all."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(_log(container, KEPT_LINES))
    (folder / f"{container.name}.log").write_text(f"{text}\n", encoding="utf-8")
    kept = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for path in kept[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


def _grace_of(container: Container) -> float:
    """How long a container may take to end: as long as it allows itself, and a little more."""
    variables = dict(each.partition("=")[::2] for each in container.attrs["Config"]["Env"] or ())
    settle, drain = variables.get("WINNOW_SETTLE_S") or "5", variables.get("WINNOW_DRAIN_S") or f"{DEFAULT_DRAIN_S}"
    return float(settle) + float(drain) + SPARE_S


def _stop(container: Container, within_s: float) -> None:
    import docker

    with contextlib.suppress(docker.errors.NotFound):
        container.stop(timeout=int(within_s))


def _remove(container: Container) -> None:
    import docker

    with contextlib.suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)


def _rename(container: Container, name: str) -> None:
    if container.name != name:
        container.rename(name)
        container.reload()


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


def _write(directory: Path, route: traefik.Route) -> None:
    """Put a route file in its place so that Traefik sees the old one or the new one."""
    draft = directory / f".{traefik.FILE}.draft"
    draft.write_text(traefik.render(route), encoding="utf-8")
    draft.chmod(0o644)
    draft.replace(directory / traefik.FILE)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the deployment's lock, which the system lets go of when this process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _answers(host: str, port: int) -> str | None:
    """The serial of the route by which a replica answered, or None where none did."""
    connection = http.client.HTTPConnection(_host_for_clients(host), port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.getheader(traefik.SERIAL_HEADER) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _host_for_clients(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)


def _free_port(host: str) -> int:
    """A free port of this machine.

    Raises:
        InputError: there is none, or the address is no address of this machine.
    """
    free = next((port for port in PORTS if _is_free(host, port)), None)
    if free is None:
        _bind(host, PORTS[0])
        raise InputError(
            f"ports {PORTS[0]} to {PORTS[-1]} of {host}",
            expected="one that is free",
            found="none",
            remedy="Choose another with PORT=.",
        )
    return free


def _is_free(host: str, port: int) -> bool:
    try:
        _bind(host, port)
    except InputError:
        return False
    return True


def _bind(host: str, port: int) -> None:
    """Listen at an address for a moment.

    Raises:
        InputError: that cannot be done.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EACCES:  # below 1024: the engine may listen there, a person may not
                return
            raise InputError(
                f"address {host}:{port}",
                expected="a port of this machine that is free",
                found=(error.strerror or str(error)).lower(),
                remedy="Leave the port out to have a free one found, or choose another.",
            ) from error


def _key_file(environment: Mapping[str, str]) -> str | None:
    path = environment.get("WINNOW_API_KEY_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            "WINNOW_API_KEY_FILE",
            expected="a readable file with the API key",
            found=f"'{path}' ({(error.strerror or str(error)).lower()})",
            remedy="Correct or unset it.",
        ) from error


def _refused(name: str, error: docker.errors.APIError) -> WinnowError:
    return WinnowError(f"container {name}: the Docker engine refused it: {error.explanation or error}")


def _no_image(plan: DockerPlan) -> InputError:
    release = plan.request.release
    return InputError(
        f"image {release.image} of {release.model} version {release.version}",
        expected="an image that the Docker engine has",
        found="none",
        remedy="It was removed: build it again with `make build-prod`, or deploy another version.",
    )


def _taken(kind: str, name: str) -> InputError:
    return InputError(
        f"{kind} '{name}'",
        expected="a name that is free, or a deployment of winnow's",
        found=f"a {kind} that somebody else has made",
        remedy="Remove or rename it, or serve under another name with STUDY=.",
    )


def _no_route(name: str, proxy: ProxyFound) -> InputError:
    return InputError(
        f"deployment '{name}'",
        expected=f"its route file in {proxy.directory}",
        found="none",
        remedy="Deploy again with `make prod-docker`, which writes it anew.",
    )


def _changed_meanwhile(name: str) -> InputError:
    return InputError(
        f"deployment '{name}'",
        expected="the deployment that the plan was made for",
        found="one that somebody has changed since",
        remedy="Run the command again.",
    )
