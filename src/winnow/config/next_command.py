"""Commands that messages tell the user to type.

In a clone or a project folder, `make VERB FLAG=value`; elsewhere, `winnow VERB --flag value`. A printed command can be
pasted into the same shell: values are quoted, and `WINNOW_HOME` is included if it is set. The caller chooses the verb
and the flags.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import TypeAlias

Value: TypeAlias = str | Path | int | float | bool | EllipsisType | None
"""A flag's value. None, False and "" omit the flag, True is a switch, and the user fills in `...`."""

_HOME = "WINNOW_HOME"
_TARGETS: Mapping[str, Mapping[object, str]] = {
    "train": {"local": "train", "docker": "train-docker", "kubernetes": "train-kubernetes"},
    "prod": {None: "prod-local", "local": "prod-local", "docker": "prod-docker", "kubernetes": "prod-kubernetes"},
}
"""Verbs with one Makefile target per platform."""
_DEFAULTS: Mapping[str, Mapping[str, Value]] = {
    "mlflow-init": {"platform": "docker"},
    "monitoring-remove": {"platform": "docker"},
    "retry": {"platform": "local"},
}
"""Defaults of flags, which are not printed."""


def next_command(verb: str, **flags: Value) -> str:
    """A command for this process's working directory.

    Args:
        verb: the verb of `winnow`.
        flags: by name, with `_` for `-`, in the order of printing.
    """
    return render(verb, flags, has_targets=has_targets(), home=os.environ.get(_HOME, ""))


def next_flag(name: str, value: Value = None) -> str:
    """A flag alone: `STUDY=` or `--study`."""
    if value is None:
        return f"{_in_make(name)}=" if has_targets() else _in_shell(name)
    return " ".join(_flags({name: value}, is_make=has_targets()))


def has_targets() -> bool:
    """Whether the working directory has a Makefile with winnow's targets: the clone's, or one from `winnow init`."""
    try:
        text = Path("Makefile").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return re.search(r"^WINNOW\s*\??=", text, re.MULTILINE) is not None


def render(verb: str, flags: Mapping[str, Value], *, has_targets: bool, home: str = "") -> str:
    """A command for a shell; `home` is the value of WINNOW_HOME, "" if it is not set."""
    words = [f"{_HOME}={shlex.quote(home)}"] if home else []
    given = {name: value for name, value in flags.items() if _DEFAULTS.get(verb, {}).get(name) != value}
    if not has_targets:
        return " ".join([*words, "winnow", verb, *_flags(given, is_make=False)])
    targets = _TARGETS.get(verb)
    if targets is not None:
        verb = targets.get(given.pop("platform", None), verb)
    return " ".join([*words, "make", verb, *_flags(given, is_make=True)])


def _flags(flags: Mapping[str, Value], *, is_make: bool) -> list[str]:
    words = []
    for name, value in flags.items():
        if value is None or value is False or value == "":
            continue
        if value is True:
            words.append(f"{_in_make(name)}=1" if is_make else _in_shell(name))
        elif value is ...:
            words.append(f"{_in_make(name)}=…" if is_make else f"{_in_shell(name)} …")
        elif is_make:
            # Make replaces `$NAME` before the recipe's shell sees it.
            words.append(f"{_in_make(name)}={shlex.quote(str(value).replace('$', '$$'))}")
        else:
            words.append(f"{_in_shell(name)} {shlex.quote(str(value))}")
    return words


def _in_make(name: str) -> str:
    return name.upper().replace("-", "_")


def _in_shell(name: str) -> str:
    return f"--{name.lower().replace('_', '-')}"
