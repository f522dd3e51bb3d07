"""A data function whose table has a column of every kind, with blanks in each."""

from __future__ import annotations

import numpy as np
import pandas as pd

ROWS = 400


def load() -> tuple[pd.DataFrame, pd.Series]:
    """The class depends on the number of the city and on the plan."""
    random = np.random.default_rng(0)
    city, days = random.integers(0, 25, ROWS), random.integers(0, 700, ROWS)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 60, ROWS),
            "income": random.normal(3, 1, ROWS).round(2),
            "plan": random.choice(["basic", "pro", "team"], ROWS),
            "city": np.char.add("city ", city.astype(str)),
            "since": (pd.Timestamp("2024-01-01") + pd.to_timedelta(days, "D")).strftime("%Y-%m-%d"),
            "seen": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(random.integers(0, 9_999_999, ROWS), "s"),
            "active": random.random(ROWS) < 0.3,
        }
    )
    target = pd.Series(np.where((city % 2 == 0) & (frame["plan"] != "pro"), "yes", "no"), name="churn")
    for name in ("income", "plan", "city", "since", "seen", "active"):
        frame[name] = frame[name].astype(object).where(random.random(ROWS) > 0.05, None)
    return frame, target
