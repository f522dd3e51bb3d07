"""Write a study's report: read the study, draw it, put the page where a person finds it."""

from __future__ import annotations

import os
from pathlib import Path

from winnow.config.settings import Settings
from winnow.search.database import Database
from winnow.search.report import render_report
from winnow.search.store import StudyStore
from winnow.search.study_view import Champion, StudyView


def report_path(settings: Settings, study: str) -> Path:
    """Where a study's report lies unless it is sent elsewhere."""
    return settings.home / "studies" / study / "report.html"


def write_report(
    settings: Settings, study: str, output: Path | None = None, *, champion: Champion | None = None
) -> Path:
    """Draw a study as it stands now and return the page's path.

    Args:
        output: the page; `report_path` by default.
        champion: the registered model that deployments follow, where the caller knows it.

    Raises:
        InputError: there is no such study, or its database does not answer.
        OSError: the page cannot be written; what was there before is left as it was.
    """
    page = output if output is not None else report_path(settings, study)
    view = StudyStore(Database(settings.storage_url), study).view(champion)
    write_page(view, page)
    return page


def write_page(view: StudyView, page: Path) -> None:
    """Write the report in one step, so that a reader, or a full disk, never finds half of it. Raises OSError."""
    text = render_report(view)
    page.parent.mkdir(parents=True, exist_ok=True)
    unfinished = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(page)
    finally:
        unfinished.unlink(missing_ok=True)
