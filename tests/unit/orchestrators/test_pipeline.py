"""A pipeline goes from raw data to a served model, and each of its steps does nothing where its result exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.orchestrators.test_retrain import GATES, Models, Verbs, settings_of
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import Experiment
from winnow.data.stage.violations import Violation
from winnow.model_query.rules import Rules
from winnow.orchestrators.model_steps import Served
from winnow.orchestrators.pipeline import Pipeline, PipelineRequest, Until, pipeline, plan
from winnow.orchestrators.validate import Validation

SCHEMA = "columns: {x: {dtype: int64}}\n"
DATA = ["ingest", "validate", "prepare"]
ALL = [*DATA, "sweep cells", "select cells", "promote 2 staging", "promote 2 production", "deploy"]


@dataclass
class Steps(Verbs):
    """Steps of a pipeline that succeed, but for what is named; `state` is that of the data."""

    state: str = "new"
    violations: tuple[Violation, ...] = ()
    said: list[tuple[str, str]] = field(default_factory=list)

    def ingest(self, *, dry_run: bool = False) -> Any:
        self._do(f"ingest{' dry' * dry_run}")
        made = SimpleNamespace(version="aaa", rows=1200)
        read = ("a.csv", "b.csv") if self.state == "new" else ()
        return SimpleNamespace(state=self.state, ingested=made, read=read, kept=2 - len(read), notes=())

    def validate(self) -> Validation:
        self._do("validate")
        return Validation("raw", 1200, 3, "schema.yaml", self.violations)

    def prepare(self, *, dry_run: bool = False) -> Any:
        self._do(f"prepare{' dry' * dry_run}")
        made, inputs = SimpleNamespace(version="bbb", rows=900, columns=(1, 2)), SimpleNamespace(engine="duckdb 2.0.1")
        return SimpleNamespace(state=self.state, prepared=made, inputs=inputs, notes=())


def request_for(folder: Path, until: Until = "serve", rules: Rules = GATES, **data: Any) -> PipelineRequest:
    (folder / "schema.yaml").write_text(SCHEMA)
    stages = {"raw": {"source": "a.csv"}, "schema": str(folder / "schema.yaml"), "prepare": {"sql": "FROM raw"}}
    content = {
        "name": "cells",
        "data": {"source": "sklearn:wine", **stages, **data},
        "search": {"space": {"lr": {"float": [0.001, 0.1]}}, "trials": 2, "metric": {"name": "f1"}},
    }
    return PipelineRequest(Experiment.model_validate(content), rules, Path("rules.yaml"), until)


def run(folder: Path, steps: Steps, until: Until = "serve", **others: Any) -> Pipeline:
    models = Models(folder)
    request = request_for(folder, until, **others)
    return pipeline(request, settings_of(models), models, steps, tell=lambda *said: steps.said.append(said))


def test_it_goes_from_raw_data_to_a_served_model_and_says_each_step_in_a_line(tmp_path: Path) -> None:
    steps = Steps()
    done = run(tmp_path, steps)
    assert (done.state, done.study, done.version, steps.called) == ("deployed", "cells", "2", ALL)
    assert [(each.step, each.said) for each in done.steps] == steps.said
    assert steps.said == [
        ("ingest", "new version aaa: 1,200 rows; 2 sources read"),
        ("validate", f"1,200 rows fit {tmp_path}/schema.yaml"),
        ("prepare", "new version bbb, 900 rows of 2 columns by duckdb 2.0.1"),
        ("train", "study cells has 2 complete trials"),
        ("select", "version 2 is @candidate: highest f1"),
        ("promote", "version 2 did not pass 1 of 1 gates"),
        ("promote", "version 2 did not pass 1 of 1 gates"),
        ("serve", "version 2 is served"),
    ]


def test_the_models_history_keeps_how_it_ended_once(tmp_path: Path) -> None:
    models = Models(tmp_path)
    request = request_for(tmp_path)
    for steps in (Steps(), Steps(served="unchanged"), Steps(refused="staging"), Steps(refused="staging"), Steps()):
        pipeline(request, settings_of(models), models, steps, tell=lambda *_: None)
    deployed = ("cells", "deployed", "2", "version 2 is served")
    refused = ("cells", "refused", "2", "version 2 did not pass 1 of 1 gates")
    assert models.told == [deployed, refused, deployed]


def test_nothing_is_kept_of_a_pipeline_that_selects_nothing_or_fails(tmp_path: Path) -> None:
    models = Models(tmp_path)
    for until in ("prepare", "train"):
        pipeline(request_for(tmp_path, until), settings_of(models), models, Steps(), tell=lambda *_: None)
    with pytest.raises(WinnowError):
        pipeline(request_for(tmp_path), settings_of(models), models, Steps(fails="select"), tell=lambda *_: None)
    assert models.told == []


@pytest.mark.parametrize(
    ("served", "said"),
    [
        ("unchanged", "nothing has changed: version 2 is served"),
        ("begun", "version 2 is being rolled out"),
    ],
)
def test_serving_says_how_it_ended(tmp_path: Path, served: Served, said: str) -> None:
    steps = Steps(served=served)
    assert (run(tmp_path, steps).state, steps.said[-1]) == ("deployed", ("serve", said))


def test_data_that_have_not_changed_are_said_to(tmp_path: Path) -> None:
    steps = Steps(state="unchanged")
    run(tmp_path, steps, "prepare")
    assert steps.said[::2] == [
        ("ingest", "nothing has changed: version aaa, 1,200 rows"),
        ("prepare", "nothing has changed: version bbb, 900 rows of 2 columns by duckdb 2.0.1"),
    ]


@pytest.mark.parametrize(
    ("until", "called", "state"), [("prepare", 3, "prepared"), ("train", 4, "trained"), ("select", 5, "selected")]
)
def test_it_ends_where_it_is_told_to(tmp_path: Path, until: Until, called: int, state: str) -> None:
    steps = Steps()
    assert (run(tmp_path, steps, until).state, steps.called) == (state, ALL[:called])


@pytest.mark.parametrize(
    ("refused", "called", "last"),
    [("select", 5, "refused"), ("staging", 6, "promote"), ("production", 7, "promote"), ("deploy", 8, "refused")],
)
def test_what_is_refused_goes_no_further_and_says_why_once(
    tmp_path: Path, refused: str, called: int, last: str
) -> None:
    steps = Steps(refused=refused)
    done = run(tmp_path, steps)
    assert (done.state, steps.called, steps.said[-1][0]) == ("refused", ALL[:called], last)


def test_rows_that_violate_the_schema_are_not_prepared(tmp_path: Path) -> None:
    steps = Steps(violations=(Violation("x", "dtype: int64", 2, (1, 7), "seven"),))
    with pytest.raises(InputError, match=r"schema\.yaml: expected raw rows that fit it, found .*'dtype: int64' of 'x'"):
        run(tmp_path, steps)
    assert steps.called == ["ingest", "validate"]


@pytest.mark.parametrize("fails", ["ingest", "prepare", "sweep", "deploy"])
def test_a_step_that_fails_ends_it_with_its_own_error(tmp_path: Path, fails: str) -> None:
    steps = Steps(fails=fails)
    with pytest.raises(WinnowError, match="the engine is away"):
        run(tmp_path, steps)
    assert steps.called[-1].startswith(fails)


def test_sections_that_the_file_lacks_are_left_out(tmp_path: Path) -> None:
    steps = Steps()
    run(tmp_path, steps, raw=None, schema=None, prepare=None)
    assert steps.called == ALL[3:]


def test_rules_without_the_gates_that_the_champion_passed_start_nothing(tmp_path: Path) -> None:
    models, steps = Models(tmp_path, judged={"production": "{}"}), Steps()
    request = request_for(tmp_path, rules=Rules())
    for verb in (pipeline, plan):
        with pytest.raises(InputError, match=r"gates\.production"):
            verb(request, settings_of(models), models, steps, tell=lambda *_: None)
    assert steps.called == []


def test_a_plan_calls_no_step_but_dry_and_says_what_would_be_done(tmp_path: Path) -> None:
    models, steps = Models(tmp_path), Steps()
    planned = plan(request_for(tmp_path), settings_of(models), models, steps, tell=lambda *_: None)
    assert (planned.state, steps.called) == ("planned", ["ingest dry"])
    assert [(each.step, each.said) for each in planned.steps] == [
        ("ingest", "would read 2 sources; 0 unchanged"),
        ("validate", f"would check rows by {tmp_path}/schema.yaml"),
        ("prepare", "would compute rows, and keep them if they are new"),
        ("train", "would train study cells: 2 trials on local, if the rows are new"),
        ("select", "would choose by rules.yaml"),
        ("promote", "would judge by the gates of staging and production"),
        ("serve", "would serve the champion on local"),
    ]
    assert not (tmp_path / "home").exists()
