"""Versions of files and folders by DVC, asked by a process of DVC's own environment: made, and fetched.

A version is fetched once, to `HOME/data/dvc/MD5/NAME`. DVC's failures become errors for the user.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.disk import disk_fault
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import DataConfig, Experiment
from winnow.config.functions import DVC
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.config.tools import tool_python
from winnow.data.stage.dvc_hash import dvc_hash
from winnow.data.stage.versions import drafting

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

        Raises InputError if it cannot be given; WinnowError if the process dies.
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
        words = {
            "shown": path.relative_to(self.root).as_posix(),
            "versioned": f"`{next_command('data-version', input=path)}`",
            "at_revision": "" if rev is None else f" at revision {rev}",
            "and_commit": "" if rev is None else ", and commit what it writes",
            "left_of_folder": "nothing in it" if kind == "lost" and Path(detail).is_dir() else "no such folder",
            "dvc": f"cd {self.root} && {self.python.with_name('dvc')}",
            **{"root": self.root, "python": self.python, "rev": rev, "detail": detail},
        }
        expected, found, remedy = (each.format_map(words) for each in FAULTS.get(kind, OTHER))
        return InputError(
            "data.rev" if kind == "revision" else self.place, expected=expected, found=found, remedy=remedy
        )


def find_project(path: Path, home: Path, place: str) -> DvcProject:
    """The DVC project around an absolute path, which need not exist.

    Raises InputError if DVC is not installed, or there is no DVC project or no Git repository around the path.
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


FAULTS: Mapping[str, tuple[str, str, str]] = {
    "untracked": (
        "a file or folder that DVC tracks",
        "no {shown}.dvc{at_revision}, nor a stage of dvc.yaml with this output",
        "Track it: {versioned}{and_commit}.",
    ),
    "stale": (
        "{shown} as {detail} describes it",
        "other content: {detail} is stale",
        "Make the content a version: {versioned}; or name a revision: `data: {{rev: HEAD}}`.",
    ),
    "away": (
        "DVC's remote to answer",
        "'{detail}'",
        "Bring it up or mount it; `{dvc} remote list` shows where it is.",
    ),
    "lost": (
        "the versions that DVC has already in its remote, the folder {detail}",
        "{left_of_folder}",
        "Mount it, or correct its address. If it is lost, begin anew without old versions: `mkdir -p {detail}/files`.",
    ),
    "inside": (
        "a file or a whole folder that DVC tracks",
        "the folder {shown} inside of one",
        "Name the folder that has the `.dvc` file.",
    ),
    "old": (
        "a {shown}.dvc of DVC 3",
        "hashes of DVC 2, which change line ends",
        "Rewrite it: `{dvc} cache migrate --dvc-files`.",
    ),
    "revision": (
        "a revision of the Git repository around {root}",
        "'{rev}'",
        "Name a commit, branch or tag that this clone has, or `git fetch` first.",
    ),
    "uncommitted": (
        "the DVC project {root} at revision {rev}",
        "none",
        "Commit it: `cd {root} && git add .dvc .dvcignore && git commit`.",
    ),
    "in git": (
        "{shown} to be kept by DVC, and not by Git",
        "that Git tracks it",
        "Take it out of Git: `cd {root} && git rm -r --cached {shown}`, and commit that.",
    ),
    "missing": (
        "the content of {shown} in DVC's cache or in the remote {detail}",
        "none there",
        "Push it where it is: `dvc push {shown}`, with `--all-commits` for older revisions.",
    ),
    "no remote": (
        "a default remote, where DVC keeps contents",
        "none",
        "Name a folder or a bucket: `{dvc} remote add --default store s3://BUCKET/PREFIX`.",
    ),
    "credentials": (
        "DVC's remote to let this user in",
        "'{detail}'",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or `dvc remote modify --local`.",
    ),
    "driver": (
        "a remote in a folder or on S3",
        "'{detail}'",
        "Install what it names: `{python} -m pip install …`, or choose another remote.",
    ),
    "locked": (
        "no other process of DVC at work in this project",
        "'{detail}'",
        "Wait for it to end, and call again.",
    ),
    "push": (
        "DVC to copy {shown} to its remote",
        "'{detail}'",
        "The `.dvc` file is written; call again, or `{dvc} push -v {shown}` to see more.",
    ),
}
"""How a kind of failure is told: what was expected, what was found, and what to do."""
OTHER = ("DVC to handle {shown}", "'{detail}'", "Correct what it says, and call again.")


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


MD5, REV = "winnow.data.dvc", "winnow.data.rev"
"""Tags with DVC's hash, and with the Git commit."""
DIRTY = "-dirty"
"""What a commit ends in that has not got the `.dvc` file."""


@dataclass(frozen=True)
class DvcVersion:
    """A version of a file or folder.

    Attributes:
        path: where its content is, on this machine.
        name: the tracked path in its DVC project.
        md5: DVC's hash; a folder's ends in `.dir`.
        rev: the Git commit, with `-dirty` where its `.dvc` file is not that of the commit.
    """

    path: Path
    name: str
    md5: str
    rev: str

    @property
    def lineage(self) -> Mapping[str, str]:
        """Tags that say which version it is."""
        return {MD5: self.md5, REV: self.rev, "winnow.data.path": self.name}


def resolve_dvc(experiment: Experiment, settings: Settings) -> tuple[str, Mapping[str, str]]:
    """The files of a `dvc:` source, and their lineage. Raises InputError."""
    found = fetch(experiment.data.sources[0], experiment.data.rev, settings.home, "data.source")
    return str(found.path), found.lineage


def restore(data: DataConfig, kept: Path, lineage: Mapping[str, str], home: Path) -> None:
    """Fetch the version that a study was made with again, where it was removed from the home.

    Raises InputError if it cannot be had any more.
    """
    if kept.exists():
        return
    rev = lineage[REV]
    is_uncommitted = rev.endswith(DIRTY)
    found = fetch(data.sources[0], None if is_uncommitted else rev, home, "data.source")
    if found.path != kept:
        raise InputError(
            "data.source",
            expected=f"version {lineage[MD5]} of {found.name}, which the study was made with",
            found=f"{found.md5} in the workspace, and no commit with that one",
            remedy=f"Start another study on the current version ({next_flag('study')}).",
        )


def fetch(source: str, rev: str | None, home: Path, place: str) -> DvcVersion:
    """The version of a source at a Git revision; its content is fetched if it is not in the home.

    Args:
        source: `dvc:PATH`, from the working directory.
        rev: None: as the `.dvc` file in the workspace says.
        place: the key of the source, for messages.

    Raises:
        InputError: DVC is not installed, the path is not tracked or its `.dvc` file stale, there is no such revision,
            or the content cannot be had or is damaged. Nothing is kept of it.
    """
    path = Path(os.path.normpath(Path(source.removeprefix(DVC)).expanduser().absolute()))
    project, folder = find_project(path, home, place), home / "data" / "dvc"
    with drafting(folder) as drafts:
        draft = drafts / path.name
        answer = project.ask("resolve", path, rev=rev, folder=str(folder), draft=str(draft))
        kept = folder / answer["md5"] / path.name
        if draft.exists():
            if (content := dvc_hash(draft)) != answer["md5"]:
                raise InputError(
                    place,
                    expected=f"content of {path.name} with the hash {answer['md5']}",
                    found=f"content with the hash {content} in DVC's cache or remote",
                    remedy=f"It is damaged: remove it there, and push it again where it is whole (`dvc push {path}`).",
                )
            kept.parent.mkdir(exist_ok=True)
            draft.rename(kept)
    return DvcVersion(kept, path.relative_to(project.root).as_posix(), answer["md5"], answer["rev"])


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
