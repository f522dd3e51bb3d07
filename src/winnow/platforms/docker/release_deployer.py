"""Serves on a Docker engine: replicas of an immutable image behind one Traefik container.

A change starts new replicas beside the old ones, waits until they are ready, and moves all requests by one rename of
the route file. It confirms through the entry point that Traefik has read the file, and only then ends the old replicas.
`release_plan` holds plans and names, `traefik` the configuration of Traefik.

The engine has to run on this machine: a folder is mounted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command, next_flag
from winnow.platforms.api_key import key_file
from winnow.platforms.docker import observe, traefik
from winnow.platforms.docker import release_plan as docker_plan
from winnow.platforms.docker.client import asking, connect
from winnow.platforms.docker.release_plan import ContainerRequest, DockerPlan, EngineDeployment, ReplicaFound
from winnow.platforms.interrupts import uninterrupted
from winnow.platforms.labels import DEPLOYMENT, SERIAL
from winnow.platforms.ports import bound, is_free, url_for_clients
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    Endpoint,
    Replica,
    UnknownDeploymentError,
    changed_meanwhile,
    look_at_listener,
    no_previous,
    rendered_change,
)
from winnow.platforms.serving_limits import MEMORY

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from winnow.platforms.docker.client import Engine

PORTS = range(8100, 8200)
"""Candidates for a free port: below the range from which the system assigns ports, so that one stays free."""
FIRST_OPEN_PORT = 1024
TAKEOVER_S = 20.0
USUAL_STOP_S = (5.0, 30.0)
"""How long a server settles and drains by default."""
SPARE_S = 5.0
SHOWN_LINES, KEPT_LINES, KEPT_LOGS = 20, 1000, 20
_WHAT = "the deployments on Docker"


class DockerDeployer:
    """`Deployer` with containers.

    Args:
        home: folder below which a new deployment's files are kept.
        environment: where the engine is, and what replicas take over: API key, limits.

    Every method raises InputError where there is no engine or the engine refuses, EngineError where it fails, and
    UnreachableError where it stops answering.
    """

    def __init__(self, home: Path, *, environment: Mapping[str, str] = os.environ, clock: Clock | None = None) -> None:
        self._root = home.absolute() / "deployments" / "docker"
        self._environment = environment
        self._clock = clock if clock is not None else Clock()

    @cached_property
    def _engine(self) -> Engine:
        return connect(self._environment)

    @property
    def place(self) -> str:
        return "on the Docker engine"

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`. An engine that answers permits everything."""

    @asking(_WHAT)
    def plan(self, request: DeploymentRequest) -> DockerPlan:
        """See `Deployer.plan`. A release without an image is planned as one whose image is still to be built."""
        found = observe.find(self._engine, request.name)
        current = found.live[0].settings if found.live else None
        settings = docker_plan.settings_of(self._environment, current, request.settle_s, key_file(self._environment))
        port = request.port or (found.proxy.port if found.proxy is not None else _free_port(request.host))
        image = self._environment.get(docker_plan.PROXY_IMAGE) or traefik.IMAGE
        made = docker_plan.plan(request, found, settings, self._directory(request.name, found), port, image)
        self._check(made, found)
        return made

    @asking(_WHAT)
    def plan_rollback(self, name: str) -> DockerPlan:
        found = self._found(name)
        if found.route is None or found.route.previous is None:
            raise no_previous(name)
        proxy = found.proxies[0]
        return self.plan(DeploymentRequest(name, found.route.previous, host=proxy.host, port=proxy.port))

    def difference(self, plan: DockerPlan) -> str:
        return rendered_change(plan)

    @asking(_WHAT)
    def deploy(self, plan: DockerPlan) -> Deployment:
        name = plan.request.name
        if plan.action is Action.NOTHING and not plan.removes:
            return self.status(name)
        if plan.starts and not plan.request.release.image:
            raise ValueError("a release without an image can only be planned")
        directory = plan.proxy.directory if plan.proxy is not None else None
        directory = directory or self._directory(name, observe.find(self._engine, name))
        with locked(directory.parent / "lock"):
            found = observe.find(self._engine, name)
            if found.serial != plan.basis:
                raise changed_meanwhile(name)
            self._clean_up(self._named(name, plan.removes), found, directory.parent)
            if plan.action is not Action.NOTHING:
                self._change(plan, found, directory)
                self._retire(self._named(name, plan.drains), directory.parent)
        return self.status(name)

    @asking(_WHAT)
    def status(self, name: str) -> Deployment:
        """See `Deployer.status`. One whose route file is lost is never ready: the newest replicas say what it was."""
        found = self._found(name)
        proxy = found.proxies[0]
        route = found.route or _assumed_route(name, found)
        url = url_for_clients(proxy.host, proxy.port)
        is_open = proxy.is_running and observe.route_serial(proxy.host, proxy.port) is not None
        by_label = {each.label: each for each in found.replicas}
        replicas = tuple(
            _replica(label, by_label.get(label), route.release.version, is_open) for label in route.replicas
        )
        ready = sum(each.state is DeploymentState.READY for each in replicas)
        is_whole = ready == len(replicas) and found.route is not None
        state = DeploymentState.READY if is_whole else DeploymentState.DEGRADED if ready else DeploymentState.DOWN
        return Deployment(name, state, url, route.release, replicas, route.previous)

    @asking(_WHAT)
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(observe.names(self._engine)))

    def endpoint(self, deployment: Deployment) -> contextlib.AbstractContextManager[Endpoint]:
        return contextlib.nullcontext(Endpoint(deployment.url))

    def manual_access(self, deployment: Deployment) -> None:
        """See `Deployer.manual_access`."""

    def logs_hint(self, deployment: Deployment) -> str:
        return f"docker logs {deployment.replicas[-1].identifier}"

    def address_hint(self, deployment: Deployment) -> str:
        return look_at_listener(self.logs_hint(deployment))

    def images_hint(self, name: str) -> str:
        return f"Its images stay: docker image ls 'winnow-prod-{name}'"

    @asking(_WHAT)
    def logs(self, name: str, lines: int = SHOWN_LINES) -> list[str]:
        found = observe.find(self._engine, name, is_probed=False)
        if found.live:
            newest = max(found.live, key=lambda each: (each.serial, each.name))
            return observe.log(self._engine.containers.get(newest.name), lines)
        kept = sorted(self.log_path(name).glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        if not kept:
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:]

    def log_path(self, name: str) -> Path:
        """The folder with the logs of replicas that are gone."""
        return self._root / name / "logs"

    @asking(_WHAT)
    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images stay."""
        found = observe.find(self._engine, name, is_probed=False)
        if not found.proxies and not found.replicas:
            self._remove_networks(name)
            return False
        directory = self._directory(name, found)
        with locked(directory.parent / "lock"):
            # The entry point ends first: it refuses new requests and answers those that it has.
            proxies = observe.containers(self._engine, name, docker_plan.PROXY)
            for each in proxies:
                _stop(each, traefik.GRACE_S + SPARE_S)
            self._retire(observe.containers(self._engine, name, docker_plan.REPLICA), directory.parent)
            for each in proxies:
                _remove(each)
            self._remove_networks(name)
            shutil.rmtree(directory, ignore_errors=True)
        return True

    def _found(self, name: str) -> EngineDeployment:
        found = observe.find(self._engine, name)
        if not found.proxies:
            raise UnknownDeploymentError(name, self.names())
        return found

    def _directory(self, name: str, found: EngineDeployment) -> Path:
        """The folder that an entry point mounts: the one in use, else a folder of this home."""
        if found.proxy is not None and found.proxy.directory.is_dir():
            return found.proxy.directory
        return self._root / name / "routes"

    def _check(self, plan: DockerPlan, found: EngineDeployment) -> None:
        """Refuse what cannot be done before anything is done.

        Raises:
            InputError: an image is missing, a name or the port is taken, or the engine has too little memory.
        """
        import docker

        _refuse_too_many(plan, int(self._engine.info()["MemTotal"]))
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
                    raise observe.taken("container", each.name)
        observe.network(self._engine, plan.request.name)
        is_held = any(each.port == plan.port for each in found.proxies)
        # Below the first open port the engine may listen where this person may not try.
        if plan.proxy is not None and not is_held and plan.port >= FIRST_OPEN_PORT:
            bound(plan.host, plan.port).close()

    def _change(self, plan: DockerPlan, found: EngineDeployment, directory: Path) -> None:
        """Start what is new, and move the requests to it.

        Raises:
            DeploymentFailedError: it does not work. What was made for it is removed; the rest is as before.
        """
        with contextlib.ExitStack() as undo:
            self._prepare(plan, directory, undo)
            for request in plan.starts:
                with uninterrupted():
                    container = self._start(request)
                    undo.callback(self._retire, [container], directory.parent, 0)
            self._wait_until_ready(plan, found, directory.parent)
            self._move(plan, found, directory)
            undo.pop_all()

    def _prepare(self, plan: DockerPlan, directory: Path, undo: contextlib.ExitStack) -> None:
        """Image of the entry point, network and folder."""
        import docker

        name = plan.request.name
        if plan.proxy is not None:
            image = plan.proxy.image
            try:
                self._engine.images.get(image)
            except docker.errors.ImageNotFound:
                try:
                    self._engine.images.pull(image)
                except docker.errors.APIError as error:
                    raise InputError(
                        f"image {image}",
                        expected="the image of the entry point, on the engine or in its registry",
                        found=error.explanation or str(error),
                        remedy=f"Make it available (`docker pull {image}`), or name another with "
                        f"{docker_plan.PROXY_IMAGE}.",
                    ) from error
        if observe.network(self._engine, name) is None:
            # Without masquerading nothing leaves the network: a replica can only answer its entry point.
            network = self._engine.networks.create(
                docker_plan.network_name(name),
                driver="bridge",
                labels={DEPLOYMENT: name},
                options={"com.docker.network.bridge.enable_ip_masquerade": "false"},
            )
            undo.callback(network.remove)
        if not directory.is_dir():
            directory.mkdir(parents=True)
            undo.callback(shutil.rmtree, directory, ignore_errors=True)
        directory.chmod(0o755)  # despite the umask: the entry point runs as another user

    def _start(self, request: ContainerRequest) -> Container:
        """Create and start a container, or leave none."""
        import docker

        try:
            api: Any = self._engine.api
            made = api.create_container_from_config(request.body(), request.name)
            container = self._engine.containers.get(made["Id"])
        except docker.errors.APIError as error:
            raise _refused(request.name, error) from error
        try:
            container.start()
        except docker.errors.APIError as error:
            _remove(container)
            raise _refused(request.name, error) from error
        return container

    def _wait_until_ready(self, plan: DockerPlan, found: EngineDeployment, folder: Path) -> None:
        deadline = self._clock.now() + plan.request.ready_within_s
        waiting = [self._engine.containers.get(each.name) for each in plan.starts]
        restart: Any = {"Name": "unless-stopped"}  # which the SDK's published types lack
        while waiting:
            for each in waiting:
                each.reload()
                if not each.attrs["State"]["Running"]:
                    raise _not_ready(plan, each, found, folder, _end_of(each))
            if observe.becomes_ready(waiting[0], 1):
                # From now on the engine restarts it.
                waiting.pop(0).update(restart_policy=restart)
            elif self._clock.now() > deadline:
                limit = f"was not ready within {plan.request.ready_within_s:g} s"
                raise _not_ready(plan, waiting[0], found, folder, limit)

    def _move(self, plan: DockerPlan, found: EngineDeployment, directory: Path) -> None:
        """Move requests to the new route, and back to the old one where the new one is not seen to work."""
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
    def _entry_point(self, plan: DockerPlan, found: EngineDeployment) -> Iterator[tuple[str, int]]:
        """Yield the address of the wanted entry point. The one before is removed only when the new one has worked."""
        if plan.proxy is None:
            yield plan.host, plan.port
            return
        old = self._named(plan.request.name, [each.name for each in found.proxies])
        with contextlib.ExitStack() as undo:
            for each in old:
                undo.callback(each.start)
                undo.callback(_rename, each, plan.proxy.name)
                _rename(each, docker_plan.container_name(plan.request.name, f"{docker_plan.PROXY}-old"))
                if found.proxies[0].port == plan.port:  # two cannot publish one port: for a moment none answers
                    _stop(each, traefik.GRACE_S)
            with uninterrupted():
                proxy, port = self._open(plan.proxy, plan)
                undo.callback(_remove, proxy)
            yield plan.host, port
            undo.pop_all()
        for each in old:
            _stop(each, traefik.GRACE_S)
            _remove(each)

    def _open(self, proxy: ContainerRequest, plan: DockerPlan) -> tuple[Container, int]:
        """Start the entry point at its port, or at another free one where the caller did not choose the port."""
        port = plan.port
        while True:
            try:
                return self._start(replace(proxy, published=(plan.host, port))), port
            except WinnowError:
                if plan.is_port_asked or is_free(plan.host, port):
                    raise
                port = _free_port(plan.host)

    def _wait_for_takeover(self, plan: DockerPlan, host: str, port: int, serial: int, found: EngineDeployment) -> None:
        deadline = self._clock.now() + TAKEOVER_S
        while observe.route_serial(host, port) != str(serial):
            if self._clock.now() > deadline:
                proxies = observe.containers(self._engine, plan.request.name, docker_plan.PROXY)
                raise DeploymentFailedError(
                    plan.request.name,
                    f"the entry point at {host}:{port} did not take the new route over within {TAKEOVER_S:g} s",
                    [line for each in proxies for line in observe.log(each, SHOWN_LINES)],
                    "the entry point's log",
                    is_old_serving=bool(found.live),
                )
            self._clock.sleep(0.05)

    def _named(self, name: str, names: Sequence[str]) -> list[Container]:
        """Those of a deployment's own containers."""
        roles = (docker_plan.PROXY, docker_plan.REPLICA)
        ours = [each for role in roles for each in observe.containers(self._engine, name, role)]
        return [each for each in ours if each.name in names]

    def _clean_up(self, containers: Sequence[Container], found: EngineDeployment, folder: Path) -> None:
        """Remove replicas left by an interrupted change.

        Those that never served are killed at once; they do not handle SIGTERM while loading.
        """
        unused = [each for each in containers if int(each.labels.get(SERIAL, "0")) > found.serial]
        self._retire(unused, folder, 0)
        self._retire([each for each in containers if each not in unused], folder)

    def _retire(self, containers: Sequence[Container], folder: Path, within_s: float | None = None) -> None:
        """Stop containers in parallel, keep the end of their logs, and remove them."""

        def retire(container: Container) -> None:
            _stop(container, _grace_of(container) if within_s is None else within_s)
            _keep_log(container, folder / "logs")
            _remove(container)

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(retire, containers))

    def _remove_networks(self, name: str) -> None:
        for network in self._engine.networks.list(filters={"label": f"{DEPLOYMENT}={name}"}):
            network.remove()


def plan_first(request: DeploymentRequest, home: Path, environment: Mapping[str, str] = os.environ) -> DockerPlan:
    """Plan a deployment as where there is none, without an engine.

    Raises:
        InputError: a setting is wrong.
    """
    settings = docker_plan.settings_of(environment, None, request.settle_s, key_file(environment))
    directory = home.absolute() / "deployments" / "docker" / request.name / "routes"
    image = environment.get(docker_plan.PROXY_IMAGE) or traefik.IMAGE
    port = request.port or _free_port(request.host)
    return docker_plan.plan(request, EngineDeployment(), settings, directory, port, image)


def _replica(label: str, found: ReplicaFound | None, version: str, is_open: bool) -> Replica:
    if found is None:
        return Replica(label, version, DeploymentState.DOWN)
    is_ready = found.is_ready and is_open
    return Replica(found.name, found.release.version, DeploymentState.READY if is_ready else DeploymentState.DOWN)


def _end_of(container: Container) -> str:
    state = container.attrs["State"]
    why = "was stopped for using more memory than its limit" if state["OOMKilled"] else "ended before it was ready"
    return f"{why} (exit code {state['ExitCode']})"


def _not_ready(
    plan: DockerPlan, container: Container, found: EngineDeployment, folder: Path, reason: str
) -> DeploymentFailedError:
    lines = observe.log(container, SHOWN_LINES)
    log = folder / "logs" / f"{container.name}.log"
    is_old_serving = bool(found.live)
    return DeploymentFailedError(
        plan.request.name, f"replica {container.name} {reason}", lines, str(log), is_old_serving=is_old_serving
    )


def _keep_log(container: Container, folder: Path) -> None:
    """Keep the end of a replica's log, and only the newest `KEPT_LOGS` logs."""
    import docker

    folder.mkdir(parents=True, exist_ok=True)
    try:
        text = "\n".join(observe.log(container, KEPT_LINES))
    except docker.errors.NotFound:  # another process has removed it
        return
    (folder / f"{container.name}.log").write_text(f"{text}\n", encoding="utf-8")
    kept = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    for path in kept[:-KEPT_LOGS]:
        path.unlink(missing_ok=True)


def _grace_of(container: Container) -> float:
    """How long a container may take to end: as long as it allows itself, and a little more."""
    variables = dict(each.partition("=")[::2] for each in container.attrs["Config"]["Env"] or ())
    given = [variables.get("WINNOW_SETTLE_S"), variables.get("WINNOW_DRAIN_S")]
    return sum(_seconds(text, usual) for text, usual in zip(given, USUAL_STOP_S, strict=True)) + SPARE_S


def _seconds(text: str | None, usual: float) -> float:
    try:
        return float(text or usual)
    except ValueError:  # a replica with such a setting has never run
        return usual


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


def _write(directory: Path, route: traefik.Route) -> None:
    """Replace the route file. Traefik runs as another user, and skips the draft, whose name does not end in `.yaml`."""
    replace_text(directory / traefik.FILE, traefik.render(route), mode=0o644)


def _free_port(host: str) -> int:
    """A free port of this machine.

    Raises:
        InputError: there is none, or the address is none of this machine's.
    """
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


def _refused(name: str, error: docker.errors.APIError) -> WinnowError:
    return WinnowError(f"container {name}: the Docker engine refused it: {error.explanation or error}")


def _refuse_too_many(plan: DockerPlan, memory_bytes: int) -> None:
    """Refuse replicas whose limits together are more than an engine's memory: a mistyped number would take it all."""
    if not plan.starts:
        return
    each, count = plan.starts[0].settings.memory_bytes, len(plan.route.replicas)
    if each * count > memory_bytes:
        raise InputError(
            "REPLICAS",
            expected=f"at most {memory_bytes // each}, for the engine has {memory_bytes / 2**30:.1f} GiB of memory and "
            f"a replica may use {each / 2**30:.2g} GiB",
            found=str(count),
            remedy=f"Ask for fewer, or give each less with {MEMORY}.",
        )


def _no_image(plan: DockerPlan) -> InputError:
    release = plan.request.release
    return InputError(
        f"image {release.image} of {release.model} version {release.version}",
        expected="an image that the Docker engine has",
        found="none",
        remedy=f"It was removed: build it again with `{next_command('build-prod', study=plan.request.name)}`, or "
        "deploy another version.",
    )


def _assumed_route(name: str, found: EngineDeployment) -> traefik.Route:
    """What the newest replicas say, where the route file is lost.

    Raises:
        InputError: there are none.
    """
    if not found.replicas:
        raise InputError(
            f"deployment '{name}'",
            expected=f"its route file in {found.proxies[0].directory}",
            found="none",
            remedy=f"Deploy again with `{next_command('prod', platform='docker', study=name)}`, which writes it anew.",
        )
    release = found.replicas[-1].release
    return traefik.Route(0, release, None, tuple(each.label for each in found.replicas if each.release == release))
