"""A version is promoted to a stage where it passes the stage's gates."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.serving import bundles
from winnow.bundle.row_digests import row_digests
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.finding import Result
from winnow.model_query.rules import Rules
from winnow.orchestrators.promote import Promotion, promote
from winnow.tracking.history import GateRecord
from winnow.tracking.tracker import ModelVersion

ROWS = 600
FEATURES = np.random.default_rng(1).normal(size=(ROWS, 3)).astype(np.float32)
TRUTH = (FEATURES @ bundles.CLASS_WEIGHTS).argmax(axis=1)
RULES = Rules.model_validate(
    {
        "gates": {
            "staging": [{"type": "metric", "metric": "accuracy", "min": 0.7}],
            "production": [
                {"type": "metric", "metric": "accuracy", "min": 0.7},
                {"type": "champion", "metric": "accuracy", "margin": 0.01, "scale": "absolute"},
            ],
        }
    }
)


@dataclass
class Models:
    """A registry in memory. `trained`: digests of the rows that each version was trained on."""

    folder: Path
    scales: dict[str, float]
    aliases: dict[str, str]
    trained: dict[str, Any] = field(default_factory=dict)
    kept: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    history: list[tuple[str, str, str]] = field(default_factory=list)
    noted: list[tuple[datetime, GateRecord]] = field(default_factory=list)

    def versions(self, name: str) -> list[ModelVersion]:
        return [ModelVersion(name, number, f"run-{number}") for number in sorted(self.scales, reverse=True)]

    def champion(self, name: str, alias: str = "champion") -> ModelVersion | None:
        number = self.aliases.get(alias)
        return None if number is None else ModelVersion(name, number, f"run-{number}")

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        made = bundles.classification(self.folder / "made", scale=self.scales[version.version])
        shutil.move(made, destination)
        return destination

    def verdicts(self, version: ModelVersion) -> dict[str, str]:
        return {stage: json.dumps(kept) for (number, stage), kept in self.kept.items() if number == version.version}

    def trained_rows(self, version: ModelVersion) -> Any:
        return self.trained.get(version.version)

    def fold_scores(self, version: ModelVersion) -> dict[str, Any]:
        return {}

    def crown(self, version: ModelVersion, reason: str, alias: str = "champion") -> bool:
        self.history.append((alias, version.version, reason))
        self.aliases[alias] = version.version
        return True

    def keep_verdict(self, version: ModelVersion, stage: str, verdict: str) -> None:
        self.kept[version.version, stage] = json.loads(verdict)

    def note(self, name: str, record: GateRecord, at: datetime) -> None:
        self.noted.append((at, record))


def promoted(models: Models, stage: Any, rows: Path | None, **options: Any) -> Promotion:
    settings = Settings.from_environment({"WINNOW_HOME": str(models.folder / "home")})
    source = None if rows is None else str(rows)
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    return promote(
        "cells", stage, RULES, models, settings, place="rules.yaml", source=source, now=lambda: now, **options
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows of which a model with a positive scale has nine tenths right, and one with a negative scale one tenth."""
    target = np.where(np.arange(ROWS) % 10 == 0, 1 - TRUTH, TRUTH)
    frame = pd.DataFrame(FEATURES.astype(np.float64), columns=list(bundles.COLUMNS))
    file = tmp_path / "rows.parquet"
    frame.assign(diagnosis=np.asarray(bundles.CLASSES)[target]).to_parquet(file)
    return file


def test_a_better_candidate_becomes_the_champion_and_the_history_says_why(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": -1.0, "2": 1.0}, {"champion": "1", "candidate": "2"})
    found = promoted(models, "production", rows)
    reason = "version 2 passed all 2 gates of production; compared with version 1"
    assert (found.is_promoted, found.is_new, found.champion) == (True, True, "1")
    assert models.history == [("champion", "2", reason)]
    assert models.kept["2", "production"]["at"] == "2026-11-21T12:00:00+00:00"
    assert [each["result"] for each in models.kept["2", "production"]["findings"]] == ["pass", "pass"]


def test_a_worse_candidate_stays_one_and_its_verdicts_are_kept(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": 1.0, "2": -1.0}, {"champion": "1", "candidate": "2"})
    found = promoted(models, "production", rows)
    assert (found.is_promoted, models.aliases["champion"], models.history) == (False, "1", [])
    assert [each.result for each in found.findings] == [Result.FAIL, Result.FAIL]
    assert models.kept["2", "production"]["is_promoted"] is False
    assert models.noted == [
        (datetime(2026, 11, 21, 12, tzinfo=UTC), GateRecord("2", "production", False, found.reason))
    ]


def test_staging_moves_its_own_alias_and_a_version_can_be_named(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": -1.0, "2": 1.0, "3": -1.0}, {"champion": "1", "candidate": "3"})
    assert promoted(models, "staging", rows, version="2").is_promoted
    assert models.aliases == {"champion": "1", "candidate": "3", "staging": "2"}


def test_without_a_champion_the_absolute_gates_decide(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": 1.0}, {"candidate": "1"})
    found = promoted(models, "production", rows)
    assert (found.is_promoted, found.champion) == (True, None)
    assert found.reason.endswith("there is no champion yet")


def test_who_has_passed_and_holds_the_alias_is_not_judged_again(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": 1.0}, {"candidate": "1", "champion": "1"})
    models.kept["1", "production"] = {"is_promoted": True}
    found = promoted(models, "production", rows)
    assert (found.is_promoted, found.is_new, found.findings, models.history) == (True, False, (), [])


def test_who_got_the_alias_without_gates_is_judged(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": -1.0}, {"candidate": "1", "champion": "1"})
    found = promoted(models, "production", rows)
    assert (found.is_promoted, models.kept["1", "production"]["is_promoted"], models.history) == (False, False, [])


def test_a_champion_gains_nothing_by_rows_that_it_was_trained_on(tmp_path: Path, rows: Path) -> None:
    memory = np.unique(row_digests(FEATURES[:500]))
    models = Models(tmp_path, {"1": -1.0, "2": 1.0}, {"champion": "1", "candidate": "2"}, {"1": memory})
    found = promoted(models, "production", rows)
    assert [each.n for each in found.findings] == [600, 100]


def test_a_holdout_that_is_not_known_promotes_no_version(tmp_path: Path) -> None:
    models = Models(tmp_path, {"1": -1.0, "2": 1.0}, {"champion": "1", "candidate": "2"})
    found = promoted(models, "production", None)
    assert (found.is_promoted, {each.result for each in found.findings}) == (False, {Result.NOT_ENOUGH_DATA})
    assert "is not in the database of studies" in found.findings[0].reason


def test_a_stage_without_gates_and_a_missing_candidate_are_refused(tmp_path: Path, rows: Path) -> None:
    models = Models(tmp_path, {"1": 1.0}, {})
    with pytest.raises(InputError, match="expected a version with the alias 'candidate'"):
        promoted(models, "staging", rows)
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    with pytest.raises(InputError, match=r"rules.yaml: gates.staging: expected the gates"):
        promote("cells", "staging", Rules(), models, settings, place="rules.yaml")
    assert models.history == []
