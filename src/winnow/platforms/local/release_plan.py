"""The files and the plan of a local deployment. Values and pure functions only.

HOME/deployments/NAME/state.json          `Record`: what is deployed
                     logs/SERIAL-I.log    output of replica I of change number SERIAL
                     run/SERIAL-I.ready   created by the replica when it is ready
                     run/SERIAL-I.door    Unix socket over which the replica hands out its listening socket
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.local.process import FIRST_PASSED_FD
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.routing import Release


class ReplicaRecord(msgspec.Struct, frozen=True):
    """One process, and the label in the names of its files."""

    process: ProcessIdentity
    label: str


class Record(msgspec.Struct, frozen=True):
    """A deployment after its last change.

    Attributes:
        serial: number of changes so far. Plans made for another serial are refused.
        is_port_asked: the user chose the port, so no other will do.
        retired: replaced replicas that were asked to stop.
    """

    name: str
    serial: int
    release: Release
    previous: Release | None
    host: str
    port: int
    is_port_asked: bool
    replicas: tuple[ReplicaRecord, ...]
    retired: tuple[ReplicaRecord, ...] = ()


class Folder:
    """The files of one deployment, as listed above. `lock` is held while it is changed; logs are kept afterwards."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state, self.lock = path / "state.json", path / "lock"
        self.logs, self.run = path / "logs", path / "run"

    def log(self, label: str) -> Path:
        """A replica's output."""
        return self.logs / f"{label}.log"

    def ready(self, label: str) -> Path:
        """The file that a replica creates when it is ready."""
        return self.run / f"{label}.ready"

    def door(self, label: str) -> Path:
        """The Unix socket over which a replica hands out its listening socket."""
        return self.run / f"{label}.door"


@dataclass(frozen=True)
class ReplicaCommand:
    """A process to start."""

    label: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class LocalPlan:
    """See `AnyPlan`.

    Attributes:
        basis: serial of the deployment that the plan changes; 0 if there is none.
        port: None for a free one.
        starts: new processes, with the listening socket as file descriptor 3 and the door as 4.
        stops: processes to drain when the new ones are ready.
    """

    request: DeploymentRequest
    action: Action
    basis: int
    port: int | None
    previous: Release | None
    starts: tuple[ReplicaCommand, ...]
    stops: tuple[ReplicaRecord, ...]

    def render(self) -> str:
        """The processes to start and to stop, as shell commands."""
        release, name = self.request.release, self.request.name
        what = f"{release.model} version {release.version}"
        if self.action is Action.NOTHING:
            return f"{name}: {what} is being served already; nothing to do."
        address = f"{self.request.host}:{self.port}" if self.port is not None else f"a free port of {self.request.host}"
        lines = [f"{name}: serve {what} (sha256 {release.digest[:12]}) at {address}"]
        lines += [f"  start  {shlex.join(command.argv)}" for command in self.starts]
        if self.stops:
            lines.append("  then, when ready:")
            lines += [f"  drain  process {each.process.pid}" for each in self.stops]
        return "\n".join(lines)


def plan(
    request: DeploymentRequest,
    current: Record | None,
    alive: Sequence[ReplicaRecord],
    folder: Folder,
    python: str,
    *,
    is_answering: bool,
) -> LocalPlan:
    """Plan to serve a request.

    Args:
        current: the current deployment; None if there is none.
        alive: its replicas that are still running.
        python: the interpreter that runs replicas.
        is_answering: whether the current replicas are ready. Otherwise they are replaced.
    """
    count = request.replicas or (len(current.replicas) if current is not None else 1)
    basis = current.serial if current is not None else 0
    port = request.port if request.port is not None else (current.port if current is not None else None)
    action, previous = Action.START, None
    if current is not None:
        is_same = current.release.is_same(request.release)
        previous = current.previous if is_same else current.release
        is_as_wanted = (request.host, port, count) == (current.host, current.port, len(alive))
        if alive:
            action = Action.NOTHING if is_same and is_as_wanted and is_answering else Action.REPLACE
    labels = [f"{basis + 1}-{index}" for index in range(count)] if action is not Action.NOTHING else []
    return LocalPlan(
        request=request,
        action=action,
        basis=basis,
        port=port,
        previous=previous,
        starts=tuple(ReplicaCommand(label, _argv(request, label, folder, python)) for label in labels),
        stops=tuple(alive) if action is Action.REPLACE else (),
    )


def _argv(request: DeploymentRequest, label: str, folder: Folder, python: str) -> tuple[str, ...]:
    return (
        *(python, "-P", "-m", "winnow.serving"),
        *("--bundle", str(request.release.bundle.absolute())),
        *("--model-version", request.release.version),
        *("--fd", str(FIRST_PASSED_FD)),
        *("--door-fd", str(FIRST_PASSED_FD + 1)),
        *("--ready-file", str(folder.ready(label))),
        *("--settle-s", f"{request.settle_s:g}"),
    )
