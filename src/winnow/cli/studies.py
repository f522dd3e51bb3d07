"""`winnow studies` and `delete-study`: the studies of the storage."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from winnow.cli.options import StoreVerb, dry_run_option, json_option, required_study_option
from winnow.config.errors import InputError
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import Deletion, ListedStudy

NOT_DELETED = 1
"""Exit status where the answer was no."""


@click.command("studies", cls=StoreVerb)
@json_option
def studies(as_json: bool) -> None:
    """List all studies of the storage: their state, trials, best value, and where workers are at work."""
    from winnow import api

    found = api.studies()
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in found], indent=2))
        return
    for line in table([_row(each) for each in found]):
        click.echo(line)
    if not found:
        click.echo(f"There is no study yet; `{next_command('train', config=...)}` starts one.")


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row(study: ListedStudy) -> tuple[str, ...]:
    one = study.summary
    states = ", ".join(f"{count} {state}" for state, count in one.trials.items() if count and state != "complete")
    best = "no trial is complete"
    if one.best is not None:
        best = f"{one.metric or 'best value'} {one.best:.4f} (trial {one.best_trial})"
    return (
        one.name,
        one.state,
        f"{one.trials['complete']} of {one.target} complete" + (f", {states}" if states else ""),
        best,
        f"made {_time(one.created_at_ms)}, changed {_time(one.changed_at_ms)}",
        _workers(study),
    )


def _workers(study: ListedStudy) -> str:
    if study.at_work:
        return "workers: " + ", ".join(f"{count} {platform}" for platform, count in study.at_work.items())
    # The study alone knows the workers of other machines.
    return f"workers elsewhere: {', '.join(study.summary.heard)}" if study.summary.heard else ""


def _time(at_ms: int | None) -> str:
    return "?" if at_ms is None else f"{datetime.fromtimestamp(at_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M}"


def _as_json(study: ListedStudy) -> dict[str, object]:
    values = asdict(study.summary)
    for name in ("created_at", "changed_at"):
        at_ms = values.pop(f"{name}_ms")
        values[name] = None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat("T", "seconds")
    return values | {"at_work": dict(study.at_work)}


@click.command("delete-study", cls=StoreVerb)
@required_study_option
@click.option("--yes", is_flag=True, help="Delete it without a question.")
@dry_run_option
def delete_study(study: str, yes: bool, dry_run: bool) -> int:
    """Delete a study: its trials, logs and report.

    Registered models, deployments and MLflow's runs stay. The runs are marked as those of a deleted study, so that a
    new study of the same name starts afresh.
    """
    from winnow import api

    deletion = api.plan_deletion(study)
    if dry_run:
        click.echo(f"Dry run: {going(deletion)} would be deleted. {staying(deletion)}")
        return 0
    if not yes and not sys.stdin.isatty():
        raise InputError(
            f"study {study!r}",
            expected="a yes, since its deletion cannot be undone",
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
    """What is removed, in words."""
    files = "" if deletion.folder is None else f", with logs and report in {deletion.folder}"
    return f"study {deletion.study} ({_count(deletion.trials, 'trial')}{files})"


def staying(deletion: Deletion) -> str:
    """What is kept, in words."""
    if not deletion.runs:
        return "Registered models and deployments stay."
    runs = _count(deletion.runs, "run")
    return f"Registered models and deployments stay. So do {runs} in MLflow, marked as those of a deleted study."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
