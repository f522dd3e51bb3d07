"""The DVC project around a path, asked by a process of DVC's own environment; its failures as errors for the user."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.disk import disk_fault
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command
from winnow.config.tools import tool_python

SCRIPT = Path(__file__).with_name("dvc_process.py")


@dataclass(frozen=True)
class DvcProject:
    """A DVC project in a Git repository.

    Attributes:
        python: DVC's interpreter.
        root: the folder with `.dvc`.
        home: WINNOW_HOME.
        place: what needs it, for messages.
    """

    python: Path
    root: Path
    home: Path
    place: str

    def ask(self, verb: str, path: Path, **request: Any) -> Any:
        """The answer of `dvc_process.py` about an absolute path in the project.

        Raises:
            InputError: it cannot be given.
            WinnowError: the process dies.
        """
        inside = path.relative_to(self.root).as_posix()
        answer = ask_tool(self.python, SCRIPT, {"verb": verb, "root": str(self.root), "path": inside, **request})
        if "fault" in answer:
            raise self._error(path, request.get("rev"), answer)
        return answer

    def _error(self, path: Path, rev: str | None, answer: Mapping[str, Any]) -> WinnowError:
        kind, detail = answer["fault"], answer["detail"]
        if kind == "system":
            error = OSError(answer["errno"], detail, answer["filename"])
            if (explained := disk_fault(error, self.home)) is not None:
                return explained
        expected, found, remedy = FAULTS.get(kind, _other)(_Failure(self, path, rev, detail))
        return InputError(
            "data.rev" if kind == "revision" else self.place, expected=expected, found=found, remedy=remedy
        )

    def dvc(self, arguments: str) -> str:
        """A command of DVC for a shell, in the project."""
        return f"cd {self.root} && {self.python.with_name('dvc')} {arguments}"


def find_project(path: Path, home: Path, place: str) -> DvcProject:
    """The DVC project around an absolute path, which need not exist.

    Raises:
        InputError: DVC is not installed, or there is no DVC project or no Git repository around the path.
    """
    python = tool_python("dvc", home, place)
    dvc = python.with_name("dvc")
    root = next((folder for folder in path.parents if (folder / ".dvc" / "config").is_file()), None)
    repository = next((folder for folder in path.parents if (folder / ".git").exists()), None)
    if repository is None:
        raise InputError(
            place,
            expected=f"a Git repository with a DVC project around {path}",
            found="no Git repository",
            remedy=f"Make one in the folder of your project: `git init && {dvc} init`.",
        )
    if root is None:
        raise InputError(
            place,
            expected=f"a DVC project around {path}",
            found=f"the Git repository {repository} without one",
            remedy=f"Make one: `cd {repository} && {dvc} init`.",
        )
    return DvcProject(python, root, home, place)


@dataclass(frozen=True)
class _Failure:
    """What was asked, and what DVC's process said of its failure."""

    project: DvcProject
    path: Path
    rev: str | None
    detail: str

    @property
    def shown(self) -> str:
        return self.path.relative_to(self.project.root).as_posix()

    @property
    def versioned(self) -> str:
        return f"`{next_command('data-version', input=self.path)}`"


Words = tuple[str, str, str]
"""What was expected, what was found, and what to do."""


def _untracked(it: _Failure) -> Words:
    at = "" if it.rev is None else f" at revision {it.rev}"
    commit = "" if it.rev is None else ", and commit what it writes"
    return (
        "a file or folder that DVC tracks",
        f"no {it.shown}.dvc{at}, nor a stage of dvc.yaml with this output",
        f"Track it: {it.versioned}{commit}.",
    )


def _stale(it: _Failure) -> Words:
    return (
        f"{it.shown} as {it.detail} describes it",
        f"other content: {it.detail} is stale",
        f"Make the content a version: {it.versioned}; or name a revision: `data: {{rev: HEAD}}`.",
    )


def _away(it: _Failure) -> Words:
    return (
        "DVC's remote to answer",
        f"'{it.detail}'",
        f"Bring it up or mount it; `{it.project.dvc('remote list')}` shows where it is.",
    )


def _other(it: _Failure) -> Words:
    return f"DVC to handle {it.shown}", f"'{it.detail}'", "Correct what it says, and call again."


FAULTS: Mapping[str, Callable[[_Failure], Words]] = {
    "untracked": _untracked,
    "stale": _stale,
    "away": _away,
    "inside": lambda it: (
        "a file or a whole folder that DVC tracks",
        f"the folder {it.shown} inside of one",
        "Name the folder that has the `.dvc` file.",
    ),
    "old": lambda it: (
        f"a {it.shown}.dvc of DVC 3",
        "hashes of DVC 2, which change line ends",
        f"Rewrite it: `{it.project.dvc('cache migrate --dvc-files')}`.",
    ),
    "revision": lambda it: (
        f"a revision of the Git repository around {it.project.root}",
        f"'{it.rev}'",
        "Name a commit, branch or tag that this clone has, or `git fetch` first.",
    ),
    "uncommitted": lambda it: (
        f"the DVC project {it.project.root} at revision {it.rev}",
        "none",
        f"Commit it: `cd {it.project.root} && git add .dvc .dvcignore && git commit`.",
    ),
    "in git": lambda it: (
        f"{it.shown} to be kept by DVC, and not by Git",
        "that Git tracks it",
        f"Take it out of Git: `cd {it.project.root} && git rm -r --cached {it.shown}`, and commit that.",
    ),
    "missing": lambda it: (
        f"the content of {it.shown} in DVC's cache or in the remote {it.detail}",
        "none there",
        f"Push it where it is: `dvc push {it.shown}`, with `--all-commits` for older revisions.",
    ),
    "no remote": lambda it: (
        "a default remote, where DVC keeps contents",
        "none",
        f"Name a folder or a bucket: `{it.project.dvc('remote add --default store s3://BUCKET/PREFIX')}`.",
    ),
    "credentials": lambda it: (
        "DVC's remote to let this user in",
        f"'{it.detail}'",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or `dvc remote modify --local`.",
    ),
    "driver": lambda it: (
        "a remote in a folder or on S3",
        f"'{it.detail}'",
        f"Install what it names: `{it.project.python} -m pip install …`, or choose another remote.",
    ),
    "locked": lambda it: (
        "no other process of DVC at work in this project",
        f"'{it.detail}'",
        "Wait for it to end, and call again.",
    ),
    "push": lambda it: (
        f"DVC to copy {it.shown} to its remote",
        f"'{it.detail}'",
        f"The `.dvc` file is written; call again, or `{it.project.dvc(f'push -v {it.shown}')}` to see more.",
    ),
}
"""How a kind of failure is told."""


def ask_tool(python: Path, script: Path, request: Mapping[str, Any], timeout_s: float | None = None) -> Any:
    """What the script writes on standard output, for a request on its standard input.

    Args:
        python: the interpreter, as `tool_python` returns it.
        script: a file that imports nothing of winnow.
        timeout_s: how long it may take; None where it moves data of any size.

    Raises:
        WinnowError: the process fails, gives no JSON, or takes too long.
    """
    command, asked = [str(python), "-I", str(script)], json.dumps(request)
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise WinnowError(f"{python}: no answer within {timeout_s:g} s") from error
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as error:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise WinnowError(f"{python} ended with status {done.returncode}: {last}") from error
