"""`winnow jobs`, `logs` and `cancel`: the worker groups that are at work, whoever started them and wherever."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import StoreVerb, config_option, json_option, study_of, study_option
from winnow.cli.places import any_of
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.platforms.executor import Executor, GroupStatus

platform_option = click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    help="Only processes of this machine, only containers or only pods; by default all that can be asked.",
)
"""Gives the verb `platform: str | None`."""


@click.command("jobs")
@study_option
@platform_option
@json_option
def jobs(study: str | None, platform: str | None, as_json: bool) -> None:
    """List the worker groups that are at work, of all studies or of one.

    Those that are done, and whose containers or pods are still there, are listed once: their logs are brought here, and
    what they left is removed.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.tiers import executors_for

    settings = Settings.from_environment()
    executors = executors_for(platform, settings)
    groups = [
        (place, group)
        for place, executor in executors.items()
        for group in executor.groups(study)
        if group.has_remains or not group.state.is_over
    ]
    if as_json:
        click.echo(json.dumps([_row(place, group) for place, group in groups], indent=2))
    else:
        _print_groups(groups, executors, settings.home)
    collect_finished(executors, settings.home, study)


def _print_groups(groups: list[tuple[str, GroupStatus]], executors: Mapping[str, Executor], home: Path) -> None:
    rows = [(place, group.study, group.name, _state(group, home), _since(group)) for place, group in groups]
    widths = [max(len(row[column]) for row in rows) for column in range(5)] if rows else []
    for row, (_, group) in zip(rows, groups, strict=True):
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        if group.diagnosis is not None:
            click.echo(f"  {group.diagnosis}")
    if not groups:
        click.echo(
            f"No workers are at work {any_of(executors.values())}; `{next_command('train', config=...)}` starts some."
        )


def collect_finished(executors: Mapping[str, Executor], home: Path, study: str | None = None) -> None:
    """Bring the logs of finished sweeps here and remove what they left; say on stderr what could not be done."""
    from winnow.orchestrators.collect import collect

    for failure in collect(executors, home, study):
        click.echo(f"warning: {failure}", err=True)


def _row(platform: str, group: GroupStatus) -> dict[str, object]:
    started_at = _started_at(group)
    return {
        "platform": platform,
        "study": group.study,
        "worker": group.name,
        "state": group.state.value,
        "started_at": None if started_at is None else started_at.isoformat(timespec="seconds"),
        "lacks_nodes": group.lacks_nodes,
        "has_remains": group.has_remains,
        "diagnosis": None if group.diagnosis is None else asdict(group.diagnosis),
    }


def _state(group: GroupStatus, home: Path) -> str:
    from winnow.orchestrators.collect import is_from

    if group.diagnosis is not None and not group.state.is_over:
        return "waits" if group.diagnosis.is_awaited else "cannot start"
    if group.has_remains:
        return f"{group.state.value}, {'not cleared away yet' if is_from(home, group) else 'left to another home'}"
    return f"{group.state.value}, lacks a node" if group.lacks_nodes else group.state.value


def _since(group: GroupStatus) -> str:
    started_at = _started_at(group)
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
    name = study_of(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators.tiers import executors_for
    from winnow.platforms.log_streams import merged

    settings = Settings.from_environment()
    executors = executors_for(platform, settings)
    known = [(executor, group.name) for executor in executors.values() for group in executor.groups(name)]
    chosen = [(executor, group) for executor, group in known if worker in (None, group)]
    if not chosen:
        raise InputError(
            f"study {name!r}",
            expected=f"a worker {worker!r}" if worker is not None else "workers that were started here",
            found=", ".join(group for _, group in known) or "none",
            remedy=f"Name another with {next_flag('study')} or {next_flag('worker')}; `{next_command('jobs')}` lists "
            "those at work.",
        )
    streams = [_lines(executor, name, group, follow=follow) for executor, group in chosen]
    for lines in [merged(streams)] if follow else streams:
        for line in lines:
            click.echo(line)
    collect_finished(executors, settings.home, name)


def _lines(executor: Executor, study: str, group: str, *, follow: bool) -> Iterator[str]:
    for line in executor.log(study, group, follow=follow):
        yield f"{group} {line}"


@click.command("cancel", cls=StoreVerb)
@config_option
@study_option
@platform_option
def cancel(config: Path, study: str | None, platform: str | None) -> None:
    """Stop a study's workers and hand their trials back."""
    name = study_of(config, study)
    from winnow.orchestrators.cancel import cancel as cancel_study
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.tiers import executors_for

    settings = current()
    done = cancel_study(name, executors_for(platform, settings), settings)
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
