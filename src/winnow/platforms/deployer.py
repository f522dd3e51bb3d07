"""What every platform offers for serving models: the protocol `Deployer`.

A deployer makes single steps and keeps no memory of its own: it starts the replicas of a revision, scales them, moves a
deployment's entry from one route to another, and retires revisions. `winnow.rollout.step` decides which step comes
next, the same way on every platform. Every method is idempotent, so that another process can repeat the step in which
one died. Implementations inherit the answers of most platforms, and pass `tests/contracts/test_deployers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command
from winnow.routing import Observation, Record, Revision, RouterReport

Say = Callable[[str], None]
"""Receives lines about a change while it lasts."""


def mute(line: str) -> None:
    """Says nothing."""


@dataclass(frozen=True)
class ManualAccess:
    """How a person reaches a deployment that does not simply answer at its own address from this machine.

    Attributes:
        reason: why it does not, and what makes it answer.
        command: opens a port of this machine that leads to the deployment while the command runs; or, where the
            address asks for a key, prints the key.
        url: where the deployment answers then.
        asks_for_key: the address asks for a key of the platform's own, and gives predictions alone.
    """

    reason: str
    command: str
    url: str
    asks_for_key: bool = False


@dataclass(frozen=True)
class Endpoint:
    """Where a deployment answers from this machine, for as long as the context that gives it is open.

    Attributes:
        manual: how a person reaches it without this program; None where `url` is the deployment's own address.
        diagnosis: says why the last connection failed; empty where none did.
        key: what the platform itself asks for; empty where it asks for none, and replicas may.
    """

    url: str
    manual: ManualAccess | None = None
    diagnosis: Callable[[], str] = lambda: ""
    key: str = field(default="", repr=False)

    @property
    def has_card(self) -> bool:
        """Whether `/model` answers there, beside predictions."""
        return self.manual is None or not self.manual.asks_for_key


class UnknownDeploymentError(InputError):
    """Nothing of that name is deployed, or nothing at all."""

    def __init__(self, name: str | None, known: Sequence[str] = ()) -> None:
        self.known = tuple(known)
        served = f"served: {', '.join(known)}" if known else "nothing is served"
        super().__init__(
            "deployments" if name is None else f"deployment '{name}'",
            expected="something that is being served" if name is None else "the name of something that is being served",
            found="nothing" if name is None else f"nothing of that name; {served}",
            remedy=f"Deploy it first (`{next_command('prod', platform='local', name=name)}`, or on another platform)"
            f"{', or name one of these' if known else ''}.",
        )


class DeploymentFailedError(WinnowError):
    """New replicas did not become ready; what was served before still is."""

    def __init__(self, name: str, reason: str, lines: Sequence[str], log: str, *, is_old_serving: bool) -> None:
        self.lines = tuple(lines)
        kept = "what was served before still is" if is_old_serving else "nothing is being served"
        shown = "".join(f"\n    {line}" for line in lines) or " (empty)"
        super().__init__(f"deployment '{name}': {reason}; {kept}. The end of {log}:{shown}")


class OvertakenError(Exception):
    """Another process has taken the lock of a deployment, or has changed it since it was observed."""


class Held(Protocol):
    """The right to change a deployment, which one process has at a time."""

    def renew(self) -> None:
        """Keep it; call it at least every few seconds, and before each step. Raises OvertakenError where it is lost."""


class Deployer(Protocol):
    """Serves revisions on one platform.

    Methods that name a deployment raise UnknownDeploymentError where nothing of that name is deployed. All may raise
    InputError where the platform refuses, and UnreachableError where it does not answer.
    """

    @property
    def place(self) -> str:
        """What it looks at and changes, to end a sentence with: "on this machine"."""

    @property
    def files(self) -> str:
        """`Revision.files` of a new revision; empty where replicas are made from no files of the user's."""
        return ""

    def check(self, *, is_read_only: bool = False) -> None:
        """Raise InputError where a permission is missing that serving, or else looking, takes. Changes nothing."""
        return None

    def check_change(self, record: Record, number: int) -> None:
        """Raise where starting a revision of `record`, and moving the entry to it, is known to fail. Changes nothing.

        Raises:
            InputError: a port, a host or an object's name is taken, the image is missing, the engine has too little
                memory, the cluster refuses a manifest, the gateway lacks a feature.
        """

    def names(self) -> tuple[str, ...]:
        """All deployments, sorted."""

    def observe(self, name: str) -> Observation:
        """What is served under a name now. Changes nothing.

        Raises:
            UnknownDeploymentError: nothing of that name was ever written, or it was removed.
            InputError: an earlier version of winnow deployed it; the remedy names the command that removes it.
        """

    def held(self, name: str) -> AbstractContextManager[Held]:
        """The right to change a deployment, which need not exist yet. Raises InputError where another process has it.

        A dead process's right is taken over.
        """

    def driver(self, name: str) -> str:
        """The process that has that right, and where its log is if it is detached; empty where none has it."""

    def write(self, record: Record) -> None:
        """Store a record, whose serial is the next one, and move nothing.

        Raises OvertakenError where another process has written since.
        """

    def wish(self, name: str, wish: str) -> None:
        """Leave a wish for the process that drives the deployment's rollout; it appears in `Observation.wish`."""

    def key(self, record: Record) -> str | None:
        """The API key of the serving revision's replicas; None where they ask for none.

        Raises InputError where it is lost: serving without it would open the model to everyone.
        """

    def start(self, record: Record, number: int, key: str | None) -> None:
        """Bring a revision of `record` to its scale's number of replicas, without traffic, and return at once.

        Replicas that failed are replaced. A replica is ready only after it has reproduced its reference rows. `key`:
        the API key that the replicas ask for; None for none.
        """

    def scale(self, record: Record, number: int, replicas: int) -> None:
        """Give a revision another number of replicas. Return when superfluous ones have drained, or had time to.

        With 0 the revision is kept for a rollback, without replicas. Logs of ended replicas are kept.
        """

    def route(self, record: Record) -> None:
        """Make requests follow `record.route`, and store the record in the same step.

        A route with two revisions first starts `record.router_replicas` routers with it and waits until they are ready;
        the entry then moves in one step, and routers of earlier routes drain. A route with one revision moves the entry
        straight to that revision. No request is lost. Returns when the entry follows the route. Creates the entry
        where there is none.

        Raises:
            OvertakenError: another process has written since.
            WinnowError: routers or the entry did not become ready; the entry is where it was.
        """

    def renew(self, record: Record, *, is_read_only: bool = False) -> tuple[RouterReport, ...]:
        """Renew the lease of the route at every router that answers, and return what each has counted.

        Those who only look renew no lease (`is_read_only`). Empty where the route needs no routers.
        """

    def metrics(self, observed: Observation) -> dict[str, str]:
        """What each replica that answers exposes at `/metrics`, in Prometheus' text format, by its identifier."""

    def retire(self, record: Record, number: int) -> None:
        """Remove all that belongs to a revision. `record` no longer lists it."""

    def remove(self, name: str) -> bool:
        """Stop taking requests, drain and remove everything; False where nothing of that name is deployed."""

    def render(self, record: Record, number: int) -> str:
        """What `start` of that revision and `route` of the record would send, without the key.

        Pure: needs no platform, and equal input gives equal text.
        """

    def difference(self, record: Record, number: int) -> str:
        """What applying `render` would change: a unified diff where the platform can compare, else `render`."""
        return self.render(record, number)

    def endpoint(self, observed: Observation) -> AbstractContextManager[Endpoint]:
        """An address at which a deployment answers from this machine while the context is open.

        Raises InputError where there is none, and the platform does not permit another way to it.
        """
        return nullcontext(Endpoint(observed.url))

    def manual_access(self, observed: Observation) -> ManualAccess | None:
        """How a person reaches a deployment; None where its own address answers from this machine."""
        return None

    def logs_hint(self, observed: Observation) -> str:
        """The path or the command that shows a person the replicas' logs."""

    def address_hint(self, observed: Observation) -> str:
        """What to look at where a deployment's address leads to another server: sentences for a message."""
        return f"Look at what else listens there, and at {self.logs_hint(observed)}."

    def images_hint(self, name: str) -> str:
        """Where a deployment's images stay after it is removed; empty where it has none."""
        return ""

    def logs(self, name: str, number: int | None = None, lines: int = 20) -> list[str]:
        """The last lines of the newest replica's log, also after it has exited; of one revision or of any."""

    def log_place(self, name: str, number: int) -> str:
        """Where the whole log of a revision's newest replica is: a path or a command."""


def revision_in(record: Record, number: int | None) -> Revision:
    """A revision of a record. Raises ValueError where it is not kept."""
    found = record.revision(number)
    if found is None:
        raise ValueError(f"deployment '{record.name}' has no revision {number}")
    return found


def check_next(stored: Record | None, record: Record) -> None:
    """Raise OvertakenError unless a record is the next one after what is stored, or the same once more."""
    if record != stored and record.serial != (stored.serial if stored is not None else 0) + 1:
        raise OvertakenError(record.name)


def no_previous(name: str) -> InputError:
    """The error for a rollback with nothing to go back to."""
    return InputError(
        f"deployment '{name}'",
        expected="a revision that was served before the current one",
        found="none",
        remedy=f"Deploy another model first, or choose one with `{next_command('select-model', study=name)}`.",
    )


def changed_meanwhile(name: str) -> InputError:
    """The error for a change that was overtaken."""
    return InputError(
        f"deployment '{name}'",
        expected="the deployment that the change was planned for",
        found="one that another command has changed since",
        remedy="Run the command again.",
    )
