"""The files and the commands of a local deployment. Values and pure functions only.

HOME/deployments/NAME/state.json        `State`: the record, and where its entry is
                     wish               what a person asked the driver of its rollout to do
                     driver.lock        held by that driver; names its process
                     lock               held while a step lasts
                     keys/FINGERPRINT   API key of revisions
                     logs/LABEL.log     output of a process; LABEL is REVISION-I, or router-SERIAL-I
                     run/LABEL.json     `Process`
                     run/LABEL.ready    created by the process when it is ready; has a router's control port
                     run/LABEL.door     Unix socket over which it is told what to accept (`serving.listening.Door`)
"""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec

from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.process import FIRST_PASSED_FD
from winnow.routing import Record, ReplicaSettings, Revision, Route, RouterSettings, server_settings, to_json

SETTLE_S = 0.2
"""How long an ending process answers where its settings leave that to the platform: it has left the entry before."""
OWN_HOST = "127.0.0.1"
"""Where each process listens on a port of its own; routers reach replicas there."""


class State(msgspec.Struct, frozen=True):
    """What is kept of a deployment.

    Attributes:
        host, port: of the entry; a port of None: there is none yet.
        entry_serial: serial of the route that the entry followed when a move was last completed.
    """

    record: Record
    host: str = ""
    port: int | None = None
    entry_serial: int | None = None


class Process(msgspec.Struct, frozen=True):
    """A replica or a router.

    Attributes:
        revision: number of the replica's revision; 0 for a router.
        router: what a router was given; None for a replica.
        token: of a router, to renew its lease.
        port: on which it listens on `OWN_HOST`.
        is_told: it was told to take the entry or to hold it; one that was not accepts nothing from it.
        kill_at: when it is killed, by the machine's monotonic clock; 0 where it was not asked to end.
    """

    process: ProcessIdentity
    label: str
    revision: int = 0
    router: RouterSettings | None = None
    token: str = ""
    port: int = 0
    is_told: bool = False
    kill_at: float = 0.0


class EarlierProcess(msgspec.Struct, frozen=True):
    """A replica of a deployment of winnow before revisions."""

    process: ProcessIdentity


class EarlierState(msgspec.Struct, frozen=True):
    """`state.json` of winnow before revisions: enough of it to end the deployment."""

    replicas: tuple[EarlierProcess, ...]
    retired: tuple[EarlierProcess, ...] = ()


class Folder:
    """The files of one deployment, as listed above. Logs are kept when it is removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state, self.wish = path / "state.json", path / "wish"
        self.lock, self.driver = path / "lock", path / "driver.lock"
        self.keys, self.logs, self.run = path / "keys", path / "logs", path / "run"

    def key(self, fingerprint: str) -> Path:
        return self.keys / fingerprint

    def log(self, label: str) -> Path:
        return self.logs / f"{label}.log"

    def process(self, label: str) -> Path:
        return self.run / f"{label}.json"

    def ready(self, label: str) -> Path:
        return self.run / f"{label}.ready"

    def door(self, label: str) -> Path:
        return self.run / f"{label}.door"


def replica_command(revision: Revision, label: str, bundle: Path, folder: Folder, python: str) -> tuple[str, ...]:
    """What runs a replica, with its own socket as file descriptor 3 and its door as 4."""
    return (
        *(python, "-P", "-m", "winnow.serving"),
        *("--bundle", str(bundle.absolute())),
        *("--model-version", revision.release.version),
        *("--fd", str(FIRST_PASSED_FD)),
        *("--door-fd", str(FIRST_PASSED_FD + 1)),
        *("--ready-file", str(folder.ready(label))),
    )


def router_command(label: str, folder: Folder, python: str) -> tuple[str, ...]:
    """What runs a router, with its own socket as file descriptor 3 and its door as 4."""
    return (
        *(python, "-P", "-m", "winnow.serving.router"),
        *("--fd", str(FIRST_PASSED_FD)),
        *("--door-fd", str(FIRST_PASSED_FD + 1)),
        *("--control-host", OWN_HOST),
        *("--ready-file", str(folder.ready(label))),
    )


def replica_environment(revision: Revision, folder: Folder) -> dict[str, str]:
    settings, name = revision.settings, folder.path.name
    key = {"WINNOW_API_KEY_FILE": str(folder.key(settings.key))} if settings.key else {}
    serving = server_settings(settings, settle_s=SETTLE_S, deployment=name, revision=revision.number)
    return {**key, "WINNOW_SERVING": serving}


def router_environment(settings: ReplicaSettings, route: RouterSettings, token: str) -> dict[str, str]:
    """The variables that tell a router its route, who may renew its lease, and limits: those of stable's replicas."""
    serving = server_settings(settings.of_routers, settle_s=SETTLE_S)
    return {"WINNOW_SERVING": serving, "WINNOW_ROUTER": to_json(route), "WINNOW_ROUTER_TOKEN": token}


def settle_s(settings: ReplicaSettings) -> float:
    return settings.settle_s if settings.settle_s is not None else SETTLE_S


def render(record: Record, revision: Revision, folder: Folder, python: str) -> str:
    release = revision.release
    what = f"{release.model} version {release.label} (sha256 {release.digest[:12]})"
    lines = [f"{record.name}: revision {revision.number} is {what}"]
    variables = shlex.join(f"{name}={value}" for name, value in replica_environment(revision, folder).items())
    for index in range(revision.scale.replicas):
        command = replica_command(revision, f"{revision.number}-{index}", release.bundle, folder, python)
        lines.append(f"  start  {variables} {shlex.join(command)}")
    entry = record.entry
    address = f"{entry.host or OWN_HOST}:{entry.port}" if entry.port else f"a free port of {entry.host or OWN_HOST}"
    return "\n".join([*lines, f"{record.name}: {address} leads to {_described(record.route)}", ""])


def _described(route: Route) -> str:
    if route.candidate is None:
        return f"revision {route.stable}"
    mirrored = f", copies of {route.mirror:.6g} of them to it too" if route.mirror else ""
    return f"revision {route.stable}; {route.weight:.6g} of the requests to revision {route.candidate}{mirrored}"
