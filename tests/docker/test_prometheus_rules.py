"""The generated rules in the real promtool: they fire where they should, and not where they should not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docker.prometheus_images import promtool
from winnow.config.monitoring import RuleConfig
from winnow.monitoring.prometheus_rules import rule_file

pytestmark = pytest.mark.docker

Series = tuple[str, str]
ASKED = 'winnow_requests_total{deployment="cells",revision="%s",replica="%s",route="/predict",status="%s"}'
BUCKET = 'winnow_request_duration_seconds_bucket{deployment="cells",revision="1",route="/predict",le="%s"}'
READY = 'winnow_ready{deployment="cells",replica="%s"}'
AGE = 'deployment="cells",revision="1",replica="a",column="age"'
REFERENCE: list[Series] = [
    (f'winnow_feature_reference{{{AGE},bin="{name}"}}', f"{rows}x200")
    for name, rows in (("00", 500), ("01", 500), ("missing", 0), ("unknown", 0))
]
"""The training rows' column `age`: half of them in each of two bins."""


def counted(first: float, second: float, missing: float = 0, unknown: float = 0) -> list[Series]:
    """The reference, and rows of `age` counted in each 15 seconds, by bin."""
    bins = {"00": first, "01": second, "missing": missing, "unknown": unknown}
    live = [(f'winnow_feature_values_total{{{AGE},bin="{name}"}}', f"0+{rows:g}x200") for name, rows in bins.items()]
    return [*REFERENCE, *live]


def summed(above: float, below: float) -> list[Series]:
    """What `age` adds up to in each 15 seconds, above and below its centre of 41, for a mean of 40 and sd of 4."""
    totals = [
        (f"winnow_feature_{name}_total", f"0+{total:g}x200") for name, total in (("above", above), ("below", below))
    ]
    known = {"centre": 41, "reference_mean": 40, "scale": 4}
    return [(f"{name}{{{AGE}}}", values) for name, values in totals] + [
        (f"winnow_feature_{name}{{{AGE}}}", f"{value}x200") for name, value in known.items()
    ]


def as_output(*series: Series) -> list[Series]:
    """Series of the column `age` as those of a regression's output `price`."""
    return [(name.replace("feature", "output").replace('column="age"', 'output="price"'), v) for name, v in series]


def alert(name: str, summary: str, runbook: str = "", **labels: str) -> dict[str, Any]:
    """An alert about the deployment `cells` that promtool is to find firing."""
    return {
        "exp_labels": {"alertname": name, "deployment": "cells", **labels},
        "exp_annotations": {
            "summary": f"cells: {summary}",
            "runbook": f"docs/monitoring.md#runbook-{runbook or name.lower()}",
        },
    }


def check(folder: Path, text: str, series: Sequence[Series], at: str, *expected: dict[str, Any]) -> None:
    """Have promtool check that of all alerts in a rule file the expected ones fire, and no others."""
    names = [each["alert"] for group in yaml.safe_load(text)["groups"] for each in group["rules"] if "alert" in each]
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series],
        "alert_rule_test": [
            {
                "eval_time": at,
                "alertname": name,
                "exp_alerts": [each for each in expected if each["exp_labels"]["alertname"] == name],
            }
            for name in names
        ],
    }
    for each in expected:
        assert each["exp_labels"]["alertname"] in names
    written = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [test]}
    (folder / "rules.yaml").write_text(text, encoding="utf-8")
    (folder / "test.yaml").write_text(yaml.safe_dump(written, allow_unicode=True), encoding="utf-8")
    done = promtool(folder, "test", "rules", "test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_errors_of_a_candidate_fire_for_its_revision_alone(tmp_path: Path) -> None:
    series = [
        (ASKED % ("1", "a", "200"), "0+990x40"),
        (ASKED % ("2", "b", "200"), "0+5x40"),
        (ASKED % ("2", "b", "500"), "0+5x40"),
    ]
    errors = "50% of the answers of revision 2 are errors"
    check(
        tmp_path,
        rule_file(),
        series,
        "2m",
        alert("WinnowErrors", errors, severity="page", rollback="true", revision="2"),
    )


def test_rules_for_a_prometheus_of_ones_own_are_one_valid_file(tmp_path: Path) -> None:
    own = RuleConfig(name="Slow", metric="latency", above="250 ms")
    (tmp_path / "rules.yaml").write_text(rule_file("cells", [own], with_general=True))
    done = promtool(tmp_path, "check", "rules", "--lint-fatal", "rules.yaml")
    assert (done.returncode, "18 rules found" in done.stdout) == (0, True), done.stdout + done.stderr


def test_single_errors_and_clients_faults_do_not_fire(tmp_path: Path) -> None:
    series = [
        (ASKED % ("1", "a", "200"), "0+2x40"),
        (ASKED % ("1", "a", "422"), "0+20x40"),
        (ASKED % ("1", "a", "500"), "0x8 2x32"),
    ]
    check(tmp_path, rule_file(), series, "3m")


def test_a_replica_that_is_away_is_a_ticket_and_all_of_them_a_page(tmp_path: Path) -> None:
    up = 'up{deployment="cells",revision="1",replica="%s"}'
    down = "replica b does not answer"
    one = alert("WinnowReplicaDown", down, severity="ticket", revision="1", replica="b")
    check(tmp_path, rule_file(), [(up % "a", "1x40"), (up % "b", "0x40")], "6m", one)
    none = alert("WinnowNoReplica", "no replica answers", severity="page")
    check(tmp_path, rule_file(), [(up % "a", "0x40"), (up % "b", "0x40")], "1m", none)
    gone = alert("WinnowNotScraped", "no replica is scraped, or none exists", severity="page")
    check(tmp_path, rule_file("cells"), [('up{deployment="others"}', "1x40")], "3m", gone)


def test_a_column_that_moved_fires_and_one_that_has_not_does_not(tmp_path: Path) -> None:
    moved = alert(
        "WinnowFeatureDrift",
        "column age of revision 1 has moved: PSI 0.879 in the last hour",
        severity="ticket",
        revision="1",
        column="age",
    )
    check(tmp_path, rule_file(), counted(9, 1), "40m", moved)
    check(tmp_path, rule_file(), counted(5, 5), "40m")
    check(tmp_path, rule_file(), counted(0.9, 0.1), "40m")  # too few rows to tell


def test_missing_and_unknown_values_fire_by_their_difference_from_the_reference(tmp_path: Path) -> None:
    where = {"severity": "ticket", "revision": "1", "column": "age"}
    of = "column age of revision 1"
    missing = alert("WinnowMissingValues", f"{of}: 20% more rows have no value than in the training rows", **where)
    drift = alert("WinnowFeatureDrift", f"{of} has moved: PSI 1.56 in the last hour", **where)
    check(tmp_path, rule_file(), counted(4, 4, missing=2), "40m", missing, drift)
    check(tmp_path, rule_file(), counted(4.9, 4.9, missing=0.2), "40m")


@pytest.mark.parametrize(
    ("rule", "fires", "rests", "labels", "value"),
    [
        (
            {"metric": "latency", "above": "250 ms"},
            [
                (
                    BUCKET % "0.5",
                    "0+9x80",
                ),
                (
                    BUCKET % "+Inf",
                    "0+9x80",
                ),
            ],
            [
                (
                    BUCKET % "0.1",
                    "0+9x80",
                ),
                (
                    BUCKET % "+Inf",
                    "0+9x80",
                ),
            ],
            {"revision": "1", "rollback": "true"},
            "475ms",
        ),
        (
            {"metric": "error_rate", "above": "5 %"},
            [(ASKED % ("1", "a", "200"), "0+9x80"), (ASKED % ("1", "a", "503"), "0+1x80")],
            [(ASKED % ("1", "a", "200"), "0+99x80"), (ASKED % ("1", "a", "503"), "0+1x80")],
            {"revision": "1", "rollback": "true"},
            "10%",
        ),
        (
            {"metric": "request_rate", "below": "1 /s"},
            [],
            [(ASKED % ("1", "a", "200"), "0+30x80")],
            {},
            "0",
        ),
        (
            {"metric": "live_replicas", "below": "2 replicas"},
            [
                (READY % "a", "1x80"),
                (READY % "b", "0x80"),
            ],
            [
                (READY % "a", "1x80"),
                (READY % "b", "1x80"),
            ],
            {},
            "1",
        ),
        (
            {"metric": "missing", "column": "age", "above": "5 %"},
            counted(4, 4, missing=2),
            counted(5, 5),
            {"revision": "1"},
            "20%",
        ),
        (
            {"metric": "unknown", "column": "age", "above": "5 %"},
            counted(4, 4, unknown=2),
            counted(5, 5),
            {"revision": "1"},
            "20%",
        ),
        (
            {"metric": "psi", "column": "age", "above": "0.2 psi"},
            counted(9, 1),
            counted(5, 5),
            {"revision": "1", "column": "age"},
            "0.879",
        ),
        (
            {"metric": "mean", "column": "age", "above": "0.5 sd"},
            [*counted(5, 5), *summed(above=30, below=10)],
            [*counted(5, 5), *summed(above=10, below=20)],
            {"revision": "1"},
            "0.75",
        ),
        (
            {"metric": "mean", "column": "price", "above": "0.5 sd"},
            as_output(*counted(5, 5), *summed(above=30, below=10)),
            as_output(*counted(5, 5), *summed(above=10, below=20)),
            {"revision": "1"},
            "0.75",
        ),
        (
            {"metric": "prediction_share", "of_class": 'a "b" €', "below": "20 %"},
            [
                ('winnow_predictions_total{deployment="cells",revision="1",prediction="a \\"b\\" €"}', "0+1x80"),
                ('winnow_predictions_total{deployment="cells",revision="1",prediction="c"}', "0+9x80"),
            ],
            [
                ('winnow_predictions_total{deployment="cells",revision="1",prediction="a \\"b\\" €"}', "0+9x80"),
                ('winnow_predictions_total{deployment="cells",revision="1",prediction="c"}', "0+9x80"),
            ],
            {"revision": "1"},
            "10%",
        ),
    ],
    ids=lambda each: each.get("metric") if isinstance(each, dict) else None,
)
def test_rules_of_an_experiment_fire_beyond_their_threshold_alone(
    tmp_path: Path,
    rule: dict[str, str],
    fires: list[Series],
    rests: list[Series],
    labels: dict[str, str],
    value: str,
) -> None:
    text = rule_file("cells", [RuleConfig.model_validate({"name": "Mine", "summary": "see {{ this }}", **rule})])
    up = ('up{deployment="cells"}', "1x80")
    expected = alert("Mine", "see {{ this }}: " + value, runbook="rule", severity="page", **labels)
    check(tmp_path, text, [up, *fires], "15m", expected)
    check(tmp_path, text, [up, *rests], "15m")
