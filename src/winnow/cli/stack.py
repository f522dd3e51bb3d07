"""`winnow mlflow-init`, `mlflow-remove`, `compose-logs`, `kubernetes-secrets`: Postgres, MinIO and MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from winnow import api
from winnow.cli.options import dry_run_option, say

PLATFORMS = ("docker", "kubernetes")
WHICH = {
    "WINNOW_PROJECT": "Name of its Compose project. Default: winnow.",
    "WINNOW_ENV_FILE": "The environment file with its secrets. Default: .env.",
}
"""Settings that say which stack is meant, where there are several."""


def _setting_flag(name: str, text: str) -> Callable[[Any], Any]:
    """A setting as a flag, so that `make mlflow-init MLFLOW_PORT=5600` works; else the environment's variable."""
    return click.option(f"--{name.lower().replace('_', '-')}", name.lower(), metavar="VALUE", help=text)


_platform_option = click.option(
    "--platform", type=click.Choice(PLATFORMS), help="Where it is; by default where the one in use is."
)


def _settings_as_flags(command: Any) -> Any:
    for setting in reversed(api.stack_settings()):
        if setting.name not in WHICH:
            text = f"{setting.description} Default: {setting.default or 'none'}."
            command = _setting_flag(setting.name, text)(command)
    return _which_stack(command)


def _which_stack(command: Any) -> Any:
    for name, text in reversed(WHICH.items()):
        command = _setting_flag(name, text)(command)
    return command


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
        say(f"note: {name} is set, and wins over it.")


@click.command("mlflow-remove")
@_platform_option
@_which_stack
@click.option("--volumes", is_flag=True, help="Delete its data too, and the secrets that open it.")
@click.option("--force", is_flag=True, help="Remove a stack that another folder or home has made, too.")
@dry_run_option
def remove(
    platform: str | None,
    winnow_project: str | None,
    winnow_env_file: str | None,
    volumes: bool,
    force: bool,
    dry_run: bool,
) -> None:
    """Stop and remove the stack; verbs use files again. Data and secrets are kept unless told otherwise."""
    end = api.mlflow_remove(
        platform,
        project=winnow_project,
        env_file=winnow_env_file,
        volumes=volumes,
        force=force,
        dry_run=dry_run,
        say=say,
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
    platform: str | None,
    winnow_project: str | None,
    winnow_env_file: str | None,
    service: str | None,
    lines: int,
    follow: bool,
    dry_run: bool,
) -> int:
    """Print the logs of the stack on Docker."""
    logs = api.compose_logs(
        platform,
        project=winnow_project,
        env_file=winnow_env_file,
        service=service,
        lines=lines,
        follow=follow,
        dry_run=dry_run,
        say=say,
    )
    if dry_run:
        click.echo(logs.command)
    return logs.exit_status


@click.command("kubernetes-secrets")
@_setting_flag("MLFLOW_BACKEND_STORE_URI", "MLflow's own database, where that is not to be the stack's Postgres.")
@_setting_flag("MLFLOW_ARTIFACTS_DESTINATION", "Where artifacts are kept, where that is not to be the stack's MinIO.")
@dry_run_option
def secrets(dry_run: bool, **flags: str | None) -> None:
    """Make the Secret that `kubectl apply -k k8s/tracking` needs. Passwords that are there stay as they are.

    Keys of stores of your own are taken from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …
    """
    made = api.kubernetes_secrets(_typed(flags), dry_run=dry_run, say=say)
    if dry_run:
        click.echo(made.plan, nl=False)
        return
    click.echo(f"{made.place}: {'written' if made.is_changed else 'as it was'}.")


def _typed(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The settings that are given as flags, by their names."""
    return {name.upper(): value for name, value in flags.items() if value is not None}
