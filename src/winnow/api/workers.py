"""The workers of studies: list them, read their logs, stop them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent, study_name
from winnow.config.names import check_study_name

if TYPE_CHECKING:
    from winnow.orchestrators.cancel import Cancelled
    from winnow.orchestrators.workers import Jobs
    from winnow.platforms.executor import Executor


def jobs(*, study: str | None = None, platform: str | None = None, say: Callable[[str], None] = silent) -> Jobs:
    """List the worker groups at work, of all studies or of one.

    Groups that are over are listed once, if their containers or pods are still there: their logs are fetched, and the
    containers or pods are removed.

    Args:
        study: name of a study; by default all.
        platform: "local", "docker" or "kubernetes"; by default all that are in use.
        say: is called with a line for each study whose containers or pods could not be removed.

    Returns:
        The groups with their states, and where they were looked for.

    Raises:
        InputError: the platform does not answer.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.workers import executors_for, list_jobs

    settings = Settings.from_environment()
    executors = executors_for(platform, settings)
    found = list_jobs(executors, settings.home, study if study is None else check_study_name(study, "study"))
    _collect(executors, settings.home, study, say)
    return found


def logs(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    worker: str | None = None,
    follow: bool = False,
    say: Callable[[str], None] = silent,
) -> Iterator[str]:
    """Read the logs of a study's workers, also of those that are over.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        platform: "local", "docker" or "kubernetes"; by default all that are in use.
        worker: name of one worker group; by default all.
        follow: continue with new lines until the workers are over.
        say: is called with a line where containers or pods that are over could not be removed.

    Returns:
        The lines, each after the name of its group.

    Raises:
        InputError: there is no such worker, or the platform does not answer.
    """
    name = study_name(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators.workers import executors_for, read_logs

    settings = Settings.from_environment()
    executors = executors_for(platform, settings)
    lines = read_logs(executors, name, worker, follow=follow)

    def then_collected() -> Iterator[str]:
        yield from lines
        _collect(executors, settings.home, name, say)

    return then_collected()


def cancel(config: Path | str | None = None, *, study: str | None = None, platform: str | None = None) -> Cancelled:
    """Stop a study's workers and hand their trials back.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        platform: "local", "docker" or "kubernetes"; by default all that are in use.

    Returns:
        How many groups were stopped, and why trials could not be handed back, where that is so.

    Raises:
        InputError: there is no such study, the platform does not answer, or a permission is missing.
    """
    name = study_name(config, study)
    from winnow.orchestrators import cancel as orchestrator
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.workers import executors_for

    settings = current()
    return orchestrator.cancel(name, executors_for(platform, settings), settings)


def _collect(executors: Mapping[str, Executor], home: Path, study: str | None, say: Callable[[str], None]) -> None:
    from winnow.orchestrators.collect import collect

    for failure in collect(executors, home, study):
        say(failure)
