"""The sections `monitoring` and `retrain`: what they take, and one error for what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config.test_loader import SMALLEST, refusal
from winnow.config.loader import load_experiment
from winnow.config.monitoring import threshold_of


@pytest.mark.parametrize(
    ("section", "place", "expected"),
    [
        ("every: 0s", "monitoring", "`every` of at least 1s"),
        ("quality: {window: 0s}", "monitoring.quality", "`window` of at least 1s"),
        ("alert: {webhook: http://a, command: b}", "monitoring.alert", "at most one of `command`, `webhook`"),
        ("alert: {webhook: a.example}", "monitoring.alert.webhook", "begins with http:// or https://"),
        ("rules: [{name: A, metric: latency, above: 250}]", "monitoring.rules[0].above", "a number with its unit"),
        ("rules: [{name: A, metric: latency, above: '250'}]", "monitoring.rules[0].above", "a number with its unit"),
        ("rules: [{name: A, metric: latency, above: 5 %}]", "monitoring.rules[0]", "latency in ms or s"),
        ("rules: [{name: A, metric: latency}]", "monitoring.rules[0]", "one of `above` and `below`"),
        ("rules: [{name: A, metric: psi, above: 1 psi}]", "monitoring.rules[0]", "a `column` for the metric psi"),
        (
            "rules: [{name: A, metric: latency, above: 1 s}, {name: A, metric: latency, above: 2 s}]",
            "monitoring",
            "A is there twice",
        ),
    ],
)
def test_what_cannot_be_watched_is_one_error(section: str, place: str, expected: str, tmp_path: Path) -> None:
    error = refusal(tmp_path / "experiment.yaml", f"{SMALLEST}monitoring:\n  {section}\n")

    assert (error.place.split(" ")[-1], expected in str(error)) == (place, True)


def test_thresholds_have_units_of_which_base_units_are_made(tmp_path: Path) -> None:
    assert [threshold_of(text) for text in ("5 %", "250 ms", "0.5 sd", "-2 sd", "10/s")] == [
        (0.05, "%"),
        (0.25, "ms"),
        (0.5, "sd"),
        (-2.0, "sd"),
        (10.0, "/s"),
    ]
    file = tmp_path / "experiment.yaml"
    file.write_text(f"{SMALLEST}monitoring:\n  rules: [{{name: A, metric: error_rate, below: 5 %}}]\n  every: 90m\n")
    found = load_experiment(file).monitoring
    assert (found.rules[0].limit, found.every_s) == ((0.05, "below"), 5400.0)


def test_a_schedule_alone_is_a_section(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    file.write_text(f"{SMALLEST}retrain: daily\n")

    assert load_experiment(file).retrain.schedule == "daily"
