"""The processes of one local deployment: starts, finds, tells and ends them. Their files are the only memory."""

from __future__ import annotations

import http.client
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from winnow.config.atomic_write import replace_bytes
from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.platforms.local.entry import borrowed, open_door, tell
from winnow.platforms.local.revision_plan import OWN_HOST, Folder, Process
from winnow.platforms.ports import bound
from winnow.platforms.process import is_alive, signal_process, spawn_detached
from winnow.platforms.readiness import ask_own
from winnow.routing import ReplicaObserved, RouterReport
from winnow.serving.draining import LINGER_S

KILLED_AFTER_S = 3.0
"""How much longer than its own limits allow a process may take to end."""
LOOK_S = 0.02
RENEWED_WITHIN_S = 2.0


class Processes:
    """Replicas and routers that have files in a deployment's folder."""

    def __init__(self, folder: Folder, environment: Mapping[str, str], clock: Clock) -> None:
        self.folder = folder
        self._environment = environment
        self._clock = clock

    def all(self) -> list[Process]:
        """Those that were started, by revision and number; the last ones may have ended since."""
        found = []
        for path in self.folder.run.glob("*.json"):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Process))
            except FileNotFoundError:  # it was ended in between
                continue
        return sorted(found, key=lambda each: (each.revision, len(each.label), each.label))

    def kept(self) -> list[Process]:
        """Those that were not asked to end, failed ones included."""
        return [each for each in self.all() if not each.kill_at]

    def running(self) -> list[Process]:
        """Those that were not asked to end, and have not."""
        return [each for each in self.kept() if is_alive(each.process)]

    def is_listening(self, process: Process) -> bool:
        """Whether it has loaded what it serves, and has not ended."""
        return self.folder.ready(process.label).is_file() and is_alive(process.process)

    def observed(self, process: Process) -> ReplicaObserved:
        """What a deployment shows of it."""
        is_ready, failure, waiting = False, "", ""
        has_listened = self.folder.ready(process.label).is_file()
        if not is_alive(process.process):
            failure = "ended" if has_listened else "ended before it was ready"
        elif not has_listened:
            waiting = "it loads and checks what it serves"
        else:
            is_ready = ask_own(f"http://{OWN_HOST}:{process.port}") is not None
            waiting = "" if is_ready else "it does not answer that it is ready"
        return ReplicaObserved(str(process.process.pid), process.revision, is_ready, failure, waiting)

    def spawn(self, command: Sequence[str], environment: Mapping[str, str], process: Process) -> Process:
        """Start a process on its port, or on a free one where that is 0 or taken; returns it with what is known now."""
        folder, label = self.folder, process.label
        for path in (folder.logs, folder.run):
            path.mkdir(parents=True, exist_ok=True)
        folder.run.chmod(0o700)
        self._forget(label)
        with _bound(process.port) as listener, open_door(folder.door(label)) as door:
            variables = {**self._environment, **environment}
            fds = (listener.fileno(), door.fileno())
            identity = spawn_detached(command, folder.log(label), variables, fds)
            started = msgspec.structs.replace(process, process=identity, port=listener.getsockname()[1])
        self._write(started)
        return started

    def borrow(self, port: int) -> socket.socket | None:
        """The entry that listens on a port; None where no process keeps it."""
        for each in self.all():
            entry = borrowed(self.folder.door(each.label)) if self.is_listening(each) else None
            if entry is not None and entry.getsockname()[1] == port:
                return entry
            if entry is not None:
                entry.close()
        return None

    def tell(self, process: Process, what: bytes, entry: socket.socket) -> bool:
        """Tell it to take the entry or to hold it; whether it has. One that loads does so once it listens."""
        is_done = tell(self.folder.door(process.label), what, entry, waits=self.is_listening(process))
        if not process.is_told:
            self._write(msgspec.structs.replace(process, is_told=True))
        return is_done

    def end(self, which: Iterable[Process], within_s: float) -> None:
        """Ask processes to drain and end, for which they have that time. Does not wait."""
        for each in which:
            kill_at = self._clock.now() + within_s + LINGER_S + KILLED_AFTER_S
            self._write(msgspec.structs.replace(each, kill_at=kill_at))
            signal_process(each.process, signal.SIGTERM)

    def wait_for_end(self, is_meant: Callable[[Process], bool] = lambda _process: True) -> None:
        """Wait until those have ended that were asked to."""
        while not self.forget_ended(is_meant):
            self._clock.sleep(LOOK_S)

    def forget_ended(self, is_meant: Callable[[Process], bool] = lambda _process: True) -> bool:
        """Of those that were asked to end, kill the late ones and forget the ended ones; whether none is left."""
        ending = [each for each in self.all() if each.kill_at and is_meant(each)]
        for each in ending:
            if self._clock.now() > each.kill_at:
                signal_process(each.process, signal.SIGKILL)
            if not is_alive(each.process):
                self._forget(each.label)
        return not ending

    def renew(self, router: Process, *, is_read_only: bool) -> RouterReport | None:
        """Renew a router's lease, or only read what it has counted; None where it does not answer."""
        path = "report" if is_read_only else "renew"
        try:
            ready = msgspec.json.decode(self.folder.ready(router.label).read_bytes())
            request = urllib.request.Request(
                f"http://{OWN_HOST}:{ready['control_port']}/{path}",
                data=b"",
                headers={"authorization": f"Bearer {router.token}"},
            )
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request, timeout=RENEWED_WITHIN_S) as response:
                return msgspec.json.decode(response.read(), type=RouterReport)
        except (OSError, http.client.HTTPException, ValueError):
            return None

    def _write(self, process: Process) -> None:
        replace_bytes(self.folder.process(process.label), msgspec.json.encode(process), mode=0o600)

    def _forget(self, label: str) -> None:
        for path in (self.folder.process(label), self.folder.ready(label), self.folder.door(label)):
            path.unlink(missing_ok=True)


def _bound(port: int) -> socket.socket:
    try:
        return bound(OWN_HOST, port or None)
    except InputError:
        return bound(OWN_HOST, None)
