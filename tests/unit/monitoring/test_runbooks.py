from __future__ import annotations

import re
from pathlib import Path

from winnow.config.monitoring import RuleConfig
from winnow.monitoring.alarms import DRIFT, QUALITY, runbook_of
from winnow.monitoring.prometheus_rules import rule_groups
from winnow.monitoring.report import Alarm

ROOT = Path(__file__).parents[3]
RULE = RuleConfig(name="SlowAnswers", metric="latency", above="250 ms")


def anchors(document: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_names_a_runbook_that_exists() -> None:
    groups = [*rule_groups(), *rule_groups("cells", [RULE])]
    named = {rule["annotations"]["runbook"] for group in groups for rule in group["rules"] if "alert" in rule}
    named |= {runbook_of(Alarm(name, "", "", 0.0, "1")) for name in (DRIFT, QUALITY, RULE.name)}
    document = "docs/monitoring.md"
    found = {f"{document}#{anchor}" for anchor in anchors(document) if anchor.startswith("runbook-")}
    assert named == found


def test_links_within_the_document_lead_somewhere() -> None:
    links = re.findall(r"\]\(#([^)]+)\)", (ROOT / "docs/monitoring.md").read_text())
    assert set(links) - anchors("docs/monitoring.md") == set()
