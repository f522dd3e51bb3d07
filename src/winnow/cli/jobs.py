"""`winnow jobs`, `logs` and `cancel`: the worker groups at work, on all platforms."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import StoreVerb, config_option, json_option, study_of, study_option
from winnow.cli.places import either
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import GroupStatus, Jobs, WorkerGroup

platform_option = click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    help="Only processes of this machine, only containers or only pods; by default all platforms in use.",
)
"""Gives the verb `platform: str | None`."""


@click.command("jobs")
@study_option
@platform_option
@json_option
def jobs(study: str | None, platform: str | None, as_json: bool) -> None:
    """List the worker groups at work, of all studies or of one.

    Groups that are over are listed once, if their containers or pods are still there: their logs are fetched, and the
    containers or pods are removed.
    """
    from winnow import api

    found = api.jobs(study=study, platform=platform, say=_warn)
    if as_json:
        click.echo(json.dumps([_row(each) for each in found.groups], indent=2))
    else:
        _print_groups(found)


def _print_groups(found: Jobs) -> None:
    rows = [(each.platform, each.status.study, each.status.name, _state(each), _since(each)) for each in found.groups]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, each in zip(rows, found.groups, strict=True):
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        if each.status.diagnosis is not None:
            click.echo(f"  {each.status.diagnosis}")
    if not rows:
        click.echo(f"No workers are at work {either(found.places)}; `{next_command('train', config=...)}` starts some.")


def _warn(line: str) -> None:
    click.echo(f"warning: {line}", err=True)


def _row(found: WorkerGroup) -> dict[str, object]:
    group, started_at = found.status, _started_at(found.status)
    return {
        "platform": found.platform,
        "study": group.study,
        "worker": group.name,
        "state": group.state.value,
        "started_at": None if started_at is None else started_at.isoformat(timespec="seconds"),
        "lacks_nodes": group.lacks_nodes,
        "has_remains": group.has_remains,
        "diagnosis": None if group.diagnosis is None else asdict(group.diagnosis),
    }


def _state(found: WorkerGroup) -> str:
    group = found.status
    if group.diagnosis is not None and not group.state.is_over:
        return "waits" if group.diagnosis.is_awaited else "cannot start"
    if group.has_remains:
        return f"{group.state.value}, {'not cleared away yet' if found.is_from_here else 'left to another home'}"
    return f"{group.state.value}, lacks a node" if group.lacks_nodes else group.state.value


def _since(found: WorkerGroup) -> str:
    started_at = _started_at(found.status)
    return "" if started_at is None else f"since {started_at.astimezone():%Y-%m-%d %H:%M:%S}"


def _started_at(group: GroupStatus) -> datetime | None:
    return None if group.started_at_ms is None else datetime.fromtimestamp(group.started_at_ms / 1000, UTC)


@click.command("logs")
@config_option
@study_option
@platform_option
@click.option("--worker", metavar="NAME", help="One worker group; by default all of the study.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until the workers are done.")
def logs(config: Path, study: str | None, platform: str | None, worker: str | None, follow: bool) -> None:
    """Print the logs of a study's workers."""
    from winnow import api

    for line in api.logs(config, study=study, platform=platform, worker=worker, follow=follow, say=_warn):
        click.echo(line)


@click.command("cancel", cls=StoreVerb)
@config_option
@study_option
@platform_option
def cancel(config: Path, study: str | None, platform: str | None) -> None:
    """Stop a study's workers and hand their trials back."""
    name = study_of(config, study)
    from winnow import api

    done = api.cancel(study=name, platform=platform)
    if done.cleared and not done.stopped:
        click.echo(
            f"study {name}: no workers were at work; what those that were done had left is removed, less the logs"
        )
    elif done.withheld is not None:
        click.echo(f"study {name}: {done.stopped} worker(s) stopped; their trials are handed back when it is resumed")
        click.echo(f"  the study was not told: {done.withheld}", err=True)
    elif done.stopped:
        click.echo(f"study {name}: {done.stopped} worker(s) stopped; the same command goes on where they were")
    else:
        click.echo(f"study {name}: no workers were at work")
