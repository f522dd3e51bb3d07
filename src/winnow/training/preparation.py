"""Prepare what training an experiment needs: data, folds, metrics, and the routing of parameters.

Ranks and the checks before a sweep share it, so both see the same folds and refuse the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, SearchConfig
from winnow.config.functions import load_function
from winnow.data.dataset import DataSet
from winnow.data.sources import load_data
from winnow.data.splits import Fold, Holdout, deal_folds, split_holdout
from winnow.training.metrics import LOSS, Goal, MetricSpec, resolve_metric
from winnow.training.parameters import Routing, route, takers_of


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment with its data at hand.

    Attributes:
        holdout: the rows split off for the end, and the rest.
        folds: of the rest; indexes count in the whole data set.
        objective: name of the metric that is optimized, and `goal` its direction.
        metrics: all that are recorded for a fold, including the objective and the loss. With a custom training
            function, those that winnow computes on the holdout.
        routing: where the trial's parameters go.
        factory: the model's factory.
        loop: the custom training function, if there is one.
    """

    experiment: Experiment
    data: DataSet
    holdout: Holdout
    folds: tuple[Fold, ...]
    objective: str
    goal: Goal
    metrics: tuple[MetricSpec, ...]
    routing: Routing
    factory: Callable[..., Any]
    loop: Callable[..., Any] | None


def prepare(experiment: Experiment) -> Prepared:
    """Load the data, deal the folds, find the metrics and route the space.

    Raises:
        InputError: any of these cannot be done as the experiment says.
    """
    search, training = experiment.search, experiment.training
    loop = load_function(training.loop, "training.loop") if training.loop is not None else None
    factory = load_function(experiment.model.factory, "model.factory")
    routing = route(search.space, takers_of(experiment, factory))
    data = load_data(experiment.data)
    holdout = split_holdout(data, experiment.data.holdout, experiment.cross_validation.splitter, search.seed)
    folds = deal_folds(data, holdout.rest, experiment.cross_validation, search.seed)
    metrics = _metrics(search, data, names_are_free=loop is not None)
    goal = search.metric.goal or next((spec.goal for spec in metrics if spec.name == search.metric.name), None)
    if goal is None:
        raise InputError(
            "search.metric.goal",
            expected="'maximize' or 'minimize' for a metric that declares no direction itself",
            found="nothing",
            remedy=f"Say whether a higher or a lower {search.metric.name} is better.",
        )
    return Prepared(experiment, data, holdout, folds, search.metric.name, goal, metrics, routing, factory, loop)


def _metrics(search: SearchConfig, data: DataSet, *, names_are_free: bool) -> tuple[MetricSpec, ...]:
    """The metrics to record, each once; a custom training function may report any name."""
    places = {search.metric.name: "search.metric.name"} | dict.fromkeys(search.metrics, "search.metrics")
    places.setdefault(LOSS, "search.metrics")
    specs: list[MetricSpec] = []
    for name, place in places.items():
        try:
            specs.append(resolve_metric(name, data.task, data.outputs, place))
        except InputError:
            if not names_are_free:
                raise
    return tuple(specs)
