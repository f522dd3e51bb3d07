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
    """List the running worker groups of one study or of all.

    Finished groups whose containers or pods still exist are listed once more: their logs are fetched, then the
    containers or pods are removed.

    Args:
        study: name of a study; by default all.
        platform: "local", "docker" or "kubernetes"; by default all platforms in use.

    Returns:
        The groups with their states, and where winnow looked for them.

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
    """Read the logs of a study's workers, including finished ones.

    Args:
        platform: "local", "docker" or "kubernetes"; by default all platforms in use.
        worker: name of one worker group; by default all.
        follow: keep reading new lines until the workers finish.

    Returns:
        The lines, each prefixed with the name of its group.

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
    """Stop a study's workers and return their trials to the study.

    Args:
        platform: "local", "docker" or "kubernetes"; by default all platforms in use.

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
    from winnow.orchestrators.workers import collect

    for failure in collect(executors, home, study):
        say(failure)
