"""`winnow monitor`: look at a deployment once, and tell of alarms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    candidates_as_commands,
    config_option,
    json_option,
    model_options,
    say,
    stage_option,
)
from winnow.cli.wording import aligned, as_text
from winnow.config.exit_codes import CommandExit
from winnow.config.platforms import SERVING_PLATFORMS

if TYPE_CHECKING:
    from winnow.api import ColumnDrift, Finding, MonitoringReport

SHOWN_COLUMNS = 20


@click.command("monitor", cls=StoreVerb)
@config_option
@click.option(
    "--platform",
    type=click.Choice(SERVING_PLATFORMS),
    help="Platform of the deployment; by default the one that serves it.",
)
@model_options
@stage_option
@click.option(
    "--prometheus", metavar="URL", help="A Prometheus that scrapes the replicas; by default `monitoring.prometheus`."
)
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write one self-contained page.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write gauges for Prometheus' textfile collector.",
)
@click.option(
    "--evidently",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write Evidently's page on logged rows; `install-tool` installs it.",
)
@json_option
def command(as_json: bool, html: Path | None, **options: Any) -> int:
    """Compare what a deployment has been asked since the last look with what its model was trained on.

    Tells `monitoring.alert` of alarms that begin and end. Exit status 3: an alarm holds; 0: none does, or there are too
    few rows to judge.
    """
    from winnow import api

    with candidates_as_commands(keeps_config=True):
        found = api.monitor(html=html, say=say, **options)
    click.echo(as_text(found) if as_json else "\n".join(lines_of(found)))
    if html is not None:
        say(f"Page: {html.absolute().as_uri()}")
    return CommandExit.REJECTED if found.alarms else CommandExit.DONE


def lines_of(found: MonitoringReport) -> Iterator[str]:
    """What a look found, as lines for people."""
    yield (
        f"{found.deployment}: {found.model} version {found.label}, {found.rows:,} rows "
        f"from {_time(found.since)} to {_time(found.until)} UTC, of {found.source}"
    )
    rows = [row for each in found.drift for row in _rows(each)]
    if rows:
        head = ("column", "statistic", "found", "threshold", "since")
        yield from aligned([head, *rows[:SHOWN_COLUMNS]])
        if len(rows) > SHOWN_COLUMNS:
            yield f"  and {len(rows) - SHOWN_COLUMNS} more (JSON and page show all)"
    elif found.rows >= found.needed_rows:
        yield f"  no drift in {len(found.drift)} columns and outputs"
    degradation = None if found.quality is None else found.quality.degradation
    for finding in (found.joint, found.importances, degradation, *found.rules):
        if finding is not None:
            yield f"  {_mark(finding)} {finding.condition}: {finding.reason}"
    yield from (f"  {reason}" for reason in found.skipped)
    for alarm in found.alarms:
        subject = f" ({alarm.subject})" if alarm.subject else ""
        yield f"ALARM {alarm.name}{subject} since {_time(alarm.since)} UTC: {alarm.summary}"
    if not found.alarms:
        yield f"No alarm (`false_alarms_per_month`: {found.false_alarms_per_month:g})."


def _rows(drift: ColumnDrift) -> Iterator[tuple[str, ...]]:
    """A row for each statistic that shows drift."""
    name = f"{drift.name} (output)" if drift.is_output else drift.name
    for each in drift.findings:
        if each.result == "fail" and each.estimate is not None:
            since = "" if drift.since is None else _time(drift.since)
            yield name, each.condition, f"{each.estimate:.3g}", f"{each.margin:.3g}", since


def _mark(finding: Finding) -> str:
    return {"fail": "✗", "pass": "✓"}.get(finding.result, "-")


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
