"""Whether an object that has a name which winnow needs is winnow's own: applying it would take it over."""

from __future__ import annotations

from collections.abc import Mapping

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.kinds import Manifest, name_of


def check_ours(live: Manifest, labels: Mapping[str, str], *, owner: str, remedy: str) -> None:
    """Refuse an object that lacks the labels of its owner.

    Args:
        owner: what the object has to belong to, such as `the stack`.
        remedy: what to do about a name that is taken.

    Raises:
        InputError: the object has other labels.
    """
    if labels.items() <= (live["metadata"].get("labels") or {}).items():
        return
    wanted = ",".join(f"{name}={value}" for name, value in labels.items())
    raise InputError(
        f"{live['kind']} '{name_of(live)}'",
        expected=f"none, or one of {owner}, with the label {wanted}",
        found="one without it, which somebody else has made",
        remedy=remedy,
    )
