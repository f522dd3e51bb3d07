"""The training loop takes the steps of the simplest loop that says the same, in float64, for every part of it."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.config.experiment import TrainingConfig
from winnow.models import cnn, mlp
from winnow.training.dropout import Masks
from winnow.training.loop import Rows, train
from winnow.training.losses import row_loss
from winnow.training.optimization import make_optimizer, make_schedule, optimizer_class

ROWS, SEED = 129, 7
"""A batch size of 64 leaves a last batch of one row."""

NETWORKS = {
    "mlp": lambda: mlp((5,), 3, hidden=(8, 8), dropout=0.3),
    "batch norm": lambda: mlp((5,), 3, hidden=(8,), dropout=0.3, norm="batch"),
    "layer norm": lambda: mlp((5,), 3, hidden=(8,), dropout=0.3, norm="layer"),
    "cnn": lambda: cnn((1, 6, 6), 3, channels=(4, 8), dropout=0.3, hidden=8),
}
SETTINGS = {
    "one step a batch": {},
    "accumulation": {"batch_size": 20, "accumulation": 3},
    "clipping": {"clip_norm": 0.05, "batch_size": 50},
    "a schedule by the step": {"scheduler": {"type": "cosine", "warmup_steps": 3}, "batch_size": 32},
    "a schedule by the epoch": {"scheduler": {"type": "steplr", "step_size": 2, "gamma": 0.3}},
    "a schedule by the loss": {"scheduler": {"type": "reducelronplateau", "patience": 0, "threshold": 0.2}},
    "one cycle": {"scheduler": {"type": "onecyclelr"}, "optimizer": {"type": "sgd", "lr": 0.1, "momentum": 0.9}},
    "early stopping": {"early_stopping": {"patience": 2}, "optimizer": {"type": "adam", "lr": 0.1}, "epochs": 12},
}


def _rows(network) -> Rows:
    generator = torch.Generator().manual_seed(0)
    shape = (5,) if isinstance(network[1], nn.Linear) else (1, 6, 6)
    inputs = torch.randn(ROWS, *shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(ROWS, 3, generator=generator, dtype=torch.float64)
    return Rows(inputs, (inputs.flatten(1)[:, :3] + noise).argmax(1))


def _make(name: str) -> nn.Module:
    torch.manual_seed(1)
    return NETWORKS[name]().double()


def _reference(network, rows, learned, watch, config) -> list[float]:
    """Train `network` and return the mean training loss of each epoch."""
    settings = dict(config.optimizer.model_extra)
    optimizer = optimizer_class(config.optimizer.type)(network.parameters(), **settings)
    size = config.batch_size * config.accumulation
    steps = math.ceil(len(learned) / size) * config.epochs
    schedule = config.scheduler and make_schedule(config.scheduler, optimizer, steps=steps, epochs=config.epochs)
    shuffles = torch.Generator().manual_seed(SEED)
    losses, best, best_weights, waited = [], math.inf, None, 0
    for _ in range(config.epochs):
        total = 0.0
        for step in learned[torch.randperm(len(learned), generator=shuffles)].split(size):
            optimizer.zero_grad()
            for batch in step.split(config.batch_size):
                network.train()
                if len(batch) == 1:
                    [module.eval() for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
                loss = functional.cross_entropy(network(rows.inputs[batch]), rows.target[batch], reduction="sum")
                (loss / len(step)).backward()
                total += loss.item()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
            if schedule and schedule.every == "step":
                schedule.scheduler.step()
        losses.append(total / len(learned))
        if schedule and schedule.every == "epoch":
            schedule.scheduler.step(*([losses[-1]] if schedule.watches else []))
        if watch is None:
            continue
        network.eval()
        with torch.no_grad():
            watched = functional.cross_entropy(network(rows.inputs[watch]), rows.target[watch]).item()
        waited += 1
        if watched < best:
            best, best_weights, waited = watched, copy.deepcopy(network.state_dict()), 0
        if waited == config.early_stopping.patience:
            break
    if best_weights is not None:
        network.load_state_dict(best_weights)
    return losses


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chosen", SETTINGS)
def test_the_loop_agrees_with_the_simplest_one(world, name, chosen):
    base = {"epochs": 4, "batch_size": 64, "optimizer": {"type": "adamw", "lr": 0.02, "weight_decay": 0.1}}
    config = TrainingConfig.model_validate(base | SETTINGS[chosen])
    ours, plain = _make(name), _make(name)
    rows = _rows(ours)
    watch = torch.arange(100, ROWS) if config.early_stopping is not None else None
    learned = torch.arange(100 if watch is not None else ROWS)
    optimizer = make_optimizer(config.optimizer, ours, world.device, is_scaled=False)
    loss, losses = row_loss(config.loss, "classification"), []
    train(
        *(ours, optimizer, rows, learned, watch, loss, config, SEED, world),
        on_epoch=lambda _epoch, _epochs, loss, **_: losses.append(loss),
        gathered_bytes=70 * rows.inputs[0].nbytes,
    )
    with Masks(SEED):
        expected = _reference(plain, rows, learned, watch, config)
    assert losses == pytest.approx(expected, rel=1e-9)
    for one, other in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)
