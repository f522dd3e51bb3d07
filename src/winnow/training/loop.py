"""The training loop: one network on rows that already lie on the device.

Batches are slices of an index tensor; a DataLoader's workers and copies cost more than the training of small models
does. Everything that several ranks must do alike is planned or drawn before it is needed (shuffles on the CPU from
one seed, sizes of all batches), and what they must agree on (the epoch's losses) is exchanged once per epoch.

Knowing every batch's size beforehand makes the weights right: a row counts 1/(rows of its optimizer step) on every
rank, so that ragged last batches, uneven shards and accumulated batches give the gradient of one process that holds all
the rows.

With several ranks a step's gradient is that of one process with all the rows. Two things still differ between rank
counts, as with DistributedDataParallel anywhere: BatchNorm normalizes each rank's shard by its own statistics and keeps
rank 0's running ones; dropout draws other masks on every rank.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from winnow.config.experiment import EarlyStoppingConfig, TrainingConfig
from winnow.training.failures import DivergedError
from winnow.training.optimization import Schedule, make_schedule
from winnow.training.world import World

RowLoss = Callable[[Tensor, Tensor], Tensor]
"""Outputs and targets of some rows to the loss of each, float32 [rows]."""

OnEpoch = Callable[[int, int, float], None]
"""Called on every rank after an epoch: its number from 1, the number of epochs, the training loss."""

OnStep = Callable[[Tensor], None]
"""Called on every rank after an optimizer step with its share of the step's loss; the shares of all ranks add up."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Network inputs float32 [rows, *input_shape] and targets as the loss takes them, on the device."""

    inputs: Tensor
    target: Tensor


@dataclass(frozen=True)
class Shard:
    """A rank's part of one batch.

    Attributes:
        start, stop: positions in the epoch's order; never empty, since a rank without rows must still take part in the
            exchange of gradients and so runs one row that does not count.
        real: how many of the rows from `start` on count.
    """

    start: int
    stop: int
    real: int


@dataclass(frozen=True)
class Step:
    """One optimizer step: this rank's shards of its batches, and the rows of all ranks in them."""

    shards: tuple[Shard, ...]
    rows: int


@dataclass(frozen=True)
class Trained:
    """What came of a training: the epochs it took, and when the first step had ended (`time.perf_counter`)."""

    epochs: int
    first_step_at: float


def row_loss(config: TrainingConfig, task: str) -> RowLoss:
    """The loss of each row. For several targets it is their mean."""
    name = config.loss if config.loss != "auto" else ("cross_entropy" if task == "classification" else "mse")
    if name == "cross_entropy":
        return lambda outputs, target: functional.cross_entropy(outputs, target, reduction="none")
    elementwise: Any = {"mse": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.huber_loss}[name]
    return lambda outputs, target: cast(Tensor, elementwise(outputs, target, reduction="none").flatten(1).mean(1))


def train(
    network: nn.Module,
    optimizer: Optimizer,
    rows: Rows,
    order: Tensor,
    watch: Tensor | None,
    loss: RowLoss,
    config: TrainingConfig,
    seed: int,
    world: World,
    *,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
) -> Trained:
    """Train `network` in place, on the world's device.

    Args:
        network: on the device, with the same weights on every rank.
        optimizer: over the network's parameters.
        rows: all rows of the data set.
        order: int64 [training rows]: indexes of the rows to train on, on the CPU.
        watch: indexes of the rows that early stopping watches; None without early stopping.
        seed: of the shuffles, and with the rank of the dropout masks.

    Raises:
        DivergedError: the loss of an epoch is not finite; on every rank alike.
    """
    steps = plan_steps(len(order), config.batch_size, config.accumulation, world.rank, world.size)
    shuffles = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed + world.rank)
    schedule = None
    if config.scheduler is not None:
        schedule = make_schedule(config.scheduler, optimizer, steps=len(steps) * config.epochs, epochs=config.epochs)
    if world.size > 1:
        world.expect_unused(_has_unused_parameters(network, rows, order, loss))
    model, prepared = world.accelerator.prepare(network, optimizer)
    stopper = _Stopper(config.early_stopping) if config.early_stopping is not None and watch is not None else None
    stepper = _Stepper(model, network, prepared, schedule, loss, config, world, on_step)
    epoch = 0
    for epoch in range(1, config.epochs + 1):
        network.train()
        shuffled = order[torch.randperm(len(order), generator=shuffles)].to(world.device)
        total = stepper.epoch(rows, shuffled, steps)
        mean, watched = _agree(total, len(order), _watch_loss(network, rows, watch, loss, config, world), world, epoch)
        on_epoch(epoch, config.epochs, mean)
        if schedule is not None and schedule.every == "epoch":
            _advance(schedule, watched if watched is not None else mean)
        if stopper is not None and watched is not None and stopper.is_done(watched, network):
            break
    if stopper is not None:
        stopper.restore(network)
    world.share_buffers(network)
    return Trained(epoch, stepper.first_step_at)


def plan_steps(rows: int, batch_size: int, accumulation: int, rank: int, world_size: int) -> tuple[Step, ...]:
    """The steps of one epoch over `rows` rows, in batches of `batch_size` over all ranks.

    The last batch may have fewer rows, and the last step fewer batches than `accumulation`.
    """
    batches = [(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
    groups = [batches[first : first + accumulation] for first in range(0, len(batches), accumulation)]
    return tuple(
        Step(tuple(_shard(*batch, rank, world_size) for batch in group), group[-1][1] - group[0][0]) for group in groups
    )


def _shard(start: int, stop: int, rank: int, world_size: int) -> Shard:
    """An even share of a batch: sizes differ by at most one row."""
    rows = stop - start
    first, end = start + rows * rank // world_size, start + rows * (rank + 1) // world_size
    return Shard(first, end, end - first) if end > first else Shard(start, start + 1, 0)


class _Stepper:
    """Runs epochs step by step; apart from `train` so that a step's many parts have names."""

    def __init__(
        self,
        model: Any,
        network: nn.Module,
        optimizer: Any,
        schedule: Schedule | None,
        loss: RowLoss,
        config: TrainingConfig,
        world: World,
        on_step: OnStep | None,
    ) -> None:
        self._model, self._network, self._optimizer, self._schedule = model, network, optimizer, schedule
        self._loss, self._config, self._world, self._on_step = loss, config, world, on_step
        self._has_batch_norm = any(isinstance(module, _BatchNorm) for module in network.modules())
        self.first_step_at = math.nan

    def epoch(self, rows: Rows, order: Tensor, steps: tuple[Step, ...]) -> Tensor:
        """One pass in the given order; returns the sum of this rank's row losses, left on the device."""
        total = torch.zeros((), dtype=torch.float32, device=order.device)
        for step in steps:
            share = self._step(rows, order, step)
            total += share * step.rows
            if self._on_step is not None:
                self._on_step(share)
            if math.isnan(self.first_step_at):
                self.first_step_at = time.perf_counter()
        return total

    def _step(self, rows: Rows, order: Tensor, step: Step) -> Tensor:
        share = torch.zeros((), device=order.device)
        for number, shard in enumerate(step.shards, start=1):
            is_last = number == len(step.shards)
            with nullcontext() if is_last else self._world.accelerator.no_sync(self._model):
                part = self._shard_loss(rows, order, shard) / step.rows
                # DDP averages over the ranks; what is wanted is the sum of their shares.
                self._world.accelerator.backward(part * self._world.size)
            share += part.detach()
        if self._config.clip_norm is not None:
            self._world.accelerator.clip_grad_norm_(self._network.parameters(), self._config.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._schedule is not None and self._schedule.every == "step" and not self._optimizer.step_was_skipped:
            self._schedule.scheduler.step()
        return share

    def _shard_loss(self, rows: Rows, order: Tensor, shard: Shard) -> Tensor:
        """Sum of the losses of the rows that count: of none it is 0, where a mean would be NaN."""
        index = order[shard.start : shard.stop]
        inputs, target = rows.inputs[index], rows.target[index]
        with _running_statistics(self._network) if self._has_batch_norm and len(index) == 1 else nullcontext():
            outputs = self._model(inputs)
        return self._loss(outputs, target)[: shard.real].sum()


def _has_unused_parameters(network: nn.Module, rows: Rows, order: Tensor, loss: RowLoss) -> bool:
    """Whether a row's loss leaves a parameter without a gradient; the same on every rank, for they try the same row.

    In evaluation mode, so that neither random numbers nor running statistics move.
    """
    was_training = network.training
    network.eval()
    first = order[:1].to(rows.inputs.device)
    total = loss(network(rows.inputs[first]), rows.target[first]).sum()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    network.train(was_training)
    return any(gradient is None for gradient in gradients)


@contextmanager
def _running_statistics(network: nn.Module) -> Iterator[None]:
    """Let BatchNorm use its running statistics: one row has no spread, and one that does not count must leave none."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


class _Stopper:
    """Early stopping: counts epochs without improvement and keeps the best weights."""

    def __init__(self, config: EarlyStoppingConfig) -> None:
        self._config = config
        self._best = math.inf
        self._waited = 0
        self._weights: dict[str, Any] = {}

    def is_done(self, watched: float, network: nn.Module) -> bool:
        if watched < self._best - self._config.min_delta:
            self._best, self._waited = watched, 0
            self._weights = copy.deepcopy(network.state_dict())
            return False
        self._waited += 1
        return self._waited >= self._config.patience

    def restore(self, network: nn.Module) -> None:
        network.load_state_dict(self._weights)


def _watch_loss(
    network: nn.Module, rows: Rows, watch: Tensor | None, loss: RowLoss, config: TrainingConfig, world: World
) -> Tensor | None:
    """Mean loss of the watched rows; the same on every rank."""
    if watch is None:
        return None
    outputs = predict(network, rows.inputs, watch, config.batch_size, world)
    return loss(outputs, rows.target[watch.to(world.device)]).mean()


def _agree(total: Tensor, rows: int, watched: Tensor | None, world: World, epoch: int) -> tuple[float, float | None]:
    """The epoch's mean training loss and watched loss, equal on all ranks: the only time they talk beside gradients."""
    shares = world.gather([total, watched if watched is not None else 0.0])
    mean, watch = float(shares[:, 0].sum()) / rows, float(shares[0, 1])
    if not math.isfinite(mean):
        raise DivergedError(f"the training loss became {mean} in epoch {epoch}")
    if not math.isfinite(watch):
        raise DivergedError(f"the loss on the watched rows became {watch} in epoch {epoch}")
    return mean, watch if watched is not None else None


def _advance(schedule: Schedule, loss: float) -> None:
    arguments = (loss,) if schedule.watches else ()
    schedule.scheduler.step(*arguments)


@torch.no_grad()
def predict(network: nn.Module, inputs: Tensor, rows: Tensor, batch_size: int, world: World) -> Tensor:
    """The network's outputs for some rows, float32 [rows, …], computed in parts and whole on every rank.

    The rows are dealt over the ranks; the parts are padded to equal length for the exchange and trimmed again by their
    real counts, so that no row counts twice.
    """
    network.eval()
    world.share_buffers(network)
    longest = -(-len(rows) // world.size)
    own = rows[world.rank * longest : (world.rank + 1) * longest].to(world.device)
    # A rank without rows runs one all the same, to learn the shape of the others' answers.
    index = own if len(own) else rows[:1].to(world.device)
    # No gradients are kept, so four times a training batch fits where a training batch did.
    chunks = [network(inputs[part]) for part in torch.split(index, 4 * batch_size)]
    outputs = torch.cat(chunks).float()[: len(own)]
    if world.size == 1:
        return outputs
    padded = outputs.new_zeros(longest, *outputs.shape[1:])
    padded[: len(own)] = outputs
    # Every rank but the last ones is full, so that the padding lies at the end.
    return world.gather_rows(padded)[: len(rows)]
