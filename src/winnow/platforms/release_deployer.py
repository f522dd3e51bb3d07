"""What every platform offers for serving models: the protocol `Deployer` and its types.

A deployment has a name, and serves one release at a time on one or more replicas behind one address. Its state is kept
on the platform (files, labels), so every process that knows the name finds it. A deployer works out a change in `plan`
and carries it out in `deploy`. Every implementation passes `tests/contracts/test_deployers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command
from winnow.routing import Release


class DeploymentState(StrEnum):
    """Whether a deployment, or one replica, answers."""

    READY = "ready"
    DEGRADED = "degraded"
    """Some replicas are ready, others are not."""
    DOWN = "down"


class Action(StrEnum):
    """What deploying a plan changes."""

    NOTHING = "nothing"
    START = "start"
    REPLACE = "replace"


@dataclass(frozen=True)
class DeploymentRequest:
    """What is wanted.

    Attributes:
        replicas: None keeps what runs, or makes one; with an autoscaler, the least that run.
        host: an address of this machine; on a cluster anything else is the host that the Ingress answers to.
        port: None keeps the one in use, or finds a free one.
        settle_s: how long a replaced replica goes on answering before it closes.
        ready_within_s: how long new replicas may take to become ready.
    """

    name: str
    release: Release
    replicas: int | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    settle_s: float = 0.2
    ready_within_s: float = 60.0


@dataclass(frozen=True)
class Replica:
    """One serving process, container or pod.

    Attributes:
        identifier: the process id, or the container's or pod's name.
        version: the model's version that it serves.
        state: whether it answers.
    """

    identifier: str
    version: str
    state: DeploymentState


@dataclass(frozen=True, repr=False)
class Deployment:
    """A deployment as its platform reports it.

    Attributes:
        name: the deployment's name.
        state: whether its replicas answer.
        url: its address.
        release: the model that it serves.
        replicas: its replicas.
        previous: the release that a rollback would serve; None where there is none.
    """

    name: str
    state: DeploymentState
    url: str
    release: Release
    replicas: tuple[Replica, ...]
    previous: Release | None

    def __repr__(self) -> str:
        served = f"version {self.release.version} at {self.url}, {len(self.replicas)} replicas"
        return f"<Deployment {self.name}: {self.state.value}, {served}>"


@dataclass(frozen=True)
class ManualAccess:
    """How a person reaches a deployment whose own address does not answer from this machine.

    Attributes:
        reason: why the address does not answer, and what makes it answer.
        command: opens a port of this machine that leads to the deployment while the command runs.
        url: where the deployment answers then.
    """

    reason: str
    command: str
    url: str


@dataclass(frozen=True)
class Endpoint:
    """Where a deployment answers from this machine, for as long as the context that gives it is open.

    Attributes:
        manual: how a person reaches it without this program; None where `url` is the deployment's own address.
        diagnosis: says why the last connection failed; empty where none did.
    """

    url: str
    manual: ManualAccess | None = None
    diagnosis: Callable[[], str] = lambda: ""


class UnknownDeploymentError(InputError):
    """Nothing of that name is deployed, or nothing at all.

    Args:
        name: None where any deployment would have done.
        known: what is deployed.
    """

    def __init__(self, name: str | None, known: Sequence[str] = ()) -> None:
        self.known = tuple(known)
        served = f"served: {', '.join(known)}" if known else "nothing is served"
        super().__init__(
            "deployments" if name is None else f"deployment '{name}'",
            expected="something that is being served" if name is None else "the name of something that is being served",
            found="nothing" if name is None else f"nothing of that name; {served}",
            remedy=f"Deploy it first (`{next_command('prod', platform='local', study=name)}`, or on another platform)"
            f"{', or name one of these' if known else ''}.",
        )


class DeploymentFailedError(WinnowError):
    """New replicas did not become ready; what was served before still is.

    Args:
        lines: the last ones of the failed replica's log.
        log: where the whole log is.
    """

    def __init__(self, name: str, reason: str, lines: Sequence[str], log: str, *, is_old_serving: bool) -> None:
        self.lines = tuple(lines)
        kept = "what was served before still is" if is_old_serving else "nothing is being served"
        shown = "".join(f"\n    {line}" for line in lines) or " (empty)"
        super().__init__(f"deployment '{name}': {reason}; {kept}. The end of {log}:{shown}")


class AnyPlan(Protocol):
    """What deploying would do, worked out and not yet done."""

    @property
    def request(self) -> DeploymentRequest: ...

    @property
    def action(self) -> Action: ...

    def render(self) -> str:
        """What would be started and stopped, as commands or manifests."""


Plan = TypeVar("Plan", bound=AnyPlan)

Say = Callable[[str], None]
"""Receives lines about a change while it lasts."""


def mute(line: str) -> None:
    """Says nothing."""


class Deployer(Protocol[Plan]):
    """Serves releases on one platform.

    Methods that name a deployment raise UnknownDeploymentError where nothing of that name is deployed.
    """

    @property
    def place(self) -> str:
        """What it looks at and changes, to end a sentence with: "on this machine"."""

    def check(self, *, is_read_only: bool = False) -> None:
        """Raise where the platform does not permit what serving takes. Changes nothing.

        Args:
            is_read_only: a plan is made and not carried out.

        Raises:
            InputError: a permission is missing.
            UnreachableError: the platform does not answer.
        """

    def plan(self, request: DeploymentRequest) -> Plan:
        """Work out what has to be done; the same release, replicas and port change nothing."""

    def plan_rollback(self, name: str) -> Plan:
        """Work out how to serve what was served before. Raises InputError where there was nothing before."""

    def difference(self, plan: Plan) -> str:
        """What deploying a plan would change, empty where that is nothing.

        A unified diff where the platform can compare; elsewhere the plan as `AnyPlan.render` gives it.
        """

    def deploy(self, plan: Plan) -> Deployment:
        """Carry a plan out: new replicas are ready before old ones stop, so that no request is lost.

        Raises:
            InputError: the port is taken, or the deployment changed since the plan was made.
            DeploymentFailedError: the new replicas did not become ready; the old ones still serve.
        """

    def status(self, name: str) -> Deployment:
        """What is served under a name now."""

    def names(self) -> tuple[str, ...]:
        """All deployments, sorted."""

    def endpoint(self, deployment: Deployment) -> AbstractContextManager[Endpoint]:
        """An address at which a deployment answers from this machine while the context is open.

        Raises:
            InputError: there is none, and the platform does not permit another way to it.
        """

    def manual_access(self, deployment: Deployment) -> ManualAccess | None:
        """How a person reaches a deployment; None where its own address answers from this machine."""

    def logs_hint(self, deployment: Deployment) -> str:
        """The path or the command that shows a person the replicas' logs."""

    def address_hint(self, deployment: Deployment) -> str:
        """What to look at where a deployment's address leads to another server: sentences for a message."""

    def images_hint(self, name: str) -> str:
        """Where a deployment's images stay after it is removed; empty where it has none."""

    def logs(self, name: str, lines: int = 20) -> list[str]:
        """The last lines of the newest replica's log, also after it has exited."""

    def remove(self, name: str) -> bool:
        """Drain and stop all replicas; False where nothing of that name is deployed."""


def no_previous(name: str) -> InputError:
    """The error for a rollback with nothing to go back to."""
    return InputError(
        f"deployment '{name}'",
        expected="a release that was served before the current one",
        found="none",
        remedy=f"Deploy another model first, or choose one with `{next_command('select-model', study=name)}`.",
    )


def changed_meanwhile(name: str) -> InputError:
    """The error for a plan that was overtaken."""
    return InputError(
        f"deployment '{name}'",
        expected="the deployment that the plan was made for",
        found="one that another command has changed since",
        remedy="Run the command again.",
    )


def rendered_change(plan: AnyPlan) -> str:
    """`Deployer.difference` of a platform that cannot compare."""
    return "" if plan.action is Action.NOTHING else f"{plan.render()}\n"


def look_at_listener(logs: str) -> str:
    """`Deployer.address_hint` where a deployment listens on a port of this machine. `logs`: its `logs_hint`."""
    return f"Look at what else listens there, and at {logs}."
