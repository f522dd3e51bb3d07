"""A retraining goes through sweep, selection, gates and rollout, keeps what it did, and goes on after its death."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.serving import bundles
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import Experiment
from winnow.config.file_lock import locked
from winnow.config.settings import Settings
from winnow.model_query.rules import Rules
from winnow.orchestrators.deploy import RolloutAbortedError
from winnow.orchestrators.model_steps import Served
from winnow.orchestrators.retrain import Retraining, RetrainRequest, plan, retrain
from winnow.study.claims import claimed
from winnow.study.database import Database
from winnow.tracking.history import RetrainRecord
from winnow.tracking.tracker import ModelVersion

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
GATE = {"type": "metric", "metric": "accuracy", "min": 0.7}
GATES = Rules.model_validate({"gates": {"staging": [GATE], "production": [GATE]}})


@dataclass
class Models:
    """A registry in memory with one champion, and its history."""

    folder: Path
    number: str | None = "1"
    judged: dict[str, str] = field(default_factory=dict)
    history: list[tuple[datetime, Any]] = field(default_factory=list)

    def champion(self, name: str, alias: str = "champion") -> ModelVersion | None:
        return None if self.number is None else ModelVersion(name, self.number, f"run-{self.number}")

    def versions(self, name: str) -> list[ModelVersion]:
        return [version for version in [self.champion(name)] if version is not None]

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        shutil.move(bundles.classification(self.folder / "made", name=version.name), destination)
        return destination

    def verdicts(self, version: ModelVersion) -> dict[str, str]:
        return self.judged

    def note(self, name: str, record: Any, at: datetime) -> None:
        self.history.append((at, record))

    def records(self, name: str, kind: type) -> list[tuple[datetime, Any]]:
        return [each for each in self.history if isinstance(each[1], kind)]

    @property
    def told(self) -> list[tuple[str, str, str, str]]:
        """Study, state, version and the reason's first words of each record."""
        return [(each.study, each.state, each.version, each.reason.partition(":")[0]) for _, each in self.history]


@dataclass
class Verbs:
    """Steps that succeed, but for what is named; `called` has their calls."""

    refused: str = ""
    fails: str = ""
    dies: str = ""
    stages: tuple[str, ...] = ("staging", "production")
    served: Served = "served"
    called: list[str] = field(default_factory=list)

    def sweep(self, study: str, *, is_retry: bool) -> int:
        self._do(f"sweep {study}")
        return 0 if self.refused == "sweep" else 2

    def select(self, study: str) -> Any:
        self._do(f"select {study}")
        winner = None if self.refused == "select" else "a run"
        version = ModelVersion("cells", "2", "run-2")
        selection = SimpleNamespace(winner=winner)
        outcome = {"version": version, "stages": self.stages, "aliases": ("candidate",), "is_new": True}
        return SimpleNamespace(selection=selection, reason="highest f1", **outcome)

    def promote(self, stage: Any, version: str) -> Any:
        self._do(f"promote {version} {stage}")
        is_refused = self.refused == stage
        return SimpleNamespace(is_promoted=not is_refused, reason=f"version {version} did not pass 1 of 1 gates")

    def deploy(self) -> Served:
        self._do("deploy")
        if self.refused == "deploy":
            raise RolloutAbortedError("cells", "it errs", "all requests go to revision 1")
        return "paused" if self.refused == "pause" else self.served

    def _do(self, step: str) -> None:
        self.called.append(step)
        if self.fails and step.startswith(self.fails):
            raise WinnowError("the engine is away")
        if self.dies and step.startswith(self.dies):
            raise KeyboardInterrupt


def retrained(models: Models, verbs: Verbs, hours: float = 0, *, rules: Rules = GATES, **request: Any) -> Retraining:
    file = models.folder / "data.csv"
    if not file.is_file():
        file.parent.mkdir(exist_ok=True)
        file.write_text("x,y,label\n" + "\n".join(f"{row},{row % 7},{'ab'[row % 2]}" for row in range(40)))
    experiment = Experiment.model_validate(
        {
            "name": "cells",
            "data": {"source": str(file), "target": "label"},
            "search": {"space": {"lr": {"float": [0.001, 0.1]}}, "trials": 2, "metric": {"name": "f1"}},
            "retrain": {"backoff": "1h"},
        }
    )
    asked = {"is_forced": False, "by": "ann", "stop_after": "deploy"} | request
    return retrain(
        RetrainRequest(experiment, rules, Path("rules.yaml"), **asked),
        settings_of(models),
        models,
        verbs,
        now=lambda: NOON + timedelta(hours=hours),
    )


def settings_of(models: Models) -> Settings:
    return Settings.from_environment({"WINNOW_HOME": str(models.folder / "home")})


@contextmanager
def claimed_elsewhere(models: Models) -> Iterator[None]:
    folder = models.folder / "home"
    folder.mkdir(exist_ok=True)
    database = Database(settings_of(models).storage_url, create=True)
    with claimed(database, "retrain:cells", "another-machine:/home/ann/.winnow"):
        yield


ALL = ["sweep cells", "select cells", "promote 2 staging", "promote 2 production", "deploy"]


def test_a_retraining_passes_every_gate_and_is_kept_in_the_history(tmp_path: Path) -> None:
    models, verbs = Models(tmp_path), Verbs()
    found = retrained(models, verbs)
    assert verbs.called == ALL
    assert (found.state, found.study, found.version, found.reason) == ("deployed", "cells", "2", "version 2 is served")
    assert models.told == [
        ("cells", "started", "", "the data have changed"),
        ("cells", "deployed", "2", "version 2 is served"),
    ]


def test_calling_it_again_does_nothing_and_says_why(tmp_path: Path) -> None:
    models = Models(tmp_path)
    retrained(models, Verbs())
    again = Verbs()
    found = retrained(models, again, hours=1)
    assert (again.called, found.state, len(models.history)) == ([], "nothing", 2)
    assert found.against[0].startswith("cells was trained on these data")


@pytest.mark.parametrize(
    ("refused", "called", "version"),
    [
        ("select", 2, ""),
        ("staging", 3, "2"),
        ("production", 4, "2"),
        ("deploy", 5, "2"),
    ],
)
def test_what_is_refused_goes_no_further(tmp_path: Path, refused: str, called: int, version: str) -> None:
    models, verbs = Models(tmp_path), Verbs(refused=refused)
    found = retrained(models, verbs)
    assert (found.state, verbs.called, found.version) == ("refused", ALL[:called], version)
    assert models.history[-1][1].state == "refused"


def test_it_stops_where_it_is_told_to_and_deploys_no_version_that_is_no_champion(tmp_path: Path) -> None:
    selected, promoted, staged = Verbs(), Verbs(), Verbs(stages=("staging",))
    states = [
        retrained(Models(tmp_path / "a"), selected, stop_after="select").state,
        retrained(Models(tmp_path / "b"), promoted, stop_after="promote").state,
        retrained(Models(tmp_path / "c"), staged).state,
    ]
    assert states == ["selected", "promoted", "promoted"]
    assert (selected.called, promoted.called, staged.called) == (ALL[:2], ALL[:4], ALL[:3])


def test_a_rollout_that_paused_is_left_to_a_person(tmp_path: Path) -> None:
    found = retrained(Models(tmp_path), Verbs(refused="pause"))
    assert (found.state, found.reason.partition("`")[0]) == ("promoted", "the rollout of version 2 is paused until ")


@pytest.mark.parametrize("dies", ["sweep", "select", "promote 2 production", "deploy"])
def test_a_retraining_that_was_interrupted_goes_on_with_its_study(tmp_path: Path, dies: str) -> None:
    models, verbs = Models(tmp_path), Verbs()
    with pytest.raises(KeyboardInterrupt):
        retrained(models, Verbs(dies=dies))
    found = retrained(models, verbs, hours=0.1)
    assert (found.state, verbs.called) == ("deployed", ALL)
    assert [state for _, state, *_ in models.told] == ["started", "started", "deployed"]


def test_a_failure_is_kept_and_the_next_call_waits_and_then_goes_on(tmp_path: Path) -> None:
    models, waiting, later = Models(tmp_path), Verbs(), Verbs()
    with pytest.raises(WinnowError, match="the engine is away"):
        retrained(models, Verbs(fails="deploy"))
    found = [retrained(models, waiting, hours=0.9), retrained(models, later, hours=1.1)]
    assert [each.state for each in found] == ["waiting", "deployed"]
    assert (waiting.called, later.called) == ([], ALL)
    assert found[0].reason == "it waits until 2026-11-29 13:00 UTC, because the last attempt failed"
    assert models.told[1] == ("cells", "failed", "", "the engine is away")


def test_a_sweep_without_a_complete_trial_has_failed(tmp_path: Path) -> None:
    models = Models(tmp_path)
    with pytest.raises(WinnowError, match="study cells: no trial completed"):
        retrained(models, Verbs(refused="sweep"))
    assert models.told[1][:3] == ("cells", "failed", "")


def test_a_person_may_ask_for_it_at_any_time(tmp_path: Path) -> None:
    models = Models(tmp_path)
    retrained(models, Verbs())
    found = retrained(models, Verbs(), hours=1, is_forced=True)
    assert (found.study, found.due) == ("cells-2", ("ann asked for it",))


def test_one_at_a_time_retrains_a_model(tmp_path: Path) -> None:
    models, verbs = Models(tmp_path), Verbs()
    with claimed_elsewhere(models):
        found = [retrained(models, verbs)]
    with locked(tmp_path / "home/retrain/cells.lock"):
        found.append(retrained(models, verbs))
    assert [(each.state, each.reason) for each in found] == [
        ("busy", "another-machine is retraining cells now"),
        ("busy", "another process of this machine is retraining cells now"),
    ]
    assert (verbs.called, models.history) == ([], [])


def test_rules_without_the_gates_that_the_champion_passed_are_refused(tmp_path: Path) -> None:
    models, verbs = Models(tmp_path, judged={"production": "{}"}), Verbs()
    with pytest.raises(InputError, match=r"gates\.production: expected the gates of production, by which version 1"):
        retrained(models, verbs, rules=Rules())
    assert (verbs.called, models.history) == ([], [])


def test_touched_files_are_read_again_and_equal_rows_change_nothing(tmp_path: Path) -> None:
    models = Models(tmp_path)
    retrained(models, Verbs())
    file = tmp_path / "data.csv"
    file.write_text(file.read_text())
    same = retrained(models, Verbs(), hours=1)
    file.write_text(file.read_text() + "\n9,9,a")
    other = retrained(models, Verbs(), hours=2)
    assert [(each.state, each.study) for each in (same, other)] == [("nothing", ""), ("deployed", "cells-2")]


def test_data_that_cannot_be_read_start_nothing(tmp_path: Path) -> None:
    models = Models(tmp_path)
    (tmp_path / "data.csv").write_text("x,label\n")
    with pytest.raises(InputError, match=r"data\.csv|rows"):
        retrained(models, Verbs())
    assert models.history == []


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    models = Models(tmp_path, number=None)
    data = {"source": "sklearn:wine"}
    search = {"space": {"lr": {"float": [0.001, 0.1]}}, "metric": {"name": "f1"}}
    experiment = Experiment.model_validate({"name": "cells", "data": data, "search": search})
    request = RetrainRequest(experiment, GATES, Path("rules.yaml"), False, "ann", "deploy")
    found = plan(request, settings_of(models), models, NOON)
    assert (found.state, found.study, found.due) == ("planned", "cells", ("there is no champion yet",))
    assert (models.history, list(tmp_path.iterdir())) == ([], [])


def test_the_record_says_on_which_data(tmp_path: Path) -> None:
    models = Models(tmp_path)
    retrained(models, Verbs())
    assert {len(record.data_sha256) for _, record in models.records("cells", RetrainRecord)} == {64}
