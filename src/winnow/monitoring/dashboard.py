"""The Grafana dashboard of deployments, generated: its queries are tested with the metrics that they read. Pure.

The drift panels read what the rules of `prometheus_rules` record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.monitoring.prometheus_rules import MOST_ERRORS, PREDICTIONS, PSI_LIMIT

UID = "winnow"
_WHERE = 'deployment=~"$deployment"'
_ASKED = f"{_WHERE}, {PREDICTIONS}"
_WIDTH = 24


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        queries: pairs of PromQL and the legend's text for each of its series.
        unit: Grafana's name of it.
        kind: Grafana's name of the panel.
        limit: a value to mark.
        width: of 24 columns.
    """

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str
    kind: str = "timeseries"
    limit: float | None = None
    width: int = 8
    description: str = ""


def _quantile(share: float) -> str:
    buckets = f"winnow_request_duration_seconds_bucket{{{_ASKED}}}[$__rate_interval]"
    return f"histogram_quantile({share:g}, sum by (le, deployment, revision) (rate({buckets})))"


def _rate(series: str, by: str) -> str:
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


_REQUESTS = f"winnow_requests_total{{{_ASKED}}}"
_ERRORS = f'winnow_requests_total{{{_ASKED}, status=~"5.."}}'
_BOTH = "deployment, revision"
_NAMED = "{{deployment}} r{{revision}}"

ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Answers",
        (
            Panel(
                "Ready replicas",
                [(f"sum by ({_BOTH}) (winnow_ready{{{_WHERE}}})", _NAMED)],
                "short",
                width=6,
            ),
            Panel(
                "Firing alerts",
                [(f'ALERTS{{{_WHERE}, alertstate="firing"}}', "{{alertname}} {{deployment}} {{revision}} {{column}}")],
                "short",
                width=6,
            ),
            Panel("Requests", [(_rate(_REQUESTS, _BOTH), _NAMED)], "reqps", width=6),
            Panel(
                "Errors",
                # Without errors there is no such series.
                [
                    (
                        f"({_rate(_ERRORS, _BOTH)} or 0 * {_rate(_REQUESTS, _BOTH)}) / {_rate(_REQUESTS, _BOTH)}",
                        _NAMED,
                    )
                ],
                "percentunit",
                limit=MOST_ERRORS,
                width=6,
                description="Share of answers with a status of 500 or more.",
            ),
            Panel("Time to answer", [(_quantile(q), f"p{100 * q:g} {_NAMED}") for q in (0.5, 0.95, 0.99)], "s"),
            Panel(
                "Requests by status",
                [(_rate(_REQUESTS, "deployment, status"), "{{deployment}} {{status}}")],
                "reqps",
            ),
            Panel("Rows", [(_rate(f"winnow_rows_total{{{_WHERE}}}", _BOTH), _NAMED)], "short"),
        ),
    ),
    (
        "Data",
        (
            Panel(
                "Drift of columns (PSI, last hour)",
                [(f"topk(10, winnow:feature_psi:1h{{{_WHERE}}})", f"{{{{column}}}} {_NAMED}")],
                "short",
                limit=PSI_LIMIT,
                description="The ten columns whose distribution differs most from the training rows'. Chance alone "
                "gives small windows a larger PSI; `winnow monitor` judges with thresholds for their size.",
            ),
            Panel(
                "Drift of answers (PSI, last hour)",
                [(f"winnow:output_psi:1h{{{_WHERE}}}", f"{{{{output}}}} {_NAMED}")],
                "short",
                limit=PSI_LIMIT,
            ),
            Panel(
                "Predicted classes",
                [
                    (
                        f"{_rate(f'winnow_predictions_total{{{_WHERE}}}', f'{_BOTH}, prediction')} / on ({_BOTH}) "
                        f"group_left {_rate(f'winnow_predictions_total{{{_WHERE}}}', _BOTH)}",
                        f"{{{{prediction}}}} {_NAMED}",
                    )
                ],
                "percentunit",
            ),
            Panel(
                "Rows without a value (last hour)",
                [
                    (
                        f'topk(10, winnow:feature_share:1h{{{_WHERE}, bin="missing"}})',
                        f"{{{{column}}}} {_NAMED}",
                    )
                ],
                "percentunit",
            ),
            Panel(
                "Rows with an unknown category (last hour)",
                [
                    (
                        f'topk(10, winnow:feature_share:1h{{{_WHERE}, bin="unknown"}})',
                        f"{{{{column}}}} {_NAMED}",
                    )
                ],
                "percentunit",
            ),
            Panel(
                "$column: live and training rows",
                [
                    (f'winnow:feature_share:1h{{{_WHERE}, column="$column"}}', "{{bin}} live r{{revision}}"),
                    (f'winnow:feature_reference_share{{{_WHERE}, column="$column"}}', "{{bin}} trained r{{revision}}"),
                ],
                "percentunit",
                kind="bargauge",
            ),
        ),
    ),
    (
        "Servers",
        (
            Panel(
                "Memory", [(f"process_resident_memory_bytes{{{_WHERE}}}", "{{replica}}")], "bytes", width=6
            ),
            Panel(
                "CPU", [(_rate(f"process_cpu_seconds_total{{{_WHERE}}}", "replica"), "{{replica}}")], "short", width=6
            ),
            Panel(
                "Requests in flight", [(f"winnow_requests_in_flight{{{_WHERE}}}", "{{replica}}")], "short", width=6
            ),
            Panel(
                "Not counted or logged",
                [
                    (_rate(f"winnow_uncounted_rows_total{{{_WHERE}}}", _BOTH), f"rows not counted {_NAMED}"),
                    (_rate(f"winnow_log_dropped_total{{{_WHERE}}}", _BOTH), f"lines not logged {_NAMED}"),
                ],
                "short",
                width=6,
            ),
        ),
    ),
)  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model. Its variables choose the data source, deployments and a column."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": _at(0, y, _WIDTH, 1)})
        x, y = 0, y + 1
        for each in row:
            if x + each.width > _WIDTH:
                x, y = 0, y + 8
            panels.append({"id": len(panels) + 1, "gridPos": _at(x, y, each.width, 8), **_panel(each)})
            x += each.width
        y += 8
    return {
        "uid": UID,
        "title": "Winnow: deployments",
        "tags": ["winnow"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def queries() -> tuple[str, ...]:
    """All queries of the panels."""
    return tuple(query for _, row in ROWS for panel in row for query, _ in panel.queries)


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    is_bar = panel.kind == "bargauge"
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    marked = {"custom": {"thresholdsStyle": {"mode": "line"}}} if panel.limit is not None else {}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend, "instant": is_bar}
        for index, (query, legend) in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **marked,
            },
            "overrides": [],
        },
        "options": {"orientation": "horizontal", "displayMode": "basic"}
        if is_bar
        else {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
    }


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    asked = {
        "deployment": "label_values(winnow_model_info, deployment)",
        "column": f"label_values(winnow_feature_reference{{{_WHERE}}}, column)",
    }
    chosen = [
        {
            "name": name,
            "type": "query",
            "datasource": source,
            "query": {"query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": name == "deployment",
            "includeAll": name == "deployment",
            "current": {"text": "All", "value": "$__all"} if name == "deployment" else {},
        }
        for name, query in asked.items()
    ]
    return [{"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}}, *chosen]
