"""Whether the stores of a stack on Docker, whose ports are published on this machine, take connections."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import StackRecord

ANSWER_S = 2.0
"""How long a connection to a port of this machine may take."""


def silence(settings: Settings, stack: StackRecord) -> str | None:
    """What to do about a stack of which the settings use a store that takes no connections; None without one."""
    own = {_address(url) for url in (stack.tracking_url, stack.storage_url or "")}
    for address in (_address(settings.tracking_uri), _address(settings.storage_url)):
        if address is None or address not in own:
            continue
        try:
            socket.create_connection(address, timeout=ANSWER_S).close()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return (
                f"{stack.shown}: expected it to answer, found {reason} at {address[0]}:{address[1]}. "
                f"Start it again with `{next_command('mlflow-init')}`, or end its use with `{stack.ending}`."
            )
    return None


def _address(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    return (parts.hostname, parts.port) if parts.hostname and parts.port else None
