"""An earlier version of winnow, taken from this repository's history: what it made must still be recognised.

The version is the last one before platforms had folders of their own. A clone without that commit (a shallow one)
skips these tests.
"""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMIT = "f75d7f0383"
TIMEOUT_S = 120.0


@functools.cache
def _source() -> str:
    """A folder that holds its packages. It goes with this process."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", COMMIT, "src"], capture_output=True)
    if packed.returncode != 0:
        pytest.skip(f"this clone lacks commit {COMMIT}")
    folder = tempfile.TemporaryDirectory(prefix="winnow-previous-")
    _kept.append(folder)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder.name, filter="data")
    return f"{folder.name}/src"


_kept: list[tempfile.TemporaryDirectory[str]] = []


def environment(given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment in which `import winnow` finds the earlier version, here and in the processes that it starts."""
    return {**given, "PYTHONPATH": _source()}


def run(code: str, *arguments: str, given: Mapping[str, str] = os.environ) -> str:
    """What Python code prints that runs with the earlier version, in the project's folder."""
    argv = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        argv, cwd=ROOT, env=environment(given), capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
