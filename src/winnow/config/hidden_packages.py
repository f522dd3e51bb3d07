"""Find user files that Python would import instead of a package that winnow needs.

A folder with user code comes before installed packages on Python's path, so a `mlflow.py` in it would hide MLflow.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path


def hidden_package(folder: Path, path: Sequence[str] = sys.path) -> Path | None:
    """The first file or package in a folder with the name of a package that winnow needs; None without one."""
    others = [entry for entry in path if entry != str(folder)]
    own = {file.stem: file for file in folder.glob("*.py")}
    own |= {file.parent.name: file.parent for file in folder.glob("*/__init__.py")}
    installed = {name: PathFinder.find_spec(name, others) for name in own}
    hiding = {name: own[name] for name, found in installed.items() if found is not None and found.origin is not None}
    if not hiding:
        return None
    needed = _requirements()
    owners = metadata.packages_distributions()
    return next((hiding[name] for name in sorted(hiding) if needed & {*map(_normalized, owners.get(name, ()))}), None)


def _requirements() -> frozenset[str]:
    """Normalized names of winnow and of everything that it requires, directly or not, without extras."""
    seen: set[str] = set()
    left = ["winnow"]
    while left:
        name = _normalized(left.pop())
        if name in seen:
            continue
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # required on another platform only
            continue
        seen.add(name)
        left += [named[0] for line in required if "extra ==" not in line and (named := re.match(r"[\w.-]+", line))]
    return frozenset(seen)


def _normalized(name: str) -> str:
    """A distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
