"""Serves revisions on a Docker engine: replicas of immutable images behind one Traefik container.

All requests move by one rename of the route file, whose first line holds the record; the entry itself confirms that it
has read the file. `revision_plan` holds names and requests, `traefik` the configuration of Traefik,
`engine_deployment` what an engine has.

The engine has to run on this machine: a folder is mounted.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from winnow.config import error_reports
from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.platforms.deployer import Deployer, Say, UnknownDeploymentError, check_next, mute, revision_in
from winnow.platforms.docker import containers, revision_plan, scraping, traefik
from winnow.platforms.docker import engine_deployment as on_engine
from winnow.platforms.docker.client import asking, connect, ignoring
from winnow.platforms.docker.engine_deployment import EngineDeployment, checked, is_alive
from winnow.platforms.docker.entry import PROXY_IMAGE, TAKEOVER_S, Address, address_of, check_address, entry, folder_of
from winnow.platforms.docker.images import DockerImages
from winnow.platforms.docker.prod_image import ROUTER as ROUTER_IMAGE
from winnow.platforms.docker.revision_plan import PROXY, ROUTER_SETTINGS, ContainerRequest, container_name
from winnow.platforms.held_file import HeldFile, held_file, holder_of, text_of
from winnow.platforms.images import PROD_BASE, BuildOptions
from winnow.platforms.labels import DEPLOYMENT, FOLDER
from winnow.routing import Observation, Record, ReplicaObserved, Revision, RouterReport

if TYPE_CHECKING:
    from docker.models.containers import Container

    from winnow.platforms.docker.client import Engine

ROUTERS_S = 60.0
SHOWN_LINES = 20
ASK = f"""
import os, socket
token = os.environ["{revision_plan.ROUTER_TOKEN}"]
head = "POST /PATH HTTP/1.0\\r\\ncontent-length: 0\\r\\nauthorization: Bearer " + token
with socket.create_connection(("127.0.0.1", {revision_plan.CONTROL_PORT}), 2) as connection:
    connection.sendall(head.encode() + b"\\r\\n\\r\\n")
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
print(answer.partition(b"\\r\\n\\r\\n")[2].decode())
"""
"""A program that asks for PATH in a router's container, whose control port is its own alone."""
METRICS = f"""
import sys, urllib.request
with urllib.request.urlopen("http://127.0.0.1:{traefik.SERVER_PORT}/metrics", timeout=5) as answer:
    sys.stdout.buffer.write(answer.read())
"""
"""A program that prints the metrics of a replica in its container, whose port no other machine reaches."""
_WHAT = "the deployments on Docker"


class DockerDeployer(Deployer):
    """`Deployer` with containers.

    Args:
        home: folder below which a new deployment's files are kept.
        environment: where the engine is, the entry's image, and how the routers' image is built.

    Every method raises InputError where there is no engine or the engine refuses, EngineError where it fails, and
    UnreachableError where it stops answering.
    """

    def __init__(
        self, home: Path, *, environment: Mapping[str, str] = os.environ, clock: Clock | None = None, say: Say = mute
    ) -> None:
        self._root = home.absolute() / "deployments" / "docker"
        self._environment = environment
        self._clock = clock if clock is not None else Clock()
        self._say = say

    @cached_property
    def _engine(self) -> Engine:
        return connect(self._environment)

    @property
    def place(self) -> str:
        return "on the Docker engine"

    @asking(_WHAT)
    def check_change(self, record: Record, number: int) -> None:
        # A revision without an image is one whose image is still to be built.
        import docker

        revision, found = revision_in(record, number), self._find(record.name)
        memory_bytes, each_bytes = int(self._engine.info()["MemTotal"]), revision.settings.memory_bytes
        if each_bytes * revision.scale.replicas > memory_bytes:  # a mistyped number would take all of it
            raise InputError(
                "REPLICAS",
                expected=f"at most {memory_bytes // each_bytes}, for the engine has {memory_bytes / 2**30:.1f} GiB of "
                f"memory and a replica may use {each_bytes / 2**30:.2g} GiB",
                found=str(revision.scale.replicas),
                remedy="Ask for fewer, or give each less with `serving.resources.memory`.",
            )
        if (release := revision.release).image:
            try:
                self._engine.images.get(release.image)
            except docker.errors.ImageNotFound as error:
                raise InputError(
                    f"image {release.image} of {release.model} version {release.version}",
                    expected="an image that the Docker engine has",
                    found="none",
                    remedy=f"It was removed: build it again with `{next_command('build-prod', name=record.name)}`, or "
                    "deploy another version.",
                ) from error
        replicas = [f"{number}-{index}" for index in range(revision.scale.replicas)]
        for name in (container_name(record.name, each) for each in (PROXY, *replicas)):
            with ignoring(HTTPStatus.NOT_FOUND):
                if self._engine.containers.get(name).labels.get(DEPLOYMENT) != record.name:
                    raise on_engine.taken("container", name)
        check_address(record, address_of(found.proxies[0]) if found is not None and found.proxies else None)

    @asking(_WHAT)
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(on_engine.names(self._engine)))

    @asking(_WHAT)
    def observe(self, name: str) -> Observation:
        # Where the route file is lost, the record has the replicas' revisions and no route.
        found = self._found(name)
        record, routers = found.record, found.current_routers
        ready = found.ready((*found.replicas, *routers))
        url, serial = "", None
        if found.proxies:
            address = address_of(found.proxies[0])
            url, serial = address.url, traefik.serial_in(address.mark() or "")
        return Observation(
            record=record,
            replicas=_observed(found.replicas, ready),
            routers=_observed(routers, ready),
            entry_serial=serial,
            wish=text_of(found.folder / "wish"),
            url=url,
        )

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[HeldFile]:
        with asking(_WHAT):
            lock = self._folder(name) / "lock"
        with held_file(lock, name) as held:
            yield held

    def driver(self, name: str) -> str:
        with asking(_WHAT):
            return holder_of(self._folder(name) / "lock")

    @asking(_WHAT)
    def write(self, record: Record) -> None:
        found = self._find(record.name)
        if found is None or found.network is None:
            found = self._make_network(record.name, found)
        self._replace(checked(found), record, lambda text: traefik.with_record(text, record))

    @asking(_WHAT)
    def wish(self, name: str, wish: str) -> None:
        replace_text(self._found(name).folder / "wish", wish)

    @asking(_WHAT)
    def key(self, record: Record) -> str | None:
        serving = record.serving
        if serving is None or not serving.settings.key:
            return None
        return _kept_key(self._found(record.name), serving)

    @asking(_WHAT)
    def start(self, record: Record, number: int, key: str | None) -> None:
        revision = revision_in(record, number)
        self._bring(self._found(record.name), record, revision, revision.scale.replicas, key)
        self._scrape(record.name)

    @asking(_WHAT)
    def scale(self, record: Record, number: int, replicas: int) -> None:
        # The entry sends no further requests to replicas before they are asked to end.
        found = self._found(record.name)
        missing = replicas - sum(is_alive(each) for each in found.of(number))
        if missing > 0:
            self._bring(found, record, revision_in(record, number), replicas, None)
            self._scrape(record.name)
            return
        alive = [each for each in found.of(number) if is_alive(each)]
        leaving = [each for each in found.of(number) if each not in alive[:replicas]]
        self._refresh(record.name, leaving)
        containers.retire([*leaving, *_leftovers(found, record)], found.logs)
        self._scrape(record.name)

    @asking(_WHAT)
    def route(self, record: Record) -> None:
        found = self._found(record.name)
        check_next(found.record, record)
        if not found.ready(found.of(record.route.stable)):
            raise WinnowError(f"deployment '{record.name}': no replica of revision {record.route.stable} is ready.")
        with contextlib.ExitStack() as undo:
            if found.proxies:
                before = address_of(found.proxies[0])
                undo.callback(before.follows, before.mark(), self._clock)
            self._prepare_folder(found)
            self._start_routers(found, record, undo)
            hosts = tuple(revision_plan.router_hosts(record)) if record.route.needs_routers else ()
            backends = revision_plan.backends(record.route, found.hosts(), hosts)
            undo.callback(_restore, found)
            self._replace(found, record, lambda _: traefik.route_file(record, backends))
            with entry(self._engine, found, record, self._proxy_image) as address:
                if not address.follows(traefik.mark(record.route.serial, backends), self._clock):
                    raise self._not_taken_over(record.name, address)
            undo.pop_all()
        found = self._found(record.name)
        routed = (record.route.stable, record.route.candidate)
        restart: Any = {"Name": "unless-stopped"}  # which the SDK's published types lack
        for each in found.replicas:
            if on_engine.number_of(each) in routed and is_alive(each) and containers.is_untried(each):
                each.update(restart_policy=restart)  # from now on the engine restarts it
        containers.retire(_leftovers(found, record), found.logs)
        self._scrape(record.name)

    @asking(_WHAT)
    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        if not record.route.needs_routers:
            return ()
        serial = record.route.serial
        program = ASK.replace("PATH", "report" if is_read_only else "renew")
        routers = [each for each in self._found(record.name).routers if on_engine.serial_of(each) == serial]
        with ThreadPoolExecutor(max_workers=8) as pool:
            return tuple(each for each in pool.map(partial(_reported, program), routers) if each is not None)

    @asking(_WHAT)
    def metrics(self, observed: Observation) -> dict[str, str]:
        ready = {each.identifier for each in observed.replicas if each.is_ready}
        replicas = [each for each in self._found(observed.record.name).replicas if str(each.name) in ready]
        with ThreadPoolExecutor(max_workers=8) as pool:
            texts = zip(replicas, pool.map(_metrics_of, replicas), strict=True)
            return {str(each.name): text for each, text in texts if text is not None}

    @asking(_WHAT)
    def retire(self, record: Record, number: int) -> None:
        found = self._found(record.name)
        containers.retire([*found.of(number), *_leftovers(found, record)], found.logs)
        used = {each.settings.key for each in record.revisions}
        for path in (found.folder / "keys").glob("*"):
            if path.name not in used:
                path.unlink(missing_ok=True)
        self._scrape(record.name)

    @asking(_WHAT)
    def remove(self, name: str) -> bool:
        # Images and the ends of logs stay. Deployments of earlier versions are removed, too.
        found = self._find(name)
        if found is None:
            return False
        # The entry ends first: it refuses new requests and answers those that it has.
        for each in found.proxies:
            containers.stop(each, traefik.GRACE_S + revision_plan.SPARE_S)
        mounted = [folder_of(each) for each in found.proxies]
        containers.retire([each for each in found.containers if each not in found.proxies], found.logs)
        for each in found.proxies:
            containers.remove(each)
        scraping.forget(self._engine, found)
        if found.network is not None:
            found.network.remove()
        for folder in (found.routes, found.folder / "keys", *(each for each in mounted if each is not None)):
            shutil.rmtree(folder, ignore_errors=True)
        (found.folder / "wish").unlink(missing_ok=True)
        return True

    def render(self, record: Record, number: int) -> str:
        routes, image = self._root / record.name / "routes", record.router_image or ROUTER_IMAGE
        return revision_plan.render(record, number, routes, self._proxy_image, image)

    def logs_hint(self, observed: Observation) -> str:
        serving = observed.of(observed.record.route.stable) or observed.replicas
        name = observed.record.name
        return f"docker logs {serving[-1].identifier if serving else container_name(name, PROXY)}"

    def images_hint(self, name: str) -> str:
        return f"Its images stay: docker image ls 'winnow-prod-{name}'"

    @asking(_WHAT)
    def logs(self, name: str, number: int | None = None, lines: int = SHOWN_LINES) -> list[str]:
        found = self._find(name)
        replicas = [] if found is None else found.replicas if number is None else found.of(number)
        if replicas:
            return on_engine.log(replicas[-1], lines)
        kept = self._kept_logs(name, number)
        if not kept and found is None:
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:] if kept else []

    @asking(_WHAT)
    def log_place(self, name: str, number: int) -> str:
        # The log of a replica that failed is kept when the replica is removed.
        found = self._find(name)
        if found is not None and found.of(number):
            newest = found.of(number)[-1]
            is_kept = is_alive(newest) and not containers.is_untried(newest)
            return f"docker logs {newest.name}" if is_kept else str(found.logs / f"{newest.name}.log")
        kept = self._kept_logs(name, number)
        return str(kept[-1] if kept else self._folder(name) / "logs")

    def _kept_logs(self, name: str, number: int | None) -> list[Path]:
        """The logs of replicas that are gone, oldest first."""
        wanted = container_name(name, "*" if number is None else f"{number}-*")
        return sorted((self._folder(name) / "logs").glob(f"{wanted}.log"), key=lambda path: path.stat().st_mtime_ns)

    @property
    def _proxy_image(self) -> str:
        return self._environment.get(PROXY_IMAGE) or traefik.IMAGE

    def _find(self, name: str) -> EngineDeployment | None:
        return on_engine.find(self._engine, name, self._root / name)

    def _found(self, name: str) -> EngineDeployment:
        found = self._find(name)
        if found is None:
            raise UnknownDeploymentError(name, self.names())
        return checked(found)

    def _folder(self, name: str) -> Path:
        found = self._find(name)
        return found.folder if found is not None else self._root / name

    def _make_network(self, name: str, found: EngineDeployment | None) -> EngineDeployment:
        """Make the network, from whose label every terminal knows the deployment's folder."""
        folder = found.folder if found is not None else self._root / name
        # Without masquerading nothing leaves the network: a replica can only answer its entry.
        self._engine.networks.create(
            revision_plan.network_name(name),
            driver="bridge",
            labels={DEPLOYMENT: name, FOLDER: str(folder)},
            options={"com.docker.network.bridge.enable_ip_masquerade": "false"},
        )
        made = self._find(name)
        assert made is not None
        return made

    def _prepare_folder(self, found: EngineDeployment) -> None:
        found.routes.mkdir(parents=True, exist_ok=True)
        found.routes.chmod(0o755)  # despite the umask: the entry runs as another user

    def _replace(self, found: EngineDeployment, record: Record, make: Callable[[str], str]) -> None:
        """Replace the route file, in one step. Raises OvertakenError where another process has since it was read."""
        self._prepare_folder(found)
        with locked(found.routes):
            text = text_of(found.routes / traefik.FILE)
            check_next(replace(found, text=text).record, record)
            _write(found, make(text))

    def _refresh(self, name: str, leaving: Sequence[Container]) -> None:
        """Have the entry know which replicas there are, where it sends them requests itself."""
        found = self._found(name)
        route = found.record.route
        if not found.text or found.record.serving is None or route.needs_routers:
            return
        gone = {on_engine.host_of(each) for each in leaving}
        hosts = {number: tuple(each for each in of if each not in gone) for number, of in found.hosts().items()}
        backends = revision_plan.backends(route, hosts, ())
        text = traefik.route_file(found.record, backends)
        if text == found.text:
            return
        with locked(found.routes):
            _write(found, text)
        if found.proxies:  # a silent one sends nothing to replicas that leave
            address_of(found.proxies[0]).follows(traefik.mark(route.serial, backends), self._clock)

    def _bring(self, found: EngineDeployment, record: Record, revision: Revision, count: int, key: str | None) -> None:
        """Start the replicas that a revision lacks, and those anew that ended."""
        if revision.settings.key:
            key = key if key is not None else _kept_key(found, revision)
            keys = found.folder / "keys"  # for the time when no replica has it
            keys.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_text(keys / revision.settings.key, key, mode=0o600)
        is_routed = revision.number in (found.record.route.stable, found.record.route.candidate)
        requests = [
            revision_plan.replica(record.name, revision, index, key, is_restarted=is_routed) for index in range(count)
        ]
        alive = {str(each.name) for each in found.of(revision.number) if is_alive(each)}
        missing = [each for each in requests if each.name not in alive]
        ended = {each.name for each in missing}
        containers.retire([each for each in found.of(revision.number) if each.name in ended], found.logs)
        self._run(missing)
        self._refresh(record.name, ())

    def _scrape(self, name: str) -> None:
        """Have Prometheus know the replicas. Where that fails, the change of the deployment has still come about."""
        try:
            with asking("Prometheus, which watches the deployments"):
                scraping.scrape(self._engine, self._found(name))
        except (WinnowError, OSError) as error:
            self._say(f"warning: replicas are not scraped: {error}")

    def _start_routers(self, found: EngineDeployment, record: Record, undo: contextlib.ExitStack) -> None:
        """Start the routers of a route, and wait until they are ready. Raises WinnowError where they do not become."""
        if not record.route.needs_routers:
            return
        image = record.router_image or self._router_image()
        wanted = [
            revision_plan.router(record, index, image, secrets.token_urlsafe(32))
            for index in range(record.router_replicas)
        ]
        requests = {each.name: each for each in wanted}
        present = [each for each in found.routers if str(each.name) in requests]
        kept = {str(each.name): each for each in present if _is_router_of(each, requests[str(each.name)])}
        containers.retire([each for each in present if str(each.name) not in kept], found.logs)
        undo.callback(self._end_routers, record, set(kept))
        started = self._run([each for name, each in requests.items() if name not in kept])
        self._await_routers(found, [*kept.values(), *started], started)

    def _run(self, requests: Sequence[ContainerRequest]) -> list[Container]:
        """Start servers. They report errors to the address that this process reports them to."""
        dsn = {name: self._environment[name] for name in (error_reports.DSN,) if self._environment.get(name)}
        return containers.start(
            self._engine, [replace(each, environment={**each.environment, **dsn}) for each in requests]
        )

    def _await_routers(
        self, found: EngineDeployment, routers: Sequence[Container], started: Sequence[Container]
    ) -> None:
        deadline = self._clock.now() + ROUTERS_S
        while len(ready := found.ready(routers)) < len(routers):
            failed = next((each for each in started if not is_alive(each) or each.attrs["RestartCount"]), None)
            if failed is not None or self._clock.now() > deadline:
                failed = failed or next(each for each in routers if each.name not in ready)
                end = on_engine.end_of_log([failed], SHOWN_LINES)
                raise WinnowError(f"router {failed.name} did not become ready. {end}")
            self._clock.sleep(0.1)
            for each in routers:
                each.reload()

    def _end_routers(self, record: Record, kept: Set[str]) -> None:
        """End the routers of a route that did not come about, but those that were there before."""
        found = self._found(record.name)
        of_route = [each for each in found.routers if on_engine.serial_of(each) == record.route.serial]
        containers.retire([each for each in of_route if each.name not in kept], found.logs, 0)

    def _not_taken_over(self, name: str, address: Address) -> WinnowError:
        end = on_engine.end_of_log(self._found(name).proxies, SHOWN_LINES)
        return WinnowError(
            f"deployment '{name}': the entry at {address.host}:{address.port} did not take the new route over within "
            f"{TAKEOVER_S:g} s. {end}"
        )

    def _router_image(self) -> str:
        """The routers' image, built where the engine does not have it."""
        options = replace(BuildOptions.from_environment(self._environment, base=PROD_BASE), registry="")
        build = DockerImages(self._environment, engine=self._engine).plan_router_image(Path.cwd(), options)
        found = build.find()
        if found is not None:
            return found
        self._say(f"building {build.tag}, the image of the routers")
        return build.build()


def _observed(containers: Sequence[Container], ready: frozenset[str]) -> tuple[ReplicaObserved, ...]:
    found = (on_engine.observed(each, is_ready=str(each.name) in ready) for each in containers)
    return tuple(each for each in found if each is not None)


def _leftovers(found: EngineDeployment, record: Record) -> list[Container]:
    """Routers of other routes than the record's, and replicas of revisions that the record does not keep."""
    route = record.route
    routers = [each for each in found.routers if not route.needs_routers or on_engine.serial_of(each) != route.serial]
    return [*routers, *(each for each in found.replicas if record.revision(on_engine.number_of(each)) is None)]


def _is_router_of(container: Container, wanted: ContainerRequest) -> bool:
    given = on_engine.variable(container, ROUTER_SETTINGS)
    return is_alive(container) and given == wanted.environment[ROUTER_SETTINGS]


def _reported(program: str, router: Container) -> RouterReport | None:
    """A router's report; None where it does not answer."""
    import docker

    try:
        return msgspec.json.decode(on_engine.run_in(router, program) or "", type=RouterReport)
    except (docker.errors.APIError, ValueError):  # it does not run, or does not answer
        return None


def _metrics_of(replica: Container) -> str | None:
    import docker

    try:
        return on_engine.run_in(replica, METRICS)
    except docker.errors.APIError:  # it does not run
        return None


def _kept_key(found: EngineDeployment, revision: Revision) -> str:
    key = found.key_of(revision)
    if key is None:
        raise InputError(
            f"API key of deployment '{found.name}'",
            expected="the key that its replicas ask for, in a container or in the deployment's folder",
            found="none",
            remedy="Set WINNOW_API_KEY to a key, or to the empty string to serve without one.",
        )
    return key


def _write(found: EngineDeployment, text: str) -> None:
    """Replace the route file. Traefik runs as another user, and skips the draft, whose name does not end in `.yaml`."""
    replace_text(found.routes / traefik.FILE, text, mode=0o644)


def _restore(found: EngineDeployment) -> None:
    with locked(found.routes):
        if found.text:
            _write(found, found.text)
        else:
            (found.routes / traefik.FILE).unlink(missing_ok=True)
