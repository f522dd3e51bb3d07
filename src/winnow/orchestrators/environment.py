"""Where and with what a sweep was made, for its runs: versions, commit, machine."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

_PACKAGES = ("winnow", "torch", "optuna", "mlflow", "accelerate", "scikit-learn", "onnxruntime")


def describe_environment(folder: Path, home: Path | None = None) -> Mapping[str, str]:
    """Facts as text; `git_commit` and `git_dirty` are there where `folder` lies in a repository.

    Args:
        folder: of the person's code.
        home: winnow's own folder, whose files do not make a repository dirty.
    """
    versions = {f"version.{name}": version for name in _PACKAGES if (version := _version(name)) is not None}
    machine = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "user": _user(),
    }
    return {**machine, **versions, **_git_facts(folder, home)}


def _user() -> str:
    """The user's name, or the number where a container's user has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a KeyError before Python 3.13
        return str(os.getuid())


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_facts(folder: Path, home: Path | None) -> dict[str, str]:
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return {}
    top, paths = Path(_git(folder, "rev-parse", "--show-toplevel")), [":/"]
    if home is not None and home.resolve().is_relative_to(top):
        paths.append(f":(top,exclude,literal){home.resolve().relative_to(top).as_posix()}")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", *paths)
    return {"git_commit": commit, "git_dirty": "true" if changes else "false"}


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; empty where there is no git, no repository or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
