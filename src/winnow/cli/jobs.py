"""`winnow jobs`, `logs` and `cancel`: the worker groups that are at work, whoever started them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from winnow.cli.options import config_option, json_option, study_option
from winnow.config.errors import InputError


@click.command("jobs")
@study_option
@json_option
def jobs(study: str | None, as_json: bool) -> None:
    """List the worker groups that are at work, of all studies or of one."""
    from winnow.config.settings import Settings
    from winnow.executors.local import LocalExecutor

    groups = [
        group for group in LocalExecutor(Settings.from_environment().home).groups(study) if not group.state.is_over
    ]
    if as_json:
        rows = [{"study": g.study, "worker": g.name, "state": g.state.value} for g in groups]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(group.study) for group in groups), default=0)
    for group in groups:
        click.echo(f"{group.study:<{width}}  {group.name}  {group.state.value}")
    if not groups:
        click.echo("No workers are at work; `make train` starts some.")


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
    known = [group.name for group in executor.groups(name)]
    chosen = known if worker is None else [worker]
    if not known or worker not in (None, *known):
        raise InputError(
            f"study {name!r}",
            expected=f"a worker {worker!r}" if worker is not None else "workers that were started here",
            found=", ".join(known) or "none",
            remedy="Name another with --study or --worker; `winnow jobs` lists those at work.",
        )
    for of_group in chosen:
        for line in executor.log(name, of_group):
            click.echo(f"{of_group} {line}")


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
    if stopped:
        click.echo(f"study {name}: {stopped} worker(s) stopped; `make train` goes on where they were")
    else:
        click.echo(f"study {name}: no workers were at work")


def _study_of(config: Path) -> str:
    from winnow.config.loader import load_experiment

    return load_experiment(config).name
