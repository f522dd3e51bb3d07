"""Install a heavy tool in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.config.tools import READY, installed_in

LONGEST_S = 1800
"""pip gives up on a package index by itself; this bounds a download that never ends."""


def install_tool(folder: Path, requirements: Sequence[str], say: Callable[[str], None]) -> Path:
    """Make an environment with the requirements, unless it is there; return its interpreter.

    An environment that is broken, half made or has other requirements is made anew. Of two calls at once, one waits.
    `folder`: the environment's; its name is the tool's. Raises InputError if Python's venv or pip fails. The
    environment does not count as installed then.
    """
    name, python, ready = folder.name, folder / "bin" / "python", folder / READY
    lock = folder.parent / f"{name}.lock"
    with locked(lock, on_wait=lambda: say(f"waiting for another process that installs {name}")):
        if installed_in(folder) == tuple(requirements) and _runs(python):
            say(f"{name} is installed at {folder}")
            return python
        say(f"installing {name} at {folder} (a minute or so, once)")
        ready.unlink(missing_ok=True)
        _run(name, [sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
        _run(name, [*pip, *requirements])
        replace_text(ready, "".join(f"{each}\n" for each in requirements))
    say(f"{name} is installed")
    return python


def _runs(python: Path) -> bool:
    """Whether the interpreter starts: the Python that it links to may have been removed."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(name: str, command: Sequence[str]) -> None:
    found, printed = "", ""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
        if done.returncode == 0:
            return
        printed = done.stderr.strip() or done.stdout.strip()
    except subprocess.TimeoutExpired:
        found = f"no end within {LONGEST_S // 60} minutes"
    raise InputError(
        f"install-tool: {name}",
        expected=f"`{' '.join(command)}` to succeed",
        found=found or f"'{_last_error(printed)}'",
        remedy="Run it by hand to see all that it prints; `pip config list` shows the package index.",
    )


def _last_error(printed: str) -> str:
    """The last line that pip marks as an error, else the last one."""
    lines = printed.splitlines() or ["no message"]
    return next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1])
