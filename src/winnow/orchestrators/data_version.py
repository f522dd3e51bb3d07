"""Make a version of a file or folder by DVC: track it as it is, copy it to the remote, and commit that on request."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_flag
from winnow.orchestrators.dvc_project import find_project


@dataclass(frozen=True)
class DataVersion:
    """A version of a file or folder.

    Attributes:
        path: the file or folder.
        md5: DVC's hash; a folder's ends in `.dir`.
        remote: the address of the remote that has it.
        pushed: how many objects were copied there; 0: it had all.
        files: what Git has to keep of it.
        committed: whether Git keeps them as they are.
    """

    path: Path
    md5: str
    remote: str
    pushed: int
    files: tuple[Path, ...]
    committed: bool


def make_data_version(given: Path, home: Path, *, commit: bool, say: Callable[[str], None]) -> DataVersion:
    """Track a file or folder as it is, and copy it to DVC's default remote. See `winnow.api.data_version`."""
    path, place = Path(os.path.normpath(given.expanduser().absolute())), next_flag("input", str(given))
    if not path.exists():
        raise InputError(place, expected="a file or folder", found="none", remedy="Correct the path.")
    project = find_project(path, home, place)
    say(f"{given}: adding it to DVC and copying it to the remote")
    answer = project.ask("add", path)
    written = project.root / answer["file"]
    # A revision without the project's own files is of no use to DVC.
    own = (project.root / name for name in (".dvcignore", ".dvc/.gitignore", ".dvc/config"))
    files = tuple(file for file in (written, written.with_name(".gitignore"), *own) if file.is_file())
    if commit:
        _git(project.root, "add", "--", *map(str, files))
        if _is_changed(project.root, files):
            subject = f"Version {path.relative_to(project.root)}: {answer['md5'][:12]}"
            _git(project.root, "commit", "--quiet", "--message", subject, "--", *map(str, files))
    is_committed = not _is_changed(project.root, files)
    return DataVersion(given, answer["md5"], answer["remote"], answer["pushed"], files, is_committed)


def _is_changed(root: Path, files: tuple[Path, ...]) -> bool:
    return bool(_git(root, "status", "--porcelain", "--", *map(str, files)))


def _git(root: Path, *arguments: str) -> str:
    """What Git prints. Raises WinnowError."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise InputError("git", expected="the command", found="none", remedy="Install Git.") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise WinnowError(f"git {arguments[0]} in {root}: {last} The version is in DVC's remote; commit by hand.")
    return done.stdout
