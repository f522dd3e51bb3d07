"""Trains a stack as the loop for one network trains each of its models: same batches, masks, steps and rules.

Each model has its own rows, optimizer settings, schedule and end. Models whose last batches differ in size take that
step apart, so no batch is padded. A model that stops early or diverges leaves the stack; no operation mixes models, so
what it computes reaches no other.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from winnow.config.experiment import TrainingConfig
from winnow.training.curves import Curves, OnEpoch
from winnow.training.dropout import Masks
from winnow.training.failures import DivergedError
from winnow.training.loop import Rows, Step, advance, plan_steps
from winnow.training.losses import RowLoss
from winnow.training.optimization import Schedule, make_optimizer, make_schedule
from winnow.training.stacking.layers import MaskStream, NotStackableError
from winnow.training.stacking.stack import Stack
from winnow.training.weights import shares_of_steps

ELEMENTWISE = frozenset(
    ["adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd"]
)
"""Optimizers that treat every weight by itself, so that one of them may hold the weights of several models."""


@dataclass(frozen=True, eq=False)
class FoldRows:
    """What a fold trains on.

    Attributes:
        rows: all rows of the data set, as the network and the loss take them.
        order: int64 indexes of the rows to train on, on the CPU; `watch` those that early stopping watches.
        seed: of the shuffles and the dropout masks.
    """

    rows: Rows
    order: Tensor
    watch: Tensor | None
    seed: int


@dataclass(frozen=True, eq=False)
class Member:
    """One model: freshly built, with what it trains on and how, and indexes of the rows to score it on.

    All members of a stack have equal epochs, batch size, accumulation, early stopping and type of optimizer.
    """

    network: nn.Module
    fold: FoldRows
    training: TrainingConfig
    validation: Tensor | None = None


@dataclass(frozen=True, eq=False)
class StackTrained:
    """What came of the members, in their order.

    Attributes:
        failures: None for a member that has not diverged.
        first_step_at: when the first step had ended (`time.perf_counter`).
    """

    stack: Stack
    epochs: list[int]
    failures: list[DivergedError | None]
    curves: list[Curves]
    first_step_at: float


Measure = Callable[[int, Tensor], Mapping[str, float]]
"""Metrics of a member (its place) from its outputs for its validation rows."""


def train_stack(
    members: Sequence[Member],
    loss: RowLoss,
    device: torch.device,
    on_epoch: OnEpoch,
    measure: Measure | None = None,
) -> StackTrained:
    """Train models together, on one rank in float32.

    Args:
        on_epoch: gets the mean of the models' losses.
        measure: what the curves hold beside losses, as often as the members' training says.

    Raises:
        NotStackableError: their layers or their optimizer cannot be batched.
    """
    kind = members[0].training.optimizer.type
    if kind.lower() not in ELEMENTWISE:
        raise NotStackableError(f"the optimizer {kind}")
    order = _sorted(members)
    run = _Run([members[place] for place in order], loss, device)
    epochs, every = members[0].training.epochs, members[0].training.curves.every
    for epoch in range(1, epochs + 1):
        mean = run.epoch(epoch)
        if math.isfinite(mean):
            on_epoch(epoch, epochs, mean)
        if measure is not None and (epoch % every == 0 or epoch == epochs):
            for member, outputs in run.validation_outputs():
                run.curves[member].add(epoch, **measure(order[member], outputs))
        if not run.alive:
            break
    stack = run.finish()
    back = sorted(range(len(order)), key=order.__getitem__)
    return StackTrained(
        stack.part(back),
        [run.epochs[i] for i in back],
        [run.failures[i] for i in back],
        [run.curves[i] for i in back],
        run.first_step_at,
    )


def predict_stack(stack: Stack, gather: Gather, watched: Sequence[Tensor], batch_size: int) -> list[Tensor]:
    """The outputs of each model for its own rows, float32 [rows, …]. `watched`: indexes of each model's rows."""
    longest = max(len(index) for index in watched)
    # A short list is filled up with a row of its own: in evaluation a row does not change another's outputs.
    padded = torch.stack([torch.cat([index, index[:1].expand(longest - len(index))]) for index in watched])
    chunks = [
        _by_model(stack.predict(gather.inputs(part)), stack.count) for part in torch.split(padded, 4 * batch_size, 1)
    ]
    outputs = torch.cat(chunks, 1).float()
    return [own[: len(index)] for own, index in zip(outputs.unbind(), watched, strict=True)]


def _by_model(rows: Tensor, models: int) -> Tensor:
    return rows.view(models, -1, *rows.shape[1:])


class Gather:
    """The rows of several folds, one after another, so that one index finds the rows of all members."""

    def __init__(self, folds: Sequence[FoldRows]) -> None:
        """`folds`: one a member; members may share one."""
        distinct = list(dict.fromkeys(folds))
        rows = [fold.rows for fold in distinct]
        starts = itertools.accumulate((len(r.tensor) for r in rows), initial=0)
        start_of = dict(zip(distinct, starts, strict=False))
        self._inputs, self._target = torch.cat([r.tensor for r in rows]), torch.cat([r.target for r in rows])
        own = [r.weights for r in rows if r.weights is not None]
        self._weights = torch.cat(own) if own else None
        self._starts = [start_of[fold] for fold in folds]

    def index(self, members: Iterable[int], indexes: Iterable[Tensor]) -> list[Tensor]:
        """Indexes of rows of the data set as indexes of this class's rows, on the device."""
        device = self._inputs.device
        return [index.to(device) + self._starts[member] for member, index in zip(members, indexes, strict=True)]

    def inputs(self, index: Tensor) -> Tensor:
        """Inputs [models × rows, …] for an index [models, rows]."""
        return self._inputs.index_select(0, index.reshape(-1))

    def target(self, index: Tensor) -> Tensor:
        """Targets [models × rows, …] for an index [models, rows]."""
        return self._target.index_select(0, index.reshape(-1))

    def weights(self, index: Tensor) -> Tensor | None:
        """What each row of an index counts, in its shape; None: all alike."""
        return None if self._weights is None else self._weights[index]


def _sorted(members: Sequence[Member]) -> list[int]:
    """Places of the members: those of equal settings side by side, and among them those with more rows first."""
    kinds: list[TrainingConfig] = []
    for member in members:
        if member.training not in kinds:
            kinds.append(member.training)
    return sorted(range(len(members)), key=lambda i: (kinds.index(members[i].training), -len(members[i].fold.order)))


@dataclass(frozen=True)
class _Batch:
    """A batch of some models at once: `start` to `stop` of the epoch's order of each.

    Attributes:
        models: places in the stack; None for all.
        rows: how many rows each has; those after them are padding. None: no row is.
        weights: of each row in the step, on the device; 0 for padding.
    """

    models: tuple[int, ...] | None
    start: int
    stop: int
    rows: tuple[int, ...] | None
    weights: Tensor


@dataclass(frozen=True)
class _Epoch:
    """The rows of one epoch in the order of each model, [models, rows].

    Attributes:
        index: what a shorter member lacks is never read.
        weights: what each row counts, 0 for what a shorter member lacks; None: all alike.
        shares: each row's share of the weight of its step.
    """

    index: Tensor
    weights: Tensor | None
    shares: Tensor | None

    def of(self, models: list[int]) -> _Epoch:
        """Those of some models."""
        weights, shares = (None if each is None else each[models] for each in (self.weights, self.shares))
        return _Epoch(self.index[models], weights, shares)


class _Group:
    """An optimizer, and its schedule, over neighbours in the stack that take the same steps by the same settings."""

    def __init__(self, member: Member, steps: int, models: range, weights: Tensor, gradients: Tensor) -> None:
        self.steps, self.models = steps, models
        self._weights = nn.Parameter(weights[models.start : models.stop])
        self._weights.grad = gradients[models.start : models.stop]
        config, holder = member.training, nn.ParameterList([self._weights])
        self._optimizer = make_optimizer(config.optimizer, holder, weights.device, is_scaled=False)
        self.schedule: Schedule | None = None
        if config.scheduler is not None:
            total = steps * config.epochs
            self.schedule = make_schedule(config.scheduler, self._optimizer, steps=total, epochs=config.epochs)

    def step(self) -> None:
        self._optimizer.step()
        if self.schedule is not None and self.schedule.every == "step":
            self.schedule.scheduler.step()

    def keep(self, models: list[int], start: int, weights: Tensor, gradients: Tensor) -> None:
        """Go on with some of its models (places in the old stack), which now begin at `start`."""
        own = torch.tensor([model - self.models.start for model in models], device=weights.device)
        for state in self._optimizer.state.values():
            for tensor in state.values():
                if isinstance(tensor, Tensor) and tensor.shape == self._weights.shape:
                    # In place, because a fused optimizer keeps lists of its states.
                    tensor.data = tensor.data[own]
        self.models = range(start, start + len(models))
        self._weights.grad = None
        self._weights.data = weights[start : start + len(models)]
        self._weights.grad = gradients[start : start + len(models)]


class _Run:
    """A stack in training. `alive`: places of the members that train on; place in it is the place in the stack."""

    def __init__(self, members: Sequence[Member], loss: RowLoss, device: torch.device) -> None:
        self._members, self._loss, self._device = members, loss, device
        networks = [member.network for member in members]
        self._whole = self._stack = Stack(networks, _generators(members, device))
        self._gather = Gather([member.fold for member in members])
        self._stopping = members[0].training.early_stopping if members[0].fold.watch is not None else None
        self._best = [math.inf] * len(members)
        self._waited = [0] * len(members)
        self._best_stack = self._stack.part(range(len(members))) if self._stopping is not None else None
        self._shuffles = {member.fold: Generator().manual_seed(member.fold.seed) for member in members}
        self.alive = list(range(len(members)))
        self.epochs = [0] * len(members)
        self.failures: list[DivergedError | None] = [None] * len(members)
        self.curves = [Curves() for _ in members]
        self.first_step_at = math.nan
        self._gradients = torch.zeros_like(self._stack.flat)
        self._plans = [_plan(member) for member in members]
        self._groups = self._make_groups()
        self._plan_batches()

    def epoch(self, number: int) -> float:
        """One pass over each member's rows; the mean of the losses of those that have not diverged."""
        orders = self._orders()
        counts = [float(len(self._members[member].fold.order)) for member in self.alive]
        if orders.weights is not None:
            counts = orders.weights.sum(1, dtype=torch.float64).tolist()
        means = [total / count for total, count in zip(self._take_steps(orders).tolist(), counts, strict=True)]
        watched = self._watch() if self._stopping is not None else means
        ended: set[int] = set()
        for place, member in enumerate(self.alive):
            self.epochs[member] = number
            self.curves[member].add(number, train_loss=means[place])
            if self._stopping is not None:
                self.curves[member].add(number, watch_loss=watched[place])
            for what, value in (("training loss", means[place]), ("loss on the watched rows", watched[place])):
                if not math.isfinite(value) and self.failures[member] is None:
                    self.failures[member] = DivergedError(f"the {what} became {value} in epoch {number}")
                    ended.add(place)
        for group in self._groups:
            if group.schedule is not None and group.schedule.every == "epoch":
                advance(group.schedule, watched[group.models.start])
        ended |= self._stopped(watched)
        finite = [mean for mean in means if math.isfinite(mean)]
        if ended:
            self._drop(ended)
        return sum(finite) / len(finite) if finite else math.nan

    def finish(self) -> Stack:
        """The whole stack with everything learned; with early stopping the best weights of each member."""
        if self._best_stack is not None:
            return self._best_stack
        if self._stack is not self._whole:
            self._whole.take(self.alive, self._stack, range(len(self.alive)))
        return self._whole

    def validation_outputs(self) -> Iterator[tuple[int, Tensor]]:
        """The outputs of each member that trains on for its validation rows."""
        validation = [self._members[member].validation for member in self.alive]
        index = self._gather.index(self.alive, [rows for rows in validation if rows is not None])
        if self.alive:
            outputs = predict_stack(self._stack, self._gather, index, self._members[0].training.batch_size)
            yield from zip(self.alive, outputs, strict=True)

    def _make_groups(self) -> list[_Group]:
        groups: list[_Group] = []
        for _, alike in itertools.groupby(range(len(self._members)), self._key):
            first, *others = alike
            member, steps, models = self._members[first], len(self._plans[first]), range(first, first + 1 + len(others))
            groups.append(_Group(member, steps, models, self._stack.flat, self._gradients))
        return groups

    def _key(self, place: int) -> Hashable:
        """What members of one optimizer have in common."""
        training = self._members[place].training
        watches = training.scheduler is not None and training.scheduler.type.lower() == "reducelronplateau"
        return training.model_dump_json(), len(self._plans[place]), place if watches else None

    def _plan_batches(self) -> None:
        """The batches of each step of an epoch, for the members that are alive."""
        plans = [self._plans[member] for member in self.alive]
        self._steps = [self._batches_of(number, plans) for number in range(max(map(len, plans)))]
        norms = [self._members[member].training.clip_norm or math.inf for member in self.alive]
        is_clipped = any(math.isfinite(norm) for norm in norms)
        self._norms = torch.tensor(norms, dtype=self._stack.flat.dtype, device=self._device) if is_clipped else None

    def _batches_of(self, number: int, plans: Sequence[Sequence[Step]]) -> tuple[_Batch, ...]:
        """The batches of one step: padded to equal length, or apart where padding would change what rows compute."""
        shares = [1 / plan[number].rows if number < len(plan) else 0.0 for plan in plans]
        shards: dict[int, list[int]] = {}
        for place, plan in enumerate(plans):
            for shard in plan[number].shards if number < len(plan) else ():
                shards.setdefault(shard.start, [0] * len(plans))[place] = shard.stop - shard.start
        batches = []
        for start, rows in sorted(shards.items()):
            if not self._stack.mixes_rows:
                batches.append(self._batch(None, start, rows, shares))
                continue
            for length in sorted({*rows} - {0}):
                models = tuple(place for place, own in enumerate(rows) if own == length)
                everyone = len(models) == len(rows)
                own_shares = [shares[place] for place in models]
                batches.append(self._batch(None if everyone else models, start, [length] * len(models), own_shares))
        return tuple(batches)

    def _batch(
        self, models: tuple[int, ...] | None, start: int, rows: Sequence[int], shares: Sequence[float]
    ) -> _Batch:
        longest = max(rows)
        counts = torch.arange(longest) < torch.tensor(rows).unsqueeze(1)
        weights = (counts * torch.tensor(shares, dtype=torch.float64).unsqueeze(1)).flatten()
        is_padded = min(rows) < longest
        own = tuple(rows) if is_padded else None
        return _Batch(models, start, start + longest, own, weights.to(self._device, self._stack.flat.dtype))

    def _orders(self) -> _Epoch:
        shuffled = {
            fold: fold.order[torch.randperm(len(fold.order), generator=g)] for fold, g in self._shuffles.items()
        }
        orders = self._gather.index(self.alive, (shuffled[self._members[member].fold] for member in self.alive))
        index = nn.utils.rnn.pad_sequence(orders, batch_first=True)
        weights = self._gather.weights(index)
        if weights is None:
            return _Epoch(index, None, None)
        rows = torch.tensor([len(order) for order in orders], device=index.device)
        weights = weights * (torch.arange(index.shape[1], device=index.device) < rows.unsqueeze(1))
        training = self._members[0].training
        return _Epoch(index, weights, shares_of_steps(weights, training.batch_size * training.accumulation)[0])

    def _take_steps(self, orders: _Epoch) -> Tensor:
        """All steps of an epoch; the sum of each member's losses, float64 [models] on the CPU."""
        totals = []
        for number, batches in enumerate(self._steps):
            if len(batches) == 1 and batches[0].models is None:
                total = self._backward(self._stack, batches[0], orders, self._gradients)
            else:
                total = self._backward_in_parts(batches, orders)
            totals.append(total)
            if self._norms is not None:
                lengths = torch.linalg.vector_norm(self._gradients, dim=1)
                self._gradients *= (self._norms / (lengths + 1e-6)).clamp(max=1.0).unsqueeze(1)
            for group in self._groups:
                if number < group.steps:
                    group.step()
            if math.isnan(self.first_step_at):
                self.first_step_at = time.perf_counter()
        return torch.stack(totals).sum(0, dtype=torch.float64).cpu()

    def _backward(self, stack: Stack, batch: _Batch, orders: _Epoch, out: Tensor) -> Tensor:
        """Put the gradients of a batch into `out`; the sum of each model's losses, [models]."""
        part = slice(batch.start, batch.stop)
        index = orders.index[:, part]
        losses = self._loss(stack.outputs(self._gather.inputs(index), batch.rows), self._gather.target(index))
        if losses.dim() == 0:
            raise NotStackableError("a loss that gives the mean of its rows")
        shares = batch.weights if orders.shares is None else orders.shares[:, part].flatten()
        torch.cat(stack.gradients(losses, shares), 1, out=out)
        counted = losses.detach() if batch.rows is None else torch.where(batch.weights > 0, losses.detach(), 0)
        if orders.weights is not None:
            counted = counted * orders.weights[:, part].flatten()
        return counted.view(len(index), -1).sum(1)

    def _backward_in_parts(self, batches: Sequence[_Batch], orders: _Epoch) -> Tensor:
        """Add up the gradients of batches that some of the models have, or of several batches of all."""
        self._gradients.zero_()
        total = torch.zeros(self._stack.count, dtype=self._stack.flat.dtype, device=self._device)
        for batch in batches:
            models = list(batch.models if batch.models is not None else range(self._stack.count))
            part = self._stack if batch.models is None else self._stack.part(models)
            gradients = torch.empty_like(part.flat)
            total[models] += self._backward(part, batch, orders.of(models), gradients)
            self._gradients[models] += gradients
            if batch.models is not None:
                self._stack.take_constants(models, part, range(len(models)))
        return total

    def _watch(self) -> list[float]:
        """The mean loss of each member's watched rows."""
        folds = [self._members[member].fold for member in self.alive]
        index = self._gather.index(self.alive, [fold.watch for fold in folds if fold.watch is not None])
        outputs = predict_stack(self._stack, self._gather, index, self._members[0].training.batch_size)
        losses = [
            self._loss.mean(own, self._gather.target(rows), self._gather.weights(rows))
            for own, rows in zip(outputs, index, strict=True)
        ]
        return [float(value) for value in torch.stack(losses)]

    def _stopped(self, watched: Sequence[float]) -> set[int]:
        """Keep the weights of members that have improved; the places of those that have not for long enough."""
        if self._stopping is None or self._best_stack is None:
            return set()
        improved, stopped = [], set()
        for place, member in enumerate(self.alive):
            if watched[place] < self._best[member] - self._stopping.min_delta:
                self._best[member], self._waited[member] = watched[place], 0
                improved.append(place)
            else:
                self._waited[member] += 1
                if self._waited[member] >= self._stopping.patience:
                    stopped.add(place)
        self._best_stack.take([self.alive[place] for place in improved], self._stack, improved)
        return stopped

    def _drop(self, ended: set[int]) -> None:
        """Go on without the models at these places."""
        self._whole.take(self.alive, self._stack, range(len(self.alive)))
        kept = [place for place in range(len(self.alive)) if place not in ended]
        self.alive = [self.alive[place] for place in kept]
        if not kept:
            return
        self._stack = self._stack.part(kept)
        self._gradients = torch.zeros_like(self._stack.flat)
        groups = [(group, [place for place in group.models if place in kept]) for group in self._groups]
        self._groups = [group for group, models in groups if models]
        start = 0
        for group, models in groups:
            if models:
                group.keep(models, start, self._stack.flat, self._gradients)
                start += len(models)
        self._plan_batches()


def _plan(member: Member) -> tuple[Step, ...]:
    training = member.training
    return plan_steps(len(member.fold.order), training.batch_size, training.accumulation, 0, 1)


def _generators(members: Sequence[Member], device: torch.device) -> list[MaskStream]:
    """The generators of the dropout masks. Members that would draw the same numbers share one where they can."""
    if device.type != "cpu":
        return [Generator(device).manual_seed(member.fold.seed) for member in members]
    shared: dict[Hashable, Masks] = {}
    generators: list[MaskStream] = []
    for member in members:
        draws = tuple(0 < module.p < 1 for module in member.network.modules() if isinstance(module, nn.Dropout))
        generators.append(shared.setdefault((member.fold, draws), Masks(member.fold.seed)))
    return generators
