"""The operating systems that winnow runs on."""

from __future__ import annotations

import sys

from winnow.config.errors import InputError


def check_system(system: str = sys.platform) -> None:
    """Refuse Windows, which has neither file locks that end with their holder nor sockets that processes share.

    macOS lacks `PR_SET_PDEATHSIG` and /proc alone; see `training.pdeathsig` and `config.process_identity`.

    Raises:
        InputError: winnow does not run on this system.
    """
    if system in ("win32", "cygwin"):
        raise InputError(
            "this machine",
            expected="Linux or macOS",
            found="Windows",
            remedy="Run winnow in WSL2 (`wsl --install`), where it runs as on Linux.",
        )
