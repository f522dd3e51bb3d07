import numpy as np
import pandas as pd

from winnow.bundle.columns import Column
from winnow.finding import Result
from winnow.monitoring.joint import joint_drift

COLUMNS = (
    Column("x"),
    Column("y"),
    Column("plan", "category", "string", ("a", "b")),
    Column("joined", "date", "date"),
)


def rows(count: int, seed: int, correlation: float = 0.9, day: str = "2020-01-01") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    x, noise = random.standard_normal((2, count))
    y = correlation * x + np.sqrt(1 - correlation**2) * noise
    return pd.DataFrame({"x": x, "y": y, "plan": random.choice(["a", "b"], count), "joined": pd.Timestamp(day)})


def test_columns_that_no_longer_go_together_are_found_though_each_is_as_before():
    found = joint_drift(COLUMNS, rows(400, 0), rows(1000, 1, correlation=0.0), 1e-4)
    assert found.result is Result.FAIL
    assert found.estimate > found.margin > 0.5
    assert "It goes by x (" in found.reason or "It goes by y (" in found.reason
    assert "plan" not in found.reason.split("goes by")[1].split(",")[0]


def test_later_dates_and_other_columns_are_no_drift():
    live = rows(1000, 1, day="2026-01-01").assign(more=1.0)
    found = joint_drift(COLUMNS, rows(400, 0), live, 1e-2)
    assert found.result is Result.PASS
    assert found.n == 1000


def test_few_rows_are_not_judged():
    found = joint_drift(COLUMNS, rows(400, 0), rows(99, 1), 1e-2)
    assert found.result is Result.NOT_ENOUGH_DATA
    assert "99 live and 400 reference rows" in found.reason


def test_chance_is_found_no_more_often_than_promised():
    fails = [
        joint_drift(COLUMNS[:2], rows(120, 2 * seed), rows(120, 2 * seed + 1), 0.1).result is Result.FAIL
        for seed in range(40)
    ]
    assert sum(fails) <= 9  # a binomial number of 40 at 0.1 exceeds it once in 200 times
