"""The Grafana dashboard of deployments, generated: its queries are tested with the metrics that they read. Pure.

The drift panels read what the rules of `prometheus_rules` record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        unit: Grafana's name of it.
        queries: PromQL by the text of the legend for each of its series.
        kind: Grafana's name of the panel.
        limit: a value to mark.
        width: of 24 columns.
    """

    title: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    limit: float | None = None
    width: int = 8
    description: str = ""


def _quantile(share: float) -> str:
    buckets = f"winnow_request_duration_seconds_bucket{{{_ASKED}}}[$__rate_interval]"
    return f"histogram_quantile({share:g}, sum by (le, deployment, revision) (rate({buckets})))"


def _rate(series: str, by: str, where: str = _WHERE) -> str:
    return f"sum by ({by}) (rate({series}{{{where}}}[$__rate_interval]))"


_BOTH = "deployment, revision"
_NAMED = "{{deployment}} r{{revision}}"
_COLUMN, _REPLICA = "{{column}} " + _NAMED, "{{replica}}"
_REQUESTS = _rate("winnow_requests_total", _BOTH, _ASKED)
# Without errors there is no such series.
_ERRORS = f"""({_rate("winnow_requests_total", _BOTH, f'{_ASKED}, status=~"5.."')} or 0 * {_REQUESTS}) / {_REQUESTS}"""
_CLASSES = (
    f"{_rate('winnow_predictions_total', f'{_BOTH}, prediction')} / on ({_BOTH}) "
    f"group_left {_rate('winnow_predictions_total', _BOTH)}"
)
_DRIFT = (
    "The ten columns whose distribution differs most from the training rows'. Chance alone gives small windows a "
    "larger PSI; `winnow monitor` judges with thresholds for their size."
)

ROWS: Mapping[str, Sequence[Panel]] = {
    "Answers": [
        Panel("Ready replicas", "short", {_NAMED: f"sum by ({_BOTH}) (winnow_ready{{{_WHERE}}})"}, width=6),
        Panel(
            "Firing alerts",
            "short",
            {"{{alertname}} {{deployment}} {{revision}} {{column}}": f'ALERTS{{{_WHERE}, alertstate="firing"}}'},
            width=6,
        ),
        Panel("Requests", "reqps", {_NAMED: _REQUESTS}, width=6),
        Panel(
            "Errors",
            "percentunit",
            {_NAMED: _ERRORS},
            limit=MOST_ERRORS,
            width=6,
            description="Share of answers with a status of 500 or more.",
        ),
        Panel("Time to answer", "s", {f"p{100 * q:g} {_NAMED}": _quantile(q) for q in (0.5, 0.95, 0.99)}),
        Panel(
            "Requests by status",
            "reqps",
            {"{{deployment}} {{status}}": _rate("winnow_requests_total", "deployment, status", _ASKED)},
        ),
        Panel("Rows", "short", {_NAMED: _rate("winnow_rows_total", _BOTH)}),
    ],
    "Data": [
        Panel(
            "Drift of columns (PSI, last hour)",
            "short",
            {_COLUMN: f"topk(10, winnow:feature_psi:1h{{{_WHERE}}})"},
            limit=PSI_LIMIT,
            description=_DRIFT,
        ),
        Panel(
            "Drift of answers (PSI, last hour)",
            "short",
            {"{{output}} " + _NAMED: f"winnow:output_psi:1h{{{_WHERE}}}"},
            limit=PSI_LIMIT,
        ),
        Panel("Predicted classes", "percentunit", {"{{prediction}} " + _NAMED: _CLASSES}),
        *(
            Panel(
                f"Rows {what} (last hour)",
                "percentunit",
                {_COLUMN: f'topk(10, winnow:feature_share:1h{{{_WHERE}, bin="{name}"}})'},
            )
            for name, what in (("missing", "without a value"), ("unknown", "with an unknown category"))
        ),
        Panel(
            "$column: live and training rows",
            "percentunit",
            {
                "{{bin}} live r{{revision}}": f'winnow:feature_share:1h{{{_WHERE}, column="$column"}}',
                "{{bin}} trained r{{revision}}": f'winnow:feature_reference_share{{{_WHERE}, column="$column"}}',
            },
            kind="bargauge",
        ),
    ],
    "Servers": [
        Panel("Memory", "bytes", {_REPLICA: f"process_resident_memory_bytes{{{_WHERE}}}"}, width=6),
        Panel("CPU", "short", {_REPLICA: _rate("process_cpu_seconds_total", "replica")}, width=6),
        Panel("Requests in flight", "short", {_REPLICA: f"winnow_requests_in_flight{{{_WHERE}}}"}, width=6),
        Panel(
            "Not counted or logged",
            "short",
            {
                f"rows not counted {_NAMED}": _rate("winnow_uncounted_rows_total", _BOTH),
                f"lines not logged {_NAMED}": _rate("winnow_log_dropped_total", _BOTH),
            },
            width=6,
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model. Its variables choose the data source, deployments and a column."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
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
    return tuple(query for row in ROWS.values() for panel in row for query in panel.queries.values())


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
        for index, (legend, query) in enumerate(panel.queries.items())
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
