"""`winnow select-model`: pick the best run that passes the rules, and show why others did not.

Exit status 3: no run passes.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.api.arguments import study_name
from winnow.cli.options import StoreVerb, config_option, dry_run_option, json_option, rules_option, say, study_option
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from rich.table import Table

    from winnow.api import Certainty, CheckedRun, Explanation, Outcome, Selection, TrackedRun

NO_RUN_PASSES = 3


@click.command("select-model", cls=StoreVerb)
@config_option
@study_option
@rules_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="Also list every trial with the rules that reject it.")
@click.option(
    "--explain", metavar="RUN", help="Check one run against every rule. RUN is a run id, a name or a trial's number."
)
@dry_run_option
def command(
    config: Path,
    study: str | None,
    rules: Path | None,
    as_json: bool,
    show_all: bool,
    explain: str | None,
    dry_run: bool,
) -> int | None:
    """Pick the best run that passes the rules, make its model @candidate and @champion, and show why others failed.

    Exit status 3: no run passes. The nearest misses are shown.
    """
    name = study_name(config, study)
    from winnow import api

    if explain is not None:
        _print_explanation(api.explain_run(explain, study=name, rules=rules))
        return None
    outcome = api.select_model(study=name, rules=rules, dry_run=dry_run, say=say)
    runs = api.check_runs(study=name, rules=rules) if show_all else ()
    winner = outcome.selection.winner
    certainty = None if winner is None else api.winner_certainty(study=name, trial=winner.trial)
    if as_json:
        click.echo(json.dumps(as_values(outcome, runs, certainty), indent=2))
    else:
        _print_outcome(outcome, runs, api.parameter_importances(study=name), certainty, dry_run=dry_run)
        if outcome.version is not None and not dry_run:
            named: dict[str, Any] = {"config": config} if study is None else {"name": outcome.version.name}
            click.echo(f"  next: {_next(outcome, named, rules)}")
    return None if winner else NO_RUN_PASSES


def _next(outcome: Outcome, named: dict[str, Any], rules: Path | None) -> str:
    """The command that usually follows."""
    if outcome.stages:
        return next_command("promote-model", stage=outcome.stages[0], **named, rules=rules)
    alias = None if outcome.alias == "champion" else outcome.alias
    return next_command("prod", platform="local", **named, alias=alias)


def as_values(outcome: Outcome, runs: Sequence[CheckedRun], certainty: Certainty | None = None) -> dict[str, Any]:
    """An outcome as JSON values."""
    selection, version = outcome.selection, outcome.version
    values: dict[str, Any] = {
        "study": outcome.study,
        "objective": {"metric": selection.objective.metric, "goal": selection.objective.goal},
        "winner": None if selection.winner is None else _run_values(selection.winner, selection),
        "version": None
        if version is None
        else {"name": version.name, "version": version.version, "semantic": version.semantic},
        "alias": outcome.alias,
        "aliases": list(outcome.aliases),
        "is_new": outcome.is_new,
        "reason": outcome.reason,
        "certainty": None if certainty is None else asdict(certainty),
        "unknown": list(outcome.unknown),
        "runners_up": [_run_values(run, selection) for run in selection.runners_up],
        "misses": {
            rule: [
                _run_values(miss.run, selection) | {"reason": miss.reason, "distance": miss.distance} for miss in misses
            ]
            for rule, misses in selection.misses.items()
        },
    }
    if runs:
        values["all"] = [
            _run_values(each.run, selection)
            | {"state": each.run.state, "reasons": [miss.reason for miss in each.misses]}
            for each in runs
        ]
    return values


def _run_values(run: TrackedRun, selection: Selection) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "trial": run.trial,
        "metrics": _whole_trial(run),
        "params": dict(run.params),
        "has_other_code": selection.has_other_code(run),
    }


def _whole_trial(run: TrackedRun) -> dict[str, float]:
    """The metrics of the whole trial, without those of single folds. The store reports only the last fold's."""
    return {name: value for name, value in run.metrics.items() if not name.endswith(".fold")}


def _print_outcome(
    outcome: Outcome,
    runs: Sequence[CheckedRun],
    shares: Mapping[str, float],
    certainty: Certainty | None,
    *,
    dry_run: bool,
) -> None:
    console = _console()
    selection = outcome.selection
    if selection.winner is not None:
        console.print(_runs_table(outcome, shares))
        console.print(f"\n{outcome.reason}", style="bold")
        if certainty is not None:
            console.print(certainty.verdict)
            for alarm in certainty.alarms:
                console.print(f"! {alarm}", style="yellow")
    else:
        console.print(f"No run of {outcome.study} passes the rules.", style="bold")
        for sentence in outcome.unknown:
            console.print(sentence)
    for rule, misses in selection.misses.items():
        if misses:
            console.print(f"\nRejected by: {rule}", style="italic")
            console.print(_misses_table(rule, selection))
    if runs:
        console.print("\nAll trials", style="italic")
        console.print(_all_table(runs, selection))
    if selection.winner is not None:
        console.print()
        console.print(_what_happened(outcome, dry_run=dry_run))


def _what_happened(outcome: Outcome, *, dry_run: bool) -> str:
    version, aliases = outcome.version, " and ".join(f"@{alias}" for alias in outcome.aliases)
    if version is None:
        return f"Dry run: the run has no model yet. It would be refitted and become {aliases}."
    label = f"{version.name} version {version.label}"
    if not outcome.is_new:
        return f"{label} is already {aliases}; nothing changed."
    return f"Dry run: {label} would become {aliases}." if dry_run else f"{label} is now {aliases}."


def _table(*headings: str, numeric: Sequence[str] = ()) -> Table:
    """An empty table. The columns named in `numeric` are aligned to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in numeric else "left")
    return table


def _runs_table(outcome: Outcome, shares: Mapping[str, float]) -> Table:
    from rich.text import Text

    selection, metric = outcome.selection, outcome.selection.objective.metric
    extra = [name for name in outcome.compared if name != metric]
    numeric = (metric, "±", "holdout", *extra)
    table = _table("", "run", *numeric, "parameters", numeric=numeric)
    ranked = [selection.winner, *selection.runners_up] if selection.winner else []
    numbers = [metric, f"{metric}.std", f"holdout.{metric}", *extra]
    columns = [_column([run.metrics.get(name) for run in ranked]) for name in numbers]
    order = telling_order(ranked, shares)
    for place, run in enumerate(ranked):
        cells = [column[place] for column in columns]
        parameters = "  ".join(f"{name}={_short(run.params[name])}" for name in order if name in run.params)
        # Show the winner's parameters in full, and one line for each other run.
        shown = Text(parameters) if place == 0 else Text(parameters, no_wrap=True, overflow="ellipsis")
        style = "bold green" if place == 0 else None
        table.add_row("→" if place == 0 else "", _name(run, selection), *cells, shown, style=style)
    return table


def telling_order(runs: Sequence[TrackedRun], shares: Mapping[str, float]) -> list[str]:
    """The runs' parameters, most important first.

    Args:
        shares: each parameter's importance; empty if unknown.
    """
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.params.items():
            values.setdefault(name, set()).add(value)
    # A parameter that some runs lack counts as one that varies.
    is_constant = {name: len(seen) == 1 and all(name in run.params for run in runs) for name, seen in values.items()}
    return sorted(values, key=lambda name: (-shares.get(name, 0.0), is_constant[name], name))


def _misses_table(rule: str, selection: Selection) -> Table:
    metric = selection.objective.metric
    table = _table("run", metric, "because", numeric=[metric])
    # With a winner, a few misses are enough.
    misses = selection.misses[rule][: 3 if selection.winner else None]
    for miss, score in zip(misses, _column([miss.run.metrics.get(metric) for miss in misses]), strict=True):
        off = "" if miss.distance is None else f" ({miss.distance:.3g} off)"
        table.add_row(_name(miss.run, selection), score, f"{miss.reason}{off}")
    return table


def _all_table(runs: Sequence[CheckedRun], selection: Selection) -> Table:
    metric = selection.objective.metric
    table = _table("run", "state", metric, "passes", numeric=[metric])
    for each, score in zip(runs, _column([each.run.metrics.get(metric) for each in runs]), strict=True):
        run = each.run
        reasons = [miss.reason for miss in each.misses] if run.state == "complete" else ["not complete"]
        table.add_row(_name(run, selection), run.state, score, f"no: {'; '.join(reasons)}" if reasons else "yes")
    return table


def _print_explanation(explained: Explanation) -> None:
    console, run, selection = _console(), explained.run, explained.selection
    console.print(f"{_name(run, selection)} (run {run.run_id})", style="bold")
    for demand in explained.demands:
        console.print(f"  {'yes' if demand.is_met else 'NO '}  {demand.text}: {demand.found}")
    if all(demand.is_met for demand in explained.demands):
        console.print(f"It passes, and {_place_of(run, selection)}.")
    console.print("\nIts metrics:")
    for name, value in sorted(_whole_trial(run).items()):
        console.print(f"  {name} = {value:.6g}")


def _place_of(run: TrackedRun, selection: Selection) -> str:
    ids = [one.run_id for one in (selection.winner, *selection.runners_up) if one is not None]
    if run.run_id not in ids:
        return f"ranks below the first {len(ids)} runs that pass"
    place = ids.index(run.run_id)
    return "wins" if place == 0 else f"is number {place + 1} of the runs that pass"


def _column(values: Sequence[float | None]) -> list[str]:
    """Numbers with equally many decimals, so that their points align. The largest gets five digits."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if all(value is None or value.is_integer() for value in values):
        decimals = 0
    else:
        decimals = min(max(4 - math.floor(math.log10(largest)), 0), 9)
    return ["" if value is None else f"{value:.{decimals}f}" for value in values]


def _name(run: TrackedRun, selection: Selection) -> str:
    return f"{run.name} (other code)" if selection.has_other_code(run) else run.name


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text


def _console() -> Any:
    from rich.console import Console

    # A file has no width, and wrapped rows are hard to search. A parameter's value may look like markup: "[relu]".
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)
