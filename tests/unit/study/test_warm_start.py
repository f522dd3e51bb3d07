"""Points to try first: where they come from, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.study.studies import claim, complete, experiment, leases_of, make_study, sweep, url
from winnow.config.errors import InputError
from winnow.study.database import Database
from winnow.study.store import StudyStore
from winnow.study.warm_start import points_by_hand, points_of_file, points_of_study

SPACE: dict[str, Any] = {
    "optimizer": {"choice": ["sgd", "adamw"]},
    "momentum": {"float": [0.0, 0.99], "when": {"optimizer": "sgd"}},
    "hidden": {"choice": [[64], [128, 64]]},
    "depth": {"int": [1, 7], "step": 2},
}
PARAMETERS = experiment(space=SPACE).search.space


def of_file(folder: Path, text: str, most: int = 10) -> tuple[dict[str, Any], ...]:
    file = folder / "points.csv"
    file.write_text(text)
    return points_of_file(PARAMETERS, file, most, "f1", "maximize")


def test_points_by_hand_may_leave_parameters_out() -> None:
    points = points_by_hand(PARAMETERS, [{"optimizer": "sgd", "hidden": [128, 64]}, {"momentum": 0.5}], trials=5)
    assert points == ({"optimizer": "sgd", "hidden": "[128, 64]"}, {"momentum": 0.5})


@pytest.mark.parametrize(
    ("point", "place", "text"),
    [
        ({"optimiser": "sgd"}, "points[1].optimiser", "Did you mean 'optimizer'?"),
        ({"optimizer": "adam"}, "points[1].optimizer", "one of 'sgd', 'adamw', found 'adam'"),
        ({"depth": 4}, "points[1].depth", "a whole number from 1 to 7 in steps of 2, found 4"),
        ({"depth": 3.0}, "points[1].depth", "a whole number"),
        ({"momentum": True}, "points[1].momentum", "a number from 0 to 0.99"),
        ({"optimizer": "adamw", "momentum": 0.5}, "points[1].momentum", "momentum only when optimizer is sgd"),
    ],
)
def test_a_point_outside_the_space_is_refused_with_its_place(point: dict[str, Any], place: str, text: str) -> None:
    with pytest.raises(InputError) as refused:
        points_by_hand(PARAMETERS, [{}, point], trials=5)
    assert refused.value.place == f"search.warm_start.{place}"
    assert text in str(refused.value)


def test_more_points_than_trials_are_refused() -> None:
    with pytest.raises(InputError, match="at most 1 points"):
        points_by_hand(PARAMETERS, [{}, {}], trials=1)


@pytest.mark.parametrize(
    "text",
    [
        'optimizer,momentum,hidden,depth\nsgd,0.5,[64],3\nadamw,,"[128, 64]",1\n',
        "number,value,params_optimizer,params_momentum,params_hidden,params_depth,state\n"
        '1,0.2,adamw,,"[128, 64]",1.0,COMPLETE\n'
        "2,,sgd,0.1,[64],1.0,FAIL\n3,0.9,sgd,0.5,[64],3.0,COMPLETE\n",
        "run_id,status,metrics.f1,params.optimizer,params.momentum,params.hidden,params.depth\n0,FINISHED,,,,,\n1,FINISHED,"
        '0.2,adamw,0.3,"[128,64]",1\n2,FAILED,0.99,sgd,0.9,[64],1\n3,FINISHED,0.9,sgd,0.5,[64],3\n',
    ],
    ids=["plain", "optuna", "mlflow"],
)
def test_files_of_optuna_mlflow_and_by_hand_give_the_best_points_first(tmp_path: Path, text: str) -> None:
    best = {"optimizer": "sgd", "momentum": 0.5, "hidden": "[64]", "depth": 3}
    assert of_file(tmp_path, text) == (best, {"optimizer": "adamw", "hidden": "[128, 64]", "depth": 1})
    assert of_file(tmp_path, text, most=1) == (best,)


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("optimizer,depth\nsgd,3\nsgd,8\n", "points.csv, line 3: depth", "'8'"),
        ("optimizer\nadam\n", "points.csv, line 2: optimizer", "'adam'"),
        ("momentum\nfast\n", "points.csv, line 2: momentum", "'fast'"),
        ("lr,wd\n1,2\n", "search.warm_start.csv", "with lr, wd"),
        ("optimizer\n", "search.warm_start.csv", "none in"),
        ("", "search.warm_start.csv", "no columns"),
    ],
)
def test_a_file_with_a_point_outside_the_space_is_refused_with_its_line(
    tmp_path: Path, text: str, place: str, found: str
) -> None:
    with pytest.raises(InputError) as refused:
        of_file(tmp_path, text)
    assert refused.value.place.endswith(place)
    assert found in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        points_of_file(PARAMETERS, tmp_path / "none.csv", 3, "f1", "maximize")


def test_another_study_gives_its_best_points_within_the_space(tmp_path: Path) -> None:
    other = make_study(tmp_path, trials=6, sampler="random")
    leases = leases_of(other)
    for score in (0.1, 0.5, 0.9, 0.7, 0.3, 0.2):
        complete(leases, claim(leases), score)
    trials = other.trials()
    same = other.header.experiment.search.space
    assert points_of_study(same, "other", trials, 2, "maximize")[0]["lr"] == trials[2].params["lr"]
    middle = sorted(trial.params["lr"] for trial in trials)[3]
    narrow = experiment(space={"lr": {"float": [1e-9, middle]}}).search.space
    ranked = [trials[number].params["lr"] for number in (2, 3, 1, 4, 5, 0)]
    found = points_of_study(narrow, "other", trials, 6, "maximize")
    assert found == tuple({"lr": lr} for lr in ranked if lr <= middle)
    with pytest.raises(InputError, match="none of the 6 complete trials of 'other'"):
        points_of_study(experiment(space={"lr": {"float": [5.0, 9.0]}}).search.space, "other", trials, 6, "maximize")


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_study_tries_its_points_first_and_keeps_them(tmp_path: Path, sampler: str) -> None:
    space = {"lr": {"choice": [0.1, 0.2, 0.3]}, "hidden": {"choice": [[64], [128, 64]]}}
    points = ({"lr": 0.2, "hidden": "[128, 64]"}, {"lr": 0.3})
    made = experiment(space=space, sampler=sampler, trials=6)
    store = StudyStore(Database(url(tmp_path), create=True), "a-study", clock_ms=lambda: 1000)
    store.create(made, sweep(), points)
    complete(store.leases(), claim(store.leases()), 0.5)
    store.create(made, sweep(), ({"lr": 0.1},))
    for _ in range(5):
        complete(store.leases(), claim(store.leases()), 0.5)
    tried = [dict(trial.params) for trial in store.trials()]
    assert tried[0] == {"lr": 0.2, "hidden": [128, 64]}
    assert tried[1]["lr"] == 0.3
    if sampler == "grid":
        assert len({str(params) for params in tried}) == 6
