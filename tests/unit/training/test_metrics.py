"""Metrics by name, against scikit-learn's and torchmetrics'."""

import itertools
import math

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics.classification
import torchmetrics.regression

from winnow.config.errors import InputError
from winnow.training.metrics import TABLE, by_torchmetrics, is_loss, resolve_metric, table_markdown

random = np.random.default_rng(0)
CLASSES = random.integers(0, 3, 200)
_raw = random.random((200, 3)).astype(np.float32) + np.eye(3, dtype=np.float32)[CLASSES] * 0.4
PROBABILITIES = _raw / _raw.sum(1, keepdims=True)
GUESSES = PROBABILITIES.argmax(1)
VALUES = random.normal(5, 1, (200, 1)).astype(np.float32)
ESTIMATES = VALUES + random.normal(0, 0.5, (200, 1)).astype(np.float32)

CLASSIFICATION = {
    "accuracy": sklearn.metrics.accuracy_score(CLASSES, GUESSES),
    "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(CLASSES, GUESSES),
    "f1": sklearn.metrics.f1_score(CLASSES, GUESSES, average="macro"),
    "precision": sklearn.metrics.precision_score(CLASSES, GUESSES, average="macro"),
    "average_precision": sklearn.metrics.average_precision_score(np.eye(3)[CLASSES], PROBABILITIES, average="macro"),
    "recall": sklearn.metrics.recall_score(CLASSES, GUESSES, average="macro"),
    "auroc": sklearn.metrics.roc_auc_score(CLASSES, PROBABILITIES, average="macro", multi_class="ovr"),
    "mcc": sklearn.metrics.matthews_corrcoef(CLASSES, GUESSES),
    "kappa": sklearn.metrics.cohen_kappa_score(CLASSES, GUESSES),
    "jaccard": sklearn.metrics.jaccard_score(CLASSES, GUESSES, average="macro"),
}
REGRESSION = {
    "rmse": sklearn.metrics.root_mean_squared_error(VALUES, ESTIMATES),
    "mse": sklearn.metrics.mean_squared_error(VALUES, ESTIMATES),
    "mae": sklearn.metrics.mean_absolute_error(VALUES, ESTIMATES),
    "mape": sklearn.metrics.mean_absolute_percentage_error(VALUES, ESTIMATES),
    "r2": sklearn.metrics.r2_score(VALUES, ESTIMATES),
    "explained_variance": sklearn.metrics.explained_variance_score(VALUES, ESTIMATES),
    "pearson": np.corrcoef(VALUES[:, 0], ESTIMATES[:, 0])[0, 1],
}


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_classification_metrics_are_averaged_over_classes(name):
    spec = resolve_metric(name, "classification", 3)
    found = spec.score(torch.from_numpy(PROBABILITIES), torch.from_numpy(CLASSES))
    assert float(found) == pytest.approx(CLASSIFICATION[name], abs=1e-5)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scikit_learn(name):
    found = resolve_metric(name, "regression", 1).score(torch.from_numpy(ESTIMATES), torch.from_numpy(VALUES))
    assert float(found) == pytest.approx(REGRESSION[name], rel=1e-4)


@pytest.mark.parametrize("named", TABLE, ids=lambda named: named.name)
def test_every_line_of_the_table_gives_a_number_and_the_goal_that_torchmetrics_declares(named):
    outputs = 2
    spec = resolve_metric(named.name, named.task, outputs)
    if named.task == "classification":
        found = spec.score(torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]), torch.tensor([0, 1, 1]))
    else:
        values = torch.tensor([[1.0, 2.0], [2.0, 3.5], [3.0, 3.0]])
        found = spec.score(values + torch.tensor([[0.1], [0.0], [0.3]]), values)
    assert math.isfinite(found)
    metric_class = getattr(torchmetrics.classification, named.metric_class, None) or getattr(
        torchmetrics.regression, named.metric_class
    )
    declared = metric_class.higher_is_better
    assert declared is None or spec.goal == ("maximize" if declared else "minimize")


def _classification_case(rows: int, classes: int, present: int, ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    raw = torch.randn(rows, classes)
    target = torch.randint(0, present, (rows,))
    return (raw.round() if ties else raw).softmax(-1), target


def _regression_case(rows: int, constant: str, ties: bool) -> tuple[torch.Tensor, torch.Tensor]:
    values, truth = 2 * torch.randn(rows, 2), torch.randn(rows, 2)
    values, truth = (values.round(), truth.round()) if ties else (values, truth)
    if constant == "truth":
        truth[:, 0] = 3.0
    if constant == "values":
        values[:, 1] = 2.0
    return (truth.clone(), truth) if constant == "error" else (values, truth)


def _cases(task):
    torch.manual_seed(0)
    for rows, ties in itertools.product((2, 3, 30), (False, True)):
        if task == "regression":
            yield from (_regression_case(rows, constant, ties) for constant in ("none", "truth", "values", "error"))
            continue
        for classes in (2, 3, 5):
            yield from (_classification_case(rows, classes, present, ties) for present in range(1, classes + 1))
            target = torch.randint(0, classes, (rows,))
            yield torch.eye(classes)[target], target
            yield torch.eye(classes)[(target + 1) % classes], target


@pytest.mark.parametrize("named", [named for named in TABLE if named.score is not None], ids=lambda named: named.name)
def test_a_score_is_that_of_torchmetrics_with_absent_classes_ties_and_constants(named):
    for outputs, target in _cases(named.task):
        found = named.score(outputs, target)
        module = torchmetrics.classification if named.task == "classification" else torchmetrics.regression
        metric = getattr(module, named.metric_class)
        expected = by_torchmetrics(metric, named.arguments, named.task, outputs.shape[-1])(outputs, target)
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("named", TABLE, ids=lambda named: named.name)
def test_stacked_models_score_as_one_after_another(named):
    spec = resolve_metric(named.name, named.task, 3)
    torch.manual_seed(0)
    outputs = torch.rand(4, 20, 3).softmax(-1)
    targets = torch.randint(0, 3, (4, 20)) if named.task == "classification" else torch.rand(4, 20, 3)
    own = spec.score(outputs, targets)
    shared = spec.score(outputs, targets[0])
    one_by_one = [spec.score(*pair) for pair in zip(outputs, targets, strict=True)]
    torch.testing.assert_close(own, torch.stack(one_by_one))
    torch.testing.assert_close(shared, torch.stack([spec.score(output, targets[0]) for output in outputs]))


def test_a_regression_metric_is_averaged_over_targets():
    target = torch.zeros(4, 2)
    outputs = torch.tensor([[1.0, 3.0]]).expand(4, 2)
    assert float(resolve_metric("rmse", "regression", 2).score(outputs, target)) == pytest.approx(2.0)


def test_any_torchmetrics_class_works_by_its_name():
    torch_outputs, target = torch.from_numpy(PROBABILITIES), torch.from_numpy(CLASSES)
    f1 = float(resolve_metric("f1", "classification", 3).score(torch_outputs, target))
    for name in ("MulticlassF1Score", "F1Score"):
        spec = resolve_metric(name, "classification", 3)
        assert (spec.goal, float(spec.score(torch_outputs, target))) == ("maximize", pytest.approx(f1, rel=1e-6))
    assert resolve_metric("LogCoshError", "regression", 1).goal == "minimize"


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'accuracy'"):
        resolve_metric("acuracy", "classification", 2)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        *(("rmse", "classification"), ("f1", "regression"), ("log_loss", "regression")),
        *(("MeanSquaredError", "classification"), ("MulticlassF1Score", "regression")),
    ],
)
def test_a_metric_of_the_other_task_is_refused(name, task):
    with pytest.raises(InputError, match=f"a metric for {task}"):
        resolve_metric(name, task, 2)


@pytest.mark.parametrize("name", ["MulticlassConfusionMatrix", "ROC", "FBetaScore", "MulticlassRecallAtFixedPrecision"])
def test_a_metric_that_is_not_one_number_or_needs_arguments_is_refused(name):
    with pytest.raises(InputError, match="one number"):
        resolve_metric(name, "classification", 3)


def test_a_metric_that_is_not_defined_is_nan_and_silent():
    constant = resolve_metric("pearson", "regression", 1).score(torch.ones(5, 1), torch.arange(5.0).unsqueeze(1))
    assert math.isnan(constant)


def test_a_class_without_rows_is_left_out_of_the_average_silently():
    outputs = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
    assert resolve_metric("auroc", "classification", 3).score(outputs, torch.tensor([0, 1, 0])) == 1.0


def test_the_loss_has_other_names_for_classification():
    assert is_loss(resolve_metric("loss", "regression", 1))
    assert is_loss(resolve_metric("log_loss", "classification", 2))


def test_the_table_is_documented_line_by_line():
    lines = table_markdown().splitlines()
    assert len(lines) == 4 + len(TABLE)
    assert "| `f1` | `MulticlassF1Score` | `average='macro'` | maximize | classification |" in lines
