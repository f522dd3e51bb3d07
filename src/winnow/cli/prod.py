"""`winnow prod`, `prod-status`, `prod-remove` and `rollback`: the selected model, served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import config_option, dry_run_option, json_option, study_option

if TYPE_CHECKING:
    from winnow.config.settings import Settings
    from winnow.deployers.deployer import Deployment

target_option = click.option(
    "--target", type=click.Choice(["local"]), default="local", show_default=True, help="Where it is served."
)


@click.command("prod")
@config_option
@target_option
@study_option
@click.option("--alias", default="champion", show_default=True, help="Registry alias of the version to serve.")
@click.option("--replicas", type=click.IntRange(min=1), help="Serving processes; by default as many as run, or one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port; by default the one in use, or a free one.")
@dry_run_option
def prod(
    config: Path,
    target: str,
    study: str | None,
    alias: str,
    replicas: int | None,
    host: str,
    port: int | None,
    dry_run: bool,
) -> None:
    """Serve the selected model and print where.

    The model that was served before answers until the new one is ready; where that fails, it goes on answering.
    """
    from winnow.config.settings import Settings
    from winnow.deployers.deployer import Action, DeploymentRequest
    from winnow.orchestrators.deploy import champion_release, deployer_for
    from winnow.tracking.registry import Registry

    settings = Settings.from_environment()
    name = study or _experiment_name(config)
    registry = Registry(settings.tracking_uri)
    release = champion_release(registry, name, alias, settings.home, store=settings.tracking_uri, is_kept=not dry_run)
    deployer = deployer_for(target, settings)
    plan = deployer.plan(DeploymentRequest(name, release, replicas, host, port))
    if dry_run:
        click.echo(plan.render())
        return
    deployment = deployer.deploy(plan)
    if plan.action is Action.NOTHING:
        click.echo("This model is being served already; nothing was changed.")
    _print_served(deployment, settings)


@click.command("prod-status")
@click.option("--config", type=click.Path(path_type=Path), help="Show only this experiment's deployment.")
@target_option
@study_option
@json_option
def status(config: Path | None, target: str, study: str | None, as_json: bool) -> None:
    """Show what is being served: versions, replicas, addresses."""
    from winnow.config.settings import Settings
    from winnow.orchestrators.deploy import deployer_for

    deployer = deployer_for(target, Settings.from_environment())
    name = study or (_experiment_name(config) if config is not None else None)
    found = [deployer.status(each) for each in ([name] if name is not None else deployer.names())]
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(found, enc_hook=str)).decode())
    elif not found:
        click.echo("Nothing is being served. `make prod-local` serves the selected model.")
    for deployment in found if not as_json else ():
        _print_status(deployment)


@click.command("prod-remove")
@config_option
@target_option
@study_option
@dry_run_option
def remove(config: Path, target: str, study: str | None, dry_run: bool) -> None:
    """Stop serving: let requests end, then stop all replicas."""
    from winnow.config.settings import Settings
    from winnow.orchestrators.deploy import deployer_for

    deployer = deployer_for(target, Settings.from_environment())
    chosen = study or _experiment_name(config)
    if dry_run:
        replicas = deployer.status(chosen).replicas if chosen in deployer.names() else ()
        click.echo("\n".join(f"stop {chosen}: {each.identifier}" for each in replicas) or f"{chosen} is not served.")
        return
    click.echo(f"{chosen} is no longer served." if deployer.remove(chosen) else f"{chosen} was not being served.")


@click.command("rollback")
@config_option
@target_option
@study_option
@dry_run_option
def rollback(config: Path, target: str, study: str | None, dry_run: bool) -> None:
    """Serve the model that was served before the current one."""
    from winnow.config.settings import Settings
    from winnow.orchestrators.deploy import deployer_for

    settings = Settings.from_environment()
    deployer = deployer_for(target, settings)
    plan = deployer.plan_rollback(study or _experiment_name(config))
    if dry_run:
        click.echo(plan.render())
        return
    _print_served(deployer.deploy(plan), settings)


def _experiment_name(config: Path) -> str:
    from winnow.config.loader import load_experiment

    return load_experiment(config).name


def _print_served(deployment: Deployment, settings: Settings) -> None:
    from winnow.bundle.manifest import EXAMPLE

    release = deployment.release
    example = release.bundle / EXAMPLE
    key = '  -H "authorization: Bearer $WINNOW_API_KEY" \\\n' if _has_key() else ""
    click.echo(
        f"Serving {release.model} version {release.version} (sha256 {release.digest[:12]}) at {deployment.url}\n"
        f"  docs     {deployment.url}/docs\n"
        f"  metrics  {deployment.url}/metrics\n"
        f"  logs     {settings.home / 'deployments' / deployment.name / 'logs'}\n"
        f"  stop     make prod-remove STUDY={deployment.name}\n"
        "Ask it for a prediction (`make inference-one` does the same):\n"
        f"  curl -s {deployment.url}/predict -H 'content-type: application/json' \\\n{key}  -d @{example}"
    )


def _has_key() -> bool:
    from winnow.serving.settings import from_environment

    return from_environment().api_key is not None


def _print_status(deployment: Deployment) -> None:
    release = deployment.release
    click.echo(
        f"{deployment.name}  {deployment.state}  {deployment.url}  "
        f"{release.model} version {release.version} (sha256 {release.digest[:12]})"
    )
    for replica in deployment.replicas:
        click.echo(f"  process {replica.identifier}  version {replica.version}  {replica.state}")
    if deployment.previous is not None:
        click.echo(f"  `make rollback STUDY={deployment.name}` brings back version {deployment.previous.version}")
