"""Requirement lines out of a pyproject.toml, for Dockerfiles: an image installs what the project names, and no more.

`pip install` takes a project's extras only together with the project, so that every change of its metadata would
install everything again. A Dockerfile runs this file in a stage of its own instead: the layers after it are cached by
what it prints. It stands alone (standard library only), since nothing is installed when it runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class UnknownNameError(LookupError):
    """The project names no such extra or dependency."""


def dependencies(project: Mapping[str, Any], only: Sequence[str] = ()) -> list[str]:
    """The project's own dependencies; with `only`, those of these names."""
    lines: list[str] = project["dependencies"]
    named = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]: line for line in lines}
    return [_pick(named, name, "dependency") for name in only] if only else lines


def extras(project: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """What the extras of these names ask for, in their order."""
    known: Mapping[str, list[str]] = project.get("optional-dependencies", {})
    return [line for name in names for line in _pick(known, name, "extra")]


def read_project(pyproject: Path) -> Mapping[str, Any]:
    """The `[project]` table of a pyproject.toml."""
    with pyproject.open("rb") as stream:
        project: Mapping[str, Any] = tomllib.load(stream)["project"]
    return project


def _pick(known: Mapping[str, Any], name: str, kind: str) -> Any:
    if name not in known:
        raise UnknownNameError(f"{kind} '{name}': the project has {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,]+", text) if name]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print requirements, one a line; 2 where the project has none of that name."""
    parser = argparse.ArgumentParser(description="Print requirements out of a pyproject.toml.")
    parser.add_argument("pyproject", type=Path)
    parser.add_argument("--dependencies", action="store_true", help="all of the project's own")
    parser.add_argument("--only", type=_names, default=[], help="those of its own that have these names")
    parser.add_argument("--extras", type=_names, default=[], help="those of these extras")
    given = parser.parse_args(arguments)
    project = read_project(given.pyproject)
    try:
        lines = dependencies(project, given.only) if given.dependencies or given.only else []
        lines = [*lines, *extras(project, given.extras)]
    except UnknownNameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(dict.fromkeys(lines)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
