"""`winnow prod`, `prod-status`, `prod-remove` and `rollback`: the selected model, served."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    config_option,
    deployment_option,
    dry_run_option,
    json_option,
    named_study,
    platform_option,
    same_command,
    study_of,
    study_option,
    version_options,
)
from winnow.cli.places import any_of
from winnow.config.next_command import Value, next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.config.errors import WinnowError
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import FoundDeployment
    from winnow.platforms.deployer import Deployer, Deployment, Release


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
    from winnow.cli.build import shown_steps
    from winnow.orchestrators.deploy import ServeRequest, plan_serving, preview_serving
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    request = ServeRequest(name, alias, version, replicas, host, port, registry, image_load)
    models = Registry(settings.tracking_uri)
    if dry_run:
        preview = preview_serving(platform, settings, models, request)
        say_unknown(preview.absences, preview.unknown)
        if preview.note:
            _say(preview.note)
        click.echo(preview.plan.render())
        return
    with shown_steps() as show:
        planned = plan_serving(platform, settings, models, request, show=show, say=_say)
    if planned.note:
        _say(planned.note)
    deployment = planned.deploy()
    if planned.changes_nothing:
        click.echo("This model is being served already; nothing was changed.")
    _print_served(deployment, platform, planned.deployer)


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
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import list_deployments

    settings = Settings.from_environment()
    deployers, away = answering_deployers(settings, platform)
    found = list_deployments(deployers, name)
    champions = _champions(found)
    if as_json:
        import msgspec

        rows = [{**_facts(each), "champion": champions[each.deployment.name]} for each in found]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif not found and away:
        click.echo(f"Nothing is being served {any_of(deployers.values())}; {' and '.join(away)} could not be asked.")
    elif not found:
        click.echo(
            f"Nothing is being served {any_of(deployers.values())}. "
            f"`{next_command('prod', platform='local')}` serves the selected model here."
        )
    else:
        for each in found:
            _print_status(each, champions[each.deployment.name], settings)
            if (manual := deployers[each.platform].manual_access(each.deployment)) is not None:
                click.echo(f"  {manual.reason}")
    return 1 if away and not found else 0


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
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import find_deployment
    from winnow.platforms.deployer import UnknownDeploymentError

    deployers, away = answering_deployers(Settings.from_environment(), platform)
    try:
        found_on, chosen = find_deployment(deployers, named, command_for)
    except UnknownDeploymentError as error:
        # A change that was cut off may have left parts that serve nothing.
        left = named is not None and not dry_run and sum(each.remove(named) for each in deployers.values()) > 0
        what = f"{named} is not" if named is not None else "nothing is"
        click.echo(
            f"{named} was not being served. Parts that a failed change had left are removed."
            if left
            else f"Nothing was removed: {what} served {any_of(deployers.values())}."
        )
        for other in error.known:
            _say(f"  {other} is served: {command_for(other)}")
        return 1 if away else 0
    deployer = deployers[found_on]
    if dry_run:
        for each in deployer.status(chosen).replicas:
            click.echo(f"stop {chosen}: {each.identifier}")
        return 0
    if not deployer.remove(chosen):
        click.echo(f"Nothing was removed: {chosen} is no longer served; another command has removed it.")
        return 0
    click.echo(f"{chosen} is no longer served {deployer.place}.")
    if hint := deployer.images_hint(chosen):
        click.echo(hint)
    return 0


@click.command("rollback", cls=StoreVerb)
@deployment_option
@platform_option
@study_option
@dry_run_option
def rollback(config: Path | None, platform: str | None, study: str | None, dry_run: bool) -> None:
    """Serve the model that was served before the current one. Without a name it means the only deployment."""
    named = named_study(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import find_deployment

    deployers, _ = answering_deployers(Settings.from_environment(), platform)
    found_on, chosen = find_deployment(deployers, named, command_for)
    deployer = deployers[found_on]
    plan = deployer.plan_rollback(chosen)
    if dry_run:
        click.echo(plan.render())
        return
    _print_served(deployer.deploy(plan), found_on, deployer)


def answering_deployers(
    settings: Settings, platform: str | None
) -> tuple[dict[str, Deployer[Any]], dict[str, WinnowError]]:
    """The deployers that answer, and the platforms in use that do not, which stderr names.

    Args:
        platform: the one that is asked; None: all.

    Raises:
        InputError, UnreachableError: the named platform does not answer.
    """
    from winnow.orchestrators import deployments

    away: dict[str, WinnowError] = {}
    deployers = deployments.answering_deployers(settings, platform, say=_say, on_away=away.__setitem__)
    for name, error in away.items():
        _say(f"warning: {name} could not be asked what it serves: {error}")
    return deployers, away


def command_for(name: str, platform: str | None = None) -> str:
    """The running command, for one deployment."""
    given: dict[str, Value] = {"study": name, "config": None}
    return same_command(**given, **({} if platform is None else {"platform": platform}))


def say_unknown(absences: Iterable[str], unknown: Iterable[str]) -> None:
    """Say on stderr, for a plan that is only shown, what could not be looked up, and why."""
    for each in absences:
        _say(f"warning: {each}")
    for each in unknown:
        _say(f"not looked up: {each}")


def _say(line: str) -> None:
    """Print a message that is not a result: to stderr, also where that is not a terminal."""
    click.echo(line, err=True)


def _print_served(deployment: Deployment, platform: str, deployer: Deployer[Any]) -> None:
    from winnow.bundle.manifest import EXAMPLE

    release, name = deployment.release, deployment.name
    url, way = deployment.url, ""
    manual = deployer.manual_access(deployment)
    if manual is not None:
        _say(manual.reason)
        url, way = manual.url, f"  way      {manual.command}\n"
    example = release.bundle / EXAMPLE
    key = '  -H "authorization: Bearer $WINNOW_API_KEY" \\\n' if _has_key() else ""
    click.echo(
        f"Serving {release.model} version {release.version} (sha256 {release.digest[:12]}) at {deployment.url}\n"
        f"{way}"
        f"  docs     {url}/docs\n"
        f"  metrics  {url}/metrics\n"
        f"  logs     {deployer.logs_hint(deployment)}\n"
        f"  stop     {next_command('prod-remove', study=name, platform=platform)}\n"
        "Ask it for a prediction:\n"
        f"  {next_command('inference-one', study=name, platform=platform)}\n"
        "or\n"
        f"  curl -s {url}/predict -H 'content-type: application/json' \\\n{key}"
        f"  -d {shlex.quote(f'@{example}')}"
    )
    if manual is None:
        warn_of_other_answer(deployment, deployer)


def warn_of_other_answer(deployment: Deployment, deployer: Deployer[Any]) -> None:
    """Say that something else answers at the deployment's address."""
    from winnow.orchestrators.deployments import other_answer

    if not (found := other_answer(deployment)):
        return
    release = deployment.release
    _say(
        f"warning: {deployment.url} does not lead to {release.model} version {release.version} "
        f"(sha256 {release.digest[:12]}), whose replicas are {deployment.state}: {found}. "
        f"{deployer.address_hint(deployment)}"
    )


def _has_key() -> bool:
    from winnow.serving.settings import from_environment

    return from_environment().api_key is not None


def _champions(found: list[FoundDeployment]) -> dict[str, str | None]:
    """The registry's champion for each deployment; None where there is none or its store does not answer."""
    if not found:
        return {}
    from winnow.orchestrators.releases import champion_number
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    registry = Registry(current().tracking_uri)
    models = {each.deployment.release.model for each in found}
    versions = {model: champion_number(registry, model) for model in models}
    return {each.deployment.name: versions[each.deployment.release.model] for each in found}


def _facts(served: FoundDeployment) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(served.deployment, enc_hook=str)
    return {**facts, "platform": served.platform, "traffic": {served.deployment.release.version: 1.0}}


def _print_status(served: FoundDeployment, champion: str | None, settings: Settings) -> None:
    from winnow.platforms.table import platform_for

    deployment, release = served.deployment, served.deployment.release
    click.echo(
        f"{deployment.name}  {deployment.state}  {deployment.url}  "
        f"{release.model} version {release.version} (sha256 {release.digest[:12]})"
    )
    kind = platform_for(served.platform, settings).capabilities.replica
    for replica in deployment.replicas:
        click.echo(f"  {kind} {replica.identifier}  version {replica.version}  {replica.state}")
    click.echo(
        f"  platform {served.platform}; all requests go to version {release.version}; {_standing(release, champion)}"
    )
    if deployment.previous is not None:
        rollback = next_command("rollback", study=deployment.name, platform=served.platform)
        click.echo(f"  back to version {deployment.previous.version}: {rollback}")


def _standing(release: Release, champion: str | None) -> str:
    if champion is None:
        return "its registry names no champion, or is away"
    return "it is the champion" if champion == release.version else f"the champion is version {champion}"
