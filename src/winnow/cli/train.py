"""`winnow train`: a study's trials, until all are done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    by_name,
    changed_code_option,
    config_option,
    dry_run_option,
    say,
    study_option,
)
from winnow.config.next_command import next_command, next_flag
from winnow.config.platforms import PLATFORMS

if TYPE_CHECKING:
    from winnow.api import SweepResult


NONE_COMPLETED = 1
"""Exit status where no trial completed."""

workers_option = click.option("--workers", type=click.IntRange(min=1), help="Worker groups at once.")


def image_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb `image`, `registry` and `image_load`."""
    options = (
        click.option("--image", metavar="NAME", help="What containers are made of; by default what build-train made."),
        click.option("--registry", metavar="HOST/PATH", default="", help="Push the image there, for a cluster."),
        click.option("--image-load", metavar="COMMAND", default="", help="Or put it on its nodes by this command."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("train", cls=StoreVerb)
@config_option
@study_option
@click.option("--trials", type=click.IntRange(min=1), help="How many trials the study holds when it is done.")
@workers_option
@click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    default="local",
    show_default=True,
    help="Where the workers run: processes of this machine, containers, or pods of a cluster.",
)
@image_options
@changed_code_option
@dry_run_option
def command(config: Path, study: str | None, platform: str, dry_run: bool, **options: Any) -> int:
    """Run a study's trials until all are done, and the best one is refitted.

    Workers may have other refits left when it returns; they carry these out by themselves.

    Again: resumes where it stands, or attaches to the workers that are at it. A closed terminal leaves them at work.
    Ctrl-C stops local workers and hands their trials back; containers and pods go on until `winnow cancel`.
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


def status_of(result: SweepResult) -> int:
    """The exit status: a sweep of which no trial completed has failed, though it is done."""
    return 0 if result.counts["complete"] else NONE_COMPLETED


def describe(result: SweepResult, config: Path, platform: str = "local", study: str | None = None) -> str:
    """What came of a sweep, and what to do next.

    Args:
        study: the name that was given; None where the experiment's own was taken.
    """
    counts = ", ".join(f"{result.counts[state]} {state}" for state in ("complete", "pruned", "failed"))
    trials = "1 trial" if result.trials == 1 else f"{result.trials} trials"
    lines = [f"study {result.study}: {trials} done ({counts})"]
    if result.was_done:
        more = next_command("train", platform=platform, config=config, study=study, trials=2 * result.trials)
        lines.append(f"  nothing was left to do; more: {more}")
    if result.counts["failed"]:
        retry = next_command("retry", platform=platform, config=config, study=study)
        allowed = next_flag("allow_changed_code", True)
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
        again = next_command("train", platform=platform, config=config, study=study)
        lines.append(f"  its workers now refit the next best trials ({numbers}); to wait for them: {again}")
    lines.append(f"  report: {result.report.absolute().as_uri()}")
    if result.best is not None:
        lines.append(f"  next: {next_command('select-model', **by_name(study, config))}")
    lines.append(f"  runs: {next_command('ui')}")
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
