"""Commits from a clone to its remote: real repositories in folders, and git itself."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.integrations.gitops.repository import PastCommit, Pushed, open_repository

STAGING, PRODUCTION = "overlays/staging.yaml", "overlays/production.yaml"


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def clone_of(bare: Path, folder: Path) -> Path:
    """A clone in which Ada commits."""
    git(bare, "clone", "--quiet", str(bare), str(folder))
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.com")
    git(folder, "config", "commit.gpgsign", "false")
    return folder


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A remote whose branch main has two overlays."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    first = clone_of(tmp_path / "remote.git", tmp_path / "first")
    for each in (STAGING, PRODUCTION):
        (first / each).parent.mkdir(exist_ok=True)
        (first / each).write_text("version: 0\n")
    git(first, "add", ".")
    git(first, "commit", "--quiet", "--message", "Add overlays")
    git(first, "push", "--quiet", "origin", "HEAD:main")
    return tmp_path / "remote.git"


@pytest.fixture
def clone(bare: Path, tmp_path: Path) -> Path:
    return clone_of(bare, tmp_path / "clone")


def commit_by_hand(folder: Path, path: str, text: str) -> str:
    """Commit a file in a clone; its name."""
    (folder / path).write_text(text)
    git(folder, "add", path)
    git(folder, "commit", "--quiet", "--message", "Change by hand")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("user", ["t0ken", "bob:t0ken", "t0ken:x-oauth-basic"])
def test_no_credential_of_the_remotes_address_is_shown(clone: Path, user: str) -> None:
    git(clone, "remote", "set-url", "origin", f"https://{user}@127.0.0.1:1/models.git")
    repository = open_repository(clone)
    assert repository.url == "https://127.0.0.1:1/models.git"
    with pytest.raises(InputError, match=r"https://127\.0\.0\.1:1/models\.git") as caught:
        repository.tip()
    assert "t0ken" not in str(caught.value)


def state(bare: Path, clone: Path) -> tuple[str, ...]:
    """All that a refused command must leave as it is."""
    return (
        git(bare, "for-each-ref"),
        git(clone, "for-each-ref"),
        git(clone, "status", "--porcelain"),
        git(clone, "worktree", "list"),
    )


def test_a_commit_reaches_the_remote_and_the_clone(bare: Path, clone: Path) -> None:
    repository = open_repository(clone / "overlays")
    tip = repository.tip()
    pushed = repository.publish(tip, PRODUCTION, "version: 1\n", "Promote\n\nWhy.\n\nWinnow-Promotion: production 1\n")
    assert pushed == Pushed(git(bare, "rev-parse", "main"), "main", True)
    assert (git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain")) == (pushed.commit, "")
    assert (clone / PRODUCTION).read_text() == "version: 1\n"
    assert git(bare, "show", "--format=%an %B", "--name-only", "main") == (
        f"Ada Promote\n\nWhy.\n\nWinnow-Promotion: production 1\n\n\n{PRODUCTION}"
    )
    assert repository.history(pushed.commit, PRODUCTION) == [
        PastCommit(pushed.commit, {"Winnow-Promotion": "production 1"}),
        PastCommit(tip, {}),
    ]
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_changes_of_the_clone_stay_as_they_are(bare: Path, clone: Path) -> None:
    (clone / STAGING).write_text("half: done\n")
    (clone / "new.txt").write_text("mine\n")
    repository = open_repository(clone)
    pushed = repository.publish(repository.tip(), PRODUCTION, "version: 1\n", "Promote")
    assert pushed.is_local
    assert git(clone, "status", "--porcelain").split("\n") == [f"M {STAGING}", "?? new.txt"]
    assert git(bare, "show", f"main:{STAGING}") == "version: 0"


def test_a_clone_that_has_the_file_open_is_left_behind(bare: Path, clone: Path) -> None:
    (clone / PRODUCTION).write_text("half: done\n")
    before = git(clone, "rev-parse", "HEAD")
    repository = open_repository(clone)
    pushed = repository.publish(repository.tip(), PRODUCTION, "version: 1\n", "Promote")
    assert pushed == Pushed(git(bare, "rev-parse", "main"), "main", False)
    assert (git(clone, "rev-parse", "HEAD"), (clone / PRODUCTION).read_text()) == (before, "half: done\n")


def test_a_push_that_comes_second_goes_on_top(bare: Path, clone: Path, tmp_path: Path) -> None:
    repository = open_repository(clone)
    tip = repository.tip()
    other = clone_of(bare, tmp_path / "other")
    first = commit_by_hand(other, STAGING, "version: 9\n")
    git(other, "push", "--quiet")
    pushed = repository.publish(tip, PRODUCTION, "version: 1\n", "Promote")
    assert git(bare, "rev-list", "main").split() == [pushed.commit, first, tip]


def test_two_promotions_at_once_both_arrive(bare: Path, clone: Path) -> None:
    repository = open_repository(clone)
    tip = repository.tip()
    texts = {STAGING: "version: 1\n", PRODUCTION: "version: 2\n"}
    with ThreadPoolExecutor(2) as both:
        done = [both.submit(repository.publish, tip, path, text, "Promote") for path, text in texts.items()]
        commits = {each.result().commit for each in done}
    assert {git(bare, "show", f"main:{path}") + "\n" for path in texts} == set(texts.values())
    assert commits < set(git(bare, "rev-list", "main").split())


def test_a_file_that_another_push_changed_is_not_overwritten(bare: Path, clone: Path, tmp_path: Path) -> None:
    repository = open_repository(clone)
    tip = repository.tip()
    other = clone_of(bare, tmp_path / "other")
    commit_by_hand(other, PRODUCTION, "version: 9\n")
    git(other, "push", "--quiet")
    before = state(bare, clone)
    with pytest.raises(InputError, match=f"{PRODUCTION}: expected a file that only this command is changing"):
        repository.publish(tip, PRODUCTION, "version: 1\n", "Promote")
    assert state(bare, clone) == before


def test_a_protected_branch_gets_nothing(bare: Path, clone: Path) -> None:
    hook = bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'main is protected' >&2\nexit 1\n")
    hook.chmod(0o755)
    repository, before = open_repository(clone), state(bare, clone)
    with pytest.raises(InputError, match=r"branch 'main': expected a branch that you may push to, .*main is protected"):
        repository.publish(repository.tip(), PRODUCTION, "version: 1\n", "Promote")
    assert state(bare, clone) == before


def test_a_hook_of_the_clone_may_refuse_the_commit(bare: Path, clone: Path) -> None:
    hook = clone / ".git" / "hooks" / "commit-msg"
    hook.write_text("#!/bin/sh\necho 'no ticket' >&2\nexit 1\n")
    hook.chmod(0o755)
    repository, before = open_repository(clone), state(bare, clone)
    with pytest.raises(InputError, match="your hooks allow, found 'no ticket'"):
        repository.publish(repository.tip(), PRODUCTION, "version: 1\n", "Promote")
    assert state(bare, clone) == before


def test_a_new_branch_is_opened_and_a_taken_one_refused(bare: Path, clone: Path) -> None:
    repository = open_repository(clone)
    tip = repository.tip()
    repository.check_push("promote/1")
    pushed = repository.publish(tip, PRODUCTION, "version: 1\n", "Promote", branch="promote/1")
    assert pushed == Pushed(git(bare, "rev-parse", "promote/1"), "promote/1", False)
    assert git(bare, "rev-parse", "main") == git(clone, "rev-parse", "HEAD") == tip
    for refused in ("promote/1", "two..dots"):
        with pytest.raises(InputError, match="the name of a new branch"):
            repository.check_push(refused)
    with pytest.raises(InputError, match="which is there"):
        repository.publish(tip, PRODUCTION, "version: 2\n", "Promote", branch="promote/1")


def test_a_clone_with_commits_of_its_own_is_refused(bare: Path, clone: Path, tmp_path: Path) -> None:
    other = clone_of(bare, tmp_path / "other")
    commit_by_hand(other, STAGING, "version: 9\n")
    git(other, "push", "--quiet")
    repository = open_repository(clone)
    repository.check_clone(repository.tip())
    commit_by_hand(clone, STAGING, "version: 8\n")
    with pytest.raises(InputError, match="found 1 of them, and 1 that only the remote has"):
        repository.check_clone(repository.tip())


def test_a_detached_clone_works_on_the_default_branch(bare: Path, clone: Path) -> None:
    git(clone, "checkout", "--quiet", "--detach")
    repository = open_repository(clone)
    assert (repository.remote, repository.branch, repository.local) == ("origin", "main", None)
    pushed = repository.publish(repository.tip(), PRODUCTION, "version: 1\n", "Promote")
    assert (git(bare, "rev-parse", "main"), pushed.is_local) == (pushed.commit, False)


def test_what_is_no_clone_is_refused(clone: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError, match="expected a clone of the repository with the manifests"):
            open_repository(place)
    git(clone, "remote", "remove", "origin")
    with pytest.raises(InputError, match="expected a remote 'origin'"):
        open_repository(clone)


def test_a_remote_without_the_branch_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "empty.git")
    repository = open_repository(clone_of(tmp_path / "empty.git", tmp_path / "clone"))
    with pytest.raises(InputError, match="expected a branch 'main' with commits, found none"):
        repository.tip()


def test_git_has_to_know_who_commits(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git(clone, "config", "--unset", "user.email")
    git(clone, "config", "user.useConfigOnly", "true")
    repository = open_repository(clone)
    with pytest.raises(InputError, match="expected a name and an address for commits"):
        repository.check_push(None)


class _Guarded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def guarded_url() -> Iterator[str]:
    """A server that asks for a password."""
    with HTTPServer(("127.0.0.1", 0), _Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/manifests.git"
        server.shutdown()


def test_a_missing_credential_is_not_asked_for(clone: Path, guarded_url: str) -> None:
    git(clone, "remote", "set-url", "origin", guarded_url)
    repository = open_repository(clone)
    with pytest.raises(InputError, match=f"{guarded_url}: expected a repository that answers, and takes your cred"):
        repository.tip()
