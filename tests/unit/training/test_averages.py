"""Averages over classes are scikit-learn's, for the positive class and for several classes."""

import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, MetricConfig
from winnow.training.metrics import Outputs, specs_of
from winnow.training.preparation import prepare

NAMES = {2: ("no", "yes"), 4: ("a", "b", "c", "d")}
COUNTED = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score, "jaccard": sk.jaccard_score}


def _rows(classes: int, seed: int = 0, rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.ones(classes), rows).astype(np.float32).round(2)
    return scores, random.choice(classes, rows, p=np.array([0.6, *[0.4 / (classes - 1)] * (classes - 1)]))


def _values(config: dict[str, object], classes: int, positive: int | None = None, seed: int = 0) -> dict[str, float]:
    scores, target = _rows(classes, seed)
    outputs = Outputs("classification", classes, NAMES[classes], positive)
    specs = specs_of(MetricConfig.model_validate(config), outputs, "search.metric")
    return {spec.name: float(spec.score(torch.from_numpy(scores), torch.from_numpy(target))) for spec in specs}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
@pytest.mark.parametrize("classes", [2, 4])
def test_averages_of_counts_are_those_of_scikit_learn(classes, average, name, seed):
    scores, target = _rows(classes, seed)
    expected = COUNTED[name](target, scores.argmax(1), average=average, zero_division=0)
    assert _values({"name": name, "average": average}, classes, seed=seed) == {name: pytest.approx(expected)}
    assert _values({"name": f"{name}_{average}"}, classes, seed=seed) == {f"{name}_{average}": pytest.approx(expected)}


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("positive", [None, 0, 1])
def test_the_binary_average_is_that_of_the_positive_class(name, positive):
    scores, target = _rows(2)
    expected = COUNTED[name](target, scores.argmax(1), pos_label=1 if positive is None else positive)
    assert _values({"name": name, "average": "binary"}, 2, positive) == {name: pytest.approx(expected)}
    if positive is not None:  # then it is the default
        assert _values({"name": name}, 2, positive) == {name: pytest.approx(expected)}


@pytest.mark.parametrize("name", COUNTED)
def test_the_average_none_gives_a_value_for_each_class(name):
    scores, target = _rows(4)
    each = COUNTED[name](target, scores.argmax(1), average=None, zero_division=0)
    expected = {f"{name}.{one}": pytest.approx(value) for one, value in zip("abcd", each, strict=True)}
    assert _values({"name": name, "average": "none"}, 4) == expected
    assert _values({"name": name, "class": "c"}, 4) == {f"{name}.c": pytest.approx(each[2])}


@pytest.mark.parametrize("average", ["macro", "weighted", "micro"])
def test_averages_of_rankings_are_those_of_scikit_learn(average):
    scores, target = _rows(4)
    normal = scores / scores.sum(1, keepdims=True)
    one_hot = np.eye(4)[target]
    outputs = Outputs("classification", 4, NAMES[4])
    found = [
        float(spec.score(torch.from_numpy(normal), torch.from_numpy(target)))
        for name in ("auroc", "average_precision")
        for spec in specs_of(MetricConfig(name=name, average=average), outputs, "search.metric")
    ]
    auroc = sk.roc_auc_score(target, normal, multi_class="ovr", average=average)
    assert found == pytest.approx([auroc, sk.average_precision_score(one_hot, normal, average=average)])


@pytest.mark.parametrize("positive", [0, 1])
def test_binary_rankings_are_those_of_the_positive_class(positive):
    scores, target = _rows(2)
    is_it, score = target == positive, scores[:, positive]
    assert _values({"name": "auroc"}, 2, positive) == {"auroc": pytest.approx(sk.roc_auc_score(is_it, score))}
    precision = sk.average_precision_score(is_it, score)
    assert _values({"name": "average_precision"}, 2, positive) == {"average_precision": pytest.approx(precision)}
    assert _values({"name": "average_precision", "class": NAMES[2][positive]}, 2) == {
        f"average_precision.{NAMES[2][positive]}": pytest.approx(precision)
    }


def test_a_torchmetrics_class_takes_options():
    scores, target = _rows(4)
    expected = sk.fbeta_score(target, scores.argmax(1), beta=2, average="macro")
    assert _values({"name": "FBetaScore", "options": {"beta": 2.0}}, 4) == {"FBetaScore": pytest.approx(expected)}


def _prepared(metric: object, *, metrics: object = (), source: str = "sklearn:breast_cancer", **data: object):
    search = {"space": {"lr": {"float": [1e-4, 1e-1]}}, "metric": metric, "metrics": metrics}
    model = {"factory": "winnow.models:mlp"}
    return prepare(
        Experiment.model_validate(
            {"name": "x", "data": {"source": source, **data}, "model": model, "search": search}, by_alias=True
        )
    )


def test_metrics_are_recorded_under_names_of_their_own():
    prepared = _prepared("f1_binary", metrics=["f1", {"name": "recall", "average": "none"}, "f1"])
    names = [spec.name for spec in prepared.metrics]
    assert names == ["f1_binary", "f1", "recall.malignant", "recall.benign", "loss"]
    assert _prepared({"name": "f1", "class": "malignant"}).objective == "f1.malignant"


@pytest.mark.parametrize(
    ("parts", "place", "remedy"),
    [
        ({"metric": "f1", "positive": "malignent"}, "data.positive", "Did you mean 'malignant'?"),
        ({"metric": "f1", "positive": 3}, "data.positive", "Name one of them."),
        ({"metric": "f1", "positive": 1, "source": "sklearn:iris"}, "data.positive", "one class against the others"),
        ({"metric": "r2", "positive": 1, "source": "sklearn:diabetes"}, "data.positive", "Remove it."),
        ({"metric": {"name": "f1", "average": "none"}}, "search.metric.average", "Name the class"),
        ({"metric": {"name": "f1", "average": "binary"}, "source": "sklearn:iris"}, "search.metric.average", "class:"),
        ({"metric": {"name": "mcc", "average": "macro"}}, "search.metric.average", "Leave it out"),
        (
            {"metric": {"name": "r2", "average": "macro"}, "source": "sklearn:diabetes"},
            "search.metric.average",
            "Leave",
        ),
        ({"metric": {"name": "f1", "class": "benin"}}, "search.metric.class", "Did you mean 'benign'?"),
        ({"metric": {"name": "f1_macro", "average": "micro"}}, "search.metric.average", "average: …"),
        ({"metric": {"name": "f1", "options": {"beta": 1}}}, "search.metric.options", "Leave it out"),
        ({"metric": "f1", "metrics": [{"name": "f1", "average": "micro"}]}, "search.metrics", "f1_macro"),
    ],
)
def test_what_cannot_be_computed_is_refused(parts, place, remedy):
    with pytest.raises(InputError) as refused, warnings.catch_warnings():
        _prepared(**parts)
    assert (refused.value.place, remedy in refused.value.remedy) == (place, True)
