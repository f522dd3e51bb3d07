"""`winnow data-version`: make a version of data by DVC."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from winnow.cli.options import json_option
from winnow.cli.wording import as_text


@click.command("data-version")
@click.option(
    "--input", "path", type=click.Path(path_type=Path), required=True, help="The file or folder, in a DVC project."
)
@click.option(
    "--commit", is_flag=True, help="Also commit the `.dvc` file, and the files of DVC's own beside it, to Git."
)
@json_option
def command(path: Path, commit: bool, as_json: bool) -> None:
    """Make a version of a file or folder: DVC tracks it as it is, and copies it to its default remote.

    Experiments name it by `data: {source: "dvc:PATH"}`. Git keeps the file PATH.dvc, which says which content it is.
    """
    from winnow import api

    made = api.data_version(path, commit=commit, say=lambda line: click.echo(line, err=as_json))
    if as_json:
        click.echo(as_text(made))
        return
    click.echo(f"version {made.md5} is in {made.remote}" + ("" if made.pushed else ", as before"))
    if made.committed:
        click.echo("Git has it, too")
    else:
        files = " ".join(shlex.quote(str(file)) for file in made.files)
        click.echo(f"commit it: git add {files} && git commit")
