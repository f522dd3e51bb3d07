"""The tracking stack: MLflow, its database and its artifact store, under the same names on every platform.

`Stack` is what a platform offers for it. `winnow.orchestrators.stack` composes its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from winnow.config.errors import InputError, WinnowError
from winnow.config.stack_record import AnyStack
from winnow.platforms.images import Show, silent

MLFLOW, POSTGRES, MINIO = "mlflow", "postgres", "minio"
"""Names of its services."""

LOG_LINES = 15
"""How many lines of a service's log an error shows."""

ChoosePort: TypeAlias = Callable[[], int]
"""Picks a port of this machine to listen on; 0 stands for any free one. Called only where a port is needed."""


def any_port() -> int:
    """Leave the choice to the system."""
    return 0


def check_service(service: str | None, services: Sequence[str]) -> None:
    """Raise InputError unless a stack whose logs are asked for has a service of that name."""
    if service is not None and service not in services:
        raise InputError(
            "--service", expected=f"one of {', '.join(services)}", found=f"'{service}'", remedy="Name one of them."
        )


class StackError(WinnowError):
    """The stack did not start or end, although nothing was wrong with the request."""


def redacted(text: str, secrets: Iterable[str]) -> str:
    """A text of other programs, such as a log, with every secret starred."""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text


class Plan(Protocol):
    """Services that are planned and not started: a tracking stack, monitoring, Airflow or Spark."""

    @property
    def endpoints(self) -> Mapping[str, str]:
        """The addresses of its parts once it is started, and where its secrets are, by what they are."""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Facts that the plan lacks because the platform did not answer, a sentence each."""
        return ()

    def render(self) -> str:
        """The plan for a person, without secrets."""


class StackPlan(Plan, Protocol):
    """A tracking stack that is planned and not started."""

    @property
    def record(self) -> AnyStack:
        """What other verbs will read."""


class StackSecrets(Protocol):
    """Secrets of a stack that is started by hand: planned until they are stored."""

    @property
    def place(self) -> str:
        """Where they are stored, as messages name it."""

    def render(self) -> str:
        """What would be stored, every secret starred."""

    def store(self) -> bool:
        """Store them; return whether any changed."""


class StackLogs(Protocol):
    """The logs of a stack; they are read when they are printed."""

    def render(self) -> str:
        """The command that prints them."""

    def print(self) -> int:
        """Print them and return the command's exit status. Raises InputError where there is no stack."""


@dataclass(frozen=True)
class StackEnd:
    """What removing a stack takes.

    Attributes:
        stack: the stack, as messages name it.
        steps: what is removed, a line each.
        outcome: what holds once it is removed, in sentences.
        owner: the other folder or home that made it; empty where it is this one's.
        refusal: says why another's stack is left alone; None where it is this one's.
    """

    stack: str
    steps: tuple[str, ...]
    outcome: str
    owner: str = ""
    refusal: InputError | None = None

    def render(self) -> str:
        """The steps for a person."""
        return "\n".join(self.steps)


class Stack(Protocol):
    """The tracking stack of one platform, started or not. Making one contacts nothing.

    Every method raises InputError where the platform refuses or is not there, and UnreachableError where it stops
    answering.
    """

    def lock(self) -> AbstractContextManager[None]:
        """Keep other commands of this machine from changing the stack; wait for the one that does."""

    def plan(self, *, is_dry_run: bool = False) -> StackPlan:
        """Plan a start, with new secrets for those that are not set; nothing is changed.

        Args:
            is_dry_run: the plan is only shown. Where the platform is not there, it has `unknown` facts.

        Raises:
            InputError: a setting is wrong, ports are taken, the stack is another's, or its volumes exist and the
                secrets that open them do not.
        """

    def start(self, plan: Any, timeout_s: float | None, show: Show = silent) -> None:
        """Start it and wait until its services are ready; harmless where they are already.

        `timeout_s`: how long they may take; None for the platform's own limit.

        Raises:
            BuildFailedError: the server's image was not built or not delivered.
            StackError: a service does not become ready.
        """

    def plan_end(self, *, volumes: bool) -> StackEnd:
        """Plan a removal, with `volumes` also of its data and its secrets; nothing is changed."""

    def end(self, *, volumes: bool) -> list[str]:
        """Remove it and have later verbs use files again; return what is left, in words.

        Raises:
            InputError: workers use it.
            StackError: it was not removed.
        """

    def difference(self) -> str:
        """What a start would change, as a unified diff. Raises InputError where the platform cannot compare."""

    def logs(self, service: str | None, lines: int, *, follow: bool) -> StackLogs:
        """The last lines of one service or all; nothing is contacted.

        Raises InputError where there is no such service, or another program prints the logs: the error names it.
        """

    def secrets(self) -> StackSecrets:
        """Plan the secrets of a stack that is started by hand; those that are stored stay. Raises as `plan` does."""
