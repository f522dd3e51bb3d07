"""Azure Monitor's answer, as counts."""

from __future__ import annotations

from winnow.platforms.azure.sdk_process import counts_in


def test_requests_and_errors_are_summed_by_deployment() -> None:
    def series(deployment: str, status: str, *totals: float | None) -> dict[str, object]:
        return {
            "metadatavalues": [
                {"name": {"value": "deployment"}, "value": deployment},
                {"name": {"value": "statuscodeclass"}, "value": status},
            ],
            "data": [{"timeStamp": "2026-01-01T00:00:00Z", "total": total} for total in totals],
        }

    answer = {
        "value": [
            {
                "name": {"value": "RequestsPerMinute"},
                "timeseries": [
                    series("blue-1", "2xx", 60, None, 30),
                    series("blue-1", "4xx", 5),
                    series("green-2", "2xx", 8),
                    series("green-2", "5xx", 2),
                ],
            }
        ]
    }
    assert counts_in(answer) == {"blue-1": [95, 0], "green-2": [10, 2]}
