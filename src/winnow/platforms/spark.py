"""A standalone Spark beside the stack: a master and a worker, for `winnow prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from winnow.platforms.images import Show, silent
from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class SparkRequest:
    """What is to run.

    Attributes:
        pyspark: its version, which is that of the process that starts a job.
        python: major and minor version of Python, likewise.
        port, page_port: of this machine, for sessions and for the master's page.
        cores, memory: what the worker offers to executors; memory as Spark writes it.
    """

    pyspark: str
    python: str
    port: int = 7077
    page_port: int = 8081
    cores: int = 2
    memory: str = "2g"


class SparkPlan(Protocol):
    """A standalone Spark that is planned and not started."""

    @property
    def endpoints(self) -> Mapping[str, str]:
        """Where it answers, by what answers."""

    def render(self) -> str:
        """The plan for a person, without the secret."""


class SparkCluster(Protocol):
    """The standalone Spark of a home, started or not. Making one contacts nothing.

    Every method raises InputError where no engine answers, and UnreachableError where it stops answering.
    """

    def plan(self, request: SparkRequest, *, is_dry_run: bool = False) -> SparkPlan:
        """Plan a start; nothing is changed, and for a dry run nothing is asked.

        Raises:
            InputError: a port is taken, or it runs for another home.
        """

    def start(self, plan: Any, timeout_s: float, show: Show = silent) -> None:
        """Build its image, start it, and wait until the worker has registered; harmless where it runs already.

        Raises:
            BuildFailedError: the image was not built.
            StackError: it does not become ready.
        """

    def plan_end(self) -> StackEnd:
        """Plan a removal; nothing is changed."""

    def end(self) -> None:
        """Remove it, with its secret. Raises StackError where that fails."""
