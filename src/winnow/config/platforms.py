"""The tiers: places where a sweep can run and a model can be served."""

from __future__ import annotations

from winnow.config.errors import InputError

TIERS = ("local", "docker", "kubernetes")


def unknown_tier(name: str) -> InputError:
    """The error for a tier that there is not."""
    return InputError("--platform", expected=f"one of {', '.join(TIERS)}", found=f"'{name}'", remedy="Choose one.")
