"""Losses, weights of rows and classes, and functions of one's own."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment, LossConfig, TrainingConfig
from winnow.config.loader import load_experiment
from winnow.data.sources import load_data
from winnow.training.jobs import Jobs
from winnow.training.loop import Rows, train
from winnow.training.losses import focal, row_loss
from winnow.training.messages import FoldJob
from winnow.training.optimization import make_optimizer
from winnow.training.preflight import check
from winnow.training.preparation import prepare
from winnow.training.weights import row_weights, shares_of_steps

OWN = "tests.unit.training.losses"
OUTPUTS = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 2])


def _loss(**config):
    return row_loss(LossConfig.model_validate(config), "classification")


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_the_focal_loss_is_that_of_its_formula(gamma):
    p = OUTPUTS.softmax(1).gather(1, TARGET[:, None]).squeeze(1)
    torch.testing.assert_close(_loss(type="focal", gamma=gamma)(OUTPUTS, TARGET), -((1 - p) ** gamma) * p.log())


def test_the_focal_loss_of_a_certain_row_has_a_finite_gradient():
    outputs = torch.tensor([[200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    focal(outputs, torch.tensor([0, 1]), gamma=0.5).sum().backward()
    assert torch.isfinite(outputs.grad).all()


def test_label_smoothing_is_torchs():
    expected = nn.CrossEntropyLoss(label_smoothing=0.1)(OUTPUTS, TARGET)
    torch.testing.assert_close(_loss(type="cross_entropy", label_smoothing=0.1).mean(OUTPUTS, TARGET), expected)


def test_a_weighted_mean_is_torchs_of_class_weights():
    of_class = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    expected = functional.cross_entropy(OUTPUTS, TARGET, weight=of_class)
    torch.testing.assert_close(_loss(type="auto").mean(OUTPUTS, TARGET, of_class[TARGET]), expected)


def test_rows_share_the_weight_of_their_step():
    weights = torch.tensor([[1.0, 3.0, 2.0, 2.0, 5.0], [0.0, 0.0, 1.0, 0.0, 0.0]])
    shares, steps = shares_of_steps(weights, 2)
    torch.testing.assert_close(shares, torch.tensor([[0.25, 0.75, 0.5, 0.5, 1.0], [0, 0, 1.0, 0, 0]]))
    torch.testing.assert_close(steps, torch.tensor([[4 / 13, 4 / 13, 5 / 13], [0, 1.0, 0]]))


@pytest.mark.parametrize("loss", ["auto", "focal", f"{OWN}:absolute"])
def test_a_row_of_weight_two_is_the_row_twice(world, loss):
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(20, 4, generator=random, dtype=torch.float64)
    target = torch.randint(0, 3, (20,), generator=random)
    config = TrainingConfig(epochs=5, batch_size=100, optimizer={"type": "sgd", "lr": 0.5}, loss=loss)

    def trained(rows: Rows):
        torch.manual_seed(2)
        network, epochs = nn.Linear(4, 3).double(), []
        optimizer = make_optimizer(config.optimizer, network, torch.device("cpu"), is_scaled=False)
        every, own = torch.arange(len(rows.inputs)), row_loss(config.loss, "classification")
        on_epoch = lambda _epoch, _of, mean: epochs.append(mean)  # noqa: E731
        train(network, optimizer, rows, every, None, own, config, 0, world, on_epoch=on_epoch)
        return [*network.state_dict().values(), torch.tensor(epochs)]

    twice = torch.cat([torch.arange(20), torch.arange(7)])
    weights = torch.ones(20, dtype=torch.float64)
    weights[:7] = 2
    for one, other in zip(
        trained(Rows(inputs, target, weights)), trained(Rows(inputs[twice], target[twice])), strict=True
    ):
        torch.testing.assert_close(one, other)


def _experiment(**parts) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "losses",
            "data": {"source": parts.pop("source", "sklearn:breast_cancer"), **parts.pop("data", {})},
            "model": {"factory": "winnow.models:mlp"},
            "search": {
                "space": {"lr": {"float": [1e-4, 1e-1]}, **parts.pop("space", {})},
                "metric": parts.pop("metric", "f1"),
                "metrics": parts.pop("metrics", []),
            },
            "training": {"epochs": 2, **parts.pop("training", {})},
            "execution": {"device": "cpu"},
        }
    )


def test_balanced_weights_are_those_of_the_training_rows():
    data = load_data(_experiment().data)
    train_rows = np.flatnonzero(np.arange(data.rows) % 3 > 0)
    target = data.target[train_rows]
    of_class = compute_class_weight("balanced", classes=np.array([0, 1]), y=target)
    np.testing.assert_allclose(row_weights(data, "balanced", train_rows), of_class[data.target], rtol=1e-6)
    named = row_weights(data, {"malignant": 4.0}, train_rows)
    np.testing.assert_allclose(named, np.where(data.target == 0, 4.0, 1.0))
    assert row_weights(data, None, train_rows) is None


def yes_and_no():
    return {"X": np.eye(2, dtype=np.float32), "y": [False, True]}


def test_a_class_that_is_a_boolean_may_have_a_weight():
    content = _experiment(source=f"{__name__}:yes_and_no").model_dump(mode="json", by_alias=True)
    content["training"]["class_weights"] = {True: 3}
    tried = load_experiment(content)
    assert row_weights(load_data(tried.data), tried.training.class_weights, np.arange(2)).tolist() == [1, 3]


def weighted_rows():
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 3)).astype(np.float32)
    return {"X": x, "y": (x[:, 0] > 0).astype(int), "weights": np.where(x[:, 1] > 0, 2.0, 0.5)}


def two_rows(weights):
    return {"X": np.eye(2, dtype=np.float32), "y": [0, 1], "weights": weights}


def test_weights_of_a_data_function_reach_the_loss_and_ones_own_metric(world):
    own = {"name": f"{OWN}:profit", "goal": "maximize", "options": {"gain": 3.0}}
    experiment = _experiment(source=f"{__name__}:weighted_rows", metric=own, metrics=["log_loss", "accuracy"])
    prepared = prepare(experiment)
    assert (prepared.objective, prepared.goal) == ("profit", "maximize")
    scored = Jobs(prepared, world, send=lambda _message: None).train_fold(FoldJob(0, 0, {"lr": 0.01}))
    assert scored.metrics.keys() == {"profit", "log_loss", "accuracy", "loss"}
    assert scored.metrics["loss"] != scored.metrics["log_loss"]  # the one is weighted, the other not
    assert scored.metrics["profit"] != pytest.approx(3 * scored.metrics["accuracy"] - (1 - scored.metrics["accuracy"]))


def test_the_settings_of_a_loss_can_be_searched():
    space = {"gamma": {"float": [0.0, 3.0]}, "loss.label_smoothing": {"choice": [0.0, 0.1]}}
    prepared = check(_experiment(training={"loss": "focal"}, space=space))
    training = prepared.routing.settings({"lr": 0.1, "gamma": 1.0}, {}, prepared.experiment.training).training
    assert training.loss == LossConfig.model_validate({"type": "focal", "gamma": 1.0})
    own = {"power": {"float": [1.0, 2.0]}}
    assert check(_experiment(training={"loss": f"{OWN}:absolute"}, space=own)).routing.slots["power"].place == "loss"


@pytest.mark.parametrize(
    ("parts", "place", "found"),
    [
        ({"training": {"loss": "focale"}}, "training.loss", "'focale'"),
        ({"training": {"loss": {"type": "focal", "gama": 2}}}, "training.loss.gama", "'gama'"),
        ({"training": {"loss": {"type": "focal", "gamma": -1}}}, "training.loss.gamma", "-1"),
        (
            {"training": {"loss": {"type": "cross_entropy", "label_smoothing": 1.5}}},
            "training.loss.label_smoothing",
            "1.5",
        ),
        ({"training": {"loss": f"{OWN}:raises"}}, "training.loss", "ValueError: no such target"),
        ({"training": {"loss": f"{OWN}:per_class"}}, "training.loss", "[4, 2]"),
        ({"training": {"loss": f"{OWN}:not_a_number"}}, "training.loss", "nan"),
        ({"training": {"loss": f"{OWN}:without_gradient"}}, "training.loss", "without a gradient"),
        ({"training": {"loss": f"{OWN}:of_pairs"}}, "training.loss", "first two rows alone"),
        ({"training": {"loss": f"{OWN}:nothing"}}, "training.loss", "no such name"),
        (
            {"training": {"loss": f"{OWN}:mean_of_rows", "class_weights": "balanced"}},
            "training.loss",
            "one number for all",
        ),
        ({"training": {"class_weights": {"malignent": 2}}}, "training.class_weights.malignent", "'malignent'"),
        ({"training": {"class_weights": {"malignant": 0, "benign": 0}}}, "training.class_weights", "0 for every class"),
        (
            {"training": {"class_weights": "balanced"}, "source": "sklearn:diabetes", "metric": "r2"},
            "training.class_weights",
            "regression",
        ),
        (
            {"training": {"loss": "focal"}, "space": {"gamma": {"float": [0, 2]}}, "metric": "loss"},
            "search.metric.name",
            "gamma",
        ),
        ({"metric": f"{OWN}:profit"}, "search.metric.goal", "nothing"),
        ({"metric": f"{OWN}:raising_metric"}, "search.metric.name", "ZeroDivisionError: no rows"),
        ({"metric": f"{OWN}:of_text"}, "search.metric.name", "could not convert"),
        ({"metric": {"name": f"{OWN}:profit", "average": "macro"}}, "search.metric.average", "macro"),
        ({"data": {"weight": "worst area"}, "metric": "f1"}, None, None),
        ({"data": {"weight": "worst aera"}, "metric": "f1"}, "data.weight", "worst area"),
    ],
)
def test_what_cannot_be_minimized_or_scored_is_refused(parts, place, found):
    if place is None:
        assert check(_experiment(**parts)).data.weights is not None
        return
    with pytest.raises(InputError) as refused:
        check(_experiment(**parts))
    assert (refused.value.place, found in str(refused.value)) == (place, True)


@pytest.mark.parametrize(
    ("weights", "found"), [([1, -1], "-1 in row 2"), ([0, 0], "0 in every row"), (["a", "b"], "type"), ([1], "1")]
)
def test_wrong_weights_of_rows_are_refused(weights, found):
    with pytest.raises(InputError) as refused:
        load_data(_experiment(source=f"{__name__}:two_rows", data={"options": {"weights": weights}}).data)
    assert (refused.value.place, found in refused.value.found) == ("data.weight", True)


def test_a_loss_that_gives_a_mean_trains_alone(world):
    prepared = check(_experiment(training={"loss": f"{OWN}:mean_of_rows", "accumulation": 2}))
    plain = check(_experiment(training={"loss": "cross_entropy", "accumulation": 2}))
    job = FoldJob(0, 0, {"lr": 0.01})
    one, other = (Jobs(each, world, send=lambda _message: None).train_fold(job).metrics for each in (prepared, plain))
    assert one == pytest.approx(other, rel=1e-4)


def loop_that_tells_weights(fold, params):
    return {"f1": float(fold.train_weights.sum()), "least": float(fold.train_weights.min())}


def test_a_training_function_of_ones_own_gets_the_weights(world):
    training = {"class_weights": {"1": 3.0}, "loop": f"{__name__}:loop_that_tells_weights"}
    prepared = check(_experiment(source=f"{__name__}:weighted_rows", training=training))
    found = Jobs(prepared, world, send=lambda _message: None).train_fold(FoldJob(0, 0, {})).metrics
    rows = prepared.folds[0].train
    assert found["f1"] == pytest.approx((prepared.data.weights * (1 + 2 * prepared.data.target))[rows].sum())
    with pytest.raises(InputError):
        check(_experiment(source=f"{__name__}:weighted_rows", training={**training, "class_weights": {"2": 3.0}}))
