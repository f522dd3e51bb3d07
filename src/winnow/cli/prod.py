"""`winnow prod`, `prod-status`, `prod-remove` and `rollback`: the selected model, served."""

from __future__ import annotations

import shlex
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
)
from winnow.cli.places import any_of
from winnow.config.next_command import Value, next_command, next_flag
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.config.errors import WinnowError
    from winnow.config.settings import Settings
    from winnow.orchestrators.deploy import Served
    from winnow.platforms.deployer import Deployer, Deployment, Release


@click.command("prod", cls=StoreVerb)
@config_option
@click.option(
    "--platform", type=click.Choice(PLATFORMS), default="local", show_default=True, help="Platform to serve it on."
)
@study_option
@click.option("--alias", default="champion", show_default=True, help="Registry alias of the version to serve.")
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
    from winnow.orchestrators.deploy import Wanted, plan_champion, rolls_forward
    from winnow.orchestrators.settings import current
    from winnow.platforms.deployer import Action
    from winnow.tracking.registry import Registry

    settings = current()
    wanted = Wanted(name, alias, replicas, host, port, registry, image_load)
    models = Registry(settings.tracking_uri)
    with shown_steps() as show:
        deployer, plan = plan_champion(platform, settings, models, wanted, show=show, say=_say, is_kept=not dry_run)
    if forward := rolls_forward(deployer, plan, alias):
        _say(forward)
    if dry_run:
        click.echo(plan.render())
        return
    deployment = deployer.deploy(plan)
    if plan.action is Action.NOTHING:
        click.echo("This model is being served already; nothing was changed.")
    _print_served(deployment, platform, settings, deployer)


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
    from winnow.orchestrators.deploy import is_cut_off, served

    settings = Settings.from_environment()
    tiers, away = reachable_tiers(settings, platform)
    found = served(tiers, name)
    champions = _champions(found)
    if as_json:
        import msgspec

        rows = [{**_facts(each), "champion": champions[each.deployment.name]} for each in found]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    elif not found and away:
        click.echo(f"Nothing is being served {any_of(tiers.values())}; {' and '.join(away)} could not be asked.")
    elif not found:
        click.echo(
            f"Nothing is being served {any_of(tiers.values())}. "
            f"`{next_command('prod', platform='local')}` serves the selected model here."
        )
    else:
        for each in found:
            _print_status(each, champions[each.deployment.name])
            if is_cut_off(tiers[each.platform], each.platform, each.deployment):
                click.echo(f"  {CUT_OFF}")
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
    from winnow.orchestrators.deploy import find_deployment
    from winnow.platforms.deployer import UnknownDeploymentError

    settings = Settings.from_environment()
    tiers, away = reachable_tiers(settings, platform)
    try:
        place, chosen = find_deployment(tiers, named, command_for)
    except UnknownDeploymentError as error:
        # A change that was cut off may have left parts that serve nothing.
        left = named is not None and not dry_run and sum(each.remove(named) for each in tiers.values()) > 0
        what = f"{named} is not" if named is not None else "nothing is"
        click.echo(
            f"{named} was not being served. Parts that a failed change had left are removed."
            if left
            else f"Nothing was removed: {what} served {any_of(tiers.values())}."
        )
        for other in error.known:
            _say(f"  {other} is served: {command_for(other)}")
        return 1 if away else 0
    deployer = tiers[place]
    if dry_run:
        for each in deployer.status(chosen).replicas:
            click.echo(f"stop {chosen}: {each.identifier}")
        return 0
    if not deployer.remove(chosen):
        click.echo(f"Nothing was removed: {chosen} is no longer served; another command has removed it.")
        return 0
    click.echo(f"{chosen} is no longer served {deployer.place}.")
    if place == "docker":
        click.echo(f"Its images stay: docker image ls 'winnow-prod-{chosen}'")
    if place == "kubernetes":
        click.echo("Its images stay where they were pushed or loaded.")
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
    from winnow.orchestrators.deploy import find_deployment

    settings = Settings.from_environment()
    tiers, _ = reachable_tiers(settings, platform)
    place, chosen = find_deployment(tiers, named, command_for)
    deployer = tiers[place]
    plan = deployer.plan_rollback(chosen)
    if dry_run:
        click.echo(plan.render())
        return
    _print_served(deployer.deploy(plan), place, settings, deployer)


def reachable_tiers(
    settings: Settings, platform: str | None
) -> tuple[dict[str, Deployer[Any]], dict[str, WinnowError]]:
    """Platforms that can be asked, and those in use that cannot, which stderr names; with `platform`, that one alone.

    Raises:
        InputError, UnreachableError: the named platform is away.
    """
    from winnow.orchestrators.deploy import reachable

    away: dict[str, WinnowError] = {}
    tiers = reachable(settings, platform, say=_say, on_away=away.__setitem__)
    for name, error in away.items():
        _say(f"warning: {name} could not be asked what it serves: {error}")
    return tiers, away


def command_for(name: str, platform: str | None = None) -> str:
    """The running command, for one deployment."""
    given: dict[str, Value] = {"study": name, "config": None}
    return same_command(**given, **({} if platform is None else {"platform": platform}))


CUT_OFF = (
    "The Ingress has no address that answers from here: no controller has taken it yet, or it says none. "
    "Set WINNOW_INGRESS_URL to where its controller is reached from here."
)
"""What is said of a deployment for which `deploy.is_cut_off` holds."""


def _say(line: str) -> None:
    """Print a message that is not a result: to stderr, also where that is not a terminal."""
    click.echo(line, err=True)


def _print_served(deployment: Deployment, platform: str, settings: Settings, deployer: Deployer[Any]) -> None:
    from winnow.bundle.manifest import EXAMPLE
    from winnow.orchestrators.deploy import BY_HAND_URL, is_cut_off, port_forward

    release, name = deployment.release, deployment.name
    url, way = deployment.url, ""
    is_away = is_cut_off(deployer, platform, deployment)
    if is_away:
        _say(CUT_OFF)
        url, way = BY_HAND_URL, f"  way      {port_forward(deployer, name)}\n"
    example = release.bundle / EXAMPLE
    key = '  -H "authorization: Bearer $WINNOW_API_KEY" \\\n' if _has_key() else ""
    click.echo(
        f"Serving {release.model} version {release.version} (sha256 {release.digest[:12]}) at {deployment.url}\n"
        f"{way}"
        f"  docs     {url}/docs\n"
        f"  metrics  {url}/metrics\n"
        f"  logs     {_logs(deployment, platform, settings)}\n"
        f"  stop     {next_command('prod-remove', study=name, platform=platform)}\n"
        "Ask it for a prediction:\n"
        f"  {next_command('inference-one', study=name, platform=platform)}\n"
        "or\n"
        f"  curl -s {url}/predict -H 'content-type: application/json' \\\n{key}"
        f"  -d {shlex.quote(f'@{example}')}"
    )
    if not is_away:
        warn_where_misled(deployment, platform, settings)


def warn_where_misled(deployment: Deployment, platform: str, settings: Settings) -> None:
    """Say where requests to the address do not reach the deployment: it is served, and yet nobody can use it there."""
    from winnow.orchestrators.deploy import misled

    if not (found := misled(deployment)):
        return
    release = deployment.release
    look = f"Look at what else listens there, and at {_logs(deployment, platform, settings)}."
    if platform == "kubernetes":
        from winnow.orchestrators.settings import cluster_for
        from winnow.platforms.kubernetes.deployment_plan import object_name

        where = f"--namespace {cluster_for(settings.stack).namespace} {object_name(deployment.name)}"
        look = (
            f"Look at the Ingress's class (WINNOW_INGRESS_CLASS) and host ({next_flag('host')}, WINNOW_INGRESS_HOST): "
            f"`kubectl describe ingress {where}`. WINNOW_INGRESS_URL says where its controller is reached from here."
        )
    _say(
        f"warning: {deployment.url} does not lead to {release.model} version {release.version} "
        f"(sha256 {release.digest[:12]}), whose replicas are {deployment.state}: {found}. {look}"
    )


def _logs(deployment: Deployment, platform: str, settings: Settings) -> str:
    return {"local": _local_logs, "docker": _docker_logs, "kubernetes": _kubernetes_logs}[platform](
        deployment, settings
    )


def _local_logs(deployment: Deployment, settings: Settings) -> str:
    return str(settings.home / "deployments" / deployment.name / "logs")


def _docker_logs(deployment: Deployment, _settings: Settings) -> str:
    return f"docker logs {deployment.replicas[-1].identifier}"


def _kubernetes_logs(deployment: Deployment, settings: Settings) -> str:
    from winnow.orchestrators.settings import cluster_for
    from winnow.platforms.labels import DEPLOYMENT

    where = f"--namespace {cluster_for(settings.stack).namespace} --selector {DEPLOYMENT}={deployment.name}"
    return f"kubectl logs {where} --prefix"


def _has_key() -> bool:
    from winnow.serving.settings import from_environment

    return from_environment().api_key is not None


def _champions(found: list[Served]) -> dict[str, str | None]:
    """The registry's champion for each deployment; None where there is none or nobody knows."""
    if not found:
        return {}
    from winnow.orchestrators.deploy import champion_version
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    registry = Registry(current().tracking_uri)
    models = {each.deployment.release.model for each in found}
    versions = {model: champion_version(registry, model) for model in models}
    return {each.deployment.name: versions[each.deployment.release.model] for each in found}


def _facts(served: Served) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(served.deployment, enc_hook=str)
    return {**facts, "platform": served.platform, "traffic": {served.deployment.release.version: 1.0}}


def _print_status(served: Served, champion: str | None) -> None:
    deployment, release = served.deployment, served.deployment.release
    click.echo(
        f"{deployment.name}  {deployment.state}  {deployment.url}  "
        f"{release.model} version {release.version} (sha256 {release.digest[:12]})"
    )
    kind = {"local": "process", "docker": "container", "kubernetes": "pod"}[served.platform]
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
