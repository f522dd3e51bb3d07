"""The tracking stack: MLflow with its database and artifact store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.config.settings import Variable
    from winnow.orchestrators.pages import TrackingPages
    from winnow.platforms.images import BuildStep
    from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class StackStatus:
    """The stack in use.

    Attributes:
        name: the stack, as messages name it.
        platform: "docker" or "kubernetes".
        tracking_url: MLflow's address; on Kubernetes the one inside the cluster.
        ending: the command that ends its use.
        diagnosis: why the stack takes no connections and what to do about it; None where it answers.
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
        plan: the commands or manifests, every secret starred.
        unknown: facts that the plan lacks because the platform did not answer, a sentence each.
        endpoints: where its parts are, by what they are.
        ending: the command that ends its use.
        overriding: variables of the environment that win over its addresses.
    """

    plan: str
    unknown: tuple[str, ...]
    endpoints: Mapping[str, str]
    ending: str
    overriding: tuple[str, ...]


@dataclass(frozen=True)
class MadeSecrets:
    """The secrets of a stack that is applied by hand.

    Attributes:
        place: where they are stored, as messages name it.
        is_changed: whether any was written.
        plan: the manifest, every secret starred.
    """

    place: str
    is_changed: bool
    plan: str


@dataclass(frozen=True)
class PrintedLogs:
    """The stack's logs, which were printed.

    Attributes:
        command: the command that prints them.
        exit_status: what it ended with; 0 in a dry run.
    """

    command: str
    exit_status: int


def mlflow_status() -> StackStatus | None:
    """Say which stack is in use, and whether it answers.

    Returns:
        The stack; None where none is in use, so that runs and studies are kept in files.

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
    """List the settings of the tracking stack, on Docker and on Kubernetes.

    Returns:
        The variables that `mlflow_init` takes as `settings`, with their defaults.
    """
    from winnow.platforms.stack_variables import CLUSTER_SETTINGS, SETTINGS

    return (*SETTINGS, *CLUSTER_SETTINGS)


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
    """Start Postgres, MinIO and MLflow, wait until they answer, and have every later call use them.

    Secrets are generated on the first start: on Docker into .env, on Kubernetes into the Secret winnow-tracking.
    Settings are kept there, too. A stack that runs is left as it is where nothing is set anew.

    Args:
        platform: "docker" or "kubernetes".
        settings: values by variable name, as `stack_settings` lists them; by default those of the environment. An
            empty one means the default again.
        registry: HOST/PATH that the server's image is pushed to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto a cluster's nodes; by default WINNOW_IMAGE_LOAD.
        timeout_s: seconds that the services may take; by default 180, on Kubernetes 300.
        dry_run: plan it, and change nothing; the platform need not answer.
        show: is called with each step of the image's build and delivery.
        say: is called with lines about what is being done.

    Returns:
        Where the stack's parts are, and the plan for a person.

    Raises:
        InputError: a setting is wrong, ports are taken, the stack is another's, or the platform refuses.
        BuildFailedError: the server's image was not built or not delivered.
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
    """Stop and remove the tracking stack; later calls use files again. Data and secrets stay unless told otherwise.

    Args:
        platform: "docker" or "kubernetes"; by default where the stack in use is.
        project: name of its Compose project; by default WINNOW_PROJECT, else that of the stack in use.
        env_file: the environment file with its secrets; by default WINNOW_ENV_FILE, else .env.
        volumes: delete its data too, and the secrets that open it.
        force: remove a stack that another folder or home has made, too.
        dry_run: plan it, and change nothing.
        say: is called with lines about what is left.

    Returns:
        What is removed, and what holds afterwards.

    Raises:
        InputError: another folder or home has made the stack, or workers use it.
        StackError: it was not removed.
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
        platform: "docker" or "kubernetes"; by default where the stack in use is.
        project: name of its Compose project; by default WINNOW_PROJECT, else that of the stack in use.
        env_file: the environment file with its secrets; by default WINNOW_ENV_FILE, else .env.
        service: "mlflow", "postgres", "minio" or "bucket"; by default all.
        lines: how many of the last lines of each.
        follow: continue with new lines until Ctrl-C.
        dry_run: print nothing.
        say: is called with lines about what is being done.

    Returns:
        The command that prints them, and its exit status.

    Raises:
        InputError: there is no stack or no such service, or the logs are read with another program.
    """
    from winnow.orchestrators import stack

    where, given = platform or stack.platform_in_use(), stack.which_given(project, env_file)
    found = stack.logs(where, given, say=say, service=service, lines=lines, follow=follow)
    return PrintedLogs(found.render(), 0 if dry_run else found.print())


def kubernetes_secrets(
    settings: Mapping[str, str] = {}, *, dry_run: bool = False, say: Callable[[str], None] = silent
) -> MadeSecrets:
    """Make the Secret that `kubectl apply -k k8s/tracking` needs. Passwords that are there stay as they are.

    Keys of stores of your own are taken from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ….

    Args:
        settings: values by variable name: MLFLOW_BACKEND_STORE_URI, MLFLOW_ARTIFACTS_DESTINATION; by default those
            of the environment.
        dry_run: plan it, and change nothing.
        say: is called with lines about what is being done.

    Returns:
        Where the Secret is, whether it changed, and its manifest with every value starred.

    Raises:
        InputError: a setting is wrong, a permission is missing, or the cluster does not answer.
    """
    from winnow.orchestrators import stack
    from winnow.platforms.stack_variables import BACKEND, DESTINATION

    given = stack.settings_given("kubernetes", settings, (BACKEND, DESTINATION))
    secrets = stack.secrets("kubernetes", given, say=say)
    return MadeSecrets(secrets.place, False if dry_run else secrets.store(), secrets.render())


def ui(*, port: int | None = None, dry_run: bool = False) -> TrackingPages:
    """Find out where MLflow shows the runs.

    A tracking server in use shows them itself. Otherwise `server` in what is returned is the command that shows them.

    Args:
        port: on which the pages are shown; by default 5000, or a free one where that is taken.
        dry_run: open no port, and change no file.

    Returns:
        The address, a page for each of the latest studies, and the command of the server, if one is needed.

    Raises:
        InputError: the port is taken, or there are no runs yet.
    """
    from winnow.orchestrators.pages import find_pages

    return find_pages(port, dry_run=dry_run)
