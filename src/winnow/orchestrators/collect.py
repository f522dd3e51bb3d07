"""Fetch the logs of sweeps that ended without a terminal watching, and remove their containers or pods.

If the terminal was left (Ctrl-C, a lost connection), the next command that asks the platform cleans up instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from winnow.config.errors import WinnowError
from winnow.platforms.executor import Executor, GroupStatus


def finished(groups: Iterable[GroupStatus], home: Path) -> list[str]:
    """Names of studies started from this home whose groups are all over and still have containers or pods, sorted."""
    by_study: dict[str, list[GroupStatus]] = {}
    for group in groups:
        by_study.setdefault(group.study, []).append(group)
    return sorted(
        study
        for study, found in by_study.items()
        if all(group.state.is_over for group in found)
        # Another home fetches the logs of what it started itself.
        and any(group.has_remains and is_from(home, group) for group in found)
    )


def is_from(home: Path, group: GroupStatus) -> bool:
    """Whether the group was started from this home: executors create a folder for each group."""
    return (home / "studies" / group.study / "groups" / group.name).is_dir()


def collect(executors: Mapping[str, Executor], home: Path, study: str | None = None) -> list[str]:
    """Fetch the logs of finished sweeps and remove what they left; return failures as sentences. Safe to repeat."""
    failures = []
    for executor in executors.values():
        for name in finished(executor.groups(study), home):
            try:
                executor.clear(name)
            except WinnowError as error:
                failures.append(f"study {name}: its workers are done, but what they left could not be removed: {error}")
    return failures
