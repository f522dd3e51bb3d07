"""Compare logged rows as a whole with the training rows, where the log has rows and the data are still the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.bundle.columns import Column
from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError, WinnowError
from winnow.config.monitoring import MonitoringConfig
from winnow.config.settings import Settings
from winnow.finding import Finding
from winnow.monitoring.evidently_page import write_evidently
from winnow.orchestrators.evidence import rows_of_data
from winnow.routing import Release

if TYPE_CHECKING:
    import pandas as pd

SKIPPED = "Columns were not judged together"


@dataclass(frozen=True)
class ComparedRows:
    """Logged rows of a version and the rows that it was trained on, as they were before encoding."""

    columns: Sequence[Column]
    reference: pd.DataFrame
    live: pd.DataFrame


def judge_rows(
    deployment: str,
    release: Release,
    config: MonitoringConfig,
    since: float,
    until: float,
    alpha: float,
    settings: Settings,
) -> tuple[Finding | None, str]:
    """What the classifier test finds in the rows of a window; or None, and why it was not made.

    Args:
        release: with its bundle on this machine.
        since, until: the window, in seconds since the epoch.
        alpha: the probability of a false finding.
    """
    try:
        rows = rows_to_compare(deployment, release, config, since, until, settings)
        if isinstance(rows, str):
            return None, f"{SKIPPED}: {rows}"
        from winnow.monitoring.joint import joint_drift

        return joint_drift(rows.columns, rows.reference, rows.live, alpha), ""
    except (InputError, WinnowError, ValueError) as error:
        return None, f"{SKIPPED}: {error}"


def rows_to_compare(
    deployment: str, release: Release, config: MonitoringConfig, since: float, until: float, settings: Settings
) -> ComparedRows | str:
    """The newest logged rows of a window and the training rows; or a sentence that says why there are none.

    Raises:
        InputError: a path of `monitoring.quality.outcomes` names no file.
        WinnowError: the log cannot be read.
    """
    paths = config.quality.outcomes
    if not paths:
        return "`monitoring.quality.outcomes` names no logs."
    # They import DuckDB, pandas and scikit-learn.
    from winnow.monitoring.joint import LEAST_ROWS, MOST_ROWS
    from winnow.monitoring.logged_rows import logged_rows

    manifest = read_manifest(release.bundle)
    if manifest.table is None:
        return "the model takes tensors."
    live = logged_rows(
        paths,
        deployment=deployment,
        version=release.version,
        since=since,
        until=until,
        most=MOST_ROWS,
        place="monitoring.quality.outcomes",
    )
    if len(live) < LEAST_ROWS:
        return f"the log has {len(live)} rows with `serving.log.fields`; it takes {LEAST_ROWS}."
    reference = rows_of_data(manifest, settings, is_holdout=False)
    return f"{reference.missing}." if reference.missing else ComparedRows(manifest.table, reference.labelled.rows, live)


def write_evidently_page(rows: ComparedRows | str, output: Path, python: Path) -> str:
    """Write Evidently's page; returns why there is none, or nothing.

    Args:
        rows: what `rows_to_compare` returned.
        python: Evidently's interpreter.

    Raises:
        WinnowError: Evidently failed.
    """
    if isinstance(rows, str):
        return f"Evidently's page was not written: {rows}"
    write_evidently(rows.columns, rows.reference, rows.live, output, python)
    return ""
