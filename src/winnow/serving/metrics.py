"""What a server counts, in a Prometheus registry of its own.

Series of a route and status are bound once, so that counting a request costs no label look-up. Routes are the known
ones and "other": an address that a stranger makes up must not become a series.
"""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from winnow.serving.signature import Signature

BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()


class Metrics:
    """The series of one server."""

    def __init__(self, signature: Signature) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody reads
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "winnow_requests", "Requests answered, by route and status.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "winnow_request_duration_seconds",
            "From the request's head to the end of its answer, by route.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._rows = Counter("winnow_rows", "Rows predicted, by route.", ["route"], registry=self._registry)
        self.in_flight = Gauge("winnow_requests_in_flight", "Requests being answered.", registry=self._registry)
        self.is_ready = Gauge("winnow_ready", "1 while the server is ready.", registry=self._registry)
        info = Gauge(
            "winnow_model_info", "The served model; always 1.", ["name", "version", "digest"], registry=self._registry
        )
        info.labels(signature.name, signature.version, signature.digest).set(1)
        self._bound_requests: dict[tuple[str, int], Counter] = {}
        self._bound_seconds: dict[str, Histogram] = {}
        self._bound_rows: dict[str, Counter] = {}

    def answered(self, route: str, status: int, seconds: float, rows: int) -> None:
        """Count one answered request and its rows."""
        key = (route, status)
        counter = self._bound_requests.get(key)
        if counter is None:
            counter = self._bound_requests[key] = self._requests.labels(route, str(status))
        counter.inc()
        histogram = self._bound_seconds.get(route)
        if histogram is None:
            histogram = self._bound_seconds[route] = self._seconds.labels(route)
        histogram.observe(seconds)
        if rows:
            counted = self._bound_rows.get(route)
            if counted is None:
                counted = self._bound_rows[route] = self._rows.labels(route)
            counted.inc(rows)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self._registry)
