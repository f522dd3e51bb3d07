"""List the worker groups on all platforms, read their logs, and remove what finished ones left.

If the terminal of a sweep was left (Ctrl-C, a lost connection), the next command that asks the platform cleans up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.platforms.executor import Executor, GroupStatus
from winnow.platforms.log_streams import merged
from winnow.platforms.table import all_platforms, platform_for


@dataclass(frozen=True)
class WorkerGroup:
    """A worker group that is running, or whose containers or pods still exist.

    Attributes:
        status: the group as reported by the platform.
        is_from_here: it was started with this WINNOW_HOME, which then keeps its logs.
    """

    platform: str
    status: GroupStatus
    is_from_here: bool


@dataclass(frozen=True)
class Jobs:
    """The running worker groups.

    Attributes:
        groups: by platform, study and name.
        places: where winnow looked, as in "on this machine".
    """

    groups: tuple[WorkerGroup, ...]
    places: tuple[str, ...]


def executors_for(platform: str | None, settings: Settings) -> Mapping[str, Executor]:
    """The executors that find groups, by platform; if `platform` is given, only that one.

    Otherwise remote platforms are only asked if they are in use. Raises InputError if the named platform, or one in
    use, does not answer.
    """
    executors: dict[str, Executor] = {}
    named = None if platform is None else (platform_for(platform, settings),)
    for each in named or all_platforms(settings):
        if named is None and each.capabilities.is_remote and not each.is_in_use:
            continue
        try:
            executors[each.name] = each.executor()
        except InputError:
            if platform is not None or each.is_in_use:
                raise
    return executors


def list_jobs(executors: Mapping[str, Executor], home: Path, study: str | None = None) -> Jobs:
    """List the groups of one study or of all that are running or whose containers or pods still exist."""
    groups = tuple(
        WorkerGroup(platform, status, is_from(home, status))
        for platform, executor in executors.items()
        for status in executor.groups(study)
        if status.has_remains or not status.state.is_over
    )
    return Jobs(groups, tuple(executor.place for executor in executors.values()))


def read_logs(
    executors: Mapping[str, Executor], study: str, worker: str | None = None, *, follow: bool = False
) -> Iterator[str]:
    """The log lines of a study's groups, each prefixed with the name of its group.

    Without `follow`, one group after the other; with it, all groups' lines as they are written. `worker`: name of the
    only group to read; by default all. Raises InputError if there is no such group. The call itself raises it, not the
    iterator.
    """
    known = [(executor, group.name) for executor in executors.values() for group in executor.groups(study)]
    chosen = [(executor, name) for executor, name in known if worker in (None, name)]
    if not chosen:
        raise InputError(
            f"study {study!r}",
            expected=f"a worker {worker!r}" if worker is not None else "workers that were started here",
            found=", ".join(name for _, name in known) or "none",
            remedy=f"Name another with {next_flag('study')} or {next_flag('worker')}; `{next_command('jobs')}` lists "
            "the running ones.",
        )
    streams = [_named_lines(executor, study, name, follow=follow) for executor, name in chosen]
    return merged(streams) if follow else (line for lines in streams for line in lines)


def _named_lines(executor: Executor, study: str, group: str, *, follow: bool) -> Iterator[str]:
    for line in executor.log(study, group, follow=follow):
        yield f"{group} {line}"


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
