"""A small profile of a classifier, and windows of live counts of it."""

from __future__ import annotations

from typing import Any

from winnow.bundle.profile import CONFIDENCE, PREDICTION, ColumnCounts, ColumnProfile, Losses, Profile
from winnow.monitoring.live import LiveCounts
from winnow.serving.metrics import BUCKETS_S

DIGEST = "d" * 64

AGE = ColumnProfile("age", "number", ColumnCounts((25, 25, 25, 25)), edges=(-1.0, 0.0, 1.0), scale=2.0, importance=0.2)
REGION = ColumnProfile("region", "category", ColumnCounts((60, 40)), labels=("north", "south"))
CLASSES = ColumnProfile(PREDICTION, "category", ColumnCounts((70, 30)), labels=("benign", "malignant"))
CERTAINTY = ColumnProfile(CONFIDENCE, "number", ColumnCounts((50, 50)), edges=(0.9,), centre=0.9, scale=0.1)
PROFILE = Profile(
    100, (AGE, REGION), (CLASSES, CERTAINTY), 100, "holdout", losses={"accuracy": Losses(100, 0.95, 0.0475)}
)


def counted(
    age: ColumnCounts = AGE.counts,
    region: ColumnCounts = REGION.counts,
    classes: ColumnCounts = CLASSES.counts,
    **fields: Any,
) -> LiveCounts:
    """A window of live counts, of a minute."""
    given: dict[str, Any] = {
        "model": "cells",
        "version": "3",
        "digest": DIGEST,
        "since": 1000.0,
        "until": 1060.0,
        "rows": age.rows,
        "columns": {"age": age, "region": region},
        "outputs": {PREDICTION: classes, CONFIDENCE: CERTAINTY.counts},
        "requests": age.rows,
        "replicas": 2,
    }
    return LiveCounts(**(given | fields))


def times(**requests: int) -> tuple[int, ...]:
    """Answer times: how many requests are in the class up to so many milliseconds, such as `ms50=10`."""
    bounds = {f"ms{1000 * bound:g}": index for index, bound in enumerate(BUCKETS_S)}
    found = [0] * (len(BUCKETS_S) + 1)
    for name, count in requests.items():
        found[bounds[name] if name != "slower" else -1] = count
    return tuple(found)
