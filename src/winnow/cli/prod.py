"""`winnow prod`, `prod-status`, `prod-remove` and `rollback`: serve the selected model."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.api.arguments import model_name
from winnow.cli.options import (
    PORT,
    StoreVerb,
    again_option,
    candidates_as_commands,
    command_for,
    config_option,
    deployment_options,
    detach_option,
    dry_run_option,
    json_option,
    model_options,
    platform_option,
    registry_options,
    replicas_option,
    say,
    say_unknown,
    stage_option,
    version_options,
    warn,
)
from winnow.cli.wording import as_text, either
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.next_command import next_command
from winnow.config.platforms import SERVING_PLATFORMS

if TYPE_CHECKING:
    from winnow.api import Deployment, RolloutDriver, ServedDeployment, ServePlan

DIFFERENT = 1
"""Exit status with `--exit-code` if something would change, as for `diff`."""

NOT_COMPARED = 2
"""Exit status if a part could not be compared, and may or may not change."""


@click.command("prod", cls=StoreVerb)
@config_option
@platform_option(SERVING_PLATFORMS, "Platform to serve it on.", "local")
@model_options
@version_options
@stage_option
@replicas_option
@click.option(
    "--host",
    help="Address to listen on, instead of the file's; on Kubernetes the host of the Ingress, in which * stands for "
    "the deployment's name.",
)
@click.option("--port", type=PORT, help="Port, instead of the file's; else a free one.")
@registry_options("image_registry")
@detach_option
@again_option
@dry_run_option
def prod(config: Path, platform: str, study: str | None, name: str | None, dry_run: bool, **options: Any) -> None:
    """Serve the selected model as the section `serving` of the experiment file says, and print its address.

    The previous model keeps answering until the new one is ready, or if the new one fails. The same command goes on
    with a rollout whose driver was killed. Exit status 1: the rollout was aborted; 3: the version was rolled
    back before, or its rollout aborted, and --again is not given.
    """
    model = model_name(config, study, name)
    from winnow import api
    from winnow.cli.build import shown_steps

    request = api.ServeRequest(model, config=config, study=study, **options)
    if dry_run:
        preview = api.preview_serving(request, platform)
        for reason in preview.absences:
            warn(reason)
        say_unknown(preview.unknown)
        if preview.note:
            say(preview.note)
        click.echo(preview.render())
        return
    with shown_steps() as show:
        plan = api.plan_serving(request, platform, show=show, say=say)
    if plan.note:
        say(plan.note)
    _deploy(plan)


@click.command("prod-status")
@deployment_options
@json_option
def status(as_json: bool, **deployment: Any) -> int:
    """Show what is being served: versions, replicas, addresses.

    Exit status 1: nothing was found, but a platform in use did not answer.
    """
    from winnow import api

    found = api.status(**deployment, say=say)
    if as_json:
        click.echo(as_text([_facts(each) for each in found.deployments]))
    elif found.deployments:
        for each in found.deployments:
            _print_status(each)
    else:
        serve = f"`{next_command('prod', platform='local')}` serves the selected model here."
        away = f"; {' and '.join(found.absent)} did not answer." if found.absent else f". {serve}"
        click.echo(f"Nothing is being served {either(found.places)}{away}")
    return 1 if found.absent and not found.deployments else 0


@click.command("prod-remove")
@deployment_options
@dry_run_option
def remove(dry_run: bool, **deployment: Any) -> int:
    """Stop serving: finish running requests, then stop all replicas. Images and logs stay.

    By default this removes the only deployment. Exit status 1: it was not found, but a platform in use did not answer.
    """
    from winnow import api

    with candidates_as_commands():
        found = api.remove_deployment(**deployment, dry_run=dry_run, say=say)
    if found.place is None:
        what = f"{found.name} is not" if found.name is not None else "nothing is"
        click.echo(
            f"{found.name} was not being served. Removed what a failed change had left behind."
            if found.has_removed_parts
            else f"Nothing was removed: {what} being served {either(found.places)}."
        )
        for other in found.known:
            say(f"  {other} is being served: {command_for(other)}")
        return 1 if found.absent else 0
    for each in found.replicas:
        click.echo(f"stop {found.name}: {each}")
    if found.is_removed:
        click.echo(f"{found.name} is no longer served {found.place}.")
        if found.images:
            click.echo(found.images)
    elif not dry_run:
        click.echo(f"Nothing was removed: another command has already removed {found.name}.")
    return 0


@click.command("rollback", cls=StoreVerb)
@deployment_options
@click.option("--reason", default="", help="Why, for the model's history.")
@again_option
@dry_run_option
def rollback(dry_run: bool, **deployment: Any) -> None:
    """Serve the model that was served before the current one. By default this changes the only deployment.

    The version that is rolled back is not served again without --again, and the model's history says who rolled it
    back, and why.
    """
    from winnow import api

    with candidates_as_commands():
        plan = api.plan_rollback(**deployment, say=say)
    if dry_run:
        click.echo(plan.render())
    else:
        _deploy(plan)


@click.command("diff")
@config_option
@model_options
@click.option("--part", type=click.Choice(["stack", "prod"]), help="Compare only this part; by default both.")
@version_options
@click.option("--replicas", type=click.IntRange(min=1), help="As for prod.")
@click.option("--exit-code", is_flag=True, help=f"Exit with status {DIFFERENT} if something would change.")
def diff(config: Path, part: str | None, exit_code: bool, **options: Any) -> int:
    """Show what `mlflow-init` and `prod` on Kubernetes would change in the cluster.

    The environment variables of these verbs apply. Secrets are replaced by stars. Exit status 2: a part could not be
    compared. Until a model is selected, only the stack is compared; this is an error only with --part prod.
    """
    from winnow import api

    found = api.diff(config, part=part, say=say, **options)
    last = ""
    for each in found:
        if each.error is None:
            click.echo(each.text or f"{each.part}: nothing would change.", nl=not each.text, err=not each.text)
        elif str(each.error) == last:
            say(f"{each.part} was not compared, for the same reason.")
        elif each.has_nothing_yet:
            say(f"{each.part}: there is nothing to compare yet: {each.error}")
        else:
            say(f"{each.part} was not compared: {each.error}")
        last = str(each.error) if each.error is not None else last
    if any(each.error is not None and (part is not None or not each.has_nothing_yet) for each in found):
        return NOT_COMPARED
    return DIFFERENT if exit_code and any(each.text for each in found) else 0


def _deploy(plan: ServePlan) -> None:
    treat_sigterm_as_interrupt()
    is_served = plan.changes_nothing
    if plan.start_driver is not None:
        deployment, driver = plan.begin()
        if driver is not None:
            click.echo("\n".join(driver_lines(driver, deployment.name)))
    else:
        deployment = plan.deploy()
    if is_served:
        click.echo("This model is already being served; nothing was changed.")
    access, release, platform = plan.access(deployment), deployment.release, plan.platform
    url, manual = access.url, access.manual
    pages = f"  docs     {url}/docs\n  metrics  {url}/metrics\n"
    if manual is not None:
        say(manual.reason)
        pages = f"  key      {manual.command}\n" if manual.asks_for_key else f"  forward  {manual.command}\n{pages}"
    key = '  -H "authorization: Bearer $WINNOW_API_KEY" \\\n' if access.needs_key else ""
    click.echo(
        f"Serving {release.model} version {release.label} (sha256 {release.digest[:12]}) at {deployment.url}\n"
        f"{pages}"
        f"  logs     {access.logs}\n"
        f"  stop     {next_command('prod-remove', name=deployment.name, platform=platform)}\n"
        "Get a prediction:\n"
        f"  {next_command('inference-one', name=deployment.name, platform=platform)}\n"
        "or\n"
        f"  curl -s {url}/predict -H 'content-type: application/json' \\\n{key}"
        f"  -d {shlex.quote(f'@{access.example}')}"
    )
    if access.warning:
        warn(access.warning)


def driver_lines(driver: RolloutDriver, name: str) -> list[str]:
    """What drives a rollout from now on, and how to see and end it."""
    flags = {"name": name, "platform": driver.platform}
    return [
        f"{driver.what} goes on with the rollout of {name}.",
        f"  watch    {next_command('rollout-status', **flags)}",
        f"  log      {driver.log}",
        f"  abort    {next_command('rollout-abort', **flags)}",
    ]


def _facts(served: ServedDeployment) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(served.deployment, enc_hook=str)
    traffic: dict[str, float] = {}
    for each in served.deployment.shares:  # of one version where a rollout changes its settings alone
        traffic[each.version] = traffic.get(each.version, 0.0) + each.weight
    return {
        **facts,
        "platform": served.platform,
        "traffic": traffic,
        "champion": served.champion,
        "champion_semantic": served.champion_semantic,
    }


def _print_status(served: ServedDeployment) -> None:
    deployment, release = served.deployment, served.deployment.release
    click.echo(
        f"{deployment.name}  {deployment.state}  {deployment.url}  "
        f"{release.model} version {release.label} (sha256 {release.digest[:12]})"
    )
    for replica in deployment.replicas:
        click.echo(f"  {served.replica} {replica.identifier}  version {replica.label}  {replica.state}")
    standing = f"the champion is version {served.champion_label}"
    if served.champion is None:
        standing = "the registry has no champion or does not answer"
    elif served.champion == release.version:
        standing = "it is the champion"
    click.echo(f"  platform {served.platform}; {_traffic(deployment)}; {standing}")
    if deployment.previous is not None:
        rollback = next_command("rollback", name=deployment.name, platform=served.platform)
        click.echo(f"  back to version {deployment.previous.label}: {rollback}")
    for each in deployment.rejected:
        when = f"{datetime.fromtimestamp(each.at, UTC):%Y-%m-%d %H:%M} UTC"
        click.echo(f"  version {each.version} was sent away on {when}: {each.reason}")
    if served.manual is not None:
        click.echo(f"  {served.manual.reason}")


def _traffic(deployment: Deployment) -> str:
    """Where requests go, and the state of the rollout that divides them."""
    if len(deployment.shares) < 2:
        return f"all requests go to version {deployment.release.label}"
    to = ", ".join(f"{each.weight:.3g} of the requests go to version {each.label}" for each in deployment.shares)
    return f"{to}; the rollout is {deployment.rollout}"
