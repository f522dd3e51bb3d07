"""Prometheus rules: those that every deployment has, and `monitoring.rules` of an experiment. Pure.

Expressions read the metrics of replicas (docs/serving.md) with the labels `deployment`, `revision` and `replica` of the
scraped target. Alerts group by deployment and revision, so that a candidate with a small share of the traffic is seen.
Alerts about answers have the label `rollback="true"`. Alerts about data do not, since another version would see the
same data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from winnow.config.monitoring import UNITS, RuleConfig
from winnow.config.quantities import seconds_of
from winnow.serving.metrics import PREDICTING_ROUTES

PREDICTIONS = f'route=~"{"|".join(PREDICTING_ROUTES)}"'
"""Selects requests for predictions among all requests."""
RUNBOOKS = "docs/monitoring.md"
OWN_RULE = "rule"
"""Name of the runbook of `monitoring.rules`, whose names are the user's."""
FEATURES, OUTPUTS = ("feature", "column"), ("output", "output")
"""Kinds of counted values: the part of the metrics' names, and the label with the name of the column or output."""

PSI_LIMIT = 0.2
"""By convention a moderate shift. What chance adds in windows and references of few rows is added to it."""
LEAST_SHARE = 1e-4
"""Stands for the share of an empty bin, whose logarithm is none."""
DRIFT_WINDOW, FEWEST_ROWS = "1h", 500
MOST_ERRORS, FEWEST_ERRORS = 0.05, 5
ROUNDED = '{{ $value | printf "%.3g" }}'
_SHOWN = {"%": "{{ $value | humanizePercentage }}", "ms": "{{ $value | humanizeDuration }}"}
"""Templates of a value, by the first unit of its metric."""
_ABOUT_ANSWERS = ("error_rate", "latency")
_REVISION = ("deployment", "revision")


def rule_file(deployment: str | None = None, rules: Sequence[RuleConfig] = (), *, with_general: bool = False) -> str:
    """A rule file for Prometheus: the rules of `rule_groups`.

    Args:
        with_general: also the rules that watch all deployments, before those of one.
    """
    general = rule_groups() if with_general and deployment is not None else []
    groups = {"groups": [*general, *rule_groups(deployment, rules)]}
    return yaml.safe_dump(groups, sort_keys=False, width=120, allow_unicode=True)


def rule_groups(deployment: str | None = None, rules: Sequence[RuleConfig] = ()) -> list[dict[str, Any]]:
    """Rule groups, as a rule file and the `spec` of a PrometheusRule have them.

    Args:
        deployment: None for the rules that watch all deployments; a name for the rules of that deployment alone.
        rules: `monitoring.rules` of the deployment's experiment.
    """
    if deployment is not None:
        absent = f"absent(up{{deployment={_quoted(deployment)}}})"
        told, labels = "no replica is scraped, or none exists", {"deployment": deployment}
        first = _alert("WinnowNotScraped", "page", absent, told, wait_s=120, labels=labels)
        return [{"name": f"winnow-{deployment}", "rules": [first, *(_own_rule(rule, deployment) for rule in rules)]}]
    return [
        {"name": "winnow", "rules": _service_rules()},
        {"name": "winnow-drift", "interval": "30s", "rules": [*_drift_rules(*FEATURES), *_drift_rules(*OUTPUTS)]},
    ]


def expression(rule: RuleConfig, deployment: str) -> str:
    """What a rule compares with its threshold, in base units (shares, seconds), by deployment or also by revision."""
    window = f"{seconds_of(rule.over):.0f}s"
    return _EXPRESSIONS[rule.metric](rule, f"deployment={_quoted(deployment)}", window)


def _psi_of(live: str, reference: str, by: str) -> str:
    """The population stability index of shares against those of the reference."""
    live, reference = (f"clamp_min({each}, {LEAST_SHARE:g})" for each in (live, reference))
    return f"sum by ({by}) (({live} - {reference}) * ln({live} / {reference}))"


def _share(series: str, across_replicas: str, label: str) -> str:
    """The share of each bin. Replicas' counts add up; the reference is the same in all of them."""
    by = ", ".join((*_REVISION, label))
    each = f"{across_replicas} by ({by}, bin) ({series})"
    return f"({each} / on ({by}) group_left sum by ({by}) ({each}))"


def _of_column(make: Callable[[RuleConfig, str, str, str], str]) -> Callable[[RuleConfig, str, str], str]:
    """An expression about a column, else about the output of that name: only one of them has series.

    Args:
        make: the expression, from a rule, the kind of values, a selector without braces, and a window.
    """

    def expression(rule: RuleConfig, where: str, window: str) -> str:
        name = _quoted(rule.column or "")
        each = (make(rule, kind, f"{where}, {label}={name}", window) for kind, label in (FEATURES, OUTPUTS))
        return "({} or {})".format(*each)

    return expression


def _bin_share(rule: RuleConfig, kind: str, where: str, window: str) -> str:
    """The share of rows in the bin that is called as the metric: `missing`, `unknown`."""
    return _ratio(f'winnow_{kind}_values_total{{{where}, bin="{rule.metric}"}}', f"{{{where}}}", window)


def _psi(_: RuleConfig, kind: str, where: str, window: str) -> str:
    label = dict((FEATURES, OUTPUTS))[kind]
    live = _share(f"increase(winnow_{kind}_values_total{{{where}}}[{window}])", "sum", label)
    return _psi_of(live, _share(f"winnow_{kind}_reference{{{where}}}", "max", label), ", ".join((*_REVISION, label)))


def _ratio(part: str, whole: str, window: str) -> str:
    metric, by = part.partition("{")[0], ", ".join(_REVISION)
    sums = [f"sum by ({by}) (increase({each}[{window}]))" for each in (part, f"{metric}{whole}")]
    return " / ".join(sums)


def _error_rate(_: RuleConfig, where: str, window: str) -> str:
    asked = f"winnow_requests_total{{{where}, {PREDICTIONS}"
    return _ratio(f'{asked}, status=~"5.."}}', f"{{{where}, {PREDICTIONS}}}", window)


def _request_rate(_: RuleConfig, where: str, window: str) -> str:
    # Servers without a single request have no such series.
    rate = f"sum by (deployment) (rate(winnow_requests_total{{{where}, {PREDICTIONS}}}[{window}]))"
    return f"({rate} or 0 * sum by (deployment) (up{{{where}}}))"


def _latency(rule: RuleConfig, where: str, window: str) -> str:
    buckets = f"winnow_request_duration_seconds_bucket{{{where}, {PREDICTIONS}}}"
    return f"histogram_quantile({rule.quantile:g}, sum by (le, deployment, revision) (rate({buckets}[{window}])))"


def _mean(_: RuleConfig, kind: str, where: str, window: str) -> str:
    by = ", ".join(_REVISION)
    above, below, rows = (
        f"sum by ({by}) (increase(winnow_{kind}_{series}}}[{window}]))"
        for series in (
            f"above_total{{{where}",
            f"below_total{{{where}",
            f'values_total{{{where}, bin!~"missing|unknown"',
        )
    )
    centre, reference, scale = (
        f"max by ({by}) (winnow_{kind}_{name}{{{where}}})" for name in ("centre", "reference_mean", "scale")
    )
    return f"abs(({above} - {below}) / {rows} + {centre} - {reference}) / {scale}"


def _prediction_share(rule: RuleConfig, where: str, window: str) -> str:
    predicted = f"winnow_predictions_total{{{where}, prediction={_quoted(rule.of_class or '')}}}"
    return _ratio(predicted, f"{{{where}}}", window)


def _live_replicas(_: RuleConfig, where: str, _window: str) -> str:
    return f"(sum by (deployment) (winnow_ready{{{where}}}) or 0 * absent(winnow_ready{{{where}}}))"


_EXPRESSIONS: Mapping[str, Callable[[RuleConfig, str, str], str]] = {
    "error_rate": _error_rate,
    "request_rate": _request_rate,
    "latency": _latency,
    "missing": _of_column(_bin_share),
    "unknown": _of_column(_bin_share),
    "mean": _of_column(_mean),
    "psi": _of_column(_psi),
    "prediction_share": _prediction_share,
    "live_replicas": _live_replicas,
}


def _own_rule(rule: RuleConfig, deployment: str) -> dict[str, Any]:
    limit, side = rule.limit
    labels = {"deployment": deployment}
    if rule.metric in _ABOUT_ANSWERS:
        labels["rollback"] = "true"
    subject = " of " + (rule.column or rule.of_class or "") if rule.column or rule.of_class else ""
    summary = rule.summary or f"{rule.metric}{subject} is {side} {rule.above or rule.below}"
    shown = _SHOWN.get(UNITS[rule.metric][0], ROUNDED)
    # A text of the user's within a template of Prometheus'.
    escaped = summary.replace("{{", '{{ "{{" }}')
    beyond = f"{expression(rule, deployment)} {'>' if side == 'above' else '<'} {limit:.10g}"
    wait_s, told = seconds_of(rule.wait), f"{escaped}: {shown}"
    return _alert(rule.name, rule.severity, beyond, told, wait_s=wait_s, labels=labels, runbook=OWN_RULE)


def _service_rules() -> list[dict[str, Any]]:
    """Whether replicas answer, and how."""
    where, replica = 'deployment!=""', "replica {{ $labels.replica }}"
    failed, asked = (
        f"sum by (deployment, revision) (increase(winnow_requests_total{{{where}, {PREDICTIONS}{which}}}[2m]))"
        for which in (', status=~"5.."', "")
    )
    return [
        _alert("WinnowNoReplica", "page", f"sum by (deployment) (up{{{where}}}) == 0", "no replica answers", wait_s=30),
        _alert("WinnowReplicaDown", "ticket", f"up{{{where}}} == 0", f"{replica} does not answer", wait_s=300),
        _alert(
            "WinnowErrors",
            "page",
            f"{failed} / {asked} > {MOST_ERRORS:g} and {failed} > {FEWEST_ERRORS}",
            "{{ $value | humanizePercentage }} of the answers of revision {{ $labels.revision }} are errors",
            labels={"rollback": "true"},
        ),
        _alert(
            "WinnowLogDropped",
            "ticket",
            f"increase(winnow_log_dropped_total{{{where}}}[10m]) > 0",
            f"{replica} lost {{{{ $value | humanize }}}} lines of the prediction log",
        ),
    ]


def _drift_rules(kind: str, label: str) -> list[dict[str, Any]]:
    """Records of the last hour's shares, and the alerts that compare them with the reference's."""
    window, by = DRIFT_WINDOW, ", ".join((*_REVISION, label))
    rows = f"sum by ({by}) (increase(winnow_{kind}_values_total[{window}]))"
    share, reference, index = (f"winnow:{kind}_{name}" for name in ("share:1h", "reference_share", "psi:1h"))
    # Under equal distributions, PSI is about (bins - 1) (1/live + 1/reference rows), and twice that is rare.
    bins, known = f"count by ({by}) ({reference})", f"sum by ({by}) (max by ({by}, bin) (winnow_{kind}_reference))"
    chance = f"2 * ({bins} - 1) * (1 / winnow:{kind}_rows:1h + 1 / {known})"
    enough = f"and on ({by}) winnow:{kind}_rows:1h >= {FEWEST_ROWS}"
    of = f"{label} {{{{ $labels.{label} }}}} of revision {{{{ $labels.revision }}}}"
    records = {
        f"winnow:{kind}_rows:1h": rows,
        share: _share(f"increase(winnow_{kind}_values_total[{window}])", "sum", label),
        reference: _share(f"winnow_{kind}_reference", "max", label),
        index: _psi_of(share, reference, by),
    }
    alerts = [
        _alert(
            f"Winnow{kind.capitalize()}Drift",
            "ticket",
            f"{index} > {PSI_LIMIT:g} + {chance} {enough}",
            f"{of} has moved: PSI {ROUNDED} in the last hour",
            wait_s=600,
        )
    ]
    if kind == "feature":
        alerts += [
            _alert(
                f"Winnow{name.capitalize()}Values",
                "ticket",
                f'{share}{{bin="{name}"}} - on ({by}) {reference}{{bin="{name}"}} > {points:g} {enough}',
                f"{of}: {{{{ $value | humanizePercentage }}}} more rows {what} than in the training rows",
                wait_s=600,
            )
            for name, points, what in (
                ("missing", 0.1, "have no value"),
                ("unknown", 0.05, "have a category that the model does not know"),
            )
        ]
    return [*({"record": name, "expr": found} for name, found in records.items()), *alerts]


def _alert(
    name: str,
    severity: str,
    expr: str,
    summary: str,
    *,
    wait_s: float = 0,
    labels: Mapping[str, str] = {},
    runbook: str = "",
) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expr,
        **({"for": f"{wait_s:.0f}s"} if wait_s else {}),
        "labels": {"severity": severity, **labels},
        "annotations": {
            "summary": "{{ $labels.deployment }}: " + summary,
            "runbook": f"{RUNBOOKS}#runbook-{(runbook or name).lower()}",
        },
    }


def _quoted(text: str) -> str:
    """A label's value in PromQL, whose strings are Go's: JSON's are among them."""
    return json.dumps(text, ensure_ascii=False)
