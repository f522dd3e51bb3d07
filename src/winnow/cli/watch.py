"""Verbs that watch what is served: monitor, outcomes, why, experiments and retrain."""

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
    dry_run_option,
    file_option,
    html_option,
    json_option,
    model_options,
    option_with_default,
    platform_option,
    rules_option,
    say,
    say_page,
    serving_platform_option,
    stage_option,
    version_options,
)
from winnow.cli.wording import aligned, sheet_lines, show
from winnow.config.exit_codes import CommandExit
from winnow.config.interrupts import treat_sigterm_as_interrupt
from winnow.config.names import check_study_name
from winnow.config.next_command import next_command
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import (
        ColumnDrift,
        JoinedOutcomes,
        MonitoringReport,
        Retraining,
        RevisionOutcomes,
        TrackedExperiments,
    )


def _names(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    names = [name.strip() for each in given for name in each.split(",")]
    return [check_study_name(name, "--study") for name in names]


@click.command("track-experiments", cls=StoreVerb)
@click.option("--name", metavar="NAME", help="Only the experiment with this name, with its studies compared.")
@click.option(
    "--study",
    "studies",
    multiple=True,
    metavar="NAME,NAME",
    callback=_names,
    help="Only these studies, compared. May be repeated.",
)
@html_option
@json_option
def track_experiments(name: str | None, studies: list[str], html: Path | None, as_json: bool) -> None:
    """List experiments with their studies, versions, gates and champions; compare studies side by side."""
    from winnow import api

    found = api.track_experiments(studies, name=name, html=html)
    show(found, as_json, experiment_lines)
    say_page(html)


def experiment_lines(found: TrackedExperiments) -> Iterator[str]:
    """The tables as lines for people."""
    if not found.experiments:
        yield f"There is no study yet; `{next_command('train', config=...)}` starts one."
    yield from sheet_lines(found.sheets())


@click.command("outcomes")
@click.option(
    "--input",
    "source",
    multiple=True,
    required=True,
    metavar="PATH",
    help="Lines of the log: a file, a folder, a pattern, or a URL such as s3://bucket/cells/. May be repeated.",
)
@option_with_default("--metric", default="accuracy", help="absolute_error, squared_error or value instead.")
@click.option("--name", metavar="NAME", help="Name of the deployment; by default all.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write all predictions to this Parquet file.")
@json_option
def outcomes(as_json: bool, **options: Any) -> None:
    """Measure each revision by the outcomes of its predictions. docs/outcomes.md describes the log."""
    from winnow import api

    show(api.outcomes(**options), as_json, outcome_lines)


def outcome_lines(found: JoinedOutcomes) -> list[str]:
    """The joined log as lines for people."""
    head = ("deployment", "revision", "version", "requests", "outcomes", found.metric, "95 % interval")
    notes = [
        (found.chosen, "requests chose their revision and are not counted"),
        (found.repeated, "predictions were logged more than once and count once"),
        (found.corrected, "predictions have outcomes that contradict each other: the latest counts"),
        (found.unknown, "outcomes belong to no prediction in the log: it samples, has not arrived, or ids are wrong"),
    ]
    return [
        *aligned([head, *map(_outcome_row, found.revisions)]),
        *(f"{count} {text}" for count, text in notes if count),
    ]


def _outcome_row(each: RevisionOutcomes) -> tuple[str, ...]:
    counts, (low, high) = each.counts, each.interval
    copied = " (copies)" if each.is_mirrored else ""
    answered = f" ({each.fallbacks} by stable)" if each.fallbacks else ""
    return (
        each.deployment or "-",
        f"{counts.revision or '-'}{copied}",
        each.version or "-",
        f"{counts.requests}{answered}",
        f"{counts.outcomes}",
        "-" if each.estimate is None else f"{each.estimate:.4g}",
        "-" if low is None or high is None else f"{low:.4g} to {high:.4g}",
    )


SHOWN_COLUMNS = 20
MARKS = {"fail": "✗", "pass": "✓"}


@click.command("monitor", cls=StoreVerb)
@config_option
@serving_platform_option
@model_options
@stage_option
@click.option(
    "--prometheus", metavar="URL", help="A Prometheus that scrapes the replicas; by default `monitoring.prometheus`."
)
@html_option
@file_option("--output", "Also write gauges for Prometheus' textfile collector.")
@file_option("--evidently", "Also write Evidently's page on logged rows; `install-tool` installs it.")
@json_option
def monitor(as_json: bool, html: Path | None, **options: Any) -> int:
    """Compare what a deployment has been asked since the last look with what its model was trained on.

    Tells `monitoring.alert` of alarms that begin and end. Exit status 3: an alarm holds; 0: none does, or there are too
    few rows to judge.
    """
    from winnow import api

    with candidates_as_commands(keeps_config=True):
        found = api.monitor(html=html, say=say, **options)
    show(found, as_json, report_lines)
    say_page(html)
    return CommandExit.REJECTED if found.alarms else CommandExit.DONE


def report_lines(found: MonitoringReport) -> Iterator[str]:
    """What a look found, as lines for people."""
    yield (
        f"{found.deployment}: {found.model} version {found.label}, {found.rows:,} rows "
        f"from {_time(found.since)} to {_time(found.until)} UTC, of {found.source}"
    )
    rows = [row for each in found.drift for row in _drift_rows(each)]
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
            yield f"  {MARKS.get(finding.result, '-')} {finding.condition}: {finding.reason}"
    yield from (f"  {reason}" for reason in found.skipped)
    for alarm in found.alarms:
        subject = f" ({alarm.subject})" if alarm.subject else ""
        yield f"ALARM {alarm.name}{subject} since {_time(alarm.since)} UTC: {alarm.summary}"
    if not found.alarms:
        yield f"No alarm (`false_alarms_per_month`: {found.false_alarms_per_month:g})."


def _drift_rows(drift: ColumnDrift) -> Iterator[tuple[str, ...]]:
    """A row for each statistic that shows drift."""
    name = f"{drift.name} (output)" if drift.is_output else drift.name
    for each in drift.findings:
        if each.result == "fail" and each.estimate is not None:
            since = "" if drift.since is None else _time(drift.since)
            yield name, each.condition, f"{each.estimate:.3g}", f"{each.margin:.3g}", since


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


@click.command("why", cls=StoreVerb)
@config_option
@model_options
@version_options
@click.option("--run", metavar="ID", help="The version that this run registered.")
@click.option(
    "--request", metavar="ID", help="What was answered to the request with this x-request-id, and by which version."
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="Prediction log: a file, a pattern or s3://…; by default `monitoring.quality.outcomes`. May be repeated.",
)
@html_option
@json_option
def why(as_json: bool, html: Path | None, **options: Any) -> None:
    """Say where a model version comes from, and what became of it: by default the champion.

    Data, code, study, trial and metrics; gates, aliases, rollouts, rollbacks, alerts and retrainings, with their
    reasons.
    """
    from winnow import api

    found = api.why(html=html, **options)
    show(found, as_json, lambda story: sheet_lines(story.sheets()))
    say_page(html)


@click.command("retrain", cls=StoreVerb)
@config_option
@click.option("--if-due", is_flag=True, help="Train only if the data, an alarm or the schedule says so.")
@rules_option
@platform_option(PLATFORMS, "Where it trains and serves; by default `retrain.platform`.")
@click.option(
    "--stop-after",
    type=click.Choice(["select", "promote", "deploy"]),
    help="The last step; by default `retrain.stop_after`.",
)
@json_option
@dry_run_option
def retrain(config: Path, as_json: bool, **options: Any) -> int:
    """Train a model again: the next study, selection, gates and rollout. With --if-due it may be called by a timer.

    A call after one that was killed goes on with its study. Exit status 0: done, or nothing to do; 1: a step failed;
    3: rules, gates or the rollout refused the new version.
    """
    from winnow import api

    treat_sigterm_as_interrupt()
    found = api.retrain(config, **options, say=say)
    show(found, as_json, lambda done: retraining_lines(done, config))
    return CommandExit.REJECTED if found.state == "refused" else CommandExit.DONE


def retraining_lines(found: Retraining, config: Path) -> list[str]:
    """What was done and why, as lines for people."""
    said = {
        "busy": f"nothing was done: {found.reason}",
        "waiting": f"nothing was done: {found.reason}; then study {found.study} goes on",
        "planned": f"study {found.study} would be trained",
        "refused": f"not replaced: {found.reason}",
    }.get(found.state, found.reason)
    lines = [f"{found.model}: {said}"]
    if found.state != "nothing":
        lines += [f"  due: {reason}" for reason in found.due] + [f"  not: {reason}" for reason in found.against]
    if found.study and found.state not in ("planned", "waiting"):
        lines.append(f"  next: {next_command('track-experiments', name=found.model)}")
    elif found.state == "planned":
        lines.append(f"  next: {next_command('retrain', config=config, if_due=True)}")
    return lines
