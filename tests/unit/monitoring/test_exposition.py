"""From the metrics of replicas to what was counted between two looks."""

from __future__ import annotations

import pytest

from tests.unit.monitoring.watched import DIGEST, times
from winnow.bundle.profile import ColumnCounts
from winnow.monitoring.exposition import ReplicaCounts, counted_since, replica_counts
from winnow.monitoring.live import LiveCounts
from winnow.serving.metrics import Metrics
from winnow.serving.signature import Signature

TEXT = f"""# HELP winnow_requests_total Requests answered, by route and status.
# TYPE winnow_requests_total counter
winnow_requests_total{{route="/predict",status="200"}} 18.0
winnow_requests_total{{route="/predict",status="503"}} 2.0
winnow_requests_total{{route="/invocations",status="422"}} 1.0
winnow_requests_total{{route="/metrics",status="500"}} 7.0
winnow_request_duration_seconds_bucket{{le="0.025",route="/predict"}} 12.0
winnow_request_duration_seconds_bucket{{le="0.05",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="0.1",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="0.25",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="0.5",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="1.0",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="2.5",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="5.0",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="10.0",route="/predict"}} 19.0
winnow_request_duration_seconds_bucket{{le="+Inf",route="/predict"}} 20.0
winnow_request_duration_seconds_bucket{{le="+Inf",route="/metrics"}} 9.0
winnow_model_info{{digest="{DIGEST}",name="cells",version="3"}} 1.0
process_start_time_seconds 1.7960000e+09
winnow_counted_rows_total 40.0
winnow_uncounted_rows_total 1.0
winnow_feature_values_total{{column="age \\"in\\\\years\\"",bin="00"}} 30.0
winnow_feature_values_total{{column="age \\"in\\\\years\\"",bin="01"}} 5.0
winnow_feature_values_total{{column="age \\"in\\\\years\\"",bin="missing"}} 4.0
winnow_feature_values_total{{column="age \\"in\\\\years\\"",bin="unknown"}} 1.0
winnow_feature_above_total{{column="age \\"in\\\\years\\""}} 2.5
winnow_feature_below_total{{column="age \\"in\\\\years\\""}} 4.0
winnow_feature_squares_total{{column="age \\"in\\\\years\\""}} 12.25
winnow_feature_reference{{column="age",bin="00"}} 1000.0
winnow_output_values_total{{output="prediction",bin="00"}} 40.0
"""


def of_replica(
    rows: int, started: float = 1000.0, at: float = 2000.0, digest: str = DIGEST, **fields: object
) -> ReplicaCounts:
    columns = {"age": ColumnCounts((rows, 0), total=float(rows), square_total=2.0 * rows)}
    counts = LiveCounts(
        "cells", "3", digest, started, at, rows, columns, {}, requests=rows, latency=times(ms5=rows), replicas=1
    )
    return ReplicaCounts(started, counts)


def test_the_metrics_of_a_replica_become_counts_in_the_profiles_bins() -> None:
    age = ColumnCounts((30, 5), missing=4, unknown=1, total=-1.5, square_total=12.25)
    expected = LiveCounts(
        model="cells",
        version="3",
        digest=DIGEST,
        since=1.796e9,
        until=1.796e9 + 60,
        rows=40,
        columns={'age "in\\years"': age},
        outputs={"prediction": ColumnCounts((40,))},
        requests=21,
        errors=2,
        latency=times(ms25=12, ms50=7, slower=1),
        replicas=1,
    )
    assert replica_counts(TEXT, 1.796e9 + 60) == ReplicaCounts(1.796e9, expected)


def test_what_a_server_publishes_today_is_read() -> None:
    metrics = Metrics(Signature("cells", "3", DIGEST, (1,), None, ("benign", "malignant"), ("cell",)))
    metrics.answered("/predict", 200, 0.004, 3)
    metrics.answered("/predict", 500, 0.004, 0)
    found = replica_counts(metrics.exposition().decode(), 5.0).counts
    assert (found.model, found.version, found.digest) == ("cells", "3", DIGEST)
    assert (found.requests, found.errors, found.latency) == (2, 1, times(ms5=2))


def test_another_server_is_no_replica() -> None:
    with pytest.raises(ValueError, match="no metrics of a model"):
        replica_counts("go_goroutines 12\n", 5.0)


def test_replicas_count_from_their_start_and_a_window_is_the_difference() -> None:
    earlier = {"a": of_replica(10, at=1500.0), "b": of_replica(5, at=1500.0)}
    later = {"a": of_replica(30), "b": of_replica(5)}
    assert counted_since(earlier, later) == {
        DIGEST: LiveCounts(
            "cells",
            "3",
            DIGEST,
            1500.0,
            2000.0,
            20,
            {"age": ColumnCounts((20, 0), total=20.0, square_total=40.0)},
            {},
            requests=20,
            latency=times(ms5=20),
            replicas=2,
        )
    }


@pytest.mark.parametrize(
    ("now", "rows"),
    [
        (of_replica(4, started=1800.0), 4),
        (of_replica(40, started=1800.0), 40),
        (of_replica(4), 4),
        (of_replica(12, digest="e" * 64), 12),
    ],
    ids=["began anew", "began anew and has more", "counts less", "serves another model"],
)
def test_a_replica_that_began_anew_counts_from_nothing(now: ReplicaCounts, rows: int) -> None:
    (found,) = counted_since({"a": of_replica(10)}, {"a": now}).values()
    assert found.rows == rows


def test_a_replica_that_ended_adds_nothing_and_a_new_one_all() -> None:
    (found,) = counted_since({"a": of_replica(10)}, {"b": of_replica(7, started=1900.0)}).values()
    assert (found.rows, found.since, found.replicas) == (7, 1900.0, 1)


def test_versions_are_counted_apart() -> None:
    found = counted_since({}, {"a": of_replica(10), "b": of_replica(7, digest="e" * 64)})
    assert {digest: each.rows for digest, each in found.items()} == {DIGEST: 10, "e" * 64: 7}
