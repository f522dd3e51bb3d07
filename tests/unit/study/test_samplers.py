"""Every sampler works through the claims of several workers, and conditional parameters are absent where inactive."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.unit.study.studies import claim, complete, experiment, leases_of, make_study
from winnow.config.errors import InputError
from winnow.study.space import check_search
from winnow.study.store import StudyStore

SPACE: dict[str, Any] = {
    "optimizer": {"choice": ["sgd", "adamw"]},
    "lr": {"float": [1e-4, 1.0], "log": True},
    "momentum": {"float": [0.0, 0.99], "when": {"optimizer": "sgd"}},
    "depth": {"int": [1, 4]},
    "width": {"int": [8, 64], "step": 8, "when": {"depth": [3, 4]}},
}
GRID: dict[str, Any] = {
    "optimizer": {"choice": ["sgd", "adamw"]},
    "momentum": {"float": [0.0, 0.9], "step": 0.3, "when": {"optimizer": "sgd"}},
    "depth": {"int": [1, 3], "step": 2},
}
SAMPLERS: list[Any] = [
    "tpe",
    "random",
    {"type": "tpe", "group": True, "multivariate": True, "n_startup_trials": 5},
    {"type": "tpe", "multivariate": False},
    "qmc",
    {"type": "nsga2", "population_size": 4},
    "optuna.samplers:RandomSampler",
    "tests.unit.study.test_samplers:Counting",
    pytest.param(
        {"type": "cmaes", "n_startup_trials": 3},
        marks=pytest.mark.skipif(importlib.util.find_spec("cmaes") is None, reason="cmaes is not installed"),
    ),
    {"type": "gp", "n_startup_trials": 6},
]


class Counting(optuna.samplers.RandomSampler):
    """Remembers in the study how many trials it has seen."""

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        before = study._storage.get_study_system_attrs(study._study_id).get("seen", 0)
        study._storage.set_study_system_attr(study._study_id, "seen", before + 1)
        study._storage.set_trial_system_attr(trial._trial_id, "place", before)


def run(store: StudyStore, trials: int) -> None:
    """Two workers in turn, each with a mirror of its own."""
    workers = [leases_of(store), leases_of(store)]
    for number in range(trials):
        lease = claim(workers[number % 2], f"w{number % 2}/1")
        params = store.trial(lease.number).params
        complete(workers[number % 2], lease, 1.0 - abs(params["depth"] - 2) / 4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_two_workers_propose_active_parameters_alone_and_the_same_each_time(tmp_path: Path, sampler: Any) -> None:
    found = []
    for repeat in ("a", "b"):
        folder = tmp_path / repeat
        folder.mkdir()
        store = make_study(folder, space=SPACE, sampler=sampler, trials=14, seed=3)
        run(store, 14)
        found.append([dict(trial.params) for trial in store.trials()])
    assert found[0] == found[1]
    for params in found[0]:
        assert ("momentum" in params) == (params["optimizer"] == "sgd")
        assert ("width" in params) == (params["depth"] >= 3)
        assert {"optimizer", "lr", "depth"} <= params.keys()
    assert len({params["lr"] for params in found[0]}) > 3


def test_a_random_search_proposes_the_same_trials_whatever_the_number_of_workers(tmp_path: Path) -> None:
    proposed = []
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        store = make_study(folder, space=SPACE, sampler="random", trials=6, seed=3)
        leases = [leases_of(store) for _ in range(workers)]
        for _ in range(6 // workers):
            for number, lease in [(each, claim(leases[each], f"w{each}/1")) for each in range(workers)]:
                complete(leases[number], lease, 0.5)
        proposed.append([dict(trial.params) for trial in store.trials()])
    assert proposed[0] == proposed[1]


def test_a_sampler_s_notes_are_kept_with_the_study(tmp_path: Path) -> None:
    store = make_study(tmp_path, sampler="tests.unit.study.test_samplers:Counting", trials=3, space=SPACE)
    run(store, 3)
    study = optuna.load_study(study_name="a-study", storage=store.database.url)
    assert study._storage.get_study_system_attrs(study._study_id)["seen"] == 3
    assert [trial.system_attrs["place"] for trial in study.get_trials()] == [0, 1, 2]


def test_a_grid_tries_every_point_once(tmp_path: Path) -> None:
    store = make_study(tmp_path, space=GRID, sampler="grid", trials=None)
    assert store.target() == 10
    run(store, 10)
    tried = [tuple(sorted(trial.params.items())) for trial in store.trials()]
    assert len(set(tried)) == 10
    assert claim(leases_of(store)).kind == "refit"


@pytest.mark.parametrize(
    ("search", "place", "text"),
    [
        ({"sampler": {"type": "tpe", "n_startup_trails": 3}}, "search.sampler.n_startup_trails", "'n_startup_trials'"),
        ({"sampler": {"type": "random", "seed": 3}}, "search.sampler.seed", "search.seed"),
        ({"sampler": {"type": "tpe", "group": True, "multivariate": False}}, "search.sampler", "ValueError"),
        ({"sampler": {"type": "tpe", "n_startup_trials": "three"}}, "search.sampler", "TypeError"),
        ({"sampler": "optuna.samplers:NoSampler"}, "search.sampler.type", "no such name"),
        ({"sampler": "optuna.pruners:MedianPruner"}, "search.sampler.type", "a subclass of optuna's BaseSampler"),
        ({"pruner": {"type": "hyperband", "max_ressource": 3}}, "search.pruner.max_ressource", "'max_resource'"),
        ({"pruner": {"type": "threshold"}}, "search.pruner", "ThresholdPruner"),
        ({"pruner": "json:loads"}, "search.pruner.type", "a subclass of optuna's BasePruner"),
    ],
)
def test_a_sampler_or_pruner_that_cannot_be_made_is_refused(search: dict[str, Any], place: str, text: str) -> None:
    with pytest.raises(InputError) as refused:
        check_search(experiment(**search))
    assert refused.value.place == place
    assert text in str(refused.value)


@pytest.mark.filterwarnings("error")
def test_an_experimental_option_that_was_asked_for_is_no_warning() -> None:
    check_search(experiment(sampler={"type": "tpe", "group": True}))


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is not None, reason="cmaes is installed")
def test_a_sampler_whose_package_is_missing_names_it() -> None:
    with pytest.raises(InputError, match="pip install cmaes"):
        check_search(experiment(sampler="cmaes"))
