"""What DVC's own interpreter runs: a request as JSON on standard input, an answer as JSON on standard output.

It imports nothing of winnow. An answer has either what was asked for or `fault`: which kind of failure it was, told
apart by the classes of exceptions. `orchestrators/dvc.py` makes sentences of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PATIENCE = {"connect_timeout": 5, "read_timeout": 30}
"""Seconds that S3 has to answer, unless the remote's configuration says otherwise; botocore's own are a minute."""
ATTEMPTS = "3"


class FaultError(Exception):
    """A failure that is told apart by its kind."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind)
        self.answer = {"fault": kind, "detail": detail}


def resolve(root: str, path: str, rev: str | None, folder: str, draft: str) -> dict[str, Any]:
    """Fetch a tracked file or folder to `draft`, unless `folder/MD5/NAME` is there; say its hash and the commit.

    Args:
        path: in the DVC project, with `/`.
        rev: None: the `.dvc` file as it is in the workspace.
    """
    from dvc.repo import Repo
    from dvc_data.index import DataIndexDirError

    with Repo(root) as workspace:
        config = {key: workspace.config[key] for key in ("core", "remote")}
    # Where contents are now counts, and not where they were at the revision.
    with Repo(root, rev=rev, config=config) as repo:
        _be_patient(repo.config)
        try:
            is_folder, md5 = _tracked(repo, path)
            if rev is None:
                _check_unchanged(repo, path)
            if not Path(folder, md5, Path(path).name).exists():
                repo.dvcfs.get(f"/{path}", draft, recursive=is_folder)
        except (FileNotFoundError, DataIndexDirError) as error:
            # It is neither in the workspace nor in the cache nor, for whatever reason, in the remote.
            raise FaultError("missing", _checked_remote(repo)) from error
        commit = repo.scm.get_rev() if rev is None else repo.get_rev()
    if rev is None and _committed(root, path) != md5:
        commit = f"{commit}-dirty"
    return {"md5": md5, "rev": commit}


def add(root: str, path: str) -> dict[str, Any]:
    """Track a file or folder as it is, and copy it to the default remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(root) as repo:
        _be_patient(repo.config)
        remote = _checked_remote(repo, is_to_write=True)
        stage = repo.add(str(Path(root, path)))[0]
        out = stage.outs[0]
        try:
            pushed = repo.push(out.fs_path)
        except DvcException as error:
            raise FaultError("push", _message(error)) from error
        file = os.path.relpath(stage.path, root)
    return {"md5": out.hash_info.value, "remote": remote, "pushed": pushed, "file": file}


def _tracked(repo: Any, path: str) -> tuple[bool, str]:
    """Whether it is a folder, and its hash."""
    full = str(Path(repo.root_dir, path))
    for out in repo.index.outs:
        if out.fs_path == full and out.hash_info:
            if out.hash_info.name != "md5":
                raise FaultError("old")
            return out.hash_info.isdir, out.hash_info.value
    try:
        info = repo.dvcfs.info(f"/{path}").get("dvc_info", {})
    except FileNotFoundError as error:
        raise FaultError("untracked") from error
    if not info.get("isout"):
        raise FaultError("untracked")
    if "md5" not in info:
        raise FaultError("inside")
    return False, info["md5"]


def _check_unchanged(repo: Any, path: str) -> None:
    for out in repo.find_outs_by_path(str(Path(repo.root_dir, path)), strict=False):
        if out.exists and out.changed_checksum():
            raise FaultError("stale", os.path.relpath(out.stage.path, repo.root_dir))


def _committed(root: str, path: str) -> str | None:
    """The hash at HEAD; None where it is not tracked there."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(root, rev="HEAD") as repo:
            return _tracked(repo, path)[1]
    except (DvcException, FaultError):
        return None


def _checked_remote(repo: Any, *, is_to_write: bool = False) -> str:
    """The address of the default remote, which answers."""
    from dvc.config import NoRemoteError

    try:
        remote = repo.cloud.get_remote(None, "push")
    except NoRemoteError as error:
        raise FaultError("no remote") from error
    address = str(repo.config["remote"][remote.name]["url"])
    if remote.fs.protocol == "local":
        folder = Path(remote.path)
        if not (folder.parent if is_to_write else folder).is_dir():
            raise FaultError("away", f"{folder}: no such folder")
        # DVC would make it anew, on this machine's own disk where a mount is missing.
        holds = any(out.hash_info and out.use_cache and out.can_push for out in repo.index.outs)
        if is_to_write and holds and not (folder.is_dir() and any(folder.iterdir())):
            raise FaultError("lost", str(folder))
    elif remote.fs.protocol == "s3":
        bucket, _, prefix = remote.path.partition("/")
        try:
            remote.fs.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except FileNotFoundError as error:
            raise FaultError("away", f"{address}: no such bucket") from error
    return address


def _be_patient(config: Mapping[str, Any]) -> None:
    """Bound how long each remote on S3 is waited for."""
    for remote in config["remote"].values():
        if str(remote.get("url", "")).startswith("s3:"):
            remote.update({key: value for key, value in PATIENCE.items() if key not in remote})


def _fault_of(error: BaseException) -> dict[str, Any]:
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.filename is not None and cause.errno is not None:
            name = os.fsdecode(cause.filename)
            return {"fault": "system", "detail": str(cause.strerror), "errno": cause.errno, "filename": name}
        names = {each.__name__ for each in type(cause).__mro__}
        kind = next((kind for kind, classes in KINDS.items() if names & classes), None)
        if kind is not None:
            return {"fault": kind, "detail": _message(cause)}
    return {"fault": "other", "detail": _message(error)}


KINDS: Mapping[str, frozenset[str]] = {
    "revision": frozenset({"RevError"}),
    "uncommitted": frozenset({"NotDvcRepoError"}),
    "in git": frozenset({"OutputAlreadyTrackedError"}),
    "locked": frozenset({"LockError"}),
    "credentials": frozenset({"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "PermissionError"}),
    "away": frozenset({"HTTPClientError", "EndpointConnectionError", "ConnectionError", "TimeoutError", "gaierror"}),
    "driver": frozenset({"RemoteMissingDepsError"}),
}
"""What an exception, or what caused it, means. botocore, aiohttp and DVC share no base class."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _message(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what DVC prints is no answer
    os.environ.setdefault("AWS_MAX_ATTEMPTS", ATTEMPTS)
    verbs: Mapping[str, Callable[..., dict[str, Any]]] = {"resolve": resolve, "add": add}
    request = json.load(sys.stdin)
    try:
        answer = verbs[request.pop("verb")](**request)
    except FaultError as fault:
        answer = fault.answer
    except Exception as error:  # noqa: BLE001 - winnow makes a sentence of it
        answer = _fault_of(error)
    json.dump(answer, answers)
    answers.close()


if __name__ == "__main__":
    main()
