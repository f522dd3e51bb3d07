from __future__ import annotations

import re
from pathlib import Path

from winnow.config.monitoring import RuleConfig
from winnow.monitoring.alarms import DRIFT, QUALITY, runbook_of
from winnow.monitoring.prometheus_rules import rule_groups
from winnow.monitoring.report import Alarm

DOCUMENT = Path(__file__).parents[3] / "docs/monitoring.md"
RULE = RuleConfig(name="SlowAnswers", metric="latency", above="250 ms")


def test_every_alert_names_a_runbook_that_exists() -> None:
    groups = [*rule_groups(), *rule_groups("cells", [RULE])]
    named = {rule["annotations"]["runbook"] for group in groups for rule in group["rules"] if "alert" in rule}
    named |= {runbook_of(Alarm(name, "", "", 0.0, "1")) for name in (DRIFT, QUALITY, RULE.name)}
    headings = re.findall(r"^### Runbook: (\w+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert named == {f"docs/monitoring.md#runbook-{heading.lower()}" for heading in headings}
