"""A feature repository with random histories of drivers and regions, and rows of trips to join them to."""

from __future__ import annotations

import math
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TTL = timedelta(hours=6)
STORE = """
project: trips
provider: local
registry: data/registry.db
online_store: {type: sqlite, path: data/online.db}
entity_key_serialization_version: 3
"""
DEFINITIONS = """
from datetime import timedelta
import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
region = Entity(name="region", join_keys=["region_code"], value_type=ValueType.STRING)
driver_stats = FeatureView(
    name="driver_stats", entities=[driver], ttl=timedelta(hours=6),
    schema=[Field(name="rating", dtype=Float64), Field(name="trips", dtype=Int64)],
    source=FileSource(path="data/driver_stats.parquet", timestamp_field="at"),
)
region_stats = FeatureView(
    name="region_stats", entities=[region], ttl=timedelta(0),
    schema=[Field(name="demand", dtype=Float64), Field(name="weather", dtype=String)],
    source=FileSource(path="data/region_stats.parquet", timestamp_field="at"),
)
trip = RequestSource(name="trip", schema=[Field(name="distance", dtype=Float64)])

@on_demand_feature_view(
    sources=[driver_stats, trip], schema=[Field(name="rated_distance", dtype=Float64)]
)
def rated(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"rated_distance": inputs["rating"] * inputs["distance"]})

trips = FeatureService(name="trips", features=[driver_stats, region_stats])
rated_trips = FeatureService(name="rated_trips", features=[driver_stats[["trips"]], rated])
"""
VIEWS = {
    "driver_stats": ("driver_id", TTL, ("rating", "trips")),
    "region_stats": ("region_code", None, ("demand", "weather")),
}
"""The key of each view, how long its values count, and its features."""


@dataclass(frozen=True)
class Repository:
    """A repository that is applied, its histories, and rows of entities."""

    folder: Path
    histories: dict[str, list[dict[str, Any]]]
    rows: list[dict[str, Any]]

    def expected(self, row: dict[str, Any], *, is_naive: bool = False) -> dict[str, Any]:
        """The features of one row, found by looking at every value of its keys.

        Args:
            is_naive: take the latest value of all, from whatever time it is.
        """
        found: dict[str, Any] = {}
        for view, (key, ttl, features) in VIEWS.items():
            known = [each for each in self.histories[view] if each[key] == row[key]]
            if not is_naive:
                at = row["event_timestamp"]
                known = [each for each in known if each["at"] <= at and (ttl is None or each["at"] >= at - ttl)]
            last = max(known, key=lambda each: each["at"], default={})
            found.update({feature: last.get(feature) for feature in features})
        return found


def make_repository(folder: Path, feast: Path, rows: int = 1_000, seed: int = 0) -> Repository:
    """Write the repository with its histories, and apply it."""
    chance = Random(seed)
    data = folder / "data"
    data.mkdir(parents=True)
    (folder / "feature_store.yaml").write_text(STORE)
    (folder / "definitions.py").write_text(DEFINITIONS)
    drivers, regions = list(range(1001, 1031)), [f"{code:03}" for code in range(1, 13)]
    histories = {
        "driver_stats": [
            {"driver_id": driver, "at": at, "rating": chance.random(), "trips": chance.randrange(10**6)}
            for driver in drivers
            for at in _times(chance, 40)
        ],
        "region_stats": [
            {"region_code": region, "at": at, "demand": chance.gauss(), "weather": chance.choice(["sun", "rain"])}
            for region in regions
            for at in _times(chance, 20)
        ],
    }
    for name, history in histories.items():
        pq.write_table(pa.Table.from_pylist(history), data / f"{name}.parquet")
    unknown = [9_999]
    entities = [
        {
            "driver_id": chance.choice([*drivers, *unknown]),
            "region_code": chance.choice([*regions, "1"]),
            "event_timestamp": at,
            "distance": round(chance.random() * 30, 2),
        }
        for at in _times(chance, rows // 2)
        for _ in range(2)  # several rows of one time
    ]
    subprocess.run([feast, "apply"], cwd=folder, check=True, capture_output=True)
    made = Repository(folder, histories, entities)
    for row in entities:
        true = made.expected(row)
        score = (true["rating"] or 0.5) * 4 + (true["demand"] or 0.0) + row["distance"] / 10
        row["late"] = "yes" if score + chance.gauss() / 4 > 3.2 else "no"
    return made


def same(found: Any, expected: Any) -> bool:
    """Whether two values are equal, or both missing."""
    is_missing = [value is None or (isinstance(value, float) and math.isnan(value)) for value in (found, expected)]
    return all(is_missing) or (not any(is_missing) and found == expected)


def _times(chance: Random, count: int) -> list[datetime]:
    """Different times of ten days, in whole seconds."""
    return sorted(NOW - timedelta(seconds=second) for second in chance.sample(range(10 * 86_400), count))
