"""What replicas have counted of their requests, in the bins of the model's reference profile. Values only."""

from __future__ import annotations

from msgspec import Struct

from winnow.bundle.profile import ColumnCounts


class LiveCounts(Struct, frozen=True):
    """Counts of one version, of all its replicas together, in a window of time.

    Attributes:
        model, version, digest: as the replicas say; the digest is the manifest's.
        since, until: seconds since the epoch.
        rows: rows that were counted.
        columns, outputs: by the name of the `ColumnProfile`, with as many bins.
        requests, errors: predictions that were asked for, and answers to them with a status of 500 or more.
        latency: requests by how long they took, in the classes of `serving.metrics.BUCKETS_S`; the last one is open.
        replicas: that answered at the end.
    """

    model: str
    version: str
    digest: str
    since: float
    until: float
    rows: int
    columns: dict[str, ColumnCounts]
    outputs: dict[str, ColumnCounts]
    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    replicas: int = 0

    @property
    def rows_per_request(self) -> float:
        """At least 1, also where requests were not counted."""
        return max(self.rows / self.requests, 1.0) if self.requests else 1.0
