"""What a server counts, in a Prometheus registry of its own.

Looking up a series by its labels is slow, so each is looked up once. Unknown addresses count as the route "other", so
that clients cannot create series.
"""

from __future__ import annotations

import functools

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
PREDICTING_ROUTES = ("/predict", "/invocations", "/v2/infer")
"""Routes whose answers are predictions."""
CONTENT_TYPE = CONTENT_TYPE_LATEST.encode()


class Metrics:
    """The series of one server."""

    def __init__(self, signature: Signature) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        requests = Counter(
            "winnow_requests", "Requests answered, by route and status.", ["route", "status"], registry=self.registry
        )
        seconds = Histogram(
            "winnow_request_duration_seconds",
            "From the request's head to the end of its answer, by route.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        rows = Counter("winnow_rows", "Rows predicted, by route.", ["route"], registry=self.registry)
        self.in_flight = Gauge("winnow_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.is_ready = Gauge("winnow_ready", "1 while the server is ready.", registry=self.registry)
        self.log_lines = Counter("winnow_log_lines", "Lines of the prediction log.", registry=self.registry)
        self.log_dropped = Counter(
            "winnow_log_dropped", "Lines that the prediction log could not keep.", registry=self.registry
        )
        info = Gauge(
            "winnow_model_info", "The served model; always 1.", ["name", "version", "digest"], registry=self.registry
        )
        info.labels(signature.name, signature.version, signature.digest).set(1)
        self._requests_of = functools.cache(requests.labels)
        for route in PREDICTING_ROUTES:
            for status in (200, 500):
                # From the start: Prometheus' `increase` does not see a counter's first value.
                self._requests_of(route, status)
        self._seconds_of = functools.cache(seconds.labels)
        self._rows_of = functools.cache(rows.labels)

    def answered(self, route: str, status: int, seconds: float, rows: int) -> None:
        """Count one answered request and its rows."""
        self._requests_of(route, status).inc()
        self._seconds_of(route).observe(seconds)
        if rows:
            self._rows_of(route).inc(rows)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)
