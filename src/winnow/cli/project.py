"""`winnow init` and `schema`: a project folder of one's own, and the schema of its experiment file."""

from __future__ import annotations

import shlex
from pathlib import Path

import click


@click.command("init")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="Name of the experiment; by default like the folder's.")
def init(folder: Path, name: str | None) -> None:
    """Make a project folder that trains at once: an experiment file, a data function, a model, a Makefile.

    DIR is created if it is missing; by default it is the working directory. Nothing is overwritten.
    """
    from winnow import api

    made = api.init(folder, name=name)
    click.echo(f"Made the project {made.name} in {made.folder}:")
    for file in sorted(made.files):
        click.echo(f"  {file!s:<24}{_MEANINGS.get(file.name, '')}".rstrip())
    click.echo("Next:")
    steps = ["make train", "make select-model", "make prod-local", "make inference-one"]
    for step in steps if folder == Path() else [f"cd {shlex.quote(str(folder))}", *steps]:
        click.echo(f"  {step}")


_MEANINGS = {
    ".dockerignore": "what the workers' image leaves out",
    ".gitignore": "what git leaves out",
    "data.py": "the rows: replace them with your own",
    "model.py": "the network",
    "experiment.yaml": "what is searched, how, and for how long",
    "experiment.schema.json": "with it, editors complete and check experiment.yaml",
    "Makefile": "`make help` lists its targets",
}


@click.command("schema")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file to write instead.")
def schema(output: Path | None) -> None:
    """Print the JSON schema of experiment files, with which editors complete and check them."""
    from winnow import api

    text = api.schema()
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    click.echo(f"Written to {output}. First line of an experiment file: # yaml-language-server: $schema={output}")
