"""`winnow serve-hooks`: roll a deployment back when an alert fires."""

from __future__ import annotations

import time

import click

from winnow.cli.options import say
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.platforms import SERVING_PLATFORMS


@click.command("serve-hooks")
@click.option(
    "--action",
    type=click.Choice(["rollback"]),
    required=True,
    expose_value=False,
    help="What is done when an alert fires.",
)
@click.option("--name", required=True, help="Name of the deployment.")
@click.option("--platform", type=click.Choice(SERVING_PLATFORMS), help="Platform of the deployment; by default found.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=9119, show_default=True, help="Port; 0 for a free one.")
@click.option(
    "--match",
    "labels",
    metavar="LABEL=VALUE",
    multiple=True,
    help="Label that an alert must have; may be repeated. By default deployment=NAME.",
)
def command(name: str, platform: str | None, host: str, port: int, labels: tuple[str, ...]) -> None:
    """Receive Alertmanager's webhook, and roll a deployment back when an alert about it fires.

    Requests must carry the bearer token of WINNOW_HOOKS_TOKEN_FILE or WINNOW_HOOKS_TOKEN. An open rollout is aborted;
    otherwise the revision before serves again. Runs until Ctrl-C.
    """
    from winnow import api

    wrong = next((each for each in labels if not each.partition("=")[2]), None)
    if wrong is not None:
        raise InputError(next_flag("match"), expected="LABEL=VALUE", found=f"'{wrong}'", remedy="Correct it.")

    def stamped(line: str) -> None:
        say(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}")

    match = {each.partition("=")[0]: each.partition("=")[2] for each in labels}
    api.serve_hooks(name, match=match or None, say=stamped, platform=platform, host=host, port=port)
