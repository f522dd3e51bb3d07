"""`winnow studies`, `delete-study` and `report`: the studies in the storage."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.api.arguments import study_name
from winnow.cli.options import (
    StoreVerb,
    config_option,
    dry_run_option,
    file_option,
    json_option,
    study_flag,
    study_option,
)
from winnow.cli.wording import count, local_time, table, utc
from winnow.config.errors import InputError
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import Deletion, ListedStudy

ENDED = {"grid": "whole grid", "time": "time spent", "failures": "failures spent"}
"""What has ended a study before or in place of its last trial, in short."""

NOT_DELETED = 1
"""Exit status if the user declined."""


@click.command("studies", cls=StoreVerb)
@json_option
def studies(as_json: bool) -> None:
    """List all studies: state, trials, best value, and where their workers run."""
    from winnow import api

    found = api.studies()
    if as_json:
        click.echo(json.dumps([_values(each) for each in found], indent=2))
        return
    for line in table([_row(each) for each in found]):
        click.echo(line)
    if not found:
        click.echo(f"There is no study yet; `{next_command('train', config=...)}` starts one.")


def _row(study: ListedStudy) -> tuple[str, ...]:
    one = study.summary
    states = ", ".join(f"{number} {state}" for state, number in one.trials.items() if number and state != "complete")
    best = "no complete trial"
    if one.best is not None:
        best = f"{one.metric or 'best value'} {one.best:.4f} (trial {one.best_trial})"
    made, changed = ("?" if ms is None else local_time(ms) for ms in (one.created_at_ms, one.changed_at_ms))
    workers = ""
    if study.at_work:
        workers = "workers: " + ", ".join(f"{number} {platform}" for platform, number in study.at_work.items())
    elif one.heard:
        # Only the study knows the workers on other machines.
        workers = f"workers elsewhere: {', '.join(one.heard)}"
    return (
        one.name,
        f"{one.state} ({ENDED[one.ended_by]})" if one.ended_by in ENDED else one.state,
        f"{one.trials['complete']} of {one.target} complete" + (f", {states}" if states else ""),
        best,
        f"created {made}, changed {changed}",
        workers,
    )


def _values(study: ListedStudy) -> dict[str, object]:
    values = asdict(study.summary)
    for name in ("created_at", "changed_at"):
        values[name] = utc(values.pop(f"{name}_ms"))
    return values | {"at_work": dict(study.at_work)}


@click.command("delete-study", cls=StoreVerb)
@study_flag("Name of the study.", required=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@dry_run_option
def delete_study(study: str, yes: bool, dry_run: bool) -> int:
    """Delete a study: its trials, logs and report.

    Registered models, deployments and MLflow's runs stay. The runs are marked as those of a deleted study, so that a
    new study can use the same name.
    """
    from winnow import api

    deletion = api.plan_deletion(study)
    if dry_run:
        click.echo(f"Dry run: {going(deletion)} would be deleted. {staying(deletion)}")
        return 0
    if not yes and not sys.stdin.isatty():
        raise InputError(
            f"study {study!r}",
            expected="confirmation, since deletion cannot be undone",
            found="no terminal to ask on",
            remedy=f"To delete {going(deletion)}: {next_command('delete-study', study=study, yes=True)}.",
        )
    if not yes:
        click.echo(f"This deletes {going(deletion)}. {staying(deletion)}")
        if not click.confirm("Delete it?"):
            click.echo("Nothing was deleted.")
            return NOT_DELETED
    api.delete_study(study)
    click.echo(f"Deleted {going(deletion)}. {staying(deletion)}")
    return 0


def going(deletion: Deletion) -> str:
    """What is deleted, in words."""
    files = "" if deletion.folder is None else f", with logs and report in {deletion.folder}"
    return f"study {deletion.study} ({count(deletion.trials, 'trial')}{files})"


def staying(deletion: Deletion) -> str:
    """What is kept, in words."""
    kept = "Registered models and deployments stay."
    runs = count(deletion.runs, "run")
    return f"{kept} So do {runs} in MLflow, marked as those of a deleted study." if deletion.runs else kept


@click.command("report", cls=StoreVerb)
@config_option
@study_option
@file_option("--output", "The page to write; by default HOME/studies/STUDY/report.html.")
def report(config: Path, study: str | None, output: Path | None) -> None:
    """Write a study's report, a self-contained HTML page."""
    name = study_name(config, study)
    from winnow import api

    page = api.write_report(study=name, output=output)
    click.echo(f"Report of {name}: {page.absolute().as_uri()}")
