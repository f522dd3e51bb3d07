"""`winnow prod`, `prod-status`, `prod-remove` and `rollback`: the selected model, served."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    candidates_as_commands,
    command_for,
    config_option,
    deployment_option,
    dry_run_option,
    json_option,
    named_study,
    platform_option,
    say,
    study_of,
    study_option,
    version_options,
)
from winnow.cli.places import either
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import Access, Deployment, Release, ServedDeployment


@click.command("prod", cls=StoreVerb)
@config_option
@click.option(
    "--platform", type=click.Choice(PLATFORMS), default="local", show_default=True, help="Platform to serve it on."
)
@study_option
@version_options
@click.option("--replicas", type=click.IntRange(min=1), help="Servers side by side; by default as many as run, or one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on; on Kubernetes the host of the Ingress, in which a * is the deployment's name.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Port; by default the one in use, or a free one.")
@click.option("--registry", metavar="HOST/PATH", default="", help="Push the image there; a cluster pulls from it.")
@click.option(
    "--image-load",
    metavar="COMMAND",
    default="",
    help="Have this put the image on the cluster's nodes, as `kind load docker-image` does.",
)
@dry_run_option
def prod(
    config: Path,
    platform: str,
    study: str | None,
    alias: str,
    version: str | None,
    replicas: int | None,
    host: str,
    port: int | None,
    registry: str,
    image_load: str,
    dry_run: bool,
) -> None:
    """Serve the selected model and print where.

    The model that was served before answers until the new one is ready; where that fails, it goes on answering.
    """
    name = study_of(config, study)
    from winnow import api
    from winnow.cli.build import shown_steps

    request = api.ServeRequest(name, alias, version, replicas, host, port, registry, image_load)
    if dry_run:
        preview = api.preview_serving(request, platform)
        say_unknown(preview.absences, preview.unknown)
        if preview.note:
            say(preview.note)
        click.echo(preview.render())
        return
    with shown_steps() as show:
        plan = api.plan_serving(request, platform, show=show, say=say)
    if plan.note:
        say(plan.note)
    deployment = plan.deploy()
    if plan.changes_nothing:
        click.echo("This model is being served already; nothing was changed.")
    _print_served(deployment, plan.platform, plan.access(deployment))


@click.command("prod-status")
@click.option("--config", type=click.Path(path_type=Path), help="Show only this experiment's deployment.")
@platform_option
@study_option
@json_option
def status(config: Path | None, platform: str | None, study: str | None, as_json: bool) -> int:
    """Show what is being served: versions, replicas, addresses.

    Ends with status 1 where nothing is, as far as can be told, and a platform that is in use could not be asked.
    """
    name = named_study(config, study)
    from winnow import api

    found = api.status(study=name, platform=platform, say=say)
    if as_json:
        import msgspec

        rows = [_facts(each) for each in found.deployments]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif found.deployments:
        for each in found.deployments:
            _print_status(each)
    elif found.absent:
        absent = " and ".join(found.absent)
        click.echo(f"Nothing is being served {either(found.places)}; {absent} could not be asked.")
    else:
        click.echo(
            f"Nothing is being served {either(found.places)}. "
            f"`{next_command('prod', platform='local')}` serves the selected model here."
        )
    return 1 if found.absent and not found.deployments else 0


@click.command("prod-remove")
@deployment_option
@platform_option
@study_option
@dry_run_option
def remove(config: Path | None, platform: str | None, study: str | None, dry_run: bool) -> int:
    """Stop serving: let requests end, then stop all replicas. Images and logs stay.

    Without a name it means the only deployment. Ends with status 1 where it is not served, as far as can be told, and
    a platform that is in use could not be asked.
    """
    named = named_study(config, study)
    from winnow import api

    with candidates_as_commands():
        found = api.remove_deployment(study=named, platform=platform, dry_run=dry_run, say=say)
    if found.place is None:
        what = f"{found.name} is not" if found.name is not None else "nothing is"
        click.echo(
            f"{found.name} was not being served. Parts that a failed change had left are removed."
            if found.has_removed_parts
            else f"Nothing was removed: {what} served {either(found.places)}."
        )
        for other in found.known:
            say(f"  {other} is served: {command_for(other)}")
        return 1 if found.absent else 0
    for each in found.replicas:
        click.echo(f"stop {found.name}: {each}")
    if found.is_removed:
        click.echo(f"{found.name} is no longer served {found.place}.")
        if found.images:
            click.echo(found.images)
    elif not dry_run:
        click.echo(f"Nothing was removed: {found.name} is no longer served; another command has removed it.")
    return 0


@click.command("rollback", cls=StoreVerb)
@deployment_option
@platform_option
@study_option
@dry_run_option
def rollback(config: Path | None, platform: str | None, study: str | None, dry_run: bool) -> None:
    """Serve the model that was served before the current one. Without a name it means the only deployment."""
    named = named_study(config, study)
    from winnow import api

    with candidates_as_commands():
        plan = api.plan_rollback(study=named, platform=platform, say=say)
    if dry_run:
        click.echo(plan.render())
        return
    deployment = plan.deploy()
    _print_served(deployment, plan.platform, plan.access(deployment))


def say_unknown(absences: Iterable[str], unknown: Iterable[str]) -> None:
    """Say on stderr, for a plan that is only shown, what could not be looked up, and why."""
    for each in absences:
        say(f"warning: {each}")
    for each in unknown:
        say(f"not looked up: {each}")


def _print_served(deployment: Deployment, platform: str, access: Access) -> None:
    release, name = deployment.release, deployment.name
    url, way = access.url, ""
    if access.manual is not None:
        say(access.manual.reason)
        way = f"  way      {access.manual.command}\n"
    key = '  -H "authorization: Bearer $WINNOW_API_KEY" \\\n' if access.needs_key else ""
    click.echo(
        f"Serving {release.model} version {release.version} (sha256 {release.digest[:12]}) at {deployment.url}\n"
        f"{way}"
        f"  docs     {url}/docs\n"
        f"  metrics  {url}/metrics\n"
        f"  logs     {access.logs}\n"
        f"  stop     {next_command('prod-remove', study=name, platform=platform)}\n"
        "Ask it for a prediction:\n"
        f"  {next_command('inference-one', study=name, platform=platform)}\n"
        "or\n"
        f"  curl -s {url}/predict -H 'content-type: application/json' \\\n{key}"
        f"  -d {shlex.quote(f'@{access.example}')}"
    )
    if access.warning:
        say(f"warning: {access.warning}")


def _facts(served: ServedDeployment) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(served.deployment, enc_hook=str)
    traffic = {served.deployment.release.version: 1.0}
    return {**facts, "platform": served.platform, "traffic": traffic, "champion": served.champion}


def _print_status(served: ServedDeployment) -> None:
    deployment, release = served.deployment, served.deployment.release
    click.echo(
        f"{deployment.name}  {deployment.state}  {deployment.url}  "
        f"{release.model} version {release.version} (sha256 {release.digest[:12]})"
    )
    for replica in deployment.replicas:
        click.echo(f"  {served.replica} {replica.identifier}  version {replica.version}  {replica.state}")
    standing = _standing(release, served.champion)
    click.echo(f"  platform {served.platform}; all requests go to version {release.version}; {standing}")
    if deployment.previous is not None:
        rollback = next_command("rollback", study=deployment.name, platform=served.platform)
        click.echo(f"  back to version {deployment.previous.version}: {rollback}")
    if served.manual is not None:
        click.echo(f"  {served.manual.reason}")


def _standing(release: Release, champion: str | None) -> str:
    if champion is None:
        return "its registry names no champion, or is away"
    return "it is the champion" if champion == release.version else f"the champion is version {champion}"
