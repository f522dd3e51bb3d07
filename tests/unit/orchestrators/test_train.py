"""What a sweep's orchestrator decides before it starts anything."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.orchestrators.test_groups import CONTAINERS, LOCAL
from tests.unit.study import studies
from tests.unit.study.studies import claim, complete, fail, leases_of, make_study, sweep, url
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, WarmStartConfig
from winnow.config.settings import Settings
from winnow.orchestrators.preflight import check_training, start_check, sweep_platform
from winnow.orchestrators.progress import ProgressView
from winnow.orchestrators.resume import check_retry, is_attachable, resume, retry_failed, unused_warm_start
from winnow.orchestrators.supervise import SweepSupervisor
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.orchestrators.train import plan, train
from winnow.platforms.executor import GroupSpec
from winnow.platforms.lookup import Lookup
from winnow.platforms.sweep import WorkerHost
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.testing.executor import MemoryExecutor
from winnow.training.fork_messages import Checked

DATA = """
import os
import numpy as np
def load():
    os.environ["GIVEN" if "GIVEN" in os.environ else "PYTEST_CURRENT_TEST"]
    x = np.arange(40.0).reshape(-1, 1)
    return x, (x[:, 0] > 20).astype(int)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with chdir(tmp_path):
        yield tmp_path


def experiment(**execution: object) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "cells",
            "data": {"source": "own_data.py:load"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": {"lr": {"float": [0.001, 0.1]}}, "trials": 1, "metric": {"name": "f1"}},
            "cross_validation": {"folds": 2},
            "training": {"epochs": 1},
            "execution": {"device": "cpu", **execution},
        }
    )


def test_a_variable_of_the_shell_that_ranks_will_not_have_is_missed_before_the_sweep(folder: Path) -> None:
    (folder / "own_data.py").write_text(DATA)
    with pytest.raises(InputError) as refused:
        checked(experiment(), LOCAL)
    assert str(refused.value) == (
        "data.source: expected a function that only reads variables that the experiment names, found "
        "PYTEST_CURRENT_TEST, which is set in this shell but not inherited by workers. Add it to "
        "execution.env, or pass it on by name: execution.secrets: [PYTEST_CURRENT_TEST]."
    )


@pytest.mark.parametrize(
    "execution", [{"env": {"GIVEN": "1"}}, {"secrets": ["PYTEST_CURRENT_TEST"]}], ids=["env", "secrets"]
)
def test_the_check_sees_the_variables_that_the_experiment_names(folder: Path, execution: dict[str, object]) -> None:
    (folder / "own_data.py").write_text(DATA)
    assert checked(experiment(**execution), LOCAL).data_rows == 40


def test_the_check_for_containers_keeps_this_terminals_variables(folder: Path) -> None:
    (folder / "own_data.py").write_text(DATA)
    assert checked(experiment(), CONTAINERS).data_rows == 40


def checked(experiment: Experiment, host: WorkerHost) -> Checked:
    with contextlib.closing(start_check(experiment, host)) as server:
        return check_training(server, experiment, host)


def refusal(request: SweepRequest, home: Path) -> str:
    """What `train` says of a request that it refuses."""
    settings = Settings.from_environment({"WINNOW_HOME": str(home)})
    platform = sweep_platform(request, settings, Lookup())
    with (
        contextlib.closing(start_check(request.experiment, platform.host)) as server,
        pytest.raises(InputError) as refused,
    ):
        train(request, settings, platform, server, ProgressView(io.StringIO()))
    return str(refused.value)


def test_what_takes_no_data_is_refused_before_the_data_are_read(folder: Path) -> None:
    (folder / "own_data.py").write_text("def load():\n    raise ValueError('the data were read')\n")
    asked, home = experiment(), folder / "home"
    assert "the data were read" in refusal(SweepRequest(asked), home)
    assert "no study with that name" in refusal(SweepRequest(asked, is_retry=True), home)
    store = StudyStore(Database(f"sqlite:///{home}/studies.db", create=True), "cells")
    store.create(asked, replace(studies.sweep(), code={"own_data.py": "0" * 64}))
    assert refusal(SweepRequest(asked), home).startswith("study 'cells': own_data.py: expected the code")
    other = asked.model_copy(update={"training": asked.training.model_copy(update={"epochs": 2})})
    assert refusal(SweepRequest(other), home).startswith("study 'cells': training.epochs: expected")


def test_a_retry_of_a_study_that_is_not_there_names_the_command_that_starts_it() -> None:
    with pytest.raises(InputError, match=r"Start it with `.*make train CONFIG=…`, or correct the name"):
        check_retry(None, "a-study", MemoryExecutor())


def test_a_retry_is_refused_while_workers_are_at_work(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected no running workers.*found w0, w1\."):
        check_retry(make_study(tmp_path), "a-study", platform_with("w0", "w1").executor)


def test_a_retry_says_which_trials_are_trained_again(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    fail(leases, claim(leases), "ValueError: a bug")
    assert retry_failed(store) == "study a-study: training failed trials again: 0"
    assert retry_failed(store) == "study a-study: no trial has failed"


def test_a_retry_hands_nothing_out_where_workers_have_started_since_the_first_check(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    fail(leases, claim(leases), "ValueError: a bug")
    request, code = SweepRequest(store.header.experiment, is_retry=True), store.header.sweep.code or {}
    with pytest.raises(InputError, match=r"expected no running workers.*found w0\."):
        resume(store, request, code, platform_with("w0").executor)
    assert [trial.state for trial in store.trials()] == ["failed"]
    assert resume(store, request, code, MemoryExecutor()) is not None
    assert [trial.state for trial in store.trials()] == ["waiting"]


def test_a_plan_of_data_that_are_not_there_is_refused(folder: Path) -> None:
    asked = experiment()
    asked = asked.model_copy(update={"data": asked.data.model_copy(update={"source": "rows.csv"})})
    settings = Settings.from_environment({"WINNOW_HOME": str(folder / "home")})
    with pytest.raises(InputError, match=r"data\.source: expected a file that can be read at .*rows\.csv"):
        plan(SweepRequest(asked), settings, Lookup())


def test_a_retry_names_failed_refits_where_no_trial_has_failed(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store, refit_top=1)
    complete(leases, claim(leases), 0.5)
    leases.finish_task(claim(leases), reason="it could not be exported")
    said = "study a-study: no trial has failed; trying failed refits again: 0"
    assert retry_failed(store) == said


class MemorySweep:
    """Implements `SweepPlatform` on groups in memory."""

    host: WorkerHost = LOCAL

    def __init__(self) -> None:
        self.executor = MemoryExecutor()

    def check_image(self) -> None:
        """There is none."""

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        return self.executor.plan(groups)

    def validate(self, groups: Sequence[GroupSpec]) -> None:
        """All are accepted."""

    def equip(self) -> MemoryExecutor:
        return self.executor


def platform_with(*alive: str) -> MemorySweep:
    """A platform on which these groups of a study run."""
    platform = MemorySweep()
    for name in alive:
        platform.executor.start(GroupSpec("a-study", name, ("a-worker",), {}))
    return platform


def attached(folder: Path, workers: int, alive: tuple[str, ...], trials: int = 8) -> bool:
    return is_attached(make_study(folder, trials=8), workers, alive, trials)


def is_attached(store: StudyStore, workers: int, alive: tuple[str, ...], trials: int) -> bool:
    asked = store.header.experiment
    search = asked.search.model_copy(update={"trials": trials})
    execution = asked.execution.model_copy(update={"workers": workers})
    request = SweepRequest(asked.model_copy(update={"search": search, "execution": execution}))
    return is_attachable(store, request, platform_with(*alive))


def test_a_sweep_is_attached_to_where_nothing_has_to_be_started(tmp_path: Path) -> None:
    assert attached(tmp_path, 2, ("w0", "w1"))
    assert attached(tmp_path, 2, ("w0", "w1"), trials=20)
    assert not attached(tmp_path, 2, ("w0",))
    assert not attached(tmp_path, 2, ())
    assert attached(tmp_path, 9, tuple(f"w{index}" for index in range(8)))


def test_a_done_study_is_not_attached_to_while_its_groups_are_still_reported_as_running(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store, refit_top=1)
    complete(leases, claim(leases), 0.5)
    leases.finish_task(claim(leases), result={"version": "1", "metrics": {}})
    leases.finish_task(claim(leases))
    assert is_attached(store, 1, ("w0",), trials=1), "MLflow has not heard of its trial"
    store.set_tracked([store.trial(0)])
    assert not is_attached(store, 1, ("w0",), trials=1)
    assert is_attached(store, 1, ("w0",), trials=2)


def test_a_warm_start_that_is_added_to_a_study_is_told_to_be_unused(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    added = store.header.experiment.search.model_copy(update={"warm_start": WarmStartConfig(points=({"lr": 0.1},))})
    asked = store.header.experiment.model_copy(update={"search": added})
    told = "study a-study: search.warm_start is not used: it is for the first trials of a new study"
    assert unused_warm_start(store, asked) == told
    assert unused_warm_start(store, store.header.experiment) is None
    store.database.close()

    (tmp_path / "warm").mkdir()
    warm = StudyStore(Database(url(tmp_path / "warm"), create=True), "a-study")
    warm.create(asked, sweep(), [{"lr": 0.1}])
    assert unused_warm_start(warm, asked) is None


def test_a_group_that_runs_is_attached_to_by_a_start_of_its_own(tmp_path: Path) -> None:
    store, executor, asked = make_study(tmp_path, trials=1), MemoryExecutor(), []
    group = GroupSpec("a-study", "w0", ("a-worker",), {})
    executor.start(group)

    def start(each: GroupSpec) -> None:
        asked.append(each.name)
        leases = leases_of(store, refit_top=1)
        complete(leases, claim(leases), 0.5)
        leases.finish_task(claim(leases), result={"version": "1", "metrics": {}})
        leases.finish_task(claim(leases))
        executor.finish("a-study", "w0", 0)

    SweepSupervisor(store, executor, (group,), ProgressView(io.StringIO()), start=start).supervise()
    assert (asked, len(executor.started)) == (["w0"], 1)
