"""The names of the platforms."""

from __future__ import annotations

from winnow.config.errors import InputError

PLATFORMS = ("local", "docker", "kubernetes")


def unknown_platform(name: str) -> InputError:
    """The error for a platform that does not exist."""
    return InputError("--platform", expected=f"one of {', '.join(PLATFORMS)}", found=f"'{name}'", remedy="Choose one.")
