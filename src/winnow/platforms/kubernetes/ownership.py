"""Refuses to take over objects that winnow did not make."""

from __future__ import annotations

from collections.abc import Mapping

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.kinds import Manifest, has_labels, name_of


def check_ours(live: Manifest, labels: Mapping[str, str], *, owner: str, remedy: str) -> None:
    """Raise InputError if an object lacks the labels of `owner`, such as `the stack`."""
    if has_labels(live, labels):
        return
    wanted = ",".join(f"{name}={value}" for name, value in labels.items())
    raise InputError(
        f"{live['kind']} '{name_of(live)}'",
        expected=f"none, or one of {owner}, with the label {wanted}",
        found="one without it",
        remedy=remedy,
    )
