"""What a local deployment is made of, and what deploying one will do: values and pure functions only.

HOME/deployments/NAME/state.json          `Record`: what is deployed; every process reads it
                     logs/SERIAL-I.log    output of replica I of deployment number SERIAL
                     run/SERIAL-I.ready   written by the replica when it is ready
                     run/SERIAL-I.door    Unix socket from which the listening socket is had
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.deployer import Action, DeploymentRequest, Release
from winnow.platforms.local.process import FIRST_PASSED_FD


class ReplicaRecord(msgspec.Struct, frozen=True):
    """One process, and where its files are."""

    process: ProcessIdentity
    label: str


class Record(msgspec.Struct, frozen=True):
    """One deployment as it was last changed.

    Attributes:
        serial: grows with every change; a plan made for another one is refused.
        is_port_asked: a person chose the port, so no other will do.
        retired: replaced replicas that were told to stop.
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


@dataclass(frozen=True)
class Folder:
    """Names of the files of one deployment."""

    path: Path

    @property
    def state(self) -> Path:
        """The record."""
        return self.path / "state.json"

    @property
    def lock(self) -> Path:
        """The lock of the process that changes the deployment."""
        return self.path / "lock"

    @property
    def logs(self) -> Path:
        """Folder of the logs, which outlive the deployment."""
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Folder of files that matter only while replicas run."""
        return self.path / "run"

    def log(self, label: str) -> Path:
        """A replica's output."""
        return self.logs / f"{label}.log"

    def ready(self, label: str) -> Path:
        """A replica's sign that it is ready."""
        return self.run / f"{label}.ready"

    def door(self, label: str) -> Path:
        """Where a replica's listening socket is had."""
        return self.run / f"{label}.door"


@dataclass(frozen=True)
class ReplicaCommand:
    """One process to start."""

    label: str
    argv: tuple[str, ...]
    log: Path
    ready: Path
    door: Path


@dataclass(frozen=True)
class LocalPlan:
    """See `AnyPlan`.

    Attributes:
        basis: serial of the deployment that the plan was made for; 0 where there was none.
        port: None for a free one.
        starts: new processes, each with the listening socket as descriptor 3 and its door as 4.
        stops: processes to drain once the new ones are ready.
    """

    request: DeploymentRequest
    action: Action
    basis: int
    port: int | None
    previous: Release | None
    starts: tuple[ReplicaCommand, ...]
    stops: tuple[ReplicaRecord, ...]

    def render(self) -> str:
        """What would be started and stopped, as shell commands."""
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
    """Work out what serving the request takes.

    Args:
        current: what is deployed, None where nothing is.
        alive: those of its replicas that still run.
        python: the interpreter to start replicas with.
        is_answering: the current replicas say that they are ready; where they do not, they are replaced.
    """
    count = request.replicas or (len(current.replicas) if current is not None else 1)
    basis = current.serial if current is not None else 0
    port = request.port if request.port is not None else (current.port if current is not None else None)
    action = _action(request, current, alive, count, port, is_answering=is_answering)
    labels = [f"{basis + 1}-{index}" for index in range(count)] if action is not Action.NOTHING else []
    return LocalPlan(
        request=request,
        action=action,
        basis=basis,
        port=port,
        previous=_previous(current, request.release),
        starts=tuple(_command(request, label, folder, python) for label in labels),
        stops=tuple(alive) if action is Action.REPLACE else (),
    )


def _action(
    request: DeploymentRequest,
    current: Record | None,
    alive: Sequence[ReplicaRecord],
    count: int,
    port: int | None,
    *,
    is_answering: bool,
) -> Action:
    if current is None or not alive:
        return Action.START
    is_as_wanted = (request.host, port, count) == (current.host, current.port, len(alive))
    is_served = is_as_wanted and is_answering and request.release.is_same(current.release)
    return Action.NOTHING if is_served else Action.REPLACE


def _previous(current: Record | None, release: Release) -> Release | None:
    if current is None:
        return None
    return current.previous if current.release.is_same(release) else current.release


def _command(request: DeploymentRequest, label: str, folder: Folder, python: str) -> ReplicaCommand:
    argv = (
        *(python, "-P", "-m", "winnow.serving"),
        *("--bundle", str(request.release.bundle.absolute())),
        *("--model-version", request.release.version),
        *("--fd", str(FIRST_PASSED_FD)),
        *("--door-fd", str(FIRST_PASSED_FD + 1)),
        *("--ready-file", str(folder.ready(label))),
        *("--settle-s", f"{request.settle_s:g}"),
    )
    return ReplicaCommand(label, argv, folder.log(label), folder.ready(label), folder.door(label))
