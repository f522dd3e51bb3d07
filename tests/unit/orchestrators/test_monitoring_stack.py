from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.config.monitoring import RuleConfig
from winnow.orchestrators.monitoring_stack import Watched, files_for
from winnow.platforms.monitoring_stack import CONFIGURATION, DASHBOARD, GENERAL_RULES, RULES

SLOW = RuleConfig(name="Slow", metric="latency", above="250 ms")


def test_rules_of_an_experiment_are_in_a_file_of_their_own() -> None:
    files = files_for(Watched("winnow", (SLOW,), "experiment.yaml"), ["http://here:9119"])
    assert set(files) == {GENERAL_RULES, RULES / "winnow.yaml", CONFIGURATION, DASHBOARD}
    (group,) = yaml.safe_load(files[RULES / "winnow.yaml"])["groups"]
    assert [each["alert"] for each in group["rules"]] == ["WinnowNotScraped", "Slow"]


def test_a_configuration_of_alertmanager_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "own.yml").write_text("route: {receiver: me}\n")
    assert files_for(None, [], tmp_path / "own.yml")[CONFIGURATION] == "route: {receiver: me}\n"
    with pytest.raises(InputError, match=r"none\.yml: No such file"):
        files_for(None, [], tmp_path / "none.yml")
