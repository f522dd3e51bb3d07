"""Addresses and ports of this machine."""

from __future__ import annotations

import socket

from winnow.config.errors import InputError


def bound(host: str, port: int | None) -> socket.socket:
    """A bound socket that does not listen yet, on a free port where none is given.

    Raises InputError where the port is taken, or the address is none of this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port or 0))
    except (OSError, OverflowError) as error:
        listener.close()
        raise InputError(
            f"address {host}:{port or 0}",
            expected="a port of this machine that is free",
            found=(getattr(error, "strerror", None) or str(error)).lower(),
            remedy="Leave the port out to have a free one found, or choose another.",
        ) from error
    return listener


def is_free(host: str, port: int) -> bool:
    """Whether a port of this machine can be listened on now."""
    try:
        bound(host, port).close()
    except InputError:
        return False
    return True


def url_for_clients(host: str, port: int) -> str:
    """The address at which a client on this machine reaches what listens on `host`."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # nosec B104 (replaced)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"
