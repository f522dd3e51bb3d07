"""The pytest plugin of a gate's tests: what is to be promoted, as fixtures.

    def test_more_rooms_are_not_cheaper(candidate, rows):
        larger = candidate.predict(rows.assign(rooms=rows.rooms + 1))
        assert (larger.price >= candidate.predict(rows).price - 0.01).mean() > 0.95

`winnow.model_query.gate_tests` writes the folder that the fixtures read.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from winnow.model_query.gate_tests import CANDIDATE, CHAMPION, FOLDER, PREDICTIONS, ROWS, TARGET

if TYPE_CHECKING:
    from winnow.tracking.pyfunc import BundleModel


def _folder() -> Path:
    return Path(os.environ[FOLDER])


def _model(file: Path) -> BundleModel:
    from winnow.tracking.pyfunc import BundleModel  # late: MLflow takes seconds, and many tests ask no model

    return BundleModel(Path(file.read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def candidate() -> BundleModel:
    """The version that is to be promoted. `predict(rows)` gives a DataFrame, as `mlflow.pyfunc` does."""
    return _model(_folder() / CANDIDATE)


@pytest.fixture(scope="session")
def champion() -> BundleModel | None:
    """The version that it would replace; None where there is none."""
    file = _folder() / CHAMPION
    return _model(file) if file.exists() else None


@pytest.fixture
def rows() -> Any:
    """The rows that the gates judge by: a DataFrame with all columns, or an array [rows, ...]."""
    return pickle.loads((_folder() / ROWS).read_bytes())  # noqa: S301  # nosec B301 (the gate has written it)


@pytest.fixture
def target() -> Any:
    """What is true of the rows: class names [rows], or values [rows, targets]."""
    return np.load(_folder() / TARGET)


@pytest.fixture
def predictions() -> Any:
    """What the candidate predicts for the rows: class names [rows], or values [rows] or [rows, targets]."""
    return np.load(_folder() / PREDICTIONS)
