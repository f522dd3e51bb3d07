"""`winnow feature-server`: serve features to replicas that look them up."""

from __future__ import annotations

import os
from pathlib import Path

import click

from winnow.cli.options import config_option


@click.command("feature-server")
@config_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=6566, show_default=True, help="Port to listen on.")
def command(config: Path, host: str, port: int) -> None:
    """Serve the online store of the `feast:` repository for `serving.features`, by Feast's own server, until Ctrl-C.

    `feast materialize` in the repository loads it.
    """
    from winnow import api

    found = api.feature_server(config, host=host, port=port)
    click.echo(f"feature server: http://{host}:{port}")
    os.execv(found[0], found)
