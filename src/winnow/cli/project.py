"""Verbs on a project's folder and its tools."""

from __future__ import annotations

import difflib
import os
import shlex
from pathlib import Path

import click

from winnow.cli.options import PORT, config_option, file_option, option_with_default
from winnow.config.tools import TOOLS


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
@file_option("--output", "A file to write instead.")
def schema(output: Path | None) -> None:
    """Print the JSON schema of experiment files, with which editors complete and check them."""
    from winnow import api

    text = api.schema()
    if output is None:
        click.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    click.echo(f"Written to {output}. First line of an experiment file: # yaml-language-server: $schema={output}")


@click.command("install-tool")
@click.option("--tool", type=click.Choice(sorted(TOOLS)), required=True, help="The tool.")
def install_tool(tool: str) -> None:
    """Install a tool that winnow calls as a process in an environment of its own, in WINNOW_HOME or WINNOW_TOOLS.

    An environment that is there and has what this version of winnow needs is left as it is.
    """
    from winnow import api

    api.install_tool(tool, say=click.echo)


@click.command("feature-server")
@config_option
@option_with_default("--host", default="127.0.0.1", help="Address to listen on.")
@option_with_default("--port", type=PORT, default=6566, help="Port to listen on.")
def feature_server(config: Path, host: str, port: int) -> None:
    """Serve the online store of the `feast:` repository for `serving.features`, by Feast's own server, until Ctrl-C.

    `feast materialize` in the repository loads it.
    """
    from winnow import api

    found = api.feature_server(config, host=host, port=port)
    click.echo(f"feature server: http://{host}:{port}")
    os.execv(found[0], found)


@click.command()
@click.option("--write/--check", default=False, help="Update them; by default only check.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The project's folder; by default the working directory.",
)
def config_reference(write: bool, root: Path) -> int:
    """Update the generated parts of README.md and docs/, or check that they are up to date."""
    from winnow import api

    stale = api.config_reference(root, write=write)
    for each in stale:
        lines = difflib.unified_diff(
            each.found.splitlines(), each.wanted.splitlines(), str(each.path), "generated", lineterm=""
        )
        click.echo(f"written: {each.path}" if write else "\n".join(lines))
    if stale and not write:
        click.echo("error: the documents are older than the code. Run `make docs`.", err=True)
        return 1
    return 0
