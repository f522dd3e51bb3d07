"""`winnow install-tool`: make the environment of a heavy tool."""

from __future__ import annotations

import click

from winnow.config.tools import TOOLS


@click.command("install-tool")
@click.option("--tool", type=click.Choice(sorted(TOOLS)), required=True, help="The tool.")
def command(tool: str) -> None:
    """Install a tool that winnow calls as a process in an environment of its own, in WINNOW_HOME or WINNOW_TOOLS.

    An environment that is there and has what this version of winnow needs is left as it is.
    """
    from winnow import api

    api.install_tool(tool, say=click.echo)
