"""Write a study's report: read the study, draw it, put the page where a person finds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.disk import disk_fault, home_of
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_flag
from winnow.config.private import share
from winnow.config.settings import Settings
from winnow.study.champion import champion_of
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.study.view import StudyView


def report_path(settings: Settings, study: str) -> Path:
    """Where a study's report lies unless it is sent elsewhere."""
    return settings.home / "studies" / study / "report.html"


def write_report(settings: Settings, study: str, output: Path | None = None) -> Path:
    """Draw a study as it stands now and return the page's path.

    Args:
        output: the page; `report_path` by default.

    Raises:
        InputError: there is no such study, or its database does not answer.
        OSError: the page cannot be written; what was there before is left as it was.
    """
    page = output if output is not None else report_path(settings, study)
    view = StudyStore(Database(settings.storage_url), study).view()
    write_page(replace(view, champion=champion_of(view, settings.tracking_uri)), page)
    if output is not None:
        share(page)
    return page


def shares_of(settings: Settings, study: str) -> dict[str, float]:
    """How much of the metric's variation each parameter explains; empty where the study cannot say or be read."""
    try:
        view = StudyStore(Database(settings.storage_url), study).view()
    except WinnowError:
        return {}
    # Importances import scikit-learn.
    from winnow.report.facts import facts_of
    from winnow.report.importances import importances_of

    return importances_of(view, facts_of(view).complete)


def write_page(view: StudyView, page: Path) -> None:
    """Write the report in one step, so that a reader never finds half of it.

    Raises:
        InputError: the page cannot be written there.
    """
    from winnow.report import render_report

    text = render_report(view)
    try:
        replace_text(page, text)
    except OSError as error:
        raise (disk_fault(error, home_of(), page) or _unwritable(page, error)) from error


def _unwritable(page: Path, error: OSError) -> InputError:
    return InputError(
        str(page),
        expected="a file that can be written",
        found=error.strerror or str(error),
        remedy=f"Name another one ({next_flag('output')}).",
    )
