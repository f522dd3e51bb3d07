"""Prepare what training an experiment needs: data, folds, metrics, and the routing of parameters.

Ranks and the checks before a sweep share it, so both see the same folds and refuse the same input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Experiment, MetricConfig, SearchConfig
from winnow.config.functions import load_function
from winnow.config.names import recorded_name
from winnow.data.classes import class_index
from winnow.data.dataset import DataSet
from winnow.data.inputs import Scaling
from winnow.data.sources import load_data
from winnow.data.splits import Fold, Holdout, deal_folds, split_holdout
from winnow.training.augmentation import Augmentation, augmentation_of
from winnow.training.metrics import LOSS, Goal, MetricSpec, Outputs, specs_of
from winnow.training.parameters import Routing, route, takers_of
from winnow.training.tokens import are_tokens


@dataclass(frozen=True, eq=False)
class Prepared:
    """An experiment with its data at hand.

    Attributes:
        holdout: the rows split off for the end, and the rest.
        folds: of the rest; indexes count in the whole data set.
        objective: name of the metric that is optimized, and `goal` its direction.
        metrics: all that are recorded for a fold, including the objective and the loss. With a custom training
            function, those that winnow computes on the holdout.
        positive: index of the class that `data.positive` names; None where it names none.
        has_tokens: whether the network looks its inputs up in a table, so that they are not scaled.
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
    positive: int | None = None
    has_tokens: bool = False
    augmentation: Augmentation | None = None

    @property
    def scaling(self) -> Scaling:
        """How the inputs are scaled."""
        return "none" if self.has_tokens else self.experiment.data.scaling

    @property
    def asked(self) -> tuple[str, ...]:
        """The metrics that a custom training function has to return, the objective first."""
        more = (metric.key for metric in self.experiment.search.metrics if metric.average != "none")
        return tuple(dict.fromkeys((self.objective, *more)))


def prepare(experiment: Experiment) -> Prepared:
    """Load the data, deal the folds, find the metrics and route the space.

    Raises:
        InputError: any of these cannot be done as the experiment says.
    """
    search, training = experiment.search, experiment.training
    loop = load_function(training.loop, "training.loop") if training.loop is not None else None
    factory = load_function(experiment.model.factory, "model.factory") if experiment.model.factory else _no_factory
    if factory is _no_factory and loop is None:
        raise InputError(
            "model.factory",
            expected="a function that builds the network, or one of your own that trains (training.loop)",
            found="neither",
            remedy="Name one, such as model: {factory: winnow.models:mlp}.",
        )
    conditions = {name: parameter.when for name, parameter in search.space.items()}
    routing = route(search.space, takers_of(experiment, factory), conditions)
    data = load_data(experiment.data)
    holdout = split_holdout(data, experiment.data.holdout, experiment.cross_validation.splitter, search.seed)
    folds = deal_folds(data, holdout.rest, experiment.cross_validation, search.seed)
    positive = _positive(experiment.data, data)
    outputs = Outputs(data.task, data.outputs, data.class_names, positive)
    metrics = _metrics(search, outputs, names_are_free=loop is not None)
    goal = search.metric.goal or next((spec.goal for spec in metrics if spec.name == search.metric.key), None)
    if goal is None:
        raise InputError(
            "search.metric.goal",
            expected="'maximize' or 'minimize' for a metric that declares no direction itself",
            found="nothing",
            remedy=f"Say whether a higher or a lower {search.metric.key} is better.",
        )
    has_tokens = loop is None and are_tokens(data, experiment, routing, factory)
    return Prepared(
        *(experiment, data, holdout, folds, search.metric.key, goal, metrics, routing, factory, loop),
        *(positive, has_tokens, augmentation_of(experiment.data.augment, data.augment, data.training)),
    )


def _no_factory(*_: Any, **_options: Any) -> NoReturn:
    raise LookupError("the experiment names no model.factory, for its own loop trains")


def _positive(config: DataConfig, data: DataSet) -> int | None:
    """The index of the positive class. Raises InputError unless it is one of two."""
    if config.positive is None:
        return None
    if data.class_names is None or len(data.class_names) != 2:
        is_regression = data.class_names is None
        raise InputError(
            "data.positive",
            expected="a target of two classes",
            found="regression" if is_regression else f"{data.outputs} classes",
            remedy="Remove it."
            if is_regression
            else "Remove it; to score one class against the others, write search.metric: {name: f1, class: …}.",
        )
    return class_index(config.positive, data.class_names, "data.positive")


def _metrics(search: SearchConfig, outputs: Outputs, *, names_are_free: bool) -> tuple[MetricSpec, ...]:
    """The metrics to record, each once; a custom training function may report any name."""
    asked = [(search.metric, "search.metric"), *((one, "search.metrics") for one in search.metrics)]
    found: dict[str, tuple[MetricConfig, MetricSpec]] = {}
    for config, place in (*asked, (MetricConfig(name=LOSS), "search.metrics")):
        try:
            specs = specs_of(config, outputs, place)
        except InputError:
            if not names_are_free:
                raise
            continue
        if config is search.metric and [spec.name for spec in specs] != [config.key]:
            raise InputError(
                "search.metric.average",
                expected="one value to optimize",
                found=f"'none', which gives {len(specs)}, one for each class",
                remedy=f"Name the class: {{name: {config.name}, class: …}}; list the average none in search.metrics.",
            )
        for spec in specs:
            twin, _ = found.setdefault(recorded_name(spec.name), (config, spec))
            if twin != config and _computed(twin) != _computed(config):
                raise InputError(
                    place,
                    expected="metrics that are recorded under different names",
                    found=f"two that are recorded as '{spec.name}'",
                    remedy="Put the average into the names: f1_macro, f1_binary, f1_weighted.",
                )
    return tuple(spec for _, spec in found.values())


def _computed(config: MetricConfig) -> MetricConfig:
    """What is computed, whatever is done with it."""
    return config.model_copy(update={"goal": None})
