"""Optimizers and schedules by name."""

import math

import pytest
import torch
from torch import nn

from winnow.config.errors import InputError
from winnow.config.experiment import OptimizerConfig, SchedulerConfig
from winnow.training.optimization import (
    CosineWithWarmup,
    make_optimizer,
    make_schedule,
    optimizer_class,
    optimizer_settings,
    scheduler_settings,
)

CPU = torch.device("cpu")


def _optimizer(name: str = "sgd", *, is_scaled: bool = False, **settings):
    torch.manual_seed(0)
    return make_optimizer(OptimizerConfig(type=name, **settings), nn.Linear(2, 1), CPU, is_scaled=is_scaled)


@pytest.mark.parametrize("name", ["adamw", "AdamW", "SGD", "rmsprop", "nadam", "adafactor"])
def test_an_optimizer_is_found_in_any_case(name):
    assert optimizer_class(name).__name__.lower() == name.lower()
    assert "lr" in optimizer_settings(name)


@pytest.mark.parametrize(("name", "near"), [("adamv", "adam"), ("lbfgs", "an optimizer of torch.optim")])
def test_an_unknown_or_unfit_optimizer_is_refused(name, near):
    with pytest.raises(InputError, match=near):
        optimizer_class(name)


def test_settings_of_another_optimizer_are_left_out():
    group = _optimizer("adamw", lr=0.1, momentum=0.9, betas=[0.8, 0.9]).param_groups[0]
    assert (group["lr"], group["betas"], "momentum" in group) == (0.1, (0.8, 0.9), False)


class _Skipping(nn.Module):
    """Leaves a layer out of every third step."""

    def __init__(self):
        super().__init__()
        self.always, self.sometimes, self.calls = nn.Linear(5, 5), nn.Linear(5, 5), 0

    def forward(self, inputs):
        self.calls += 1
        hidden = self.always(inputs)
        return hidden if self.calls % 3 == 0 else self.sometimes(hidden)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *(("adam", {}), ("adam", {"weight_decay": 0.1, "amsgrad": True}), ("adamw", {"betas": (0.8, 0.9)})),
        *(("sgd", {}), ("sgd", {"momentum": 0.9, "dampening": 0.5}), ("sgd", {"momentum": 0.9, "nesterov": True})),
        *(("adagrad", {}), ("adagrad", {"lr_decay": 0.1, "weight_decay": 0.1})),
    ],
)
@pytest.mark.parametrize("network", [lambda: nn.Linear(5, 3), _Skipping], ids=["whole", "with a layer left out"])
def test_a_fused_optimizer_takes_the_steps_of_torch_to_the_bit(name, settings, network):
    weights = []
    for is_ours in (False, True):
        torch.manual_seed(0)
        model, config = network(), OptimizerConfig(type=name, lr=0.1, **settings)
        if is_ours:
            optimizer = make_optimizer(config, model, CPU, is_scaled=False)
        else:
            optimizer = optimizer_class(name)(model.parameters(), lr=0.1, **settings, fused=True)
        for _ in range(20):
            model(torch.randn(8, 5)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    assert torch.equal(*weights)


def test_scaled_gradients_get_an_optimizer_that_reports_a_skipped_step():
    assert type(_optimizer("adam", is_scaled=True)) is torch.optim.Adam
    assert isinstance(_optimizer("adam"), torch.optim.Adam)


def test_cosine_rises_over_the_warm_up_and_falls_to_its_final_factor():
    factor = CosineWithWarmup(steps=14, warmup_steps=4, final_factor=0.1)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factor(9) == pytest.approx(0.1 + 0.9 * 0.5)
    assert factor(14) == pytest.approx(0.1)
    assert factor(99) == pytest.approx(0.1)


def test_a_warm_up_longer_than_the_training_never_ends():
    assert CosineWithWarmup(steps=10, warmup_steps=20)(9) == 0.5


@pytest.mark.parametrize(
    ("config", "every", "settings"),
    [
        ({"type": "cosine", "warmup_steps": 3}, "step", {"warmup_steps", "final_factor"}),
        ({"type": "StepLR", "step_size": 2}, "epoch", {"step_size", "gamma"}),
        ({"type": "cosineannealinglr"}, "epoch", {"T_max", "eta_min"}),
        ({"type": "exponentiallr", "gamma": 0.9, "every": "step"}, "step", {"gamma"}),
    ],
)
def test_a_schedule_advances_when_it_is_used_to(config, every, settings):
    schedule = make_schedule(SchedulerConfig(**config), _optimizer(lr=0.1), steps=20, epochs=5)
    assert (schedule.every, schedule.watches) == (every, False)
    assert scheduler_settings(config["type"]) == settings


def test_one_cycle_is_told_the_length_of_the_training_and_the_learning_rate():
    optimizer = _optimizer(lr=0.3, momentum=0.9)
    schedule = make_schedule(SchedulerConfig(type="onecyclelr"), optimizer, steps=20, epochs=5)
    assert (schedule.every, schedule.scheduler.total_steps) == ("step", 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.scheduler.step() if len(rates) < 20 else None
    assert math.isclose(max(rates), 0.3, rel_tol=0.02)


def test_a_plateau_is_watched_by_the_epoch():
    schedule = make_schedule(SchedulerConfig(type="reducelronplateau"), _optimizer(), steps=20, epochs=5)
    assert (schedule.every, schedule.watches) == ("epoch", True)
    with pytest.raises(InputError, match="each epoch"):
        make_schedule(SchedulerConfig(type="reducelronplateau", every="step"), _optimizer(), steps=20, epochs=5)


@pytest.mark.parametrize("name", ["LambdaLR", "SequentialLR", "cosin"])
def test_an_unknown_or_unfit_scheduler_is_refused(name):
    with pytest.raises(InputError):
        scheduler_settings(name)
