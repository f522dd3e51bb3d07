"""`winnow rollout-status`, `-promote`, `-pause`, `-resume`, `-abort`, `-verdict` and `render`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from winnow.cli.options import (
    PORT,
    StoreVerb,
    candidates_as_commands,
    config_option,
    deployment_options,
    detach_option,
    json_option,
    model_options,
    option_with_default,
    platform_option,
    replicas_option,
    say,
    stage_option,
    version_options,
)
from winnow.cli.prod import driver_lines
from winnow.cli.wording import aligned, as_text, show
from winnow.config.errors import InputError
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.next_command import next_command, next_flag
from winnow.config.platforms import SERVING_PLATFORMS

if TYPE_CHECKING:
    from winnow.api import Forecast, RevisionCounts, RolloutStatus

REDRAWN_EVERY_S = 1.0


@click.command("rollout-status")
@deployment_options
@json_option
def status(as_json: bool, **deployment: Any) -> None:
    """Show how a rollout goes: step, requests, errors, answer times, verdicts.

    On a terminal the table is redrawn until the rollout ends or pauses; Ctrl-C ends the view, not the rollout.
    """
    from winnow import api

    with candidates_as_commands():
        found = api.rollout_status(**deployment, say=say)
    if as_json:
        click.echo(as_text(found))
    elif sys.stdout.isatty() and found.state == "running":
        _watch(found, deployment)
    else:
        click.echo("\n".join(lines_of(found)))


def _wish(wish: Literal["promote", "pause"], text: str) -> click.Command:
    @click.command(f"rollout-{wish}", help=text)
    @deployment_options
    def command(**deployment: Any) -> int:
        return _change(wish, deployment)

    return command


def _change(wish: Literal["promote", "pause", "resume", "abort"], deployment: dict[str, Any], reason: str = "") -> int:
    from winnow import api

    treat_sigterm_as_interrupt()
    with candidates_as_commands():
        found = api.change_rollout(wish, **deployment, reason=reason, say=say)
    return _shown(found, wish)


def _shown(found: RolloutStatus, wish: str) -> int:
    click.echo("\n".join(lines_of(found)))
    return 1 if found.state == "aborted" and wish != "abort" else 0


promote = _wish("promote", "Send all requests to the candidate, whatever the verdicts are.")
pause = _wish("pause", "Leave the weights of the current step as they are until rollout-resume.")


@click.command("rollout-abort")
@deployment_options
@click.option("--reason", default="", help="Why, for the model's history.")
def abort(reason: str, **deployment: Any) -> int:
    """Send all requests back to the revision that served before."""
    return _change("abort", deployment, reason)


@click.command("rollout-resume")
@deployment_options
@detach_option
@click.option("--as-driver", is_flag=True, hidden=True, help="Go on where it is running; leave it paused.")
@click.option("--replaced", is_flag=True, hidden=True, help="Leave it running where this process is interrupted.")
def resume(is_detached: bool, as_driver: bool, replaced: bool, **deployment: Any) -> int:
    """Go on with a paused rollout, or with one whose process has died, to its end or next pause."""
    from winnow import api

    if as_driver:
        treat_sigterm_as_interrupt()
        name, platform = deployment["name"], deployment["platform"]
        return _shown(api.drive_rollout(name=name, platform=platform, is_replaced=replaced, say=say), "resume")
    if not is_detached:
        return _change("resume", deployment)
    with candidates_as_commands():
        driver = api.detach_rollout(**deployment, say=say)
        found = api.rollout_status(**deployment)
    if driver is None:
        return _shown(found, "resume")
    click.echo("\n".join(driver_lines(driver, found.name)))
    return 0


@click.command("rollout-verdict")
@click.option("--name", required=True, help="The deployment, as Prometheus labels its replicas.")
@click.option("--prometheus", required=True, metavar="URL", help="A Prometheus that scrapes the replicas.")
@click.option("--stable", required=True, metavar="HASH", help="In the names of the stable revision's pods.")
@click.option("--candidate", required=True, metavar="HASH", help="In the names of the candidate's pods.")
@click.option("--step", required=True, metavar="JSON", help="What the step has to show, as `gitops-init` writes it.")
@json_option
def verdict(step: str, as_json: bool, **options: Any) -> int:
    """Wait for the verdict on a step of a rollout that Argo Rollouts moves.

    The exit status is 0 where the step passes, 1 where it fails, and 3 where its time ends without a verdict.
    """
    from winnow import api

    treat_sigterm_as_interrupt()
    found = api.rollout_verdict(step, **options, say=say)
    show(found, as_json, lambda verdict: [f"{verdict.result.value.replace('_', ' ')}: {verdict.reason}"])
    return {"pass": 0, "fail": 1}.get(found.result.value, 3)


@click.command("serve-hooks")
@click.option(
    "--action",
    type=click.Choice(["rollback"]),
    required=True,
    expose_value=False,
    help="What is done when an alert fires.",
)
@click.option("--name", required=True, help="Name of the deployment.")
@platform_option(SERVING_PLATFORMS, "Platform of the deployment; by default found.")
@option_with_default("--host", default="127.0.0.1", help="Address to listen on.")
@option_with_default("--port", type=click.IntRange(0, 65535), default=9119, help="Port; 0 for a free one.")
@click.option(
    "--match",
    "labels",
    metavar="LABEL=VALUE",
    multiple=True,
    help="Label that an alert must have; may be repeated. By default deployment=NAME.",
)
def serve_hooks(name: str, platform: str | None, host: str, port: int, labels: tuple[str, ...]) -> None:
    """Receive Alertmanager's webhook, and roll a deployment back when an alert about it fires.

    Requests must carry the bearer token of WINNOW_HOOKS_TOKEN_FILE or WINNOW_HOOKS_TOKEN. An open rollout is aborted;
    otherwise the revision before serves again. Runs until Ctrl-C.
    """
    from winnow import api

    wrong = next((each for each in labels if not each.partition("=")[2]), None)
    if wrong is not None:
        raise InputError(next_flag("match"), expected="LABEL=VALUE", found=f"'{wrong}'", remedy="Correct it.")

    def stamped(line: str) -> None:
        say(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}")

    match = {each.partition("=")[0]: each.partition("=")[2] for each in labels}
    api.serve_hooks(name, match=match or None, say=stamped, platform=platform, host=host, port=port)


@click.command("render", cls=StoreVerb)
@config_option
@option_with_default(
    "--kind",
    type=click.Choice(["deployment", "timer", "cronjob", "seldon"]),
    default="deployment",
    help="timer: systemd units that call monitor and retrain; cronjob: CronJobs that do; seldon: Seldon Core's Model.",
)
@platform_option(SERVING_PLATFORMS, "Platform it is for.", "kubernetes")
@click.option(
    "--image", metavar="IMAGE@sha256:…", default="", help="The replicas' image by its digest; of CronJobs the workers'."
)
@model_options
@stage_option
@version_options
@replicas_option
@click.option("--host", help="Address to listen on; on Kubernetes the host of the Ingress.")
@click.option("--port", type=PORT, help="Port, instead of the file's.")
@click.option("--storage", metavar="URI", default="", help="seldon: where the version's MLflow model lies.")
def render(
    config: Path, kind: Literal["deployment", "timer", "cronjob", "seldon"], storage: str, **options: Any
) -> None:
    """Print everything that a first deployment would send to a platform. The platform is not asked.

    Equal input gives equal text: `winnow render … > model.yaml` can be kept under version control.
    """
    from winnow import api

    if kind == "deployment":
        click.echo(api.render(config, **options), nl=False)
    elif kind == "seldon":
        from winnow import integrations

        known = ("study", "name", "stage", "alias", "version", "replicas")
        chosen = {name: options[name] for name in known}
        click.echo(integrations.seldon_manifests(config, storage=storage, **chosen), nl=False)
    else:
        click.echo(api.render_calls(kind, config, image=options["image"]), nl=False)


@click.command("plan-rollout")
@config_option
@stage_option
@click.option("--rate", type=float, required=True, help="Requests per second.")
@option_with_default("--error-rate", type=float, default=0.001, help="Share at which both revisions err.")
@option_with_default("--flip-rate", type=float, default=0.0, help="Share of predictions that differ.")
@option_with_default("--outcome-rate", type=float, default=1.0, help="A/B: share of requests with a known outcome.")
@option_with_default(
    "--spread",
    type=float,
    default=0.357,
    help="A/B: standard deviation of the metric; of a share p, √(p (1 - p)).",
)
@json_option
def plan(config: Path, as_json: bool, **options: Any) -> None:
    """Show how many requests and how long each step of a rollout takes."""
    from winnow import api

    show(api.plan_rollout(config, **options), as_json, plan_lines)


FITS = {"least": "yes", "longest": "waits longer than the least duration", "no": "NO: pauses first"}


def plan_lines(found: Forecast) -> list[str]:
    """The plan as lines for people."""
    if not found.needs:
        return [f"{found.strategy}: no step waits for a number of requests, so there is nothing to plan"]
    lines = ["step  share   condition  needed    in the least  seconds   in time"]
    for each in found.needs:
        needed = "never" if each.requests is None else f"{each.requests}"
        seconds = "-" if each.seconds is None else f"{each.seconds:.0f}"
        lines.append(
            f"{each.step:<4}  {each.share:<6.3g}  {each.condition:<9}  {needed:<8}  {each.least_requests:<12}  "
            f"{seconds:<8}  {FITS[each.fits]}"
        )
    if found.seconds is not None:
        lines.append(f"The whole rollout takes about {found.seconds / 60:.0f} minutes.")
    for other in found.proposals:
        lines.append(f"With this every step can be judged, in about {other.seconds / 60:.0f} minutes:")
        lines.append(other.keys.rstrip())
    return [*lines, found.advice] if found.advice else lines


def lines_of(status: RolloutStatus) -> list[str]:
    """The status as lines for people."""
    rows: list[tuple[str, ...]] = [("revision", "version", "share", "ready", "requests", "errors", "p50", "p99")]
    rows += [_row("stable", status.stable), _row("candidate", status.candidate)]
    head = f"{status.name}  {status.strategy}, {status.state}: step {status.step} of {status.steps}"
    lines = [head, *aligned(rows)]
    if status.mirror or status.compared:
        lines.append(
            f"  {status.mirror:.3g} of the requests are copied: {status.compared} compared, {status.agreed} agree, "
            f"{status.flips} name another class"
        )
    lines += [f"  {each.condition}: {each.result}; {each.reason}" for each in status.findings]
    if status.is_open and status.driver:
        lines.append(f"  driven by {status.driver}")
    elif status.state == "running":
        lines.append(f"  no process drives it: {next_command('rollout-resume', name=status.name)}")
    if status.is_expired:
        lines.append("  no process has driven it for too long: all requests go to the stable revision")
    if status.reason:
        lines.append(f"  {status.state}: {status.reason}")
    if status.wish:
        lines.append(f"  asked to {status.wish}")
    if status.passes_in_s is not None:
        limit = "a person decides" if status.pauses_in_s is None else f"pauses in {status.pauses_in_s:.0f} s"
        lines.append(f"  the step lasts another {status.passes_in_s:.0f} s at least; without a verdict {limit}")
    return lines


def _row(role: str, counts: RevisionCounts) -> tuple[str, ...]:
    numbers = (f"{counts.share:.3g}", f"{counts.replicas}", f"{counts.requests}", f"{counts.errors}")
    times = ("-" if each is None else f"{each * 1000:.3g} ms" for each in (counts.p50_s, counts.p99_s))
    return (f"{counts.revision} ({role})", counts.label, *numbers, *times)


def _watch(found: RolloutStatus, deployment: dict[str, Any]) -> None:
    """Redraw the table until the rollout ends or pauses."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from winnow import api

    def drawn(status: RolloutStatus) -> Text:
        return Text("\n".join(lines_of(status)))

    console = Console(highlight=False, emoji=False, markup=False)
    with Live(drawn(found), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while found.state == "running":
            time.sleep(REDRAWN_EVERY_S)
            found = api.rollout_status(**deployment, say=say)
            live.update(drawn(found), refresh=True)
