"""A standalone Spark on this machine's Docker engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.platforms.images import Show, silent

if TYPE_CHECKING:
    from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class SparkStart:
    """A start of a standalone Spark, planned or done.

    Attributes:
        plan: the commands, without the secret.
        endpoints: address of the master and of its page, by name ("Master", "Page").
    """

    plan: str
    endpoints: Mapping[str, str]


def spark_init(
    *,
    port: int = 7077,
    page_port: int = 8081,
    cores: int = 2,
    memory: str = "2g",
    timeout_s: float = 120,
    dry_run: bool = False,
    show: Show = silent,
) -> SparkStart:
    """Build an image with Java 17 and pyspark, and start a master and a worker of Spark on this machine.

    They listen on 127.0.0.1 alone, ask for a secret that is kept in the home, and see the home's data.

    Args:
        port: where sessions are opened.
        page_port: the port of the master's page.
        cores: how many the worker offers.
        memory: what it offers to executors, as Spark writes it.
        timeout_s: seconds to wait for the worker once the image is built.
        show: receives the steps of the build.

    Raises:
        InputError: pyspark is not installed, a port is taken, it runs for another home, or no engine answers.
        BuildFailedError: the image was not built.
        StackError: it does not become ready.
    """
    from winnow.orchestrators import spark_stack as stack

    plan = stack.init(
        port=port,
        page_port=page_port,
        cores=cores,
        memory=memory,
        timeout_s=timeout_s,
        is_dry_run=dry_run,
        show=show,
    )
    return SparkStart(plan.render(), plan.endpoints)


def spark_remove(*, force: bool = False, dry_run: bool = False) -> StackEnd:
    """Remove what `spark_init` started, and its secret. Prepared rows stay.

    Args:
        force: remove it even if another home started it.

    Raises:
        InputError: another home started it, or no engine answers.
        StackError: it could not be removed.
    """
    from winnow.orchestrators import spark_stack as stack

    return stack.remove(is_forced=force, is_dry_run=dry_run)
