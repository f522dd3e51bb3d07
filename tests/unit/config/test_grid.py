"""The points of a grid."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.config.experiment import Experiment
from winnow.config.grid import points, trials_wanted
from winnow.config.search import faults_in_search


def experiment(space: dict[str, Any], **search: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "a-grid",
            "data": {"source": "sklearn:iris"},
            "model": {"factory": "winnow.models:mlp"},
            "search": {"space": space, "metric": {"name": "f1"}, "sampler": "grid"} | search,
        }
    )


SPACE = {
    "optimizer": {"choice": ["sgd", "adamw"]},
    "momentum": {"float": [0.0, 0.9], "step": 0.3, "when": {"optimizer": "sgd"}},
    "depth": {"int": [1, 3], "step": 2},
}


def test_an_inactive_parameter_adds_no_points() -> None:
    found = [tuple(point.items()) for point in points(experiment(SPACE).search.space)]
    assert found == [
        *(
            (("optimizer", "sgd"), ("momentum", momentum), ("depth", depth))
            for momentum in (0.0, 0.3, 0.6, 0.9)
            for depth in (1, 3)
        ),
        (("optimizer", "adamw"), ("depth", 1)),
        (("optimizer", "adamw"), ("depth", 3)),
    ]


@pytest.mark.parametrize(("search", "trials"), [({}, 10), ({"trials": 4}, 4), ({"trials": 40}, 10)])
def test_a_grid_has_at_most_as_many_trials_as_points(search: dict[str, Any], trials: int) -> None:
    assert trials_wanted(experiment(SPACE, **search).search) == trials


def test_without_a_grid_there_are_thirty_trials() -> None:
    assert trials_wanted(experiment(SPACE, sampler="tpe").search) == 30


@pytest.mark.parametrize(
    ("space", "search", "place", "text"),
    [
        ({"lr": {"float": [0, 1]}}, {}, "search.space.lr", "a range of real numbers"),
        ({f"n{i}": {"int": [0, 99]} for i in range(3)}, {}, "search.sampler", "at most 100000 points"),
        (SPACE, {"sampler": {"type": "grid", "seed": 3}}, "search.sampler.seed", "one of type for grid"),
        (SPACE, {"sampler": "tpee"}, "search.sampler.type", "Did you mean 'tpe'?"),
        (SPACE, {"pruner": "hyperbandd"}, "search.pruner.type", "Did you mean 'hyperband'?"),
        (SPACE, {"pruner": {"type": "racing", "treshold": 0.1}}, "search.pruner.treshold", "Did you mean 'threshold'?"),
    ],
)
def test_a_search_that_the_file_alone_shows_to_be_wrong_is_refused(
    space: dict[str, Any], search: dict[str, Any], place: str, text: str
) -> None:
    (fault,) = faults_in_search(experiment(space, **search))
    assert fault.place == place
    assert text in str(fault)
