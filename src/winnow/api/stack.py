"""The tracking stack: MLflow with its database and artifact store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.config.settings import Variable
    from winnow.orchestrators.dashboard import Dashboard
    from winnow.orchestrators.pages import TrackingPages
    from winnow.platforms.images import BuildStep
    from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class StackStatus:
    """The stack in use.

    Attributes:
        name: the stack's name in messages.
        platform: "docker" or "kubernetes".
        tracking_url: MLflow's address; on Kubernetes the one inside the cluster.
        ending: the command that ends its use.
        diagnosis: why the stack does not answer and what to do about it; None if it answers.
    """

    name: str
    platform: str
    tracking_url: str
    ending: str
    diagnosis: str | None


@dataclass(frozen=True)
class StackStart:
    """A start of the tracking stack, planned or done.

    Attributes:
        plan: the commands or manifests, with secrets replaced by stars.
        unknown: facts missing from the plan because the platform did not answer, one sentence each.
        endpoints: address of each service, by its name.
        ending: the command that ends its use.
        overriding: environment variables that take precedence over its addresses.
    """

    plan: str
    unknown: tuple[str, ...]
    endpoints: Mapping[str, str]
    ending: str
    overriding: tuple[str, ...]


@dataclass(frozen=True)
class MadeSecrets:
    """The secrets of a stack that you apply yourself.

    Attributes:
        place: where they are stored, as named in messages.
        is_changed: whether any was written.
        plan: the manifest, with secrets replaced by stars.
    """

    place: str
    is_changed: bool
    plan: str


@dataclass(frozen=True)
class PrintedLogs:
    """The command that printed the stack's logs.

    Attributes:
        command: the command.
        exit_status: its exit status; 0 in a dry run.
    """

    command: str
    exit_status: int


def mlflow_status() -> StackStatus | None:
    """Show which stack is in use and whether it answers; None if runs and studies are kept in files.

    Raises:
        InputError: the stack's record or its secrets cannot be read.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.settings import silent_stack

    settings = Settings.from_environment()
    stack = settings.stack
    if stack is None:
        return None
    return StackStatus(stack.shown, stack.platform, stack.tracking_url, stack.ending, silent_stack(settings))


def stack_settings() -> tuple[Variable, ...]:
    """List the variables that `mlflow_init` accepts as `settings`, with their defaults."""
    from winnow.platforms.stack_variables import SETTINGS

    return SETTINGS


def mlflow_init(
    platform: str = "docker",
    settings: Mapping[str, str] = {},
    *,
    registry: str = "",
    image_load: str = "",
    timeout_s: float | None = None,
    dry_run: bool = False,
    show: Callable[[BuildStep], None] = silent,
    say: Callable[[str], None] = silent,
) -> StackStart:
    """Start Postgres, MinIO and MLflow, wait until they answer, and make every later call use them.

    The first start generates secrets and stores them with the settings: on Docker in .env, on Kubernetes in the Secret
    winnow-tracking. Starting a running stack with the same settings changes nothing.

    Args:
        platform: "docker" or "kubernetes".
        settings: values by variable name, as listed by `stack_settings`; by default those of the environment. An empty
            value restores the default.
        timeout_s: seconds to wait for the services; by default 180, on Kubernetes 300.
        dry_run: plan only, and change nothing; the platform need not answer.

    Raises:
        InputError: a setting is wrong, ports are taken, the stack belongs to another folder, or the platform refuses.
        BuildFailedError: the server's image could not be built or delivered.
        StackError: a service does not become ready.
    """
    from winnow.orchestrators import stack

    given = stack.settings_given(platform, settings)
    plan = stack.init(
        platform,
        given,
        say=say,
        registry=registry,
        image_load=image_load,
        timeout_s=timeout_s,
        is_dry_run=dry_run,
        show=show,
    )
    return StackStart(plan.render(), plan.unknown, plan.endpoints, plan.record.ending, stack.overriding(given))


def mlflow_remove(
    platform: str | None = None,
    *,
    project: str | None = None,
    env_file: str | None = None,
    volumes: bool = False,
    force: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> StackEnd:
    """Stop and remove the tracking stack. Later calls use files again. Data and secrets stay, unless `volumes` is set.

    Args:
        platform: "docker" or "kubernetes"; by default the platform of the stack in use.
        volumes: also delete its data and secrets.
        force: remove the stack even if another folder or home started it.

    Returns:
        What is removed, and the state afterwards.

    Raises:
        InputError: another folder or home started the stack, or workers use it.
        StackError: it could not be removed.
    """
    from winnow.orchestrators import stack

    given = stack.which_given(project, env_file)
    where = platform or stack.platform_in_use()
    return stack.remove(where, given, say=say, volumes=volumes, is_forced=force, is_dry_run=dry_run)


def compose_logs(
    platform: str | None = None,
    *,
    project: str | None = None,
    env_file: str | None = None,
    service: str | None = None,
    lines: int = 100,
    follow: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> PrintedLogs:
    """Print the logs of the tracking stack on Docker to standard output.

    Args:
        platform: "docker" or "kubernetes"; by default the platform of the stack in use.
        service: "mlflow", "postgres", "minio" or "bucket"; by default all.
        lines: number of last lines to print of each service.
        follow: keep printing new lines until Ctrl-C.
        dry_run: print nothing.

    Raises:
        InputError: there is no stack or no such service, or the platform has its own program for logs.
    """
    from winnow.orchestrators import stack

    where, given = platform or stack.platform_in_use(), stack.which_given(project, env_file)
    found = stack.logs(where, given, say=say, service=service, lines=lines, follow=follow)
    return PrintedLogs(found.render(), 0 if dry_run else found.print())


def kubernetes_secrets(
    settings: Mapping[str, str] = {}, *, dry_run: bool = False, say: Callable[[str], None] = silent
) -> MadeSecrets:
    """Create the Secret that `kubectl apply -k k8s/tracking` needs. Existing passwords stay.

    Credentials for your own stores come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ….

    Args:
        settings: values by variable name: MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION; by default those
            of the environment.

    Raises:
        InputError: a setting is wrong, a permission is missing, or the cluster does not answer.
    """
    from winnow.orchestrators import stack
    from winnow.platforms.stack_variables import BACKEND, DESTINATION

    given = stack.settings_given("kubernetes", settings, (BACKEND, DESTINATION))
    secrets = stack.secrets("kubernetes", given, say=say)
    return MadeSecrets(secrets.place, False if dry_run else secrets.store(), secrets.render())


def dashboard(*, port: int | None = None) -> Dashboard:
    """Open Optuna's dashboard on the studies, on this machine only and read-only. Call `serve` on the result.

    It may be used while a sweep runs. It needs the package optuna-dashboard.

    Args:
        port: port of the pages; by default 8080, or a free one if that is taken.

    Raises:
        InputError: the package is not installed, the port is taken, or there are no studies yet.
    """
    from winnow.orchestrators.dashboard import open_dashboard
    from winnow.orchestrators.settings import current

    return open_dashboard(current(), port)


def ui(*, port: int | None = None, dry_run: bool = False) -> TrackingPages:
    """Find MLflow's pages on the runs.

    If no tracking server is in use, `server` in the result is the command that starts one.

    Args:
        port: port of the pages; by default 5000, or a free one if that is taken.
        dry_run: open no port, and change no file.

    Raises:
        InputError: the port is taken, or there are no runs yet.
    """
    from winnow.orchestrators.pages import find_pages

    return find_pages(port, dry_run=dry_run)
