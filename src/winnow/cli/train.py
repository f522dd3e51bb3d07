"""`winnow train` and `retry`: run a study's trials until all are done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    changed_code_option,
    config_option,
    dry_run_option,
    in_order,
    registry_options,
    say,
    study_option,
    workers_platform_option,
)
from winnow.cli.wording import count
from winnow.config.next_command import Value, next_command, next_flag

if TYPE_CHECKING:
    from winnow.api import SweepResult

NONE_COMPLETED = 1
"""Exit status if no trial completed."""

workers_option = click.option(
    "--workers", type=click.IntRange(min=1), help="Number of worker groups that run at once; by default the file's."
)
image_options = in_order(
    click.option("--image", metavar="NAME", help="Image of the containers; by default the one from build-train."),
    registry_options(),
)
"""Give the verb `image`, `registry` and `image_load`."""


@click.command("train", cls=StoreVerb)
@config_option
@study_option
@click.option(
    "--trials", type=click.IntRange(min=1), help="Total number of trials in the study; by default the file's."
)
@workers_option
@workers_platform_option
@image_options
@changed_code_option
@dry_run_option
def train(config: Path, study: str | None, platform: str, dry_run: bool, **options: Any) -> int:
    """Run a study's trials until all are done and the best one is refitted.

    Run it again to resume an interrupted study, or to attach to its running workers. Workers keep running if you close
    the terminal. Ctrl-C stops local workers and returns their trials to the study; containers and pods keep running
    until `winnow cancel`. Workers may still be refitting other trials when the command ends.
    """
    from winnow import api

    if dry_run:
        shown = {name: options[name] for name in ("trials", "workers", "image")}
        for line in api.plan(config, study=study, platform=platform, say=say, **shown):
            click.echo(line)
        return 0
    result = api.train(config, study=study, platform=platform, **options)
    click.echo(describe(result, config, platform, study))
    return status_of(result)


@click.command("retry", cls=StoreVerb)
@config_option
@study_option
@workers_option
@workers_platform_option
@image_options
@changed_code_option
def retry(config: Path, study: str | None, platform: str, **options: Any) -> int:
    """Train a study's failed trials again, with the same numbers and parameters.

    If you fixed your code, add --allow-changed-code. Failed refits are tried again too. Then the sweep continues as
    with `winnow train`.
    """
    from winnow import api

    result = api.retry(config, study=study, platform=platform, **options)
    click.echo(describe(result, config, platform, study))
    return status_of(result)


def status_of(result: SweepResult) -> int:
    """The exit status. A sweep in which no trial completed has failed."""
    return 0 if result.counts["complete"] else NONE_COMPLETED


def describe(result: SweepResult, config: Path, platform: str = "local", study: str | None = None) -> str:
    """The outcome of a sweep, and what to do next.

    Args:
        study: the name on the command line; None if it came from the experiment file.
    """
    counts = ", ".join(f"{result.counts[state]} {state}" for state in ("complete", "pruned", "failed"))
    again: dict[str, Value] = {"platform": platform, "config": config, "study": study}
    lines = [f"study {result.study}: {count(result.trials, 'trial')} done ({counts})"]
    if result.ended_by != "trials":
        from winnow.config.search import ENDINGS

        lines.append(f"  ended because {ENDINGS[result.ended_by]}")
    if result.was_done:
        lines.append(f"  nothing was left to do; more: {next_command('train', **again, trials=2 * result.trials)}")
    if result.counts["failed"]:
        allowed = next_flag("allow_changed_code", True)
        retry = next_command("retry", **again)
        lines.append(f"  train failed trials again (add {allowed} if you changed your code): {retry}")
    if result.best is not None:
        params = ", ".join(f"{name}={_short(value)}" for name, value in result.best.params.items())
        code = " (other code)" if result.best.has_other_code else ""
        lines.append(f"  best: trial {result.best.number}{code}, {result.metric} {result.best.value:.4f} ({params})")
    for refit in result.refits:
        became = f"model version {refit.version}" if refit.version else f"no model: {refit.reason}"
        lines.append(f"  refit of trial {refit.trial}: {became}")
    if result.refits_left:
        numbers = ", ".join(map(str, result.refits_left))
        lines.append(f"  still refitting the next best trials ({numbers}); to wait: {next_command('train', **again)}")
    lines.append(f"  report: {result.report.absolute().as_uri()}")
    if result.best is not None:
        named: dict[str, Value] = {"config": config} if study is None else {"study": study}
        lines.append(f"  next: {next_command('select-model', **named)}")
    lines.append(f"  runs: {result.page or next_command('ui')}")
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
