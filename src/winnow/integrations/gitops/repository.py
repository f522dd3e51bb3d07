"""Commit to a remote branch from a clone: in a worktree of its own at the branch's tip, pushed before the clone moves.

`git` runs as a process. Its exit statuses and object names decide; its messages are only shown.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from winnow.config.addresses import without_password
from winnow.config.errors import InputError, UnreachableError
from winnow.config.next_command import next_flag

ORIGIN, HEADS, TRIES, TIMEOUT_S = "origin", "refs/heads/", 5, 120.0
_OWN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""What git sets for hooks: it would name another repository."""
_HTTP_USER = re.compile(r"(https?://)[^/\s]*@")


@dataclass(frozen=True)
class PastCommit:
    """A commit that changed a file.

    Attributes:
        commit: its full name.
        trailers: the last lines of its message, by key.
    """

    commit: str
    trailers: dict[str, str]


@dataclass(frozen=True)
class Pushed:
    """A commit that the remote has.

    Attributes:
        commit: its full name.
        branch: where it was pushed to.
        is_local: the clone's own branch was moved to it, too.
    """

    commit: str
    branch: str
    is_local: bool


@dataclass(frozen=True)
class Repository:
    """A clone, and the branch of its remote that is worked on.

    Attributes:
        folder: the top folder of the clone.
        remote: the name of the remote.
        url: of the remote, without a credential.
        branch: the upstream of the branch that is checked out; else the remote's default branch.
        local: the branch that is checked out, where `branch` is its upstream; else None.
    """

    folder: Path
    remote: str
    url: str
    branch: str
    local: str | None

    def tip(self) -> str:
        """The commit that the branch has at the remote, after its objects were fetched. No reference is changed.

        Raises:
            InputError: the remote does not answer, wants a credential, or has no such branch.
        """
        found = self._at_remote(self.branch)
        if found is None:
            raise InputError(
                self.url,
                expected=f"a branch '{self.branch}' with commits",
                found="none",
                remedy=f"Push it first: git push {self.remote} {self.branch}.",
            )
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=")
        self._ask(*fetch, self.remote, f"{HEADS}{self.branch}")
        return found

    def check_clone(self, tip: str) -> None:
        """Refuse a clone with commits that the remote lacks: after a push its branch would have to be merged.

        Raises:
            InputError: it has such commits.
        """
        if self.local is None or _is_done(_git(self.folder, "merge-base", "--is-ancestor", "HEAD", tip)):
            return
        ahead = _output(_git(self.folder, "rev-list", "--count", f"{tip}..HEAD"))
        behind = _output(_git(self.folder, "rev-list", "--count", f"HEAD..{tip}"))
        raise InputError(
            f"{self.folder}: branch '{self.local}'",
            expected=f"no commits that {self.remote}/{self.branch} lacks",
            found=f"{ahead} of them, and {behind} that only the remote has",
            remedy=f"Push or drop them first (git status; git pull --rebase; git push {self.remote}).",
        )

    def check_push(self, branch: str | None) -> None:
        """Ask the remote whether it takes pushes, and commit nothing. Rules of its hooks are not known before a push.

        Args:
            branch: a new one; None for the branch itself.

        Raises:
            InputError: it refuses, the branch's name is wrong or taken, or git does not know who commits.
        """
        self.author()
        if branch is not None:
            self._check_new(branch)
        self._ask("push", "--quiet", "--dry-run", "--no-verify", self.remote, f"HEAD:{HEADS}winnow-asks")

    def author(self) -> str:
        """The name of who commits here. Raises InputError where git does not know it."""
        done = _git(self.folder, "var", "GIT_AUTHOR_IDENT")
        if _is_done(done):
            return done.stdout.partition(" <")[0]
        raise InputError(
            str(self.folder),
            expected="a name and an address for commits",
            found=_said(done),
            remedy="Set them: git config user.name …; git config user.email ….",
        )

    def read(self, commit: str, path: str) -> str | None:
        """The text of a file in a commit; None where there is none."""
        done = _git(self.folder, "cat-file", "blob", f"{commit}:{path}")
        return done.stdout if _is_done(done) else None

    def files(self, commit: str, folder: str) -> list[str]:
        """The files in a folder of a commit, without those below it, by path from the repository's top."""
        listed = _output(_git(self.folder, "ls-tree", "-z", "--name-only", commit, "--", f"{folder}/"))
        return [path for path in listed.split("\0") if path]

    def history(self, tip: str, path: str) -> list[PastCommit]:
        """The commits up to `tip` that changed a file, newest first; in a shallow clone those that it has."""
        form = "--format=%x01%H%n%(trailers:only,unfold)"
        text = _output(_git(self.folder, "log", "--topo-order", form, tip, "--", path))
        found = []
        for part in text.split("\x01")[1:]:
            commit, *lines = part.strip().splitlines()
            pairs = (line.partition(": ") for line in lines)
            found.append(PastCommit(commit, {key: value for key, _, value in pairs}))
        return found

    def is_shallow(self) -> bool:
        """Whether the clone lacks older commits."""
        return _output(_git(self.folder, "rev-parse", "--is-shallow-repository")) == "true"

    def publish(self, tip: str, path: str, text: str, message: str, *, branch: str | None = None) -> Pushed:
        """Commit one file's new text on top of `tip`, push it, and then fast-forward the clone if that is possible.

        A push that comes second is tried again on top of the other commits, unless they changed the same file.

        Args:
            path: of the file, from the repository's top.
            branch: a new branch to push to; by default the branch itself.

        Raises:
            InputError: the remote or a hook refuses the commit, or the file was changed there. Neither the remote nor
                the clone has changed then.
        """
        for _ in range(TRIES):
            with self._worktree(tip) as tree:
                commit = self._commit(tree, path, text, message)
                # The lease: a branch of that name may appear in the meantime.
                lease = [] if branch is None else [f"--force-with-lease={HEADS}{branch}:"]
                target = f"HEAD:{HEADS}{branch or self.branch}"
                done = _git(tree, "push", "--quiet", *lease, self.remote, target)
                if _is_done(done):
                    is_local = branch is None and self.local is not None
                    moved = is_local and _is_done(_git(self.folder, "merge", "--ff-only", "--quiet", commit))
                    return Pushed(commit, branch or self.branch, moved)
            if branch is not None:
                self._check_new(branch)
            now = self.tip()
            if now == tip or branch is not None:
                raise self._refused(branch or self.branch, done)
            if self.read(now, path) != self.read(tip, path):
                raise InputError(
                    f"{self.url}: {path}",
                    expected="a file that only this command is changing",
                    found=f"that commit {now[:12]} or one before it has changed it meanwhile",
                    remedy="Look at it (git fetch; git log), and run the command again.",
                )
            tip = now
        raise InputError(
            f"{self.url}: branch '{self.branch}'",
            expected="a pause between other pushes",
            found=f"that the branch moved before each of {TRIES} pushes",
            remedy="Run the command again.",
        )

    def _commit(self, tree: Path, path: str, text: str, message: str) -> str:
        (tree / path).write_text(text, encoding="utf-8", newline="\n")
        _output(_git(tree, "add", "--", path))
        done = _git(tree, "commit", "--quiet", "--file", "-", given=message)
        if not _is_done(done):
            raise InputError(
                str(self.folder),
                expected="a commit that git makes, and your hooks allow",
                found=_said(done),
                remedy="Mend what git says; nothing was committed.",
            )
        return _output(_git(tree, "rev-parse", "HEAD"))

    @contextmanager
    def _worktree(self, commit: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="winnow-gitops-") as folder:
            tree = Path(folder) / Path(folder).name  # git names its own entry by the last part
            _output(_git(self.folder, "worktree", "add", "--quiet", "--detach", str(tree), commit))
            try:
                yield tree
            finally:
                _git(self.folder, "worktree", "remove", "--force", str(tree))

    def _at_remote(self, branch: str) -> str | None:
        listed = self._ask("ls-remote", self.remote, f"{HEADS}{branch}")
        return listed.split()[0] if listed else None

    def _check_new(self, branch: str) -> None:
        if not _is_done(_git(self.folder, "check-ref-format", "--branch", branch)):
            found, remedy = f"'{branch}'", "Name another one; git check-ref-format has the rules."
        elif self._at_remote(branch) is not None:
            found, remedy = f"'{branch}', which is there", "Name another one, or merge or delete this one first."
        else:
            return
        raise InputError(
            next_flag("branch"), expected=f"the name of a new branch of {self.url}", found=found, remedy=remedy
        )

    def _ask(self, *arguments: str) -> str:
        """What git prints after it talked to the remote."""
        done = _git(self.folder, *arguments)
        if _is_done(done):
            return done.stdout.strip()
        raise InputError(
            self.url,
            expected="a repository that answers, and takes your credential",
            found=_said(done),
            remedy="Give git a credential for it (a helper, an SSH key or a token; it is never asked for on a "
            f"terminal), and try: git -C {self.folder} ls-remote {self.remote}.",
        )

    def _refused(self, branch: str, done: subprocess.CompletedProcess[str]) -> InputError:
        return InputError(
            f"{self.url}: branch '{branch}'",
            expected="a branch that you may push to",
            found=_said(done),
            remedy=f"If it is protected, push to a new branch and open a pull request ({next_flag('branch', ...)}).",
        )


def open_repository(path: Path) -> Repository:
    """The clone that a folder belongs to.

    Raises:
        InputError: there is no git, the folder is in no clone, or it has no remote.
    """
    found = _git(path, "rev-parse", "--show-toplevel") if path.is_dir() else None
    if found is None or not _is_done(found):
        raise InputError(
            next_flag("repo"),
            expected="a clone of the repository with the manifests",
            found=f"'{path}', which is " + ("not there" if found is None else "in none"),
            remedy="Clone it (git clone), and name its folder.",
        )
    folder = Path(found.stdout.strip())
    head = _git(folder, "symbolic-ref", "--quiet", "HEAD").stdout.strip()
    form = "--format=%(upstream:remotename) %(upstream:remoteref)"
    remote, _, branch = _output(_git(folder, "for-each-ref", form, head)).partition(" ") if head else ("", "", "")
    url = _git(folder, "remote", "get-url", "--push", remote or ORIGIN)
    if not _is_done(url):
        raise InputError(
            str(folder),
            expected=f"a remote '{remote or ORIGIN}', which promotions are pushed to",
            found=_said(url),
            remedy=f"Add it: git remote add {remote or ORIGIN} URL.",
        )
    names = folder, remote or ORIGIN, _without_credential(url.stdout.strip())
    if branch:
        return Repository(*names, branch.removeprefix(HEADS), head.removeprefix(HEADS))
    symbolic = Repository(*names, "", None)._ask("ls-remote", "--symref", remote or ORIGIN, "HEAD").split()
    default = symbolic[1] if symbolic[:1] == ["ref:"] else head or f"{HEADS}main"  # an empty remote names none
    return Repository(*names, default.removeprefix(HEADS), None)


def _git(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in _OWN}
    environment["GIT_TERMINAL_PROMPT"] = "0"
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(
            command,
            env=environment,
            input=given,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            # Without a terminal, ssh fails where it would ask for a passphrase or about a host.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise InputError(
            "git", expected="the command 'git'", found="none on the PATH", remedy="Install git 2.31 or later."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UnreachableError(f"git {arguments[0]}: no answer within {TIMEOUT_S:g} s") from error


def _is_done(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 0


def _output(done: subprocess.CompletedProcess[str]) -> str:
    """What a command prints that has no reason to fail."""
    if not _is_done(done):
        remedy = "Run it by hand to see why."
        raise InputError(" ".join(done.args), expected="that git does it", found=_said(done), remedy=remedy)
    return done.stdout.strip()


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in f"{done.stderr}\n{done.stdout}".splitlines() if line.strip()]
    return f"'{_without_credential(' '.join(lines[:6]))}'" if lines else f"exit status {done.returncode}"


def _without_credential(text: str) -> str:
    """A text with addresses, without their passwords. By HTTP the user goes, too: a token may stand in its place."""
    return without_password(_HTTP_USER.sub(r"\1", text))
