"""`winnow jobs`, `logs` and `cancel`: the running worker groups, on all platforms."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.api.arguments import study_name
from winnow.cli.options import (
    StoreVerb,
    config_option,
    in_order,
    json_option,
    platform_option,
    say,
    study_flag,
    study_option,
    warn,
)
from winnow.cli.wording import count, either, local_time, table, utc
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import WorkerGroup

only_platform = platform_option(PLATFORMS, "Only this platform; by default all platforms in use.")
study_options = in_order(config_option, study_option, only_platform)


@click.command("jobs")
@study_flag("Only this study; by default all.")
@only_platform
@json_option
def jobs(study: str | None, platform: str | None, as_json: bool) -> None:
    """List the running worker groups of one study or of all.

    Finished groups whose containers or pods still exist are listed once more: their logs are fetched, then the
    containers or pods are removed.
    """
    from winnow import api

    found = api.jobs(study=study, platform=platform, say=warn)
    if as_json:
        click.echo(json.dumps([_values(each) for each in found.groups], indent=2))
        return
    for line, each in zip(table([_row(each) for each in found.groups]), found.groups, strict=True):
        click.echo(line)
        if each.status.diagnosis is not None:
            click.echo(f"  {each.status.diagnosis}")
    if not found.groups:
        click.echo(f"No workers are running {either(found.places)}; `{next_command('train', config=...)}` starts some.")


def _values(found: WorkerGroup) -> dict[str, object]:
    group = found.status
    return {
        "platform": found.platform,
        "study": group.study,
        "worker": group.name,
        "state": group.state.value,
        "started_at": utc(group.started_at_ms),
        "lacks_nodes": group.lacks_nodes,
        "has_remains": group.has_remains,
        "diagnosis": None if group.diagnosis is None else asdict(group.diagnosis),
    }


def _row(found: WorkerGroup) -> tuple[str, ...]:
    group = found.status
    since = "" if group.started_at_ms is None else f"since {local_time(group.started_at_ms, ':%S')}"
    return (found.platform, group.study, group.name, _state(found), since)


def _state(found: WorkerGroup) -> str:
    group = found.status
    if group.diagnosis is not None and not group.state.is_over:
        return "waiting" if group.diagnosis.is_awaited else "cannot start"
    if group.has_remains:
        return f"{group.state.value}, {'not removed yet' if found.is_from_here else 'started from another home'}"
    return f"{group.state.value}, lacks a node" if group.lacks_nodes else group.state.value


@click.command("logs")
@study_options
@click.option("--worker", metavar="NAME", help="One worker group; by default all of the study.")
@click.option("--follow", is_flag=True, help="Keep printing new lines until the workers finish.")
def logs(config: Path, study: str | None, platform: str | None, worker: str | None, follow: bool) -> None:
    """Print the logs of a study's workers."""
    from winnow import api

    for line in api.logs(config, study=study, platform=platform, worker=worker, follow=follow, say=warn):
        click.echo(line)


@click.command("cancel", cls=StoreVerb)
@study_options
def cancel(config: Path, study: str | None, platform: str | None) -> None:
    """Stop a study's workers and return their trials to the study."""
    name = study_name(config, study)
    from winnow import api

    done = api.cancel(study=name, platform=platform)
    stopped = f"study {name}: stopped {count(done.stopped, 'worker')}"
    if done.cleared and not done.stopped:
        click.echo(f"study {name}: no workers were running; removed what finished workers had left, but not their logs")
    elif done.withheld is not None:
        click.echo(f"{stopped}; their trials are returned when the study is resumed")
        say(f"  the study could not be updated: {done.withheld}")
    elif done.stopped:
        click.echo(f"{stopped}; train the study again to resume it")
    else:
        click.echo(f"study {name}: no workers were running")
