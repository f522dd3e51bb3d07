"""Test whether networks may be stacked: train a few steps both ways in float64, on a few rows, and compare.

Errors of a stack (mixed rows or models, other masks, a missed rule of the loop) show in a few steps. Rounding does not:
in float64 both ways agree to 1e-12 or better.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from winnow.training.loop import Rows, predict, train
from winnow.training.losses import RowLoss
from winnow.training.optimization import make_optimizer
from winnow.training.stacking.layers import NotStackableError
from winnow.training.stacking.training import FoldRows, Gather, Member, predict_stack, train_stack
from winnow.training.world import World

TOLERANCE = 1e-6
"""Largest difference, relative to the largest number of its tensor."""

LEARNING_RATE = 0.01
"""The largest that is tried: weights that are about to diverge differ by rounding alone."""

_BATCH = 16
_ROWS = (2 * _BATCH + 1, 2 * _BATCH - 1)
"""Training rows of the two models: a full batch, batches of unequal size, one of a single row, and a missing one."""


def reason_against(members: Sequence[Member], loss: RowLoss, world: World) -> str | None:
    """Why these members do not train as one; None if they do.

    Args:
        members: of equal structure. The first and the last are tried.
    """
    tried = [_small(member, rows) for member, rows in zip((members[0], members[-1]), _ROWS, strict=True)]
    try:
        stacked = train_stack(tried, loss, world.device, lambda *_, **_metrics: None)
        gather, index = Gather([member.fold for member in tried]), [member.fold.order for member in tried]
        outputs = predict_stack(stacked.stack, gather, gather.index((0, 1), index), _BATCH)
        for place, member in enumerate(tried):
            network, epochs = _train_alone(member, loss, world)
            alone = predict(network, member.fold.rows.inputs, member.fold.order, _BATCH, world)
            states = (network.state_dict(), stacked.stack.state(place))
            if epochs != stacked.epochs[place]:
                return "its models end at other epochs than one after another"
            if not _agree(alone, outputs[place]) or not all(_agree(states[0][k], states[1][k]) for k in states[1]):
                return "its weights differ from those of training one after another"
    except NotStackableError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - user code may raise anything for unexpected rows and types
        return f"the probe failed: {type(error).__name__}: {error}"
    return None


def _small(member: Member, rows: int) -> Member:
    """The same model in float64, on few rows, in two epochs."""
    fold = member.fold
    own = fold.order[torch.arange(rows) % len(fold.order)].to(fold.rows.tensor.device)
    target = fold.rows.target[own]
    small = FoldRows(
        Rows(
            fold.rows.tensor[own].double(),
            target.double() if target.is_floating_point() else target,
            None if fold.rows.weights is None else fold.rows.weights[own].double(),
        ),
        torch.arange(rows),
        torch.arange(rows // 2) if fold.watch is not None else None,
        fold.seed,
    )
    optimizer = member.training.optimizer
    rate = (optimizer.model_extra or {}).get("lr")
    if isinstance(rate, int | float):
        optimizer = optimizer.model_copy(update={"lr": min(LEARNING_RATE, rate)})
    training = member.training.model_copy(update={"epochs": 2, "batch_size": _BATCH, "optimizer": optimizer})
    return dataclasses.replace(member, network=copy.deepcopy(member.network).double(), fold=small, training=training)


def _train_alone(member: Member, loss: RowLoss, world: World) -> tuple[nn.Module, int]:
    fold, training = member.fold, member.training
    network = copy.deepcopy(member.network)
    optimizer = make_optimizer(training.optimizer, network, world.device, is_scaled=False)
    trained = train(
        network,
        optimizer,
        fold.rows,
        fold.order,
        fold.watch,
        loss,
        training,
        fold.seed,
        world,
        on_epoch=lambda *_, **_metrics: None,
    )
    return network, trained.epochs


def _agree(one: Tensor, other: Tensor) -> bool:
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = max(float(one.abs().max()), 1e-6) if one.numel() else 1.0
    return bool((one.double() - other.double()).abs().max() <= TOLERANCE * scale) if one.numel() else True
