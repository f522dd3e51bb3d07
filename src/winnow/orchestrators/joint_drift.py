"""Compare logged rows as a whole with the training rows, where the log has rows and the data are still the same."""

from __future__ import annotations

from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError, WinnowError
from winnow.config.monitoring import MonitoringConfig
from winnow.config.settings import Settings
from winnow.finding import Finding
from winnow.monitoring.live import LiveCounts
from winnow.orchestrators.evidence import rows_of_data
from winnow.routing import Release

SKIPPED = "Columns were not judged together"


def judge_rows(
    deployment: str, release: Release, config: MonitoringConfig, window: LiveCounts, alpha: float, settings: Settings
) -> tuple[Finding | None, str]:
    """What the classifier test finds in the rows of a window; or None, and why it was not made.

    Args:
        release: with its bundle on this machine.
        window: whose time counts.
        alpha: the probability of a false finding.
    """
    paths = config.quality.outcomes
    if not paths:
        return None, f"{SKIPPED}: `monitoring.quality.outcomes` names no logs."
    # They import DuckDB, pandas and scikit-learn.
    from winnow.monitoring.joint import LEAST_ROWS, MOST_ROWS, joint_drift
    from winnow.monitoring.logged_rows import logged_rows

    manifest = read_manifest(release.bundle)
    if manifest.table is None:
        return None, f"{SKIPPED}: the model takes tensors."
    try:
        live = logged_rows(
            paths,
            deployment=deployment,
            version=release.version,
            since=window.since,
            until=window.until,
            most=MOST_ROWS,
            place="monitoring.quality.outcomes",
        )
        if len(live) < LEAST_ROWS:
            return None, f"{SKIPPED}: the log has {len(live)} rows with `serving.log.fields`; it takes {LEAST_ROWS}."
        reference = rows_of_data(manifest, settings, is_holdout=False)
        if reference.missing:
            return None, f"{SKIPPED}: {reference.missing}."
        return joint_drift(manifest.table, reference.labelled.rows, live, alpha), ""
    except (InputError, WinnowError, ValueError) as error:
        return None, f"{SKIPPED}: {error}"
