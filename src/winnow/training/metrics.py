"""Metrics by name: what a name means, and whether more is better.

Classification models have one output per class, for two classes too, so every classification metric is the multi-class
one, averaged over classes (macro), except `accuracy`, the share of right rows. A class that a fold has no rows of is
left out of the average of the ranking metrics (auroc, average_precision), where torchmetrics would count it as 0. A
regression metric is computed for each target and averaged over them. `loss` is the training loss itself and is recorded
for every fold.

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
from winnow.config.nearest import did_you_mean
from winnow.data.dataset import Task
from winnow.training import scores
from winnow.training.scores import Score

if TYPE_CHECKING:
    from torchmetrics import Metric

Goal = Literal["maximize", "minimize"]
LOSS = "loss"
DOCUMENTATION = "docs/training.md lists the metrics."


@dataclass(frozen=True)
class Named:
    """One line of the table: a short name and what it means.

    Attributes:
        metric_class, arguments: the torchmetrics class that gives the same number.
        score: computes it; None where torchmetrics does.
    """

    name: str
    task: Task
    score: Score | None
    metric_class: str
    goal: Goal
    arguments: Mapping[str, Any] = field(default_factory=dict)


_MACRO = {"average": "macro"}
_PER_CLASS = {"average": "none"}

TABLE: tuple[Named, ...] = (
    Named("accuracy", "classification", scores.accuracy, "MulticlassAccuracy", "maximize", {"average": "micro"}),
    Named("balanced_accuracy", "classification", scores.balanced_accuracy, "MulticlassAccuracy", "maximize", _MACRO),
    Named("f1", "classification", scores.f1, "MulticlassF1Score", "maximize", _MACRO),
    Named("precision", "classification", scores.precision, "MulticlassPrecision", "maximize", _MACRO),
    Named("recall", "classification", scores.recall, "MulticlassRecall", "maximize", _MACRO),
    Named("specificity", "classification", scores.specificity, "MulticlassSpecificity", "maximize", _MACRO),
    Named("auroc", "classification", scores.auroc, "MulticlassAUROC", "maximize", _PER_CLASS),
    Named(
        "average_precision",
        "classification",
        scores.average_precision,
        "MulticlassAveragePrecision",
        "maximize",
        _PER_CLASS,
    ),
    Named("jaccard", "classification", scores.jaccard, "MulticlassJaccardIndex", "maximize", _MACRO),
    Named("mcc", "classification", scores.mcc, "MulticlassMatthewsCorrCoef", "maximize"),
    Named("kappa", "classification", scores.kappa, "MulticlassCohenKappa", "maximize"),
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
        name: as written in the experiment; what is recorded bears it.
        goal: the direction that the metric declares; None where it declares none.
        score: computes it from class probabilities float [..., rows, classes] and classes int64 [..., rows], or from
            values and truth, both float [..., rows, targets], on any device; leading axes are models. It gives float64
            [...], NaN where the metric is not defined for the rows. None for the loss, which needs no outputs.
    """

    name: str
    task: Task
    goal: Goal | None
    score: Score | None


def resolve_metric(name: str, task: Task, outputs: int, place: str = "search.metric") -> MetricSpec:
    """The metric that a name stands for.

    Args:
        name: a short name of `TABLE`, `loss`, or the name of a torchmetrics class.
        task: the study's task.
        outputs: number of classes, or of targets.
        place: where the name stands, for the error.

    Raises:
        InputError: nothing has that name, or it does not fit the task.
    """
    if name == LOSS or (name in _ALSO and task == "classification"):
        return MetricSpec(name, task, "minimize", None)
    fitting = {named.name: named for named in TABLE if named.task == task}
    if name in fitting:
        named = fitting[name]
        if named.score is not None:
            return MetricSpec(name, task, named.goal, named.score)
        score = by_torchmetrics(_class(named.metric_class, task), named.arguments, task, outputs)
        return MetricSpec(name, task, named.goal, score)
    if any(named.name == name for named in TABLE) or name in _ALSO:
        raise InputError(
            place,
            expected=f"a metric for {task}",
            found=f"{name!r}, which is for {_other(task)}",
            remedy=f"Take one of {', '.join((LOSS, *fitting))}.",
        )
    return _of_class(name, task, outputs, place, (LOSS, *fitting))


def table_markdown() -> str:
    """The table of short names, for the documentation."""
    lines = ["| name | torchmetrics class | arguments | goal | task |", "|---|---|---|---|---|"]
    lines.append("| `loss` | the training loss | | minimize | both |")
    others = ", ".join(f"`{name}`" for name in _ALSO)
    lines.append(f"| {others} | `loss`, the cross-entropy | | minimize | classification |")
    for named in TABLE:
        arguments = ", ".join(f"{key}={value!r}" for key, value in named.arguments.items())
        written = f"`{arguments}`" if arguments else ""
        lines.append(f"| `{named.name}` | `{named.metric_class}` | {written} | {named.goal} | {named.task} |")
    return "\n".join(lines) + "\n"


def is_loss(spec: MetricSpec) -> bool:
    """Whether the metric is the loss under one of its names."""
    return spec.score is None


def _of_class(name: str, task: Task, outputs: int, place: str, short: tuple[str, ...]) -> MetricSpec:
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
    score = by_torchmetrics(found, arguments, task, outputs)
    _check_gives_one_number(name, task, score, outputs, place)
    return MetricSpec(name, task, _declared_goal(found), score)


def _check_gives_one_number(name: str, task: Task, score: Score, outputs: int, place: str) -> None:
    """Try the metric on a few rows: a curve or a matrix is no metric to rank by, and some need more arguments."""
    rows = 8 * outputs
    target = torch.arange(rows)
    try:
        if task == "classification":
            score(torch.full((rows, outputs), 1 / outputs), target % outputs)
        else:
            values = target.float().unsqueeze(1).expand(rows, outputs) + 1
            score(values, values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            place,
            expected="a metric that gives one number and needs no further arguments",
            found=f"{name!r} ({type(error).__name__}: {error})",
            remedy=DOCUMENTATION,
        ) from error


def by_torchmetrics(metric: type[Metric] | None, arguments: Mapping[str, Any], task: Task, outputs: int) -> Score:
    """A score by a fresh metric of torchmetrics for each model and, in regression, each target.

    Args:
        arguments: of the class; the number of classes is added.
        outputs: number of classes, or of targets.

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
