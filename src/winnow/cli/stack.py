"""`winnow mlflow-init`, `mlflow-remove`, `compose-logs`, `kubernetes-secrets`: the tracking stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from winnow import api
from winnow.cli.options import dry_run_option, in_order, registry_options, say

PLATFORMS = ("docker", "kubernetes")
WHICH = {"WINNOW_PROJECT": "project", "WINNOW_ENV_FILE": "env_file"}
"""The settings that select a stack if there are several, and the arguments that they give a verb."""


def _setting_flag(name: str, text: str, argument: str = "") -> Callable[[Any], Any]:
    """A setting as a flag, so that `make mlflow-init MLFLOW_PORT=5600` works; by default the environment's variable."""
    flag = f"--{name.lower().replace('_', '-')}"
    return click.option(flag, argument or name.lower(), metavar="VALUE", help=text)


def _which(arguments: Mapping[str, str]) -> Callable[[Any], Any]:
    """Which stack. `arguments`: what the flags give the verb."""
    return in_order(
        _setting_flag("WINNOW_PROJECT", "Name of its Compose project. Default: winnow.", arguments["WINNOW_PROJECT"]),
        _setting_flag("WINNOW_ENV_FILE", "File with its secrets. Default: .env.", arguments["WINNOW_ENV_FILE"]),
    )


_existing_stack = in_order(
    click.option("--platform", type=click.Choice(PLATFORMS), help="Its platform; by default that of the stack in use."),
    _which(WHICH),
)

_settings_as_flags = in_order(
    _which(dict.fromkeys(WHICH, "")),
    *(
        _setting_flag(setting.name, f"{setting.description} Default: {setting.default or 'none'}.")
        for setting in api.stack_settings()
        if setting.name not in WHICH
    ),
)


@click.command("mlflow-init")
@click.option(
    "--platform", type=click.Choice(PLATFORMS), default="docker", show_default=True, help="Where to start it."
)
@_settings_as_flags
@registry_options()
@click.option(
    "--timeout", type=click.FloatRange(min=1), help="Seconds to wait. Default: 180, on Kubernetes 300, to pull images."
)
@dry_run_option
def init(
    platform: str, registry: str, image_load: str, timeout: float | None, dry_run: bool, **flags: str | None
) -> None:
    """Start Postgres, MinIO and MLflow, and make every verb use them.

    The first start generates secrets and stores them with these settings: on Docker in .env, on Kubernetes in the
    Secret winnow-tracking. Running it again changes nothing.
    """
    from winnow.cli.build import shown_steps

    with shown_steps() as show:
        started = api.mlflow_init(
            platform,
            _typed(flags),
            registry=registry,
            image_load=image_load,
            timeout_s=timeout,
            dry_run=dry_run,
            show=show,
            say=say,
        )
    if dry_run:
        click.echo(started.plan.rstrip("\n"))
        for fact in started.unknown:
            say(f"not looked up: {fact}")
        return
    for name, address in started.endpoints.items():
        click.echo(f"{name:<10}{address}")
    click.echo(f"Every verb uses it from now on, until `{started.ending}`.")
    for name in started.overriding:
        say(f"note: {name} is set and takes precedence over it.")


@click.command("mlflow-remove")
@_existing_stack
@click.option("--volumes", is_flag=True, help="Also delete its data and secrets.")
@click.option("--force", is_flag=True, help="Remove the stack even if another folder or home started it.")
@dry_run_option
def remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove the stack. Verbs use files again. Data and secrets stay unless --volumes is given."""
    end = api.mlflow_remove(**options, dry_run=dry_run, say=say)
    click.echo(end.render() if dry_run else end.outcome)


@click.command("compose-logs")
@_existing_stack
@click.option("--service", metavar="NAME", help="Only this service: mlflow, postgres, minio or bucket.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Last lines of each service.")
@click.option("--follow", is_flag=True, help="Keep printing new lines until Ctrl-C.")
@dry_run_option
def logs(dry_run: bool, **options: Any) -> int:
    """Print the logs of the stack on Docker."""
    logs = api.compose_logs(**options, dry_run=dry_run, say=say)
    if dry_run:
        click.echo(logs.command)
    return logs.exit_status


@click.command("kubernetes-secrets")
@_setting_flag("MLFLOW_BACKEND_STORE_URI", "MLflow's own database, instead of the stack's Postgres.")
@_setting_flag("MLFLOW_ARTIFACTS_DESTINATION", "Where to keep artifacts, instead of the stack's MinIO.")
@dry_run_option
def secrets(dry_run: bool, **flags: str | None) -> None:
    """Create the Secret that `kubectl apply -k k8s/tracking` needs. Existing passwords stay.

    Credentials for your own stores come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …
    """
    made = api.kubernetes_secrets(_typed(flags), dry_run=dry_run, say=say)
    if dry_run:
        click.echo(made.plan, nl=False)
        return
    click.echo(f"{made.place}: {'written' if made.is_changed else 'unchanged'}.")


def _typed(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The settings given as flags, by name."""
    return {name.upper(): value for name, value in flags.items() if value is not None}
