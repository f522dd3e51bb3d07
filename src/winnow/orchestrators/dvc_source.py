"""Fetch what DVC keeps: a version of a file or folder, once, to `HOME/data/dvc/MD5/NAME`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Experiment
from winnow.config.functions import DVC
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.data.stage.dvc_hash import dvc_hash
from winnow.data.stage.versions import drafting
from winnow.orchestrators.data_source import ResolvedSource
from winnow.orchestrators.dvc_project import find_project

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


def resolve_dvc(experiment: Experiment, settings: Settings) -> ResolvedSource:
    """The files of a `dvc:` source, and their lineage. Raises InputError."""
    found = fetch(experiment.data.sources[0], experiment.data.rev, settings.home, "data.source")
    return ResolvedSource(str(found.path), found.lineage)


def restore(data: DataConfig, kept: Path, lineage: Mapping[str, str], home: Path) -> None:
    """Fetch the version that a study was made with again, where it was removed from the home.

    Raises:
        InputError: it cannot be had any more.
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
