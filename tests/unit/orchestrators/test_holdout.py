"""A row of the holdout."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.loader import load_experiment
from winnow.orchestrators.evidence import holdout_row

EXPERIMENT = Path(__file__).parents[3] / "experiments" / "breast_cancer.yaml"


def test_the_row_has_every_feature_and_its_class_by_name() -> None:
    row = holdout_row(load_experiment(EXPERIMENT))
    assert {len(one) for one in row.body["rows"]} == {30}
    assert row.truth in ("malignant", "benign")


def test_a_sweep_that_holds_nothing_out_has_no_such_row() -> None:
    with pytest.raises(InputError, match=r"data\.holdout: expected a share above 0"):
        holdout_row(load_experiment(EXPERIMENT, {"data.holdout": 0.0}))
