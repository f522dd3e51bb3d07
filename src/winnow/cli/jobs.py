"""`winnow jobs`, `logs` and `cancel`: the worker groups that are at work, whoever started them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from winnow.cli.options import config_option, json_option, study_option


@click.command("jobs")
@study_option
@json_option
def jobs(study: str | None, as_json: bool) -> None:
    """List the worker groups of all studies (or of one) and what they do."""
    from winnow.config.settings import Settings
    from winnow.executors.local import LocalExecutor

    groups = LocalExecutor(Settings.from_environment().home).groups(study)
    if as_json:
        rows = [{"study": g.study, "worker": g.name, "state": g.state.value} for g in groups]
        click.echo(json.dumps(rows, indent=2))
        return
    for group in groups:
        click.echo(f"{group.study:<24} {group.name:<8} {group.state.value}")
    if not groups:
        click.echo("no workers were started here; start some with `make train`")


@click.command("logs")
@config_option
@study_option
@click.option("--worker", metavar="NAME", help="One worker group; by default all of the study.")
def logs(config: Path, study: str | None, worker: str | None) -> None:
    """Print the logs of a study's workers."""
    from winnow.config.settings import Settings
    from winnow.executors.local import LocalExecutor

    executor = LocalExecutor(Settings.from_environment().home)
    name = study or _study_of(config)
    for group in executor.groups(name):
        if worker in (None, group.name):
            for line in executor.log(name, group.name):
                click.echo(f"{group.name} {line}")


@click.command("cancel")
@config_option
@study_option
def cancel(config: Path, study: str | None) -> None:
    """Stop a study's workers and hand their trials back."""
    from winnow.config.settings import Settings
    from winnow.executors.local import LocalExecutor
    from winnow.orchestrators.follow import stop
    from winnow.search.database import Database
    from winnow.search.store import StudyStore

    settings = Settings.from_environment()
    name = study or _study_of(config)
    store = StudyStore(Database(settings.storage_url), name)
    stopped = stop(store, LocalExecutor(settings.home))
    click.echo(f"study {name}: {stopped} worker(s) stopped; `make train` goes on where they were")


def _study_of(config: Path) -> str:
    from winnow.config.loader import load_experiment

    return load_experiment(config).name
