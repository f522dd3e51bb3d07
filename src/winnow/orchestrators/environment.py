"""The versions, commit and machine that a sweep was run with, for its runs."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

_PACKAGES = ("winnow", "torch", "optuna", "mlflow", "accelerate", "scikit-learn", "onnxruntime")


def describe_environment(folder: Path, home: Path | None = None) -> Mapping[str, str]:
    """Facts as text. `git_commit` and `git_dirty` are included if `folder` is in a git repository.

    Args:
        folder: folder of the user's code.
        home: winnow's own folder, whose files do not make a repository dirty.
    """
    facts = {"python": platform.python_version(), "platform": platform.platform(), "host": platform.node()}
    try:
        facts["user"] = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name; KeyError before Python 3.13
        facts["user"] = str(os.getuid())
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            facts[f"version.{name}"] = metadata.version(name)
    commit = _git(folder, "rev-parse", "HEAD")
    if commit:
        top, paths = Path(_git(folder, "rev-parse", "--show-toplevel")), [":/"]
        if home is not None and home.resolve().is_relative_to(top):
            paths.append(f":(top,exclude,literal){home.resolve().relative_to(top).as_posix()}")
        changes = _git(folder, "status", "--porcelain", "--untracked-files=normal", "--", *paths)
        facts |= {"git_commit": commit, "git_dirty": "true" if changes else "false"}
    return facts


def _git(folder: Path, *arguments: str) -> str:
    """What git prints; empty if there is no git, no repository or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
