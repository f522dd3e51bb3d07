"""The names of the platforms."""

from __future__ import annotations

from winnow.config.errors import InputError

PLATFORMS = ("local", "docker", "kubernetes")
"""Where sweeps run and models are served."""
SERVING_PLATFORMS = (*PLATFORMS, "kserve", "azure")
"""Where models are served."""


def unknown_platform(name: str) -> InputError:
    """The error for a platform that does not exist."""
    known = ", ".join(SERVING_PLATFORMS)
    return InputError("--platform", expected=f"one of {known}", found=f"'{name}'", remedy="Choose one.")
