"""Sweeps that ended while no terminal was watching: fetch their logs, and remove their containers or pods.

A terminal that was left (Ctrl-C, a lost connection) does not see the end of its sweep. The next command that asks the
platform cleans up in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from winnow.config.errors import WinnowError
from winnow.platforms.executor import Executor, GroupStatus


def finished(groups: Iterable[GroupStatus], home: Path) -> list[str]:
    """Studies that were started from this home, whose groups are all over and still have containers or pods, sorted."""
    by_study: dict[str, list[GroupStatus]] = {}
    for group in groups:
        by_study.setdefault(group.study, []).append(group)
    return sorted(
        study
        for study, found in by_study.items()
        if all(group.state.is_over for group in found)
        # What another home has started is left to it, and its logs with it.
        and any(group.has_remains and is_from(home, group) for group in found)
    )


def is_from(home: Path, group: GroupStatus) -> bool:
    """A group was started from this home: executors keep a folder for it from its start on."""
    return (home / "studies" / group.study / "groups" / group.name).is_dir()


def collect(executors: Mapping[str, Executor], home: Path, study: str | None = None) -> list[str]:
    """Bring the logs of finished sweeps here, and remove what they left; return what could not be done, in words.

    Harmless where nothing is left, and where another process does the same.
    """
    failures = []
    for executor in executors.values():
        for name in finished(executor.groups(study), home):
            try:
                executor.clear(name)
            except WinnowError as error:
                failures.append(f"study {name}: its workers are done, and what they left could not be removed: {error}")
    return failures
