"""The studies in the storage: list them, delete one, report on one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import study_name
from winnow.config.names import check_study_name

if TYPE_CHECKING:
    from winnow.orchestrators.studies import Deletion, ListedStudy
    from winnow.study.experiments import TrackedExperiments


def studies() -> tuple[ListedStudy, ...]:
    """List all studies, oldest first: state, trials, best value, and the number of running worker groups by platform.

    Raises:
        InputError: the storage cannot be read, or a platform in use does not answer.
    """
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.studies import list_studies
    from winnow.orchestrators.workers import executors_for

    settings = current()
    return list_studies(settings, executors_for(None, settings))


def plan_deletion(study: str) -> Deletion:
    """Show what `delete_study` would delete, without deleting it.

    Args:
        study: name of the study.

    Raises:
        InputError: there is no such study, its workers are running, or a store does not answer.
    """
    from winnow.orchestrators import studies as orchestrator
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.workers import executors_for

    settings = current()
    return orchestrator.plan_deletion(check_study_name(study, "study"), settings, executors_for(None, settings))


def delete_study(study: str) -> Deletion:
    """Delete a study with its trials, logs and report, without confirmation.

    Registered models and deployments stay. So do the runs in MLflow, which are marked as those of a deleted study, so
    that a new study can use the same name.

    Args:
        study: name of the study.

    Returns:
        What was deleted.

    Raises:
        InputError: there is no such study, its workers are running, or a store does not answer.
    """
    from winnow.orchestrators import studies as orchestrator
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.workers import executors_for

    settings = current()
    return orchestrator.delete(check_study_name(study, "study"), settings, executors_for(None, settings))


def write_report(
    config: Path | str | None = None, *, study: str | None = None, output: Path | str | None = None
) -> Path:
    """Write a study's report, a self-contained HTML page, and return its path.

    Args:
        output: the page to write; by default WINNOW_HOME/studies/STUDY/report.html.

    Raises:
        InputError: there is no such study, or the page cannot be written.
    """
    name = study_name(config, study)
    from winnow.orchestrators import report
    from winnow.orchestrators.settings import current

    return report.write_report(current(), name, None if output is None else Path(output))


def track_experiments(
    studies: Sequence[str] = (), *, name: str | None = None, html: Path | str | None = None
) -> TrackedExperiments:
    """List experiments: studies, registered versions with aliases and gates, and champions.

    An experiment is what its file calls `name`, which is also the model's name. With `name` or several `studies`, the
    studies are compared, too.

    Args:
        studies: names of studies; by default all.
        name: name of an experiment; by default all.
        html: a page to write, which needs no other file.

    Raises:
        InputError: there is no such experiment or study, a store does not answer, or the page cannot be written.
    """
    from winnow.orchestrators import experiments
    from winnow.orchestrators.settings import current

    return experiments.track_experiments(current(), studies, name, None if html is None else Path(html))
