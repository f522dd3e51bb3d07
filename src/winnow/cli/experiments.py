"""`winnow track-experiments`: experiments listed, and their studies compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from winnow.cli.options import StoreVerb, json_option, say
from winnow.cli.wording import as_text, sheet_lines
from winnow.config.names import check_study_name
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.api import TrackedExperiments


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
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write one self-contained page.")
@json_option
def command(name: str | None, studies: list[str], html: Path | None, as_json: bool) -> None:
    """List experiments with their studies, versions, gates and champions; compare studies side by side."""
    from winnow import api

    found = api.track_experiments(studies, name=name, html=html)
    click.echo(as_text(found) if as_json else "\n".join(experiment_lines(found)))
    if html is not None:
        say(f"Page: {html.absolute().as_uri()}")


def experiment_lines(found: TrackedExperiments) -> Iterator[str]:
    """The tables as lines for people."""
    if not found.experiments:
        yield f"There is no study yet; `{next_command('train', config=...)}` starts one."
    yield from sheet_lines(found.sheets())
