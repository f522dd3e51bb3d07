"""`winnow mlflow-init`, `mlflow-remove`, `compose-logs`: Postgres, MinIO and MLflow on this machine's Docker.

With `--platform kubernetes` they mean the stack of a cluster's namespace: `winnow.cli.kubernetes_stack`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from winnow.cli.options import dry_run_option
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.stack_settings import OF_CLUSTER, OF_DOCKER
from winnow.platforms.stack_variables import KEYS, SETTINGS, STUDIES

FOLDER = Path()
_WHICH = ("WINNOW_PROJECT", "WINNOW_ENV_FILE")


def setting_flag(name: str, text: str) -> Callable[[Any], Any]:
    """A setting as a flag, so that `make mlflow-init MLFLOW_PORT=5600` works; else the environment's variable."""
    return click.option(f"--{name.lower().replace('_', '-')}", name.lower(), envvar=name, metavar="VALUE", help=text)


_target_option = click.option(
    "--platform", type=click.Choice(("docker", "kubernetes")), help="Where it is; by default where the one in use is."
)


def _settings_as_flags(command: Any) -> Any:
    for setting in reversed((*SETTINGS, *OF_CLUSTER)):
        if setting.name not in _WHICH:
            command = setting_flag(setting.name, f"{setting.description} Default: {setting.default or 'none'}.")(
                command
            )
    return _which_stack(command)


def _which_stack(command: Any) -> Any:
    """Which stack is meant, where there are several."""
    command = setting_flag("WINNOW_ENV_FILE", "The environment file with its secrets. Default: .env.")(command)
    return setting_flag("WINNOW_PROJECT", "Name of its Compose project. Default: winnow.")(command)


@click.command("mlflow-init")
@click.option(
    "--platform", type=click.Choice(("docker", "kubernetes")), default="docker", show_default=True, help="Where to."
)
@_settings_as_flags
@click.option("--registry", default="", help="Kubernetes: registry that the image is pushed to.")
@click.option("--image-load", default="", help='Kubernetes: command that loads it, such as "kind load docker-image".')
@click.option(
    "--timeout", type=click.FloatRange(min=1), help="Seconds to wait. Default: 180, on Kubernetes 300, for it pulls."
)
@dry_run_option
def init(
    platform: str, registry: str, image_load: str, timeout: float | None, dry_run: bool, **flags: str | None
) -> None:
    """Start Postgres, MinIO and MLflow, and let every verb use them.

    Secrets are generated on the first start: on Docker into .env, on Kubernetes into the Secret winnow-tracking. What
    is set here is kept there too. Again: changes nothing.
    """
    if platform == "kubernetes":
        from winnow.cli import kubernetes_stack

        given = given_for(platform, flags)
        kubernetes_stack.init(given, registry=registry, load=image_load, timeout_s=timeout, dry_run=dry_run)
        return
    from winnow.orchestrators import stack as stacks
    from winnow.platforms.docker.stack import PATIENCE_S

    refuse_strangers(platform, flags)
    given, home = _given(flags), _home()
    stack = stacks.open_stack(stacks.find_project(given, home, FOLDER), say)
    if dry_run:
        click.echo(stacks.plan(given, stack).render())
        return
    with stacks.alone(stack.project, say):
        plan = stacks.plan(given, stack)
        stacks.start(stack, plan, home, timeout or PATIENCE_S)
    _print_started(plan.record, given)


@click.command("mlflow-remove")
@_target_option
@_which_stack
@click.option("--volumes", is_flag=True, help="Delete its data too, and the secrets that open it.")
@click.option("--force", is_flag=True, help="Remove a stack that another folder or home has made, too.")
@dry_run_option
def remove(platform: str | None, volumes: bool, force: bool, dry_run: bool, **flags: str | None) -> None:
    """Stop and remove the stack; verbs use files again. Data and secrets are kept unless told otherwise."""
    if _meant(platform) == "kubernetes":
        from winnow.cli import kubernetes_stack

        kubernetes_stack.remove(volumes=volumes, is_forced=force, dry_run=dry_run)
        return
    from winnow.orchestrators import stack as stacks
    from winnow.platforms.docker.stack_owner import check_end

    given, home = _given(flags), _home()
    project = stacks.find_project(given, home, FOLDER)
    stack = stacks.open_stack(project, say)
    there = stack.volumes()
    other = stacks.other_owner(stack)
    if force:
        say_forced(f"the stack {project.name}", other)
    else:
        check_end(project, other)
    if dry_run:
        click.echo(f"remove the containers and networks of the project {project.name}")
        if volumes:
            click.echo(f"delete the volumes {', '.join(there) or '(there are none)'}")
            click.echo(f"delete the secrets in {project.env_file}")
        return
    with stacks.alone(project, say):
        for line in stacks.remove(stack, home, volumes=volumes):
            say(f"warning: {line}")
    if volumes:
        click.echo(
            f"The stack {project.name} is gone, and its data with it. Runs and studies are kept in {home} again."
        )
    else:
        kept = f"Its data stays in {', '.join(there)}. " if there else ""
        click.echo(f"The stack {project.name} is removed. {kept}Runs and studies are kept in {home} again.")


@click.command("compose-logs")
@_target_option
@_which_stack
@click.option("--service", metavar="NAME", help="Only this service: mlflow, postgres, minio or bucket.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Last lines of each.")
@click.option("--follow", is_flag=True, help="Go on printing until Ctrl-C.")
@dry_run_option
def logs(
    platform: str | None, service: str | None, lines: int, follow: bool, dry_run: bool, **flags: str | None
) -> int:
    """Print the logs of the stack on Docker."""
    if _meant(platform) == "kubernetes":
        from winnow.cli import kubernetes_stack

        raise kubernetes_stack.no_logs(service)
    from winnow.orchestrators import stack as stacks

    project = stacks.find_project(_given(flags), _home(), FOLDER)
    command = stacks.logs_command(project, service, lines, follow=follow)
    if dry_run:
        click.echo(shlex.join(command))
        return 0
    return stacks.print_logs(stacks.open_stack(project, say), command)


def _given(flags: Mapping[str, str | None]) -> dict[str, str]:
    """Settings by their names: flags, and what only the environment can give, for a key on a command line is seen."""
    found = {name.upper(): value for name, value in flags.items() if value}
    quiet = {one.name: os.environ.get(one.name, "") for one in (*KEYS, *STUDIES)}
    return {**{name: value for name, value in quiet.items() if value}, **found}


def given_for(platform: str, flags: Mapping[str, str | None]) -> dict[str, str]:
    """Settings by their names; an empty one that is given on the command line means the default again."""
    refuse_strangers(platform, flags)
    emptied = {name.upper(): "" for name, value in flags.items() if value == "" and _is_typed(name)}
    return {name: text for name, text in {**_given(flags), **emptied}.items() if name not in OF_DOCKER}


def refuse_strangers(platform: str, flags: Mapping[str, str | None]) -> None:
    """Refuse a flag that means nothing there; a variable of the environment may be meant for the other.

    Raises:
        InputError: names the flag.
    """
    strangers = OF_DOCKER if platform == "kubernetes" else {one.name for one in OF_CLUSTER}
    for name in flags:
        if name.upper() in strangers and _is_typed(name):
            raise InputError(
                name.upper(),
                expected=f"a setting of the stack on {platform.capitalize()}",
                found="one of the other's",
                remedy="Leave it out; docs/configuration.md lists what there is.",
            )


def _is_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _meant(platform: str | None) -> str:
    """Where the stack that is meant is: as it is said, else where the one in use is."""
    from winnow.config.stack_record import ClusterStackRecord, read_stack

    if platform is not None:
        return platform
    return "kubernetes" if isinstance(read_stack(_home()), ClusterStackRecord) else "docker"


def _home() -> Path:
    from winnow.config.settings import home_folder

    return home_folder(os.environ)


def say(line: str) -> None:
    click.echo(line, err=True)


def say_forced(what: str, other: str) -> None:
    """Name the owner of what is removed although it is another one's."""
    if other:
        say(f"{what} is one of {other}; it is removed all the same.")


def _print_started(started: Any, given: Mapping[str, str]) -> None:
    click.echo(f"MLflow    {started.tracking_url}")
    click.echo(f"Postgres  {started.storage_url}" if started.storage_url else "Studies   WINNOW_STORAGE")
    click.echo(f"Secrets   {started.env_file}")
    say_in_use(started.ending, given)


def say_in_use(ending: str, given: Mapping[str, str]) -> None:
    """Say that verbs use a new stack until that command, and what of the environment wins over it."""
    click.echo(f"Every verb uses it from now on, until `{ending}`.")
    for name in ("MLFLOW_TRACKING_URI", "WINNOW_STORAGE"):
        if os.environ.get(name) and name not in given:
            click.echo(f"note: {name} is set, and wins over it.", err=True)
