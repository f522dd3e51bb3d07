"""The worker groups of studies on all platforms: which there are, and what they write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.orchestrators.collect import is_from
from winnow.platforms.executor import Executor, GroupStatus
from winnow.platforms.log_streams import merged
from winnow.platforms.table import all_platforms, platform_for


@dataclass(frozen=True)
class WorkerGroup:
    """A worker group that runs, or that has left containers or pods.

    Attributes:
        platform: where it runs: "local", "docker" or "kubernetes".
        status: the group as its platform reports it.
        is_from_here: whether it was started with this WINNOW_HOME, which then keeps its logs.
    """

    platform: str
    status: GroupStatus
    is_from_here: bool


@dataclass(frozen=True)
class Jobs:
    """The worker groups at work.

    Attributes:
        groups: by platform, study and name.
        places: where they were looked for, as a sentence continues: "on this machine".
    """

    groups: tuple[WorkerGroup, ...]
    places: tuple[str, ...]


def executors_for(platform: str | None, settings: Settings) -> Mapping[str, Executor]:
    """The executors that find groups, by platform; they start none.

    Args:
        platform: the only one to ask. None: all, except for Docker where no engine answers and a cluster that is
            neither named nor in use.

    Raises:
        InputError: a platform that is named or in use cannot be asked.
    """
    executors: dict[str, Executor] = {}
    for each in all_platforms(settings) if platform is None else (platform_for(platform, settings),):
        is_expected = platform is not None or each.is_in_use
        if each.capabilities.is_remote and not is_expected:
            continue
        try:
            executors[each.name] = each.executor()
        except InputError:
            if is_expected:
                raise
    return executors


def list_jobs(executors: Mapping[str, Executor], home: Path, study: str | None = None) -> Jobs:
    """List the groups that run and those that have left containers or pods, of one study or of all."""
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
    """The log lines of a study's groups, each after its group's name.

    Without `follow`, group after group; with it, lines of all groups as they come, until the groups are over.

    Args:
        worker: name of the one group to read; None: all.

    Raises:
        InputError: there is no such group. It is raised by the call, before the first line is asked for.
    """
    known = [(executor, group.name) for executor in executors.values() for group in executor.groups(study)]
    chosen = [(executor, name) for executor, name in known if worker in (None, name)]
    if not chosen:
        raise InputError(
            f"study {study!r}",
            expected=f"a worker {worker!r}" if worker is not None else "workers that were started here",
            found=", ".join(name for _, name in known) or "none",
            remedy=f"Name another with {next_flag('study')} or {next_flag('worker')}; `{next_command('jobs')}` lists "
            "those at work.",
        )
    streams = [_named_lines(executor, study, name, follow=follow) for executor, name in chosen]
    return merged(streams) if follow else (line for lines in streams for line in lines)


def _named_lines(executor: Executor, study: str, group: str, *, follow: bool) -> Iterator[str]:
    for line in executor.log(study, group, follow=follow):
        yield f"{group} {line}"
