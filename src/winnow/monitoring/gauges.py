"""What a look found as gauges in Prometheus' text format, for the textfile collector of a node exporter. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from winnow.finding import Finding
from winnow.monitoring.exposition import series_text
from winnow.monitoring.report import MonitoringReport

Sample = tuple[dict[str, str], float]


def gauges(report: MonitoringReport) -> str:
    """The gauges of a report, each labelled with the deployment and the version."""
    lines: list[str] = []
    for name, text, samples in _families(report):
        lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
        for labels, value in samples:
            given = {"deployment": report.deployment, "version": report.version, **labels}
            lines.append(f"{series_text(name, given)} {value!r}")
    return "\n".join(lines) + "\n"


def _families(report: MonitoringReport) -> Iterator[tuple[str, str, Sequence[Sample]]]:
    yield "winnow_monitor_checked_timestamp_seconds", "When monitor looked last.", [({}, report.checked_at)]
    yield "winnow_monitor_rows", "Rows in the window of the last look.", [({}, float(report.rows))]
    yield "winnow_monitor_needed_rows", "Rows that it takes before drift is judged.", [({}, float(report.needed_rows))]
    of_columns = [
        ({"kind": "output" if column.is_output else "feature", "column": column.name}, finding)
        for column in report.drift
        for finding in column.findings
    ]
    together = [
        ({"kind": "together", "column": ""}, finding)
        for finding in (report.joint, report.importances)
        if finding is not None
    ]
    drift = [(labels | {"statistic": finding.condition}, finding) for labels, finding in (*of_columns, *together)]
    yield "winnow_monitor_drift", "What each statistic found.", _estimates(drift)
    thresholds = [(labels, finding.margin) for labels, finding in drift if finding.estimate is not None]
    yield "winnow_monitor_drift_threshold", "Above it a statistic is taken as drift.", thresholds
    if report.quality is not None:
        labels = {"metric": report.quality.metric}
        measured = _estimates([(labels, report.quality.degradation)])
        yield "winnow_monitor_quality", "The metric of live outcomes.", measured
    rules = [({"rule": each.condition}, each) for each in report.rules]
    yield "winnow_monitor_rule", "What each rule measured, in base units.", _estimates(rules)
    alarms = [({"alertname": each.name, "subject": each.subject}, 1.0) for each in report.alarms]
    yield "winnow_monitor_alarm", "1 for each alarm that holds.", alarms


def _estimates(found: Sequence[tuple[dict[str, str], Finding]]) -> list[Sample]:
    return [(labels, float(finding.estimate)) for labels, finding in found if finding.estimate is not None]
