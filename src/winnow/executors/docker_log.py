"""What containers print: read from the engine while there is one, and kept here once they are taken away.

<home>/studies/<study>/groups/<name>/container.log     the logs of the group's containers so far, one after another
                                     container.json    how the last of them ended
                                     start.lock        held by whoever changes the group
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow.executors.docker_state import Node, group_status
from winnow.executors.executor import GroupState, GroupStatus, UnknownGroupError


def lines(api: Any, node: Node, seen: dict[str, str], *, follow: bool) -> Iterator[str]:
    """Lines of a container's log, with the node's number where there are several; none where the container is gone.

    Args:
        api: the engine's, an `APIClient`.
        seen: container id → time of the last line that was had. Only what is newer comes, and it is moved on.
        follow: go on until the container's process ends.
    """
    prefix = f"node {node.index}: " if node.count > 1 else ""
    before = seen.get(node.id, "")
    unfinished = b""
    for frame in _frames(api, node.id, before, follow=follow):
        stamp, _, text = frame.partition(b" ")
        # Fixed in width and in UTC, so that the order of the texts is that of the times.
        if (at := stamp.decode()) <= before:
            continue
        seen[node.id] = at
        unfinished += text
        if unfinished.endswith(b"\n"):
            yield prefix + unfinished.decode(errors="replace").rstrip()
            unfinished = b""
    if unfinished:
        yield prefix + unfinished.decode(errors="replace")


def _frames(api: Any, container_id: str, after: str, *, follow: bool) -> Iterator[bytes]:
    """Pieces of the log as the engine keeps them: a line, or a part of one that is longer than 16 KiB."""
    import docker.errors

    since = _seconds(after) if after else None
    with contextlib.suppress(docker.errors.NotFound):
        frames = api.logs(container_id, stream=True, follow=follow, timestamps=True, since=since)
        # Its own close() cuts a connection that is still read, and cannot do so over SSH; without any a socket
        # stays open until the next garbage collection.
        with contextlib.closing(frames._response):
            yield from frames


def _seconds(stamp: str) -> int:
    """The whole seconds since the epoch of a time in the engine's log."""
    return int(datetime.fromisoformat(stamp[:19]).replace(tzinfo=UTC).timestamp())


class Archive:
    """What is kept of containers that are gone, below winnow's folder."""

    def __init__(self, home: Path) -> None:
        self._studies = home / "studies"

    def save(self, api: Any, node: Node) -> None:
        """Append a container's log, and keep how it ended where it decides on its group."""
        folder = self._folder(node.study, node.group)
        folder.mkdir(parents=True, exist_ok=True)
        how = node.state if node.exit_code is None else f"{node.state} with {node.exit_code}"
        with (folder / "container.log").open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in lines(api, node, {}, follow=False))
            log.write(f"----- {node.name} {node.id[:12]} {how} -----\n")
        if node.index == 0:
            status = group_status({0: node})
            state = status.state if status.state.is_over else GroupState.ENDED
            kept = {"state": state.value, "exit_code": status.exit_code, "started_at_ms": status.started_at_ms}
            unfinished = folder / "container.json.tmp"
            unfinished.write_text(json.dumps(kept))
            unfinished.replace(folder / "container.json")

    def status(self, study: str, name: str) -> GroupStatus:
        """How a group ended. Raises UnknownGroupError."""
        folder = self._folder(study, name)
        if not (folder / "container.log").is_file():
            raise UnknownGroupError(f"{study}/{name}")
        try:
            kept = json.loads((folder / "container.json").read_text())
        except FileNotFoundError:
            return GroupStatus(study, name, GroupState.ENDED)
        return GroupStatus(study, name, GroupState(kept["state"]), kept["exit_code"], kept["started_at_ms"])

    def statuses(self, study: str | None) -> Iterator[GroupStatus]:
        """Those of a study, or of all."""
        for log in self._studies.glob(f"{study or '*'}/groups/*/container.log"):
            yield self.status(log.parents[2].name, log.parent.name)

    def lines(self, study: str, name: str) -> Iterator[str]:
        """The logs that are kept; none where there are none."""
        path = self._folder(study, name) / "container.log"
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as kept:
                yield from (line.rstrip("\n") for line in kept)

    @contextlib.contextmanager
    def alone(self, study: str, name: str) -> Iterator[None]:
        """Change a group alone among the processes of this home, so that no log is kept twice."""
        folder = self._folder(study, name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _folder(self, study: str, name: str) -> Path:
        return self._studies / study / "groups" / name
