"""How a container's exit code reads as that of a worker group, on every back-end that runs containers."""

from __future__ import annotations

STOPPED = 143
"""A supervisor's own exit code when it was asked to stop; any other 128 + N is a signal's."""


def exit_code(code: int | None) -> int | None:
    """A container's exit code, as 128 + N for a signal, in the words of `GroupStatus`: −N."""
    if code is None or code == STOPPED or not 128 < code < 128 + 65:
        return code
    return 128 - code
