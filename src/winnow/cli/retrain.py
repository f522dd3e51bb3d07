"""`winnow retrain`: train a model again where that is due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import StoreVerb, config_option, dry_run_option, json_option, rules_option, say
from winnow.cli.wording import as_text
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import Retraining

REFUSED = 3


@click.command("retrain", cls=StoreVerb)
@config_option
@click.option("--if-due", is_flag=True, help="Train only if the data, an alarm or the schedule says so.")
@rules_option
@click.option(
    "--platform", type=click.Choice(PLATFORMS), help="Where it trains and serves; by default `retrain.platform`."
)
@click.option(
    "--stop-after",
    type=click.Choice(["select", "promote", "deploy"]),
    help="The last step; by default `retrain.stop_after`.",
)
@json_option
@dry_run_option
def command(config: Path, as_json: bool, **options: Any) -> int:
    """Train a model again: the next study, selection, gates and rollout. With --if-due it may be called by a timer.

    A call after one that was killed goes on with its study. Exit status 0: done, or nothing to do; 1: a step failed;
    3: rules, gates or the rollout refused the new version.
    """
    from winnow import api

    treat_sigterm_as_interrupt()
    found = api.retrain(config, **options, say=say)
    click.echo(as_text(found) if as_json else "\n".join(retraining_lines(found, config)))
    return REFUSED if found.state == "refused" else 0


def retraining_lines(found: Retraining, config: Path) -> list[str]:
    """What was done and why, as lines for people."""
    lines = [f"{found.model}: {_said(found)}"]
    if found.state != "nothing":
        lines += [f"  due: {reason}" for reason in found.due] + [f"  not: {reason}" for reason in found.against]
    if found.study and found.state not in ("planned", "waiting"):
        lines.append(f"  next: {next_command('track-experiments', name=found.model)}")
    elif found.state == "planned":
        lines.append(f"  next: {next_command('retrain', config=config, if_due=True)}")
    return lines


def _said(found: Retraining) -> str:
    match found.state:
        case "busy":
            return f"nothing was done: {found.reason}"
        case "waiting":
            return f"nothing was done: {found.reason}; then study {found.study} goes on"
        case "planned":
            return f"study {found.study} would be trained"
        case "refused":
            return f"not replaced: {found.reason}"
        case _:
            return found.reason
