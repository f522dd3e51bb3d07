"""Write a study's report as an HTML page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.disk import disk_fault, home_of
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_flag
from winnow.config.private import share
from winnow.config.settings import Settings
from winnow.study.certainty import Certainty, certainty_of
from winnow.study.champion import champion_of
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.study.view import StudyView


def report_path(settings: Settings, study: str) -> Path:
    """The default path of a study's report."""
    return settings.home / "studies" / study / "report.html"


def write_report(settings: Settings, study: str, output: Path | None = None) -> Path:
    """Write the report of a study's current state and return its path.

    `output`: the page to write; by default `report_path`. Raises InputError if there is no such study, its database
    does not answer, or the page cannot be written. An existing page is then unchanged.
    """
    page = output if output is not None else report_path(settings, study)
    view = StudyStore(Database(settings.storage_url), study).view()
    write_page(replace(view, champion=champion_of(view, settings.tracking_uri)), page)
    if output is not None:
        share(page)
    return page


def shares_of(settings: Settings, study: str) -> dict[str, float]:
    """Each parameter's share of the metric's variation; empty with too few trials or an unreadable study."""
    try:
        view = StudyStore(Database(settings.storage_url), study).view()
    except WinnowError:
        return {}
    # Importing the report takes a moment.
    from winnow.report.facts import facts_of
    from winnow.report.importances import importances_of

    return importances_of(view, facts_of(view).complete)


def certainty_in(settings: Settings, study: str, winner: int | None) -> Certainty | None:
    """How sure it is that a trial is the study's best; None with too few trials or an unreadable study."""
    try:
        view = StudyStore(Database(settings.storage_url), study).view()
    except WinnowError:
        return None
    return certainty_of(replace(view, champion=champion_of(view, settings.tracking_uri)), winner)


def write_page(view: StudyView, page: Path) -> None:
    """Write the report atomically. Raises InputError if it cannot be written."""
    from winnow.report import render_report

    write_html(render_report(view), page, "output")


def write_html(text: str, page: Path, flag: str = "html") -> None:
    """Write a page atomically. Raises InputError if it cannot be written; it names the flag that named the page."""
    try:
        replace_text(page, text)
    except OSError as error:
        raise disk_fault(error, home_of(), page) or InputError(
            str(page),
            expected="a file that can be written",
            found=error.strerror or str(error),
            remedy=f"Name another one ({next_flag(flag)}).",
        ) from error
