"""Training on one rank: against plain torch, to the bit where that can be, and through every option."""

import copy
import math
import time

import pytest
import torch
from torch import nn

from winnow.config.experiment import TrainingConfig
from winnow.training.failures import DivergedError
from winnow.training.loop import Rows, predict, train
from winnow.training.losses import row_loss
from winnow.training.optimization import make_optimizer

ROWS = 65


def _rows(seed: int = 0) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(ROWS, 4, generator=generator)
    return Rows(inputs, (inputs[:, 0] + 0.5 * inputs[:, 1] > 0).long())


def _network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def _train(world, network, rows=None, watch=None, on_step=None, **settings):
    config = TrainingConfig.model_validate({"epochs": 3, "batch_size": 64, **settings})
    losses = []
    trained = train(
        network,
        make_optimizer(config.optimizer, network, world.device, is_scaled=False),
        rows or _rows(),
        torch.arange(ROWS),
        watch,
        row_loss(config.loss, "classification"),
        config,
        7,
        world,
        on_epoch=lambda epoch, epochs, loss, **_: losses.append(loss),
        on_step=on_step,
    )
    return trained, losses


def _reference(network, epochs, batch_size, accumulation=1, clip_norm=None):
    """The same training written out plainly: a mean over the rows of each optimizer step."""
    rows, shuffles = _rows(), torch.Generator().manual_seed(7)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for _ in range(epochs):
        order = torch.randperm(ROWS, generator=shuffles)
        for index in order.split(batch_size * accumulation):
            loss = nn.functional.cross_entropy(network(rows.inputs[index]), rows.target[index])
            optimizer.zero_grad()
            loss.backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
            optimizer.step()
            losses.append(loss.item())
    return losses


SGD = {"optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9}}


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "clip_norm"), [(64, 1, None), (16, 1, 0.1), (8, 3, None), (8, 3, 0.1)]
)
def test_every_step_is_that_of_a_plain_loop(world, batch_size, accumulation, clip_norm):
    ours, plain = _network(), _network()
    expected = _reference(plain, 3, batch_size, accumulation, clip_norm)
    steps = []
    settings = {"batch_size": batch_size, "accumulation": accumulation, "clip_norm": clip_norm}
    _train(world, ours, on_step=lambda share: steps.append(share.item()), **SGD, **settings)
    assert steps == pytest.approx(expected, rel=1e-5)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_same_seed_gives_the_same_bits(world):
    first, second = _network(), _network()
    assert _train(world, first, epochs=5)[1] == _train(world, second, epochs=5)[1]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_loss_that_is_not_finite_ends_the_training_in_its_epoch(world):
    rows = _rows()
    rows.inputs[3, 2] = math.nan
    with pytest.raises(DivergedError, match="nan in epoch 1"):
        _train(world, _network(), rows)


def test_early_stopping_restores_the_weights_of_the_best_epoch(world):
    rows = _rows()
    # The watched rows tell the opposite of the others, so that the first epoch is the best.
    watch = torch.arange(20)
    rows.target[watch] = 1 - rows.target[watch]
    one_epoch, stopped = _network(), _network()
    settings = {"optimizer": {"type": "sgd", "lr": 0.05}}
    _train(world, one_epoch, _opposite(rows), epochs=1, **settings)
    trained, _ = _train(world, stopped, _opposite(rows), watch, epochs=50, early_stopping={"patience": 3}, **settings)
    assert trained.epochs < 50
    best = trained.epochs - 3
    exact = _network()
    _train(world, exact, _opposite(rows), epochs=best, **settings)
    for one, other in zip(exact.parameters(), stopped.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def _opposite(rows: Rows) -> Rows:
    return Rows(rows.inputs.clone(), rows.target.clone())


def test_batch_norm_takes_a_last_batch_of_one_row(world):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    _, losses = _train(world, network, batch_size=64, epochs=4)
    assert losses[-1] < losses[0]
    assert int(network[1].num_batches_tracked) == 4, "a row of its own leaves no statistics"


@pytest.mark.parametrize(
    "scheduler",
    [
        *("cosine", "onecyclelr", "reducelronplateau", "cosineannealinglr", "linearlr"),
        {"type": "steplr", "step_size": 1, "every": "step"},
    ],
    ids=str,
)
def test_every_kind_of_schedule_runs_to_the_end(world, scheduler):
    trained, losses = _train(world, _network(), scheduler=scheduler, **SGD, epochs=4, batch_size=16)
    assert trained.epochs == len(losses) == 4


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop", "adagrad", "nadam", "radam", "adamax"])
def test_every_optimizer_learns(world, optimizer):
    _, losses = _train(world, _network(), optimizer={"type": optimizer, "lr": 0.01}, epochs=8, batch_size=8)
    assert losses[-1] < losses[0]


def test_the_first_step_and_the_epochs_are_told(world):
    began = time.perf_counter()
    trained, losses = _train(world, _network())
    assert trained.epochs == len(losses) == 3
    assert began < trained.first_step_at < time.perf_counter()


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_a_regression_loss_is_the_mean_over_targets(loss):
    config = TrainingConfig.model_validate({"loss": loss})
    outputs, target = torch.randn(5, 3), torch.randn(5, 3)
    plain = {"mse": nn.MSELoss(), "l1": nn.L1Loss(), "huber": nn.HuberLoss()}[loss]
    assert row_loss(config.loss, "regression")(outputs, target).shape == (5,)
    torch.testing.assert_close(row_loss(config.loss, "regression")(outputs, target).mean(), plain(outputs, target))


def test_predictions_come_in_order_and_leave_the_network_alone(world):
    network, rows = _network(), _rows()
    before = copy.deepcopy(network.state_dict())
    index = torch.randperm(ROWS)
    found = predict(network, rows.inputs, index, batch_size=2, world=world)
    with torch.no_grad():
        torch.testing.assert_close(found, network(rows.inputs[index]))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_memory_is_given_back_after_a_training(world):
    import gc
    import weakref

    network = _network()
    _train(world, network)
    gone = weakref.ref(network)
    del network
    world.free_memory()
    gc.collect()
    assert gone() is None
