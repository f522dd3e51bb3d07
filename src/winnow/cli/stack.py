"""`winnow mlflow-init`, `mlflow-remove`, `compose-logs`, `kubernetes-secrets`: Postgres, MinIO and MLflow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import click
from click.core import ParameterSource

from winnow.cli.options import dry_run_option
from winnow.config.errors import InputError
from winnow.platforms.stack_variables import (
    BACKEND,
    CLUSTER_SETTINGS,
    DESTINATION,
    KEYS,
    SETTINGS,
    STUDIES,
    not_on,
)

PLATFORMS = ("docker", "kubernetes")
_WHICH = ("WINNOW_PROJECT", "WINNOW_ENV_FILE")


def _setting_flag(name: str, text: str) -> Callable[[Any], Any]:
    """A setting as a flag, so that `make mlflow-init MLFLOW_PORT=5600` works; else the environment's variable."""
    return click.option(f"--{name.lower().replace('_', '-')}", name.lower(), envvar=name, metavar="VALUE", help=text)


_platform_option = click.option(
    "--platform", type=click.Choice(PLATFORMS), help="Where it is; by default where the one in use is."
)


def _settings_as_flags(command: Any) -> Any:
    for setting in reversed((*SETTINGS, *CLUSTER_SETTINGS)):
        if setting.name not in _WHICH:
            text = f"{setting.description} Default: {setting.default or 'none'}."
            command = _setting_flag(setting.name, text)(command)
    return _which_stack(command)


def _which_stack(command: Any) -> Any:
    """Which stack is meant, where there are several."""
    command = _setting_flag("WINNOW_ENV_FILE", "The environment file with its secrets. Default: .env.")(command)
    return _setting_flag("WINNOW_PROJECT", "Name of its Compose project. Default: winnow.")(command)


@click.command("mlflow-init")
@click.option("--platform", type=click.Choice(PLATFORMS), default="docker", show_default=True, help="Where to.")
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
    from winnow.cli.build import shown_steps
    from winnow.orchestrators import stack as stacks

    given = _given_for(platform, flags)
    with shown_steps() as show:
        plan = stacks.init(
            platform,
            given,
            say=_say,
            registry=registry,
            image_load=image_load,
            timeout_s=timeout,
            is_dry_run=dry_run,
            show=show,
        )
    if dry_run:
        click.echo(plan.render().rstrip("\n"))
        for fact in plan.unknown:
            _say(f"not looked up: {fact}")
        return
    for name, address in plan.endpoints.items():
        click.echo(f"{name:<10}{address}")
    click.echo(f"Every verb uses it from now on, until `{plan.record.ending}`.")
    for name in ("MLFLOW_TRACKING_URI", "WINNOW_STORAGE"):
        if os.environ.get(name) and name not in given:
            _say(f"note: {name} is set, and wins over it.")


@click.command("mlflow-remove")
@_platform_option
@_which_stack
@click.option("--volumes", is_flag=True, help="Delete its data too, and the secrets that open it.")
@click.option("--force", is_flag=True, help="Remove a stack that another folder or home has made, too.")
@dry_run_option
def remove(platform: str | None, volumes: bool, force: bool, dry_run: bool, **flags: str | None) -> None:
    """Stop and remove the stack; verbs use files again. Data and secrets are kept unless told otherwise."""
    from winnow.orchestrators import stack as stacks

    end = stacks.remove(
        platform or stacks.platform_in_use(),
        _given(flags),
        say=_say,
        volumes=volumes,
        is_forced=force,
        is_dry_run=dry_run,
    )
    click.echo(end.render() if dry_run else end.outcome)


@click.command("compose-logs")
@_platform_option
@_which_stack
@click.option("--service", metavar="NAME", help="Only this service: mlflow, postgres, minio or bucket.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Last lines of each.")
@click.option("--follow", is_flag=True, help="Go on printing until Ctrl-C.")
@dry_run_option
def logs(
    platform: str | None, service: str | None, lines: int, follow: bool, dry_run: bool, **flags: str | None
) -> int:
    """Print the logs of the stack on Docker."""
    from winnow.orchestrators import stack as stacks

    meant = platform or stacks.platform_in_use()
    printed = stacks.logs(meant, _given(flags), say=_say, service=service, lines=lines, follow=follow)
    if dry_run:
        click.echo(printed.render())
        return 0
    return printed.print()


@click.command("kubernetes-secrets")
@_setting_flag(BACKEND, "MLflow's own database, where that is not to be the stack's Postgres.")
@_setting_flag(DESTINATION, "Where artifacts are kept, where that is not to be the stack's MinIO.")
@dry_run_option
def secrets(dry_run: bool, **flags: str | None) -> None:
    """Make the Secret that `kubectl apply -k k8s/tracking` needs. Passwords that are there stay as they are.

    Keys of stores of your own are taken from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …
    """
    from winnow.orchestrators import stack as stacks

    made = stacks.secrets("kubernetes", _given_for("kubernetes", flags), say=_say)
    if dry_run:
        click.echo(made.render(), nl=False)
        return
    click.echo(f"{made.place}: {'written' if made.store() else 'as it was'}.")


def _given(flags: Mapping[str, str | None]) -> dict[str, str]:
    """Settings by their names: flags, and what only the environment can give, since a command line can be seen."""
    found = {name.upper(): value for name, value in flags.items() if value}
    quiet = {one.name: os.environ.get(one.name, "") for one in (*KEYS, *STUDIES)}
    return {**{name: value for name, value in quiet.items() if value}, **found}


def _given_for(platform: str, flags: Mapping[str, str | None]) -> dict[str, str]:
    """The settings of a platform's stack; an empty one that is typed means the default again.

    A variable of the environment may be meant for another platform and is passed over.

    Raises:
        InputError: a setting is typed that this platform's stack does not have.
    """
    strange, typed = not_on(platform), [name for name in flags if _is_typed(name)]
    for name in typed:
        if name.upper() in strange:
            raise InputError(
                name.upper(),
                expected=f"a setting of the stack on {platform.capitalize()}",
                found="one of the other's",
                remedy="Leave it out; docs/configuration.md lists what there is.",
            )
    emptied = {name.upper(): "" for name in typed if flags[name] == ""}
    return {name: text for name, text in {**_given(flags), **emptied}.items() if name not in strange}


def _is_typed(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _say(line: str) -> None:
    click.echo(line, err=True)
