"""The commands that messages tell a person to type.

In a clone that is `make VERB FLAG=value`, elsewhere `winnow VERB --flag value`. A printed command can be pasted into
the same shell: values are quoted, and `WINNOW_HOME` is named where it is set. The caller chooses verb and flags.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import TypeAlias

Value: TypeAlias = str | Path | int | float | bool | EllipsisType | None
"""What a flag is given. None, False and "" leave the flag out, True is a switch, `...` is for the person to fill in."""

_HOME = "WINNOW_HOME"
_TARGETS: Mapping[str, Mapping[object, str]] = {
    "train": {"local": "train", "docker": "train-docker", "kubernetes": "train-kubernetes"},
    "prod": {None: "prod-local", "local": "prod-local", "docker": "prod-docker", "kubernetes": "prod-kubernetes"},
}
"""Verbs that have one Makefile target for each platform."""
_DEFAULTS: Mapping[str, Mapping[str, Value]] = {
    "mlflow-init": {"platform": "docker"},
    "retry": {"platform": "local"},
}
"""Values of flags that a verb has by itself, and that are not printed."""


def next_command(verb: str, **flags: Value) -> str:
    """A command as it is typed in this process's working directory.

    Args:
        verb: as `winnow` has it.
        flags: by their names, with `_` for `-`, in the order in which they are printed.
    """
    return render(verb, flags, is_clone=is_clone(), home=os.environ.get(_HOME, ""))


def next_flag(name: str, value: Value = None) -> str:
    """A flag alone, for a message that is about one: `STUDY=` or `--study`."""
    if value is None:
        return f"{_in_make(name)}=" if is_clone() else _in_shell(name)
    return " ".join(_flags({name: value}, is_make=is_clone()))


def is_clone() -> bool:
    """Whether the working directory has winnow's Makefile and sources."""
    return Path("Makefile").is_file() and Path("src/winnow/config/next_command.py").is_file()


def render(verb: str, flags: Mapping[str, Value], *, is_clone: bool, home: str = "") -> str:
    """A command for a shell.

    Args:
        is_clone: it is typed where winnow's Makefile is.
        home: what WINNOW_HOME is set to; "" where it is not set.
    """
    words = [f"{_HOME}={shlex.quote(home)}"] if home else []
    given = {name: value for name, value in flags.items() if _DEFAULTS.get(verb, {}).get(name) != value}
    if not is_clone:
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
            # Make replaces `$NAME` itself before the recipe's shell sees it.
            words.append(f"{_in_make(name)}={shlex.quote(str(value).replace('$', '$$'))}")
        else:
            words.append(f"{_in_shell(name)} {shlex.quote(str(value))}")
    return words


def _in_make(name: str) -> str:
    return name.upper().replace("-", "_")


def _in_shell(name: str) -> str:
    return f"--{name.lower().replace('_', '-')}"
