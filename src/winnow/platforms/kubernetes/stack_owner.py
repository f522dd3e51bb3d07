"""Which home a stack on a cluster belongs to: the one that made its Secret.

Other homes are kept from removing it by accident. This module decides; `stack` reads the annotation.
"""

from __future__ import annotations

import getpass
import os
import socket
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.stack_record import AnyStack, ClusterStackRecord


def home_here(home: Path) -> str:
    """A home as the owner of a stack on a cluster: `USER@HOST:PATH`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}:{home.absolute()}"


def other_home(owner: str | None, home: Path, record: AnyStack | None, context: str, namespace: str) -> str:
    """The other home that a namespace's stack belongs to, in words; empty where it is this one's or does not exist.

    Args:
        owner: the Secret's annotation; empty where it was made by hand or by an older version, None without a Secret.
        record: the stack that this home uses.
    """
    here = home_here(home)
    if owner in (None, here):
        return ""
    is_used_here = is_of(record, context, namespace)
    if not owner:
        return "" if is_used_here else "someone that it does not name, and this home does not use it"
    place, _, path = owner.partition(":")
    # A home that was moved keeps its stack.
    is_moved = is_used_here and place == here.partition(":")[0] and not Path(path).exists()
    return "" if is_moved else owner


def is_of(record: AnyStack | None, context: str, namespace: str, identity: str = "") -> bool:
    """Whether the stack in use is a namespace's; `identity` tells the cluster from another that has its name."""
    if not isinstance(record, ClusterStackRecord) or (record.context, record.namespace) != (context, namespace):
        return False
    return not identity or record.identity in ("", identity)


def refusal_to_end(namespace: str, other: str) -> InputError | None:
    """The error where the stack to remove is another home's (`other_home`)."""
    if not other:
        return None
    return InputError(
        f"the stack in namespace {namespace}",
        expected="one that this home has made",
        found=f"one of {other}",
        remedy=f"Leave it to its owner, or add {next_flag('force', True)} to remove it all the same. "
        "To use it no longer from here, remove stack.json from the home.",
    )
