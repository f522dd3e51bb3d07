"""Airflow, which runs verbs as the tasks of DAGs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.api.stack import PrintedLogs
    from winnow.platforms.images import BuildStep
    from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class AirflowStart:
    """A start of Airflow, planned or done.

    Attributes:
        plan: the commands, or on Kubernetes the manifests and the commands that apply them, without secrets.
        unknown: facts missing from the plan because the platform did not answer, one sentence each.
        endpoints: its address, its user, and where the password is, by what they are; empty on Kubernetes.
    """

    plan: str
    unknown: tuple[str, ...]
    endpoints: Mapping[str, str]


def airflow_local(
    *,
    dags: Path | str | None = None,
    port: int = 8080,
    parallelism: int = 2,
    timeout_s: float = 120,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> str:
    """Run Airflow on this machine, without Docker, until Ctrl-C or SIGTERM; then all of its processes end.

    It needs `install_tool("airflow")`. Its database and logs are in `airflow/standalone` in WINNOW_HOME. Its page
    answers on this machine alone.

    Args:
        dags: the folder of DAGs; by default airflow/dags of the working directory.
        port: of this machine, for its page and its REST API.
        parallelism: how many tasks run at once; deferred ones do not count.
        timeout_s: seconds to wait until it is healthy.

    Returns:
        The plan, without secrets.

    Raises:
        InputError: there is no such folder, Airflow is not installed, or the port is taken.
        AirflowError: it ended by itself, or did not become healthy.
    """
    from winnow.orchestrators import airflow as local
    from winnow.platforms.airflow_stack import AirflowRequest

    request = AirflowRequest(port, parallelism)
    plan = local.plan(request, None if dags is None else Path(dags), folder=Path())
    if not dry_run:
        local.run(plan, say, timeout_s)
    return plan.render()


def airflow_init(
    platform: str = "docker",
    *,
    port: int = 8080,
    parallelism: int = 2,
    registry: str = "",
    timeout_s: float = 300,
    dry_run: bool = False,
    show: Callable[[BuildStep], None] = silent,
    say: Callable[[str], None] = silent,
) -> AirflowStart:
    """Build Airflow's image with the project in it, start Airflow with Postgres, and wait until it is healthy.

    The first start generates secrets and the password of the user `admin`, in WINNOW_HOME. Calling it again brings
    changed experiments and DAGs into the image; runs stay. On Kubernetes it returns manifests, and starts nothing.

    Args:
        platform: "docker" or "kubernetes".
        port, parallelism: as for `airflow_local`.
        timeout_s: seconds to wait for the services.

    Raises:
        InputError: the port is taken, the stack is another home's, its secrets are lost, or the platform refuses.
        BuildFailedError: the image could not be built.
        StackError: a service does not become healthy.
    """
    from winnow.orchestrators import airflow
    from winnow.platforms.airflow_stack import AirflowRequest

    plan = airflow.init(
        platform,
        AirflowRequest(port, parallelism),
        say=say,
        timeout_s=timeout_s,
        registry=registry,
        is_dry_run=dry_run,
        show=show,
    )
    return AirflowStart(plan.render(), plan.unknown, plan.endpoints)


def airflow_remove(
    *, volumes: bool = False, force: bool = False, dry_run: bool = False, say: Callable[[str], None] = silent
) -> StackEnd:
    """Remove what `airflow_init` started on Docker. Its runs and secrets stay, unless `volumes` is set.

    Args:
        volumes: delete its database, what its tasks have made, and its secrets, too.
        force: remove it even if another home started it.

    Raises:
        InputError: another home started it, or the engine refuses.
        StackError: it could not be removed.
    """
    from winnow.orchestrators import airflow

    return airflow.remove(say=say, volumes=volumes, is_forced=force, is_dry_run=dry_run)


def airflow_logs(
    *,
    service: str | None = None,
    lines: int = 100,
    follow: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> PrintedLogs:
    """Print the logs of what `airflow_init` started on Docker to standard output.

    Args:
        service: "api-server", "scheduler", "dag-processor", "triggerer", "database" or "migration"; by default all.
        lines: number of last lines to print of each service.
        follow: keep printing new lines until Ctrl-C.
        dry_run: print nothing.

    Raises:
        InputError: it is not there, or there is no such service.
    """
    from winnow.api.stack import PrintedLogs
    from winnow.orchestrators import airflow

    found = airflow.logs(say=say, service=service, lines=lines, follow=follow)
    return PrintedLogs(found.render(), 0 if dry_run else found.print())
