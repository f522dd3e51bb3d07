"""What the prediction log shows: its rows against the training rows, and the columns that the model goes by now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Column, encode_frame, slices_of
from winnow.bundle.manifest import read_manifest
from winnow.bundle.profile import Profile
from winnow.config.errors import InputError, WinnowError
from winnow.config.monitoring import MonitoringConfig
from winnow.config.settings import Settings
from winnow.finding import Finding
from winnow.monitoring.evidently_page import write_evidently
from winnow.orchestrators.evidence import rows_of_data
from winnow.routing import Release
from winnow.serving.codec import labels
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.serving.problems import ProblemError

if TYPE_CHECKING:
    import pandas as pd


SKIPPED = "Columns were not judged together"
UNCOMPARED = "Importances were not compared"
MOST_ROWS = 1000
"""How many rows with outcomes importances are measured on."""
PLACE = "monitoring.quality.outcomes"


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

    Raises InputError if a path of `monitoring.quality.outcomes` names no file; WinnowError if the log cannot be read.
    """
    paths = config.quality.outcomes
    if not paths:
        return f"`{PLACE}` names no logs."
    # They import DuckDB, pandas and scikit-learn.
    from winnow.monitoring import joint
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
        most=joint.MOST_ROWS,
        place=PLACE,
    )
    if len(live) < joint.LEAST_ROWS:
        return f"the log has {len(live)} rows with `serving.log.fields`; it takes {joint.LEAST_ROWS}."
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


def judge_importances(
    deployment: str, release: Release, profile: Profile, paths: Sequence[str], alpha: float
) -> tuple[Finding | None, str]:
    """What the newest logged rows with outcomes show; or None, and why they were not compared.

    Args:
        release: with its bundle on this machine.
        paths: `monitoring.quality.outcomes`.
        alpha: the probability of a false finding.
    """
    if not paths:
        return None, f"{UNCOMPARED}: `{PLACE}` names no logs."
    if all(each.importance is None for each in profile.columns):
        return None, f"{UNCOMPARED}: the profile has none."
    # They import DuckDB and pandas.
    from winnow.monitoring.importance import importance_drift, measure_importances
    from winnow.monitoring.logged_rows import logged_outcomes

    try:
        predictor = Predictor(release.bundle, release.version)
        columns = predictor.manifest.table
        if columns is None or len(predictor.manifest.target_names) > 1:
            return None, f"{UNCOMPARED}: the model takes tensors, or has several targets."
        rows, outcomes = logged_outcomes(
            paths, deployment=deployment, version=release.version, most=MOST_ROWS, place=PLACE
        )
        unlogged = [each.name for each in columns if each.name not in rows]
        if len(rows) and unlogged:
            return None, f"{UNCOMPARED}: `serving.log.fields` lacks columns of the model, such as {unlogged[0]}."
        if not len(rows):
            return None, f"{UNCOMPARED}: the log has no row with `serving.log.fields` and an outcome."
        matrix = encode_frame(columns, rows)
        parts = {each.name: part for each, part in zip(columns, slices_of(columns), strict=True)}
        found = measure_importances(lambda each: _losses(predictor, each, outcomes), matrix, parts)
        return importance_drift(profile, found, alpha), ""
    except (InputError, WinnowError, WrongModelError, ProblemError, ValueError) as error:
        return None, f"{UNCOMPARED}: {error}"


def _losses(predictor: Predictor, matrix: NDArray[np.float32], outcomes: Sequence[str]) -> NDArray[np.float64]:
    """1 for a class that is not the outcome; of a number the distance. Raises ValueError if an outcome is no number."""
    outputs = predictor.outputs(matrix)
    if predictor.signature.classes is None:
        truth = np.array([float(each) for each in outcomes])
        return np.asarray(np.abs(outputs[:, 0].astype(np.float64) - truth))
    predicted = labels(outputs, predictor.signature)
    return np.array([mine != truth for mine, truth in zip(predicted, outcomes, strict=True)], dtype=np.float64)
