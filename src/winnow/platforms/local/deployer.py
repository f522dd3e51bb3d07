"""Serve revisions on this machine with detached processes. All state is on disk; see `revision_plan` for the files.

Every replica and every router listens on a loopback port of its own. Besides, those that the route names accept
connections from the entry, one listening socket that all processes keep (see `entry`): a route moves by telling the new
ones to take it and then the others to leave it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from winnow.bundle.manifest import read_manifest
from winnow.config.atomic_write import replace_bytes, replace_text
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.config.file_lock import locked
from winnow.config.next_command import next_command
from winnow.config.process_identity import ProcessIdentity
from winnow.platforms import process
from winnow.platforms.deployer import Deployer, UnknownDeploymentError, check_next, revision_in
from winnow.platforms.held_file import HeldFile, held_file, holder_of, text_of
from winnow.platforms.local import revision_plan
from winnow.platforms.local.processes import LOOK_S, Processes
from winnow.platforms.local.revision_plan import OWN_HOST, EarlierState, Folder, Process, State
from winnow.platforms.ports import bound, url_for_clients
from winnow.platforms.readiness import own_answer
from winnow.routing import (
    Entry,
    Observation,
    Record,
    Release,
    Revision,
    Route,
    RouterReport,
    RouterSettings,
    path_of,
)
from winnow.serving.listening import HOLD, TAKE

ROUTERS_READY_WITHIN_S = 30.0
PORT_FREED_WITHIN_S = 1.0
EARLIER_DRAIN_S = 35.0
NOT_STARTED = ProcessIdentity(0, "")


class LocalDeployer(Deployer):
    """`Deployer` with local processes.

    Args:
        home: winnow's folder, which contains `deployments/`.
        environment: of replicas and routers, but for variables of winnow: their settings are the revision's.
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
        self._environment = {name: value for name, value in environment.items() if not name.startswith("WINNOW_")}
        self._python = python
        self._clock = clock if clock is not None else Clock()

    @property
    def place(self) -> str:
        return "on this machine"

    def check_change(self, record: Record, number: int) -> None:
        _bundle_of(revision_in(record, number).release, self._models)
        processes = self._processes(record.name)
        state = _read(processes.folder)
        host, port = _host(record.entry), record.entry.port
        is_own = state is not None and (state.host, state.port) == (host, port) and processes.running()
        if port is not None and not is_own:
            bound(host, port).close()

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(path.parent.name for path in self._root.glob("*/state.json")))

    def observe(self, name: str) -> Observation:
        processes, state = self._processes(name), self._state(name)
        kept = processes.kept()
        route = state.record.route
        ahead = [each for each in kept if _accepts(each, state.record) and processes.is_listening(each)]
        return Observation(
            record=state.record,
            replicas=tuple(processes.observed(each) for each in kept if each.revision),
            routers=tuple(processes.observed(each) for each in kept if _is_router_of(each, route)),
            entry_serial=state.entry_serial if ahead and all(each.is_told for each in ahead) else None,
            wish=text_of(processes.folder.wish),
            url=url_for_clients(state.host, state.port) if state.port is not None else "",
        )

    def held(self, name: str) -> contextlib.AbstractContextManager[HeldFile]:
        return held_file(self._folder(name).driver, name)

    def driver(self, name: str) -> str:
        return holder_of(self._folder(name).driver)

    def write(self, record: Record) -> None:
        folder = self._folder(record.name)
        with locked(folder.lock):
            _write(folder, _replaced(_read(folder), record))

    def wish(self, name: str, wish: str) -> None:
        self._state(name)
        replace_text(self._folder(name).wish, wish)

    def key(self, record: Record) -> str | None:
        serving = record.serving
        if serving is None or not serving.settings.key:
            return None
        return _key(self._folder(record.name), serving)

    def start(self, record: Record, number: int, key: str | None) -> None:
        folder, revision = self._folder(record.name), revision_in(record, number)
        with locked(folder.lock):
            state = self._state(record.name)
            if revision.settings.key and key is not None:
                folder.keys.mkdir(mode=0o700, exist_ok=True)
                replace_text(folder.key(revision.settings.key), key, mode=0o600)
            self._fill(state, revision, revision.scale.replicas)

    def scale(self, record: Record, number: int, replicas: int) -> None:
        processes, revision = self._processes(record.name), revision_in(record, number)
        with locked(processes.folder.lock):
            state = self._state(record.name)
            mine = [each for each in processes.kept() if each.revision == number]
            mine.sort(key=lambda each: not processes.is_listening(each))
            self._end(state, mine[replicas:])
            self._fill(state, revision, replicas)

    def route(self, record: Record) -> None:
        processes = self._processes(record.name)
        folder = processes.folder
        if record.route.is_gateway:
            raise InputError(
                "serving.rollout.traffic",
                expected="router, since this machine has no gateway",
                found="gateway",
                remedy="Leave it out.",
            )
        with locked(folder.lock):
            state = self._state(record.name)
            following = _replaced(state, record)
            processes.forget_ended()
            before = processes.running()
            try:
                members = self._members(record)
                others = [each for each in processes.kept() if each not in members]
                entry = self._entry(record.entry, state)
            except BaseException:
                processes.end((each for each in processes.running() if each not in before), _end_s(record, 0))
                raise
            with entry:
                host, port = _host(record.entry), entry.getsockname()[1]
                following = msgspec.structs.replace(following, host=host, port=port)
                # If this process dies now, the entry's serial is not the route's: the move is not over.
                _write(folder, following)
                have_taken = [processes.tell(each, TAKE, entry) for each in members]
                if not any(have_taken):
                    _write(folder, state)
                    raise WinnowError(f"deployment '{record.name}': no process took over {host}:{port}")
                for each in others:
                    processes.tell(each, HOLD, entry)
            _write(folder, msgspec.structs.replace(following, entry_serial=record.route.serial))
            processes.end((each for each in others if not each.revision), _end_s(record, 0))

    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        processes = self._processes(record.name)
        routers = [each for each in processes.running() if _is_router_of(each, record.route)]
        return tuple(
            report for each in routers if (report := processes.renew(each, is_read_only=is_read_only)) is not None
        )

    def metrics(self, observed: Observation) -> dict[str, str]:
        ready = {each.identifier for each in observed.replicas if each.is_ready}
        processes = self._processes(observed.record.name)
        running = [(str(each.process.pid), each) for each in processes.running()]
        found = {pid: own_answer(f"http://{OWN_HOST}:{each.port}/metrics") for pid, each in running if pid in ready}
        return {pid: text for pid, text in found.items() if text is not None}

    def retire(self, record: Record, number: int) -> None:
        folder = self._folder(record.name)
        with locked(folder.lock):
            state = self._state(record.name)
            self._end(state, [each for each in self._processes(record.name).kept() if each.revision == number])
            used = {each.settings.key for each in record.revisions}
            for path in folder.keys.glob("*"):
                if path.name not in used:
                    path.unlink()

    def remove(self, name: str) -> bool:
        folder = self._folder(name)
        if not folder.state.is_file():
            return False
        with locked(folder.lock):
            if not folder.state.is_file():
                return False
            try:
                earlier = msgspec.json.decode(folder.state.read_bytes(), type=EarlierState)
            except msgspec.ValidationError:
                self._end_all(self._state(name))
            else:
                identities = [each.process for each in (*earlier.replicas, *earlier.retired)]
                process.stop(identities, EARLIER_DRAIN_S, clock=self._clock.now, sleep=self._clock.sleep)
            for path in (*folder.run.glob("*"), *folder.keys.glob("*")):
                path.unlink()
            folder.wish.unlink(missing_ok=True)
            folder.state.unlink()
        return True

    def render(self, record: Record, number: int) -> str:
        return revision_plan.render(record, revision_in(record, number), self._folder(record.name), self._python)

    def logs_hint(self, observed: Observation) -> str:
        return str(self._folder(observed.record.name).logs)

    def logs(self, name: str, number: int | None = None, lines: int = 20) -> list[str]:
        folder = self._folder(name)
        if not any(folder.logs.glob("*.log")):
            raise UnknownDeploymentError(name, self.names())
        newest = _newest_log(folder, number)
        return newest.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:] if newest is not None else []

    def log_place(self, name: str, number: int) -> str:
        folder = self._folder(name)
        return str(_newest_log(folder, number) or folder.log(f"{number}-0"))

    def _folder(self, name: str) -> Folder:
        if Path(name).name != name:
            raise UnknownDeploymentError(name, self.names())
        return Folder(self._root / name)

    def _processes(self, name: str) -> Processes:
        return Processes(self._folder(name), self._environment, self._clock)

    def _state(self, name: str) -> State:
        state = _read(self._folder(name))
        if state is None:
            raise UnknownDeploymentError(name, self.names())
        return state

    def _fill(self, state: State, revision: Revision, replicas: int) -> None:
        """Start what a revision lacks of a number of replicas. If it serves, they take the entry once they listen."""
        processes = self._processes(state.record.name)
        folder = processes.folder
        processes.forget_ended()
        if revision.settings.key:
            _key(folder, revision)
        known = {each.label: each for each in processes.all() if each.revision == revision.number}
        running = [each.label for each in processes.running() if each.label in known]
        missing = max(replicas - len(running), 0)
        ending = [label for label, each in known.items() if each.kill_at]
        free = (label for i in itertools.count() if (label := f"{revision.number}-{i}") not in (*running, *ending))
        bundle = _bundle_of(revision.release, self._models) if missing else Path()
        started = []
        for label in itertools.islice(free, missing):
            command = revision_plan.replica_command(revision, label, bundle, folder, self._python)
            environment = revision_plan.replica_environment(revision, folder)
            port = known[label].port if label in known else 0  # routers know the replica by its port
            started.append(
                processes.spawn(command, environment, Process(NOT_STARTED, label, revision.number, port=port))
            )
        if started and state.port is not None:
            self._share_entry(state, started)

    def _share_entry(self, state: State, started: Sequence[Process]) -> None:
        """Hand the entry to new replicas. Where no process has it any more, those that serve open it again."""
        processes = self._processes(state.record.name)
        what = TAKE if _accepts(started[0], state.record) else HOLD
        with self._entry(state.record.entry, state) as entry:
            for each in started:
                processes.tell(each, what, entry)
            if (port := entry.getsockname()[1]) != state.port:
                _write(processes.folder, msgspec.structs.replace(state, port=port))

    def _members(self, record: Record) -> list[Process]:
        """The processes that take the entry for a route. Raises WinnowError where they are not ready."""
        processes = self._processes(record.name)
        running = processes.running()
        route = record.route
        for number in (route.stable, *([] if route.candidate is None else [route.candidate])):
            if not any(processes.observed(each).is_ready for each in running if each.revision == number):
                raise WinnowError(f"deployment '{record.name}': no replica of revision {number} is ready")
        if not route.needs_routers:
            return [each for each in running if each.revision == route.stable]
        routers = self._start_routers(record, running)
        deadline = self._clock.now() + ROUTERS_READY_WITHIN_S
        while not all(processes.is_listening(each) for each in routers):
            failed = next((each for each in routers if not process.is_alive(each.process)), None)
            if failed in running:  # one that was taken for running when the others were started
                running = processes.running()
                routers = self._start_routers(record, running)
                continue
            if failed is not None or self._clock.now() > deadline:
                log = self._folder(record.name).log((failed or routers[0]).label)
                raise WinnowError(f"deployment '{record.name}': its routers did not become ready. See {log}.")
            self._clock.sleep(LOOK_S)
        return routers

    def _start_routers(self, record: Record, running: Sequence[Process]) -> list[Process]:
        """The routers of a route; those that run already, and new ones for those that do not."""
        processes, route = self._processes(record.name), record.route
        stable = revision_in(record, route.stable)
        settings = RouterSettings(
            name=record.name,
            route=route,
            stable=_addresses(running, route.stable),
            candidate=_addresses(running, route.candidate),
            is_classifier=stable.is_classifier,
        )
        routers = [each for each in running if each.router == settings][: record.router_replicas]
        used = {each.label for each in processes.all() if each in running or each.kill_at}
        free = (label for i in itertools.count() if (label := f"router-{route.serial}-{i}") not in used)
        for label in itertools.islice(free, record.router_replicas - len(routers)):
            made = Process(NOT_STARTED, label, router=settings, token=secrets.token_urlsafe(24))
            environment = revision_plan.router_environment(stable.settings, settings, made.token)
            command = revision_plan.router_command(label, processes.folder, self._python)
            routers.append(processes.spawn(command, environment, made))
        return routers

    def _entry(self, wanted: Entry, state: State) -> socket.socket:
        """The socket at which requests arrive: that of now where its address stays the same, else a new one."""
        host, is_same = _host(wanted), state.port is not None and _host(wanted) == state.host
        port = wanted.port if wanted.port is not None else state.port if is_same else None
        is_same = is_same and port == state.port
        if is_same and state.port is not None:
            borrowed = self._processes(state.record.name).borrow(state.port)
            if borrowed is not None:
                return borrowed
        # A process that just died may hold its port for another moment.
        deadline = self._clock.now() + (PORT_FREED_WITHIN_S if is_same else 0)
        while True:
            try:
                return bound(host, port)
            except InputError:
                if self._clock.now() >= deadline and port == wanted.port:
                    raise
                if self._clock.now() >= deadline:
                    port = None  # the user did not choose this one
            self._clock.sleep(LOOK_S)

    def _end(self, state: State, which: Sequence[Process]) -> None:
        """Drain replicas of one revision, and wait for them, and for those that an interrupted step left draining.

        Routers that leave end first: as long as they have clients, they ask these replicas.
        """
        processes = self._processes(state.record.name)
        processes.wait_for_end(lambda each: not each.revision)
        leaving = [each for each in which if _accepts(each, state.record)]
        entry = processes.borrow(state.port) if leaving and state.port is not None else None
        if entry is not None:
            with entry:
                for each in leaving:
                    processes.tell(each, HOLD, entry)
        for each in which:
            processes.end([each], _end_s(state.record, each.revision))
        processes.wait_for_end(lambda each: bool(each.revision))

    def _end_all(self, state: State) -> None:
        processes = self._processes(state.record.name)
        for is_router in (True, False):
            for each in processes.kept():
                if is_router is not bool(each.revision):
                    processes.end([each], _end_s(state.record, each.revision))
            processes.wait_for_end()


def _host(entry: Entry) -> str:
    return entry.host or OWN_HOST


def _accepts(one: Process, record: Record) -> bool:
    """Whether requests come to a process straight from the entry."""
    return _is_router_of(one, record.route) if record.route.needs_routers else one.revision == record.route.stable


def _is_router_of(one: Process, route: Route) -> bool:
    return one.router is not None and one.router.route == route


def _addresses(running: Sequence[Process], number: int | None) -> tuple[str, ...]:
    return tuple(f"{OWN_HOST}:{each.port}" for each in running if each.revision == number)


def _end_s(record: Record, number: int) -> float:
    """How long a process of a revision may take to end; routers may take as long as the serving revision."""
    revision = record.revision(number) or record.serving
    if revision is None:
        return EARLIER_DRAIN_S
    return revision_plan.settle_s(revision.settings) + revision.settings.drain_s


def _replaced(state: State | None, record: Record) -> State:
    """The state with the next record, or the same once more. Raises OvertakenError where it is another."""
    check_next(state.record if state is not None else None, record)
    return State(record) if state is None else msgspec.structs.replace(state, record=record)


def _read(folder: Folder) -> State | None:
    try:
        return msgspec.json.decode(folder.state.read_bytes(), type=State, dec_hook=path_of)
    except FileNotFoundError:
        return None
    except msgspec.ValidationError as error:
        name = folder.path.name
        raise InputError(
            f"deployment '{name}'",
            expected="one that this version of winnow deployed",
            found=f"one of an earlier version ({folder.state})",
            remedy=f"Remove it with `{next_command('prod-remove', platform='local', name=name)}`, and deploy it again.",
        ) from error


def _write(folder: Folder, state: State) -> None:
    replace_bytes(folder.state, msgspec.json.format(msgspec.json.encode(state, enc_hook=str), indent=2))


def _key(folder: Folder, revision: Revision) -> str:
    key = text_of(folder.key(revision.settings.key)).strip()
    if not key:
        raise InputError(
            f"deployment '{folder.path.name}'",
            expected=f"the API key of revision {revision.number} in {folder.key(revision.settings.key)}",
            found="no such file",
            remedy="Set WINNOW_API_KEY or WINNOW_API_KEY_FILE and deploy again; with an empty one no key is asked for.",
        )
    return key


def _newest_log(folder: Folder, number: int | None) -> Path | None:
    found = folder.logs.glob(f"{'*' if number is None else number}-*.log")
    replicas = [each for each in found if not each.name.startswith("router-")]
    return max(replicas, key=lambda path: path.stat().st_mtime_ns, default=None)


def _bundle_of(release: Release, models: Path) -> Path:
    """Where a recorded release's bundle is: where it was, or, if the home was moved, in the home's models.

    Raises InputError where the bundle is missing or damaged, or is another one.
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
            remedy=f"Choose that version with `{next_command('select-model', name=release.model)}`, and serve it "
            f"with `{next_command('prod', platform='local', name=release.model)}`.",
        )
    return place
