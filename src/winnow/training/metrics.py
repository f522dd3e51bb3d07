"""Metrics by name: what a name means, and whether more is better.

Classification models have one output per class, for two classes too, so every classification metric is the multi-class
one. Those with a value for each class are averaged over the classes (macro) unless the experiment says how: `f1_binary`
or `{name: f1, average: binary}`. A class that a fold has no rows of is left out of the average of the ranking metrics
(auroc, average_precision), where torchmetrics would count it as 0. A regression metric is computed for each target and
averaged over them. `loss` is the training loss itself and is recorded for every fold.

`scores` computes most of them, as torchmetrics does. torchmetrics itself is imported for its other classes alone (1.1
CPU seconds).
"""

from __future__ import annotations

import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from winnow.config.errors import InputError
from winnow.config.experiment import MetricConfig
from winnow.config.functions import line_in, load_function, names_function
from winnow.config.nearest import did_you_mean
from winnow.data.classes import class_index
from winnow.data.dataset import Task
from winnow.training import scores
from winnow.training.scores import Area, Average, Fraction, Score

if TYPE_CHECKING:
    from torchmetrics import Metric

Goal = Literal["maximize", "minimize"]
LOSS = "loss"
DOCUMENTATION = "docs/training.md lists the metrics."


_MACRO = {"average": "macro"}
_PER_CLASS = {"average": "none"}
_AVERAGES = ("binary", "macro", "weighted", "micro")


@dataclass(frozen=True)
class Named:
    """One line of the table: a short name and what it means.

    Attributes:
        metric_class, arguments: the torchmetrics class that gives the same number.
        score: computes it; None where torchmetrics does.
        averaged: the score with another average, for a metric that has a value for each class.
        is_of_labels: whether it depends on the predicted classes alone.
    """

    name: str
    task: Task
    score: Score | None
    metric_class: str
    goal: Goal
    arguments: Mapping[str, Any] = field(default_factory=dict)
    averaged: Callable[[Average], Score] | None = None
    is_of_labels: bool = False


def _fraction(name: str, fraction: Fraction, metric_class: str) -> Named:
    """A metric of counted rows: a fraction for each class."""
    averaged = functools.partial(scores.averaged, fraction)
    return Named(name, "classification", averaged("macro"), metric_class, "maximize", _MACRO, averaged, True)


def _ranking(name: str, area: Area, metric_class: str) -> Named:
    """A metric of each class's ranking of the rows."""
    averaged = functools.partial(scores.ranked, area)
    return Named(name, "classification", averaged("macro"), metric_class, "maximize", _PER_CLASS, averaged)


def _labelled(name: str, score: Score, metric_class: str, arguments: Mapping[str, Any] = {}) -> Named:
    """A metric of the predicted classes that has one value."""
    return Named(name, "classification", score, metric_class, "maximize", arguments, is_of_labels=True)


TABLE: tuple[Named, ...] = (
    _labelled("accuracy", scores.accuracy, "MulticlassAccuracy", {"average": "micro"}),
    _labelled("balanced_accuracy", scores.balanced_accuracy, "MulticlassAccuracy", _MACRO),
    _fraction("f1", scores.f1_fraction, "MulticlassF1Score"),
    _fraction("precision", scores.precision_fraction, "MulticlassPrecision"),
    _fraction("recall", scores.recall_fraction, "MulticlassRecall"),
    _fraction("specificity", scores.specificity_fraction, "MulticlassSpecificity"),
    _ranking("auroc", scores.auroc_of_classes, "MulticlassAUROC"),
    _ranking("average_precision", scores.average_precision_of_classes, "MulticlassAveragePrecision"),
    _fraction("jaccard", scores.jaccard_fraction, "MulticlassJaccardIndex"),
    _labelled("mcc", scores.mcc, "MulticlassMatthewsCorrCoef"),
    _labelled("kappa", scores.kappa, "MulticlassCohenKappa"),
    Named("calibration_error", "classification", scores.calibration_error, "MulticlassCalibrationError", "minimize"),
    Named("rmse", "regression", scores.rmse, "MeanSquaredError", "minimize", {"squared": False}),
    Named("mse", "regression", scores.mse, "MeanSquaredError", "minimize"),
    Named("mae", "regression", scores.mae, "MeanAbsoluteError", "minimize"),
    Named("mape", "regression", scores.mape, "MeanAbsolutePercentageError", "minimize"),
    Named("smape", "regression", scores.smape, "SymmetricMeanAbsolutePercentageError", "minimize"),
    Named("msle", "regression", scores.msle, "MeanSquaredLogError", "minimize"),
    Named("r2", "regression", scores.r2, "R2Score", "maximize"),
    Named("explained_variance", "regression", scores.explained_variance, "ExplainedVariance", "maximize"),
    Named("spearman", "regression", scores.spearman, "SpearmanCorrCoef", "maximize"),
    Named("pearson", "regression", scores.pearson, "PearsonCorrCoef", "maximize"),
    Named("kendall", "regression", None, "KendallRankCorrCoef", "maximize"),
)
_ALSO = {"log_loss": LOSS, "cross_entropy": LOSS}
"""Other names of the loss, for classification, whose loss is always the cross-entropy."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric that fits the study's task.

    Attributes:
        name: what is recorded bears it.
        goal: the direction that the metric declares; None where it declares none.
        score: computes it from class probabilities float [..., rows, classes] and classes int64 [..., rows], or from
            values and truth, both float [..., rows, targets], on any device; leading axes are models. It gives float64
            [...], NaN where the metric is not defined for the rows. None for the loss, which needs the network's own
            outputs.
        is_of_labels: whether it depends on the predicted classes alone.
        takes_weights: whether `score` takes the rows' weights, float [rows], as a third argument.
    """

    name: str
    task: Task
    goal: Goal | None
    score: Score | None
    is_of_labels: bool = False
    takes_weights: bool = False


@dataclass(frozen=True)
class Outputs:
    """What a study's models give.

    Attributes:
        number: of classes, or of targets.
        positive: index of the class that `data.positive` names; None where it names none.
    """

    task: Task
    number: int
    class_names: tuple[str, ...] | None = None
    positive: int | None = None


def specs_of(config: MetricConfig, outputs: Outputs, place: str) -> tuple[MetricSpec, ...]:
    """What a metric of the experiment file stands for: one spec, or one for each class.

    Raises:
        InputError: there is no such metric, it does not fit the task, or it has no such average or class.
    """
    at = functools.partial(_at, place)
    if names_function(config.name):
        return (_of_function(config, outputs, at),)
    name, average = _split_name(config, at)
    named = next((one for one in TABLE if (one.name, one.task) == (name, outputs.task)), None)
    if named is None or named.averaged is None:
        has_own = config.options and named is None
        found = resolve_metric(name, outputs.task, outputs.number, at("name"), config.options if has_own else {})
        if config.options and not has_own:
            raise _without("options", config, at)
        if average is not None or config.of_class is not None:
            raise _without("class" if config.of_class is not None else "average", config, at)
        return (found,)
    if config.options:
        raise _without("options", config, at)
    names = outputs.class_names or tuple(map(str, range(outputs.number)))
    averages = _averages(config, outputs, names, average, at)
    return tuple(
        MetricSpec(key, outputs.task, named.goal, named.averaged(each), named.is_of_labels)
        for key, each in averages.items()
    )


def _averages(
    config: MetricConfig, outputs: Outputs, names: tuple[str, ...], average: Any, at: Callable[[str], str]
) -> dict[str, Average]:
    """What is computed, by the name under which it is recorded."""
    if config.of_class is not None:
        return {config.key: class_index(config.of_class, names, at("class"))}
    if average == "none":
        reserved = next((name for name in names if name in ("std", "fold")), None)
        if reserved is not None:
            raise InputError(
                at("average"),
                expected="classes whose values can be recorded as NAME.CLASS",
                found=f"the class '{reserved}', a name that winnow uses for the spread or the folds",
                remedy="Rename the class.",
            )
        return {f"{config.key}.{one}": index for index, one in enumerate(names)}
    if average is None:
        average = "binary" if outputs.positive is not None else "macro"
    if average != "binary":
        return {config.key: average}
    if outputs.number != 2:
        raise InputError(
            at("average"),
            expected=f"macro, weighted, micro or none for {outputs.number} classes",
            found="'binary', which is for two",
            remedy=f"To score one class against the others, name it: {{name: {config.name}, class: {names[0]}}}.",
        )
    return {config.key: 1 if outputs.positive is None else outputs.positive}


def _at(place: str, key: str) -> str:
    """The key of a metric's setting; items of the list `search.metrics` are mostly names."""
    return f"{place}.{key}" if place == "search.metric" else place


def _split_name(config: MetricConfig, at: Callable[[str], str]) -> tuple[str, str | None]:
    """A metric's name and its average: `f1_macro` is f1 with the average macro, as in scikit-learn."""
    base, _, suffix = config.name.rpartition("_")
    is_short = suffix in _AVERAGES and any(named.name == base and named.averaged for named in TABLE)
    if not is_short:
        return config.name, config.average
    if config.average not in (None, suffix) or config.of_class is not None:
        raise InputError(
            at("average"),
            expected=f"one average: {config.name} says {suffix}",
            found=repr(config.average or config.of_class),
            remedy=f"Write {{name: {base}, average: …}}.",
        )
    return base, suffix


def _without(setting: str, config: MetricConfig, at: Callable[[str], str]) -> InputError:
    averaged = ", ".join(named.name for named in TABLE if named.averaged is not None)
    takers = "your own functions and torchmetrics classes" if setting == "options" else averaged
    return InputError(
        at(setting),
        expected=f"no {setting} for {config.name}",
        found=repr(config.options if setting == "options" else config.of_class or config.average),
        remedy=f"Leave it out; {takers} have some.",
    )


def _of_function(config: MetricConfig, outputs: Outputs, at: Callable[[str], str]) -> MetricSpec:
    """A metric that is a function of the user's own, tried on a few rows."""
    if config.average is not None or config.of_class is not None:
        raise _without("class" if config.of_class is not None else "average", config, at)
    function = load_function(config.name, at("name"))
    takes_weights = "weights" in inspect.signature(function).parameters

    def score(outputs: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        more = {"weights": None if weights is None else weights.cpu().numpy()} if takes_weights else {}
        value = function(outputs.cpu().numpy(), target.cpu().numpy(), **config.options, **more)
        return torch.tensor(float(value), dtype=torch.float64)

    try:
        score(*_few_rows(outputs.task, outputs.number))
    except Exception as error:
        raise InputError(
            at("name"),
            expected=f"a function that gives a number for {_described(outputs)}",
            found=f"{type(error).__name__}: {error}{line_in(inspect.getsourcefile(function), error)}",
            remedy=f"Correct {config.name}: function(outputs, target, **options) -> float. {DOCUMENTATION}",
        ) from error
    return MetricSpec(config.key, outputs.task, None, score, takes_weights=takes_weights)


def _described(outputs: Outputs) -> str:
    if outputs.task == "classification":
        return f"probabilities [rows, {outputs.number}] and classes [rows], as NumPy arrays"
    return f"values and truth, both [rows, {outputs.number}], as NumPy arrays"


def _few_rows(task: Task, number: int) -> tuple[Tensor, Tensor]:
    """Outputs and a target to try a metric on."""
    rows = 8 * number
    target = torch.arange(rows)
    if task == "classification":
        return torch.full((rows, number), 1 / number), target % number
    values = target.float().unsqueeze(1).expand(rows, number) + 1
    return values, values


def resolve_metric(
    name: str, task: Task, outputs: int, place: str = "search.metric", options: Mapping[str, Any] = {}
) -> MetricSpec:
    """The metric that a name stands for.

    Args:
        name: a short name of `TABLE`, `loss`, or the name of a torchmetrics class.

    Raises:
        InputError: nothing has that name, or it does not fit the task.
    """
    if name == LOSS or (name in _ALSO and task == "classification"):
        return MetricSpec(name, task, "minimize", None)
    fitting = {named.name: named for named in TABLE if named.task == task}
    if name in fitting:
        named = fitting[name]
        if named.score is not None:
            return MetricSpec(name, task, named.goal, named.score, named.is_of_labels)
        score = by_torchmetrics(_class(named.metric_class, task), named.arguments, task, outputs)
        return MetricSpec(name, task, named.goal, score)
    if any(named.name == name for named in TABLE) or name in _ALSO:
        raise InputError(
            place,
            expected=f"a metric for {task}",
            found=f"{name!r}, which is for {_other(task)}",
            remedy=f"Take one of {', '.join((LOSS, *fitting))}.",
        )
    return _of_class(name, task, outputs, place, (LOSS, *fitting), options)


def table_markdown() -> str:
    """The table of short names, for the documentation."""
    lines = ["| name | torchmetrics class | arguments | goal | task |", "|---|---|---|---|---|"]
    lines.append("| `loss` | the training loss | | minimize | both |")
    others = ", ".join(f"`{name}`" for name in _ALSO)
    lines.append(f"| {others} | the cross-entropy, without weights | | minimize | classification |")
    for named in TABLE:
        arguments = ", ".join(f"{key}={value!r}" for key, value in named.arguments.items())
        written = f"`{arguments}`" if arguments else ""
        lines.append(f"| `{named.name}` | `{named.metric_class}` | {written} | {named.goal} | {named.task} |")
    return "\n".join(lines) + "\n"


def is_loss(spec: MetricSpec) -> bool:
    """Whether the metric is the loss under one of its names."""
    return spec.score is None


def _of_class(
    name: str, task: Task, outputs: int, place: str, short: tuple[str, ...], options: Mapping[str, Any]
) -> MetricSpec:
    """A metric by the name of its torchmetrics class, with or without `Multiclass` in front."""
    found = _class(name, task) or (_class(f"Multiclass{name}", task) if task == "classification" else None)
    if found is None:
        if _class(name, _other(task)) or _class(f"Multiclass{name}", _other(task)):
            raise InputError(
                place,
                expected=f"a metric for {task}",
                found=repr(name),
                remedy=f"It is for {_other(task)}. {DOCUMENTATION}",
            )
        raise InputError(
            place,
            expected=f"one of {', '.join(short)}, or a torchmetrics class for {task}",
            found=repr(name),
            remedy=f"{did_you_mean(name, [*short, *_names(task)])} {DOCUMENTATION}".lstrip(),
        )
    is_per_class = any(named.metric_class == found.__name__ and named.arguments == _PER_CLASS for named in TABLE)
    average = _PER_CLASS if is_per_class else _MACRO
    arguments = average if "average" in inspect.signature(found).parameters else {}
    score = by_torchmetrics(found, {**arguments, **options}, task, outputs)
    # Try the metric on a few rows: a curve or a matrix is no metric to rank by, and some need more arguments.
    try:
        score(*_few_rows(task, outputs))
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            place,
            expected="a metric that gives one number and needs no further arguments",
            found=f"{name!r} ({type(error).__name__}: {error})",
            remedy=DOCUMENTATION,
        ) from error
    of_labels = {"MulticlassStatScores", "MulticlassConfusionMatrix"} & {base.__name__ for base in found.__mro__}
    return MetricSpec(name, task, _declared_goal(found), score, is_of_labels=bool(of_labels))


def by_torchmetrics(metric: type[Metric] | None, arguments: Mapping[str, Any], task: Task, outputs: int) -> Score:
    """A score by a fresh metric of torchmetrics for each model and, in regression, each target.

    Args:
        arguments: of the class; the number of classes is added.

    Raises:
        LookupError: there is no such class.
    """
    if metric is None:
        raise LookupError("this version of torchmetrics lacks a class that the table names")
    classes = {"num_classes": outputs} if "num_classes" in inspect.signature(metric).parameters else {}
    make = functools.partial(metric, **classes, **arguments)

    def score(outputs: Tensor, target: Tensor) -> Tensor:
        models, rows = outputs.shape[:-2], target.shape[-1 if task == "classification" else -2 :]
        each = zip(
            outputs.cpu().reshape(-1, *outputs.shape[-2:]),
            target.cpu().expand(*models, *rows).reshape(-1, *rows),
            strict=True,
        )
        with warnings.catch_warnings():
            # What torchmetrics warns of here (a class without rows in this fold, a constant prediction) is decided by
            # the value: a class is left out of the average, and an undefined result is NaN.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchmetrics")
            found = [_of_one_model(make, task, *one) for one in each]
        return torch.tensor(found, dtype=torch.float64).view(models)

    return score


def _of_one_model(make: Callable[[], Metric], task: Task, outputs: Tensor, target: Tensor) -> float:
    if task == "classification":
        return _number(make(), outputs, target)
    columns = range(target.shape[1])
    return sum(_number(make(), outputs[:, column], target[:, column]) for column in columns) / len(columns)


def _number(metric: Metric, outputs: Tensor, target: Tensor) -> float:
    metric.update(outputs, target)
    value = metric.compute()
    if getattr(metric, "average", None) != "none":
        return float(value)
    present = torch.unique(target)
    # Without a second class there is nothing to rank a class against.
    return float(value[present].mean()) if len(present) > 1 else math.nan


def _class(name: str, task: Task) -> type[Metric] | None:
    return getattr(_module(task), name) if name in _names(task) else None


def _names(task: Task) -> list[str]:
    """The classes that take this task's outputs: of the classification ones those made for one output per class."""
    prefix = "Multiclass" if task == "classification" else ""
    named = vars(_module(task)).items()
    return [name for name, value in named if name.startswith(prefix) and inspect.isclass(value) and name[0].isupper()]


def _module(task: Task) -> Any:
    import torchmetrics.classification
    import torchmetrics.regression

    return torchmetrics.classification if task == "classification" else torchmetrics.regression


def _other(task: Task) -> Task:
    return "regression" if task == "classification" else "classification"


def _declared_goal(metric: type[Metric]) -> Goal | None:
    if metric.higher_is_better is None:
        return None
    return "maximize" if metric.higher_is_better else "minimize"
