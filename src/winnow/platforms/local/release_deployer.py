"""Serve on this machine with detached processes that share one listening socket. Their state is on disk.

The deployer opens the socket and every replica inherits it. The replicas of a new model get the same socket from an old
one (see `winnow.serving.listening`). The old ones drain when the new ones are ready, so the address always answers.
`release_plan` plans, and lists the files.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from winnow.bundle.manifest import read_manifest
from winnow.config.atomic_write import replace_bytes
from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.platforms.local import process
from winnow.platforms.local.release_plan import Folder, LocalPlan, Record, ReplicaCommand, ReplicaRecord, plan
from winnow.platforms.ports import bound, url_for_clients
from winnow.platforms.readiness import ask_own
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
from winnow.platforms.release_json import path_of
from winnow.routing import Release
from winnow.serving.listening import GIVE

DRAIN_S = 35.0
"""How long a replica may take to finish its requests after it has settled; slightly more than its own limit."""
LONGEST_SOCKET_PATH = 100
PORT_FREED_WITHIN_S = 1.0


class LocalDeployer:
    """`Deployer` with local processes.

    Args:
        home: winnow's folder, which contains `deployments/`.
        environment: the replicas' environment, with API key and limits.
    """

    def __init__(
        self,
        home: Path,
        *,
        environment: Mapping[str, str] = os.environ,
        python: str = sys.executable,
        clock: Clock | None = None,
    ) -> None:
        self._root = home.absolute() / "deployments"
        self._models = home.absolute() / "models"
        self._environment = environment
        self._python = python
        self._clock = clock if clock is not None else Clock()

    @property
    def place(self) -> str:
        """See `Deployer.place`."""
        return "on this machine"

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`. Local serving needs no permission."""

    def plan(self, request: DeploymentRequest) -> LocalPlan:
        """See `Deployer.plan`."""
        folder = self._folder(request.name)
        current = _read(folder)
        alive = _alive(current)
        is_answering = current is not None and bool(alive) and _is_ready(current.host, current.port)
        is_ours = current is not None and (current.host, current.port) == (request.host, request.port)
        if request.port is not None and not is_ours:
            bound(request.host, request.port).close()  # refuse a taken port before anything is built
        return plan(request, current, alive, folder, self._python, is_answering=is_answering)

    def plan_rollback(self, name: str) -> LocalPlan:
        """See `Deployer.plan_rollback`."""
        current = self._record(name)
        if current.previous is None:
            raise no_previous(name)
        asked = current.port if current.is_port_asked else None
        previous = _with_bundle(current.previous, self._models)
        return self.plan(DeploymentRequest(name, previous, host=current.host, port=asked))

    def difference(self, plan: LocalPlan) -> str:
        """See `Deployer.difference`."""
        return rendered_change(plan)

    def deploy(self, plan: LocalPlan) -> Deployment:
        """See `Deployer.deploy`."""
        name = plan.request.name
        folder = self._folder(name)
        if plan.action is Action.NOTHING:
            return self.status(name)
        with locked(folder.lock):
            current = _read(folder)
            if (current.serial if current is not None else 0) != plan.basis:
                raise changed_meanwhile(name)
            with self._listener(plan, current, folder) as listener:
                record = self._start(plan, current, folder, listener)
            self._retire(record, folder, plan.request.settle_s)
        return self.status(name)

    def status(self, name: str) -> Deployment:
        """See `Deployer.status`."""
        record = self._record(name)
        alive = set(_alive(record))
        is_answering = bool(alive) and _is_ready(record.host, record.port)
        replicas = tuple(
            Replica(
                identifier=str(each.process.pid),
                version=record.release.version,
                state=DeploymentState.READY if each in alive and is_answering else DeploymentState.DOWN,
            )
            for each in record.replicas
        )
        ready = sum(each.state is DeploymentState.READY for each in replicas)
        state = DeploymentState.DEGRADED if 0 < ready < len(replicas) else replicas[0].state
        url = url_for_clients(record.host, record.port)
        return Deployment(name, state, url, record.release, replicas, record.previous)

    def names(self) -> tuple[str, ...]:
        """See `Deployer.names`."""
        return tuple(sorted(path.parent.name for path in self._root.glob("*/state.json")))

    def endpoint(self, deployment: Deployment) -> contextlib.AbstractContextManager[Endpoint]:
        """See `Deployer.endpoint`."""
        return contextlib.nullcontext(Endpoint(deployment.url))

    def manual_access(self, deployment: Deployment) -> None:
        """See `Deployer.manual_access`."""

    def logs_hint(self, deployment: Deployment) -> str:
        """See `Deployer.logs_hint`."""
        return str(self._folder(deployment.name).logs)

    def address_hint(self, deployment: Deployment) -> str:
        """See `Deployer.address_hint`."""
        return look_at_listener(self.logs_hint(deployment))

    def images_hint(self, name: str) -> str:
        """See `Deployer.images_hint`."""
        return ""

    def logs(self, name: str, lines: int = 20) -> list[str]:
        """See `Deployer.logs`."""
        logs = sorted(self._folder(name).logs.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        if not logs:
            raise UnknownDeploymentError(name, self.names())
        return _last_lines(logs[-1], lines)

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`."""
        folder = self._folder(name)
        if not folder.state.is_file():
            return False
        with locked(folder.lock):
            record = _read(folder)
            if record is None:
                return False
            self._stop(_alive(record), DRAIN_S)
            folder.state.unlink()
            for each in (*record.replicas, *record.retired):
                _clear_replica(folder, each.label)
        return True

    def _folder(self, name: str) -> Folder:
        if Path(name).name != name:
            raise UnknownDeploymentError(name, self.names())
        return Folder(self._root / name)

    def _record(self, name: str) -> Record:
        record = _read(self._folder(name))
        if record is None:
            raise UnknownDeploymentError(name, self.names())
        return record

    @contextlib.contextmanager
    def _listener(self, plan: LocalPlan, current: Record | None, folder: Folder) -> Iterator[socket.socket]:
        """The replicas' shared socket: the current one if the address stays the same, else a new one."""
        host, port = plan.request.host, plan.port
        is_ours = current is not None and (current.host, current.port) == (host, port)
        listener = _borrow(plan.stops, folder) if is_ours else None
        # A replica that just died may hold its port for another moment.
        deadline = self._clock.now() + (PORT_FREED_WITHIN_S if is_ours else 0)
        while listener is None:
            try:
                listener = bound(host, port)
            except InputError:
                if self._clock.now() < deadline:
                    self._clock.sleep(0.05)
                elif port is not None and plan.request.port is None and not (current and current.is_port_asked):
                    port = None  # the user did not choose this one
                else:
                    raise
        with listener:
            yield listener

    def _start(self, plan: LocalPlan, current: Record | None, folder: Folder, listener: socket.socket) -> Record:
        """Start the new replicas, wait until they are ready, and write the new record.

        Raises:
            DeploymentFailedError: one did not become ready. All new ones were stopped.
        """
        folder.logs.mkdir(parents=True, exist_ok=True)
        folder.run.mkdir(exist_ok=True)
        folder.run.chmod(0o700)
        started: list[ReplicaRecord] = []
        try:
            for command in plan.starts:
                started.append(self._spawn(command, folder, listener))  # noqa: PERF401 - stopped if the next one fails
            self._wait_until_ready(plan, started, folder)
            record = Record(
                name=plan.request.name,
                serial=plan.basis + 1,
                release=plan.request.release,
                previous=plan.previous,
                host=plan.request.host,
                port=listener.getsockname()[1],
                is_port_asked=plan.request.port is not None or (current is not None and current.is_port_asked),
                replicas=tuple(started),
                retired=plan.stops,
            )
            _write(folder, record)
        except BaseException:
            self._stop(started, 2.0)
            for each in started:
                _clear_replica(folder, each.label)
            raise
        return record

    def _spawn(self, command: ReplicaCommand, folder: Folder, listener: socket.socket) -> ReplicaRecord:
        _clear_replica(folder, command.label)
        with _open_door(folder.door(command.label)) as door:
            fds = (listener.fileno(), door.fileno())
            identity = process.spawn_detached(command.argv, folder.log(command.label), self._environment, fds)
        return ReplicaRecord(identity, command.label)

    def _wait_until_ready(self, plan: LocalPlan, started: Sequence[ReplicaRecord], folder: Folder) -> None:
        deadline = self._clock.now() + plan.request.ready_within_s
        waiting = list(started)
        while waiting:
            for each in list(waiting):
                if folder.ready(each.label).is_file():
                    waiting.remove(each)
                elif not process.is_alive(each.process):
                    raise _not_ready(plan, each, folder, "its process ended before it was ready")
            if waiting and self._clock.now() > deadline:
                limit = f"it was not ready within {plan.request.ready_within_s:g} s"
                raise _not_ready(plan, waiting[0], folder, limit)
            if waiting:
                self._clock.sleep(0.02)

    def _retire(self, record: Record, folder: Folder, settle_s: float) -> None:
        """Drain the replaced replicas, then remove them from the record."""
        self._stop(record.retired, settle_s + DRAIN_S)
        for each in record.retired:
            _clear_replica(folder, each.label)
        _write(folder, msgspec.structs.replace(record, retired=()))

    def _stop(self, replicas: Sequence[ReplicaRecord], within_s: float) -> None:
        identities = [each.process for each in replicas]
        process.stop(identities, within_s, clock=self._clock.now, sleep=self._clock.sleep)


def _alive(record: Record | None) -> list[ReplicaRecord]:
    """The running replicas, including those that an interrupted deployment did not stop."""
    if record is None:
        return []
    return [each for each in (*record.replicas, *record.retired) if process.is_alive(each.process)]


def _read(folder: Folder) -> Record | None:
    try:
        return msgspec.json.decode(folder.state.read_bytes(), type=Record, dec_hook=path_of)
    except FileNotFoundError:
        return None
    except msgspec.ValidationError as error:
        raise InputError(
            str(folder.state),
            expected="the state of a deployment in this version's format",
            found=str(error),
            remedy="Stop its processes and delete the folder.",
        ) from error


def _with_bundle(release: Release, models: Path) -> Release:
    """A recorded release with the current path of its bundle and the digest that its servers report.

    If the home was moved, the recorded path is wrong and the bundle is in the home's models. Older records contain the
    digest of the ONNX file only.

    Raises:
        InputError: the bundle is missing or damaged, or is another one.
    """
    place = release.bundle if release.bundle.is_dir() else models / release.bundle.name
    try:
        manifest = read_manifest(place)
        found = "" if release.digest in (manifest.digest, manifest.onnx_sha256) else f"one of {manifest.name}"
    except (OSError, ValueError) as error:
        found = str(error)
    if found:
        raise InputError(
            str(place),
            expected=f"the bundle of {release.model} version {release.version}",
            found=found,
            remedy=f"Choose that version with `{next_command('select-model', study=release.model)}`, and serve it "
            f"with `{next_command('prod', platform='local', study=release.model)}`.",
        )
    return replace(release, bundle=place, digest=manifest.digest)


def _write(folder: Folder, record: Record) -> None:
    replace_bytes(folder.state, msgspec.json.format(msgspec.json.encode(record, enc_hook=str), indent=2))


def _borrow(replicas: Sequence[ReplicaRecord], folder: Folder) -> socket.socket | None:
    """The listening socket of a running replica; None if none hands it out."""
    for each in replicas:
        with contextlib.suppress(OSError), _reachable(folder.door(each.label)) as path:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(2.0)
                connection.connect(path)
                connection.sendall(GIVE)
                _, fds, _, _ = socket.recv_fds(connection, 16, 1)
            if fds:
                return socket.socket(fileno=fds[0])
    return None


@contextlib.contextmanager
def _open_door(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, _reachable(path) as short:
        door.bind(short)
        door.listen()
        yield door


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A path for a Unix socket that is short enough: systems allow about 100 bytes."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        yield str(path)
        return
    with tempfile.TemporaryDirectory(prefix="winnow-") as folder:
        link = Path(folder) / "run"
        link.symlink_to(path.parent)
        yield str(link / path.name)


def _is_ready(host: str, port: int) -> bool:
    return ask_own(url_for_clients(host, port)) is not None


def _clear_replica(folder: Folder, label: str) -> None:
    folder.ready(label).unlink(missing_ok=True)
    folder.door(label).unlink(missing_ok=True)


def _last_lines(path: Path, count: int) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]


def _not_ready(plan: LocalPlan, replica: ReplicaRecord, folder: Folder, reason: str) -> DeploymentFailedError:
    log = folder.log(replica.label)
    lines = _last_lines(log, 20) if log.is_file() else []
    return DeploymentFailedError(plan.request.name, reason, lines, str(log), is_old_serving=bool(plan.stops))
