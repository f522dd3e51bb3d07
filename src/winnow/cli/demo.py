"""`winnow demo`: sweep, select, serve and predict, with the commands that you would type."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import config_option
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import ServedDeployment

_STEPS = 4


@click.command("demo")
@config_option
@click.option("--keep", is_flag=True, help="Keep serving the model at the end.")
def command(config: Path, keep: bool) -> None:
    """Sweep, select, serve and predict on bundled data.

    In a project, its own experiment is swept. Running it again reuses what is done.
    """
    from winnow import api
    from winnow.cli import prod, select_model, train
    from winnow.config.grid import trials_wanted

    experiment = api.load_experiment(config)
    search, folds = experiment.search, experiment.cross_validation.folds
    flags = ["--config", str(config)]
    click.echo("winnow demo: data set, model and search space in; a served model out. No server, no account.")
    model, source = experiment.model.factory, experiment.data.shown_source
    searched = f"{trials_wanted(search)} trials of {model} on {source}, {folds} folds each"
    with step(1, _STEPS, f"Sweep: {searched}", next_command("train", config=config)):
        train.train.main(flags, standalone_mode=False)
    with step(2, _STEPS, "Select: the run that passes the rules", next_command("select-model", config=config)):
        if status := select_model.command.main(flags, standalone_mode=False):
            raise SystemExit(status)
    with step(3, _STEPS, "Serve: the selected model", next_command("prod", platform="local", config=config)):
        # The demo does not stop what it did not start.
        was_served = any(each.deployment.state != "down" for each in _deployments(experiment.name))
        prod.prod.main(flags, standalone_mode=False)
    try:
        with step(4, _STEPS, "Predict: a row that no training has seen", next_command("inference-one", config=config)):
            _predict(config, experiment.name)
    finally:
        click.echo()
        if was_served:
            stop = next_command("prod-remove", config=config)
            click.echo(f"The model was served before the demo and still is; `{stop}` stops it.")
        elif not keep:
            prod.remove.main(flags, standalone_mode=False)
    # The sweep wrote the report before there was a champion to show.
    report = api.write_report(config)
    click.echo()
    click.secho("Where to look", bold=True)
    click.echo(f"  the study's report    {report.absolute().as_uri()}")
    click.echo(f"  every run in MLflow   {next_command('ui')}")
    click.echo("\n".join(documents(Path.cwd())))


def documents(folder: Path) -> tuple[str, ...]:
    """What to read next, in the clone or in a project of one's own."""
    if not (folder / "experiments/breast_cancer.yaml").is_file():
        return ("  every setting         docs/configuration.md of winnow",)
    return (
        "  every setting         experiments/breast_cancer.yaml, which explains itself",
        '  your own model        README.md, "Your own model and data"',
    )


@contextmanager
def step(number: int, of: int, title: str, by_hand: str) -> Iterator[None]:
    """Print a step's title, the command that does it, and at its end how long it took."""
    click.echo()
    click.secho(f"[{number}/{of}] {title}", bold=True)
    click.secho(f"      by hand: {by_hand}", dim=True)
    began = time.monotonic()
    yield
    click.secho(f"      took {time.monotonic() - began:.1f} s", dim=True)


def _deployments(name: str) -> list[ServedDeployment]:
    from winnow import api

    return [each for each in api.status(platform="local").deployments if each.deployment.name == name]


def _predict(config: Path, name: str) -> None:
    from winnow import api
    from winnow.cli.inference_one import describe_answer

    row = api.holdout_row(config)
    (served,) = _deployments(name)
    answer = api.predict(served.deployment.url, row.body["rows"])
    click.echo(f"POST {served.deployment.url}/predict with row {row.index} of the data, from the holdout")
    for line in describe_answer(answer):
        click.echo(line)
    click.echo(f"  prediction: {answer['predictions'][0]}   truth: {row.truth}")
