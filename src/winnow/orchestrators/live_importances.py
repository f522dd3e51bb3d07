"""Measure which columns a served model goes by on logged rows with outcomes, for comparison with its profile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import encode_frame, slices_of
from winnow.bundle.profile import Profile
from winnow.config.errors import InputError, WinnowError
from winnow.finding import Finding
from winnow.routing import Release
from winnow.serving.codec import labels
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.serving.problems import ProblemError

SKIPPED = "Importances were not compared"
MOST_ROWS = 1000
PLACE = "monitoring.quality.outcomes"


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
        return None, f"{SKIPPED}: `{PLACE}` names no logs."
    if all(each.importance is None for each in profile.columns):
        return None, f"{SKIPPED}: the profile has none."
    # They import DuckDB and pandas.
    from winnow.monitoring.importance import importance_drift, measure_importances
    from winnow.monitoring.logged_rows import logged_outcomes

    try:
        predictor = Predictor(release.bundle, release.version)
        columns = predictor.manifest.table
        if columns is None or len(predictor.manifest.target_names) > 1:
            return None, f"{SKIPPED}: the model takes tensors, or has several targets."
        rows, outcomes = logged_outcomes(
            paths, deployment=deployment, version=release.version, most=MOST_ROWS, place=PLACE
        )
        unlogged = [each.name for each in columns if each.name not in rows]
        if len(rows) and unlogged:
            return None, f"{SKIPPED}: `serving.log.fields` lacks columns of the model, such as {unlogged[0]}."
        if not len(rows):
            return None, f"{SKIPPED}: the log has no row with `serving.log.fields` and an outcome."
        matrix = encode_frame(columns, rows)
        parts = {each.name: part for each, part in zip(columns, slices_of(columns), strict=True)}
        found = measure_importances(lambda each: _losses(predictor, each, outcomes), matrix, parts)
        return importance_drift(profile, found, alpha), ""
    except (InputError, WinnowError, WrongModelError, ProblemError, ValueError) as error:
        return None, f"{SKIPPED}: {error}"


def _losses(predictor: Predictor, matrix: NDArray[np.float32], outcomes: Sequence[str]) -> NDArray[np.float64]:
    """1 for a class that is not the outcome; of a number the distance.

    Raises:
        ValueError: an outcome is no number.
    """
    outputs = predictor.outputs(matrix)
    if predictor.signature.classes is None:
        truth = np.array([float(each) for each in outcomes])
        return np.asarray(np.abs(outputs[:, 0].astype(np.float64) - truth))
    predicted = labels(outputs, predictor.signature)
    return np.array([mine != truth for mine, truth in zip(predicted, outcomes, strict=True)], dtype=np.float64)
