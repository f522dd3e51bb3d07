"""The operating systems that winnow runs on."""

from __future__ import annotations

import sys

from winnow.config.errors import InputError


def check_system(system: str = sys.platform) -> None:
    """Raise InputError on Windows: its file locks do not end with their holder, and processes cannot share sockets.

    macOS lacks only `PR_SET_PDEATHSIG` and /proc; see `training.pdeathsig` and `config.process_identity`.
    """
    if system in ("win32", "cygwin"):
        raise InputError(
            "this machine",
            expected="Linux or macOS",
            found="Windows",
            remedy="Run winnow in WSL2 (`wsl --install`), where it runs as on Linux.",
        )
