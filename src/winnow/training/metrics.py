"""Metrics by name: which torchmetrics class a name means, with which arguments, and whether more is better.

Classification models have one output per class, for two classes too, so every classification metric is the multi-class
one, averaged over classes (macro), except `accuracy`, the share of right rows. A class that a fold has no rows of is
left out of the average of the ranking metrics (auroc, average_precision), where torchmetrics would count it as 0. A
regression metric is computed for each target and averaged over them. `loss` is the training loss itself and is recorded
for every fold.
"""

from __future__ import annotations

import difflib
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torchmetrics.classification
import torchmetrics.regression
from torch import Tensor
from torchmetrics import Metric

from winnow.config.errors import InputError
from winnow.data.dataset import Task

Goal = Literal["maximize", "minimize"]
LOSS = "loss"
DOCUMENTATION = "docs/training.md lists the metrics."


@dataclass(frozen=True)
class Named:
    """One line of the table: a short name and what it means."""

    name: str
    task: Task
    metric_class: str
    goal: Goal
    arguments: Mapping[str, Any] = field(default_factory=dict)


_MACRO = {"average": "macro"}
_PER_CLASS = {"average": "none"}

TABLE: tuple[Named, ...] = (
    Named("accuracy", "classification", "MulticlassAccuracy", "maximize", {"average": "micro"}),
    Named("balanced_accuracy", "classification", "MulticlassAccuracy", "maximize", _MACRO),
    Named("f1", "classification", "MulticlassF1Score", "maximize", _MACRO),
    Named("precision", "classification", "MulticlassPrecision", "maximize", _MACRO),
    Named("recall", "classification", "MulticlassRecall", "maximize", _MACRO),
    Named("specificity", "classification", "MulticlassSpecificity", "maximize", _MACRO),
    Named("auroc", "classification", "MulticlassAUROC", "maximize", _PER_CLASS),
    Named("average_precision", "classification", "MulticlassAveragePrecision", "maximize", _PER_CLASS),
    Named("jaccard", "classification", "MulticlassJaccardIndex", "maximize", _MACRO),
    Named("mcc", "classification", "MulticlassMatthewsCorrCoef", "maximize"),
    Named("kappa", "classification", "MulticlassCohenKappa", "maximize"),
    Named("calibration_error", "classification", "MulticlassCalibrationError", "minimize"),
    Named("rmse", "regression", "MeanSquaredError", "minimize", {"squared": False}),
    Named("mse", "regression", "MeanSquaredError", "minimize"),
    Named("mae", "regression", "MeanAbsoluteError", "minimize"),
    Named("mape", "regression", "MeanAbsolutePercentageError", "minimize"),
    Named("smape", "regression", "SymmetricMeanAbsolutePercentageError", "minimize"),
    Named("msle", "regression", "MeanSquaredLogError", "minimize"),
    Named("r2", "regression", "R2Score", "maximize"),
    Named("explained_variance", "regression", "ExplainedVariance", "maximize"),
    Named("spearman", "regression", "SpearmanCorrCoef", "maximize"),
    Named("pearson", "regression", "PearsonCorrCoef", "maximize"),
    Named("kendall", "regression", "KendallRankCorrCoef", "maximize"),
)
_ALSO = {"log_loss": LOSS, "cross_entropy": LOSS}
"""Other names of the loss, for classification, whose loss is always the cross-entropy."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric that fits the study's task.

    Attributes:
        name: as written in the experiment; what is recorded bears it.
        goal: the direction that the metric declares; None where it declares none.
        make: makes a fresh torchmetrics metric; None for the loss, which needs none.
    """

    name: str
    task: Task
    goal: Goal | None
    make: Callable[[], Metric] | None

    def score(self, outputs: Tensor, target: Tensor) -> float:
        """The metric of all rows at once; NaN where it is not defined for them.

        Args:
            outputs: class probabilities, float [rows, classes], or values, float [rows, targets].
            target: int64 [rows], or float [rows, targets].
        """
        if self.make is None:
            raise ValueError(f"{self.name} comes from the training loss, not from outputs")
        with warnings.catch_warnings():
            # What torchmetrics warns of here (a class without rows in this fold, a constant prediction) is decided by
            # the value: a class is left out of the average, and an undefined result is NaN.
            warnings.filterwarnings("ignore", category=UserWarning, module="torchmetrics")
            if self.task == "classification":
                return _number(self.make(), outputs, target)
            columns = range(target.shape[1])
            scores = [_number(self.make(), outputs[:, column], target[:, column]) for column in columns]
        return sum(scores) / len(scores)


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
        return MetricSpec(name, task, named.goal, _maker(_class(named.metric_class, task), named.arguments, outputs))
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
    return spec.make is None


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
        near = difflib.get_close_matches(name, [*short, *_names(task)], n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise InputError(
            place,
            expected=f"one of {', '.join(short)}, or a torchmetrics class for {task}",
            found=repr(name),
            remedy=f"{hint}{DOCUMENTATION}",
        )
    known = next((named.arguments for named in TABLE if named.metric_class == found.__name__), _MACRO)
    average = _PER_CLASS if known == _PER_CLASS else _MACRO
    arguments = average if "average" in inspect.signature(found).parameters else {}
    spec = MetricSpec(name, task, _declared_goal(found), _maker(found, arguments, outputs))
    _check_gives_one_number(spec, outputs, place)
    return spec


def _check_gives_one_number(spec: MetricSpec, outputs: int, place: str) -> None:
    """Try the metric on a few rows: a curve or a matrix is no metric to rank by, and some need more arguments."""
    rows = 8 * outputs
    target = torch.arange(rows)
    try:
        if spec.task == "classification":
            spec.score(torch.full((rows, outputs), 1 / outputs), target % outputs)
        else:
            values = target.float().unsqueeze(1).expand(rows, outputs) + 1
            spec.score(values, values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            place,
            expected="a metric that gives one number and needs no further arguments",
            found=f"{spec.name!r} ({type(error).__name__}: {error})",
            remedy=DOCUMENTATION,
        ) from error


def _maker(metric: type[Metric] | None, arguments: Mapping[str, Any], outputs: int) -> Callable[[], Metric]:
    if metric is None:
        raise LookupError("this version of torchmetrics lacks a class that the table names")
    known = inspect.signature(metric).parameters
    classes = {"num_classes": outputs} if "num_classes" in known else {}
    return lambda: metric(**classes, **arguments)


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
    return torchmetrics.classification if task == "classification" else torchmetrics.regression


def _other(task: Task) -> Task:
    return "regression" if task == "classification" else "classification"


def _declared_goal(metric: type[Metric]) -> Goal | None:
    if metric.higher_is_better is None:
        return None
    return "maximize" if metric.higher_is_better else "minimize"
