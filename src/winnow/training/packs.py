"""Train folds of one job as one batched model where that gives the same results and costs less.

Folds whose networks have equal structure form stacks. The first job of a structure tests it: a probe in float64
compares the results, and one fold trains alone so that `StackCosts` can compare the cost. Its result is used, too.
"""

from __future__ import annotations

import functools
import math
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import torch

from winnow.data.rows import RowSource
from winnow.training.curves import OnEpoch
from winnow.training.failures import DivergedError, failure_of
from winnow.training.fitting import Fitted, check_finite, new_network, seeds_of
from winnow.training.fold_data import FoldData, Learned
from winnow.training.losses import RowLoss, row_loss
from winnow.training.messages import FoldFailed, FoldJob, FoldScored
from winnow.training.out_of_fold import kept_outputs
from winnow.training.preparation import Prepared
from winnow.training.stacking.layers import NotStackableError
from winnow.training.stacking.probe import reason_against
from winnow.training.stacking.stack import structure_of
from winnow.training.stacking.training import FoldRows, Gather, Member, predict_stack, train_stack
from winnow.training.world import World

_KEPT_BYTES = 256 * 2**20
"""Inputs of all folds that are kept from one job to the next."""

_MOST_BYTES = 2**30
"""Scaled inputs of the folds of a stack; it holds them twice."""


@dataclass(frozen=True)
class Alone:
    """A fold that trains by itself; `reason` says why other folds of its job cannot train with it."""

    job: FoldJob
    reason: str | None = None


@dataclass(frozen=True)
class Packed:
    """The results of folds that trained as one."""

    results: tuple[FoldScored | FoldFailed, ...]


@dataclass
class StackCosts:
    """Attributes: `seconds` of work per model, by the number of models that trained as one; 1 is alone."""

    seconds: dict[int, float] = field(default_factory=dict)

    def note(self, models: int, seconds: float) -> None:
        """Record what one of `models` models took. The latest measurement counts as much as all earlier ones."""
        self.seconds[models] = (self.seconds.get(models, seconds) + seconds) / 2

    def next_size(self, waiting: int) -> int:
        """How many of `waiting` models to train as one next, so that all of them cost little.

        The first model trains alone, which shows what a stack must beat. All that wait form one stack where larger
        ones have been cheaper so far, or where none of half their number was tried. Otherwise they form equal stacks of
        about the cheapest size.
        """
        known = [size for size in self.seconds if size <= waiting]
        if not known:
            return 1
        best = min(known, key=lambda size: self.seconds[size])
        if best == max(known) or waiting >= 2 * max(known):
            return waiting
        return math.ceil(waiting / math.ceil(waiting / best))

    def share(self, models: int) -> float:
        """What a model among `models` costs, as a share of its cost alone. It is 2 at most: failures end early."""
        return min(2.0, self.seconds[models] / self.seconds[1])

    def reason_against(self) -> str | None:
        """Why models train alone: every stack that was tried cost more. None where that is not so."""
        alone, stacks = self.seconds.get(1, math.inf), [size for size in self.seconds if size > 1]
        if not stacks or min(self.seconds[size] for size in stacks) < alone:
            return None
        size = min(stacks, key=lambda size: self.seconds[size])
        return f"a model took {self.seconds[size]:.3g} s in a stack of {size}, and {alone:.3g} s alone"


@dataclass(frozen=True, eq=False)
class _Fold:
    learned: Learned
    rows: FoldRows


@dataclass(frozen=True, eq=False)
class _Candidate:
    job: FoldJob
    member: Member


class Packs:
    """Trains jobs as one. It caches, for each structure, the verdict of the probe and the measured costs.

    Attributes:
        reasons: why networks of a structure cannot train as one; None: they can.
    """

    def __init__(self, prepared: Prepared, world: World, data: FoldData, on_epoch: OnEpoch) -> None:
        self._prepared, self._world, self._data, self._on_epoch = prepared, world, data, on_epoch
        self._folds: dict[int, _Fold] = {}
        self.reasons: dict[Hashable, str | None] = {}
        self._costs: defaultdict[Hashable, StackCosts] = defaultdict(StackCosts)

    def train(self, jobs: Sequence[FoldJob]) -> Iterator[Packed | Alone]:
        """Train jobs as one where possible. Every job is yielded once; the caller trains those that are `Alone`."""
        if len(jobs) == 1:
            yield Alone(jobs[0])
            return
        reason = self._reason_for_all(jobs, self._world.size)
        if reason is not None:
            yield from (Alone(job, reason) for job in jobs)
            return
        groups: dict[Hashable, list[_Candidate]] = {}
        for job in jobs:
            try:
                candidate = self._candidate(job)
                groups.setdefault(self._structure(candidate.member), []).append(candidate)
            except NotStackableError as error:
                yield Alone(job, str(error))
            except Exception:  # noqa: BLE001 - the same happens where it trains alone, and is reported there
                yield Alone(job)
        for structure, candidates in groups.items():
            yield from self._train_group(structure, candidates)
        if self._prepared.data.prepared_bytes * len(self._prepared.folds) > _KEPT_BYTES:
            self._folds.clear()

    def reason_against(self, params: Mapping[str, Any], ranks: int) -> str | None:
        """Why networks with these parameters cannot train as one in a group of `ranks`; None: they can. Uncached."""
        jobs = [FoldJob(trial=0, fold=fold, params=dict(params)) for fold in (0, 1)]
        reason = self._reason_for_all(jobs, ranks)
        if reason is not None:
            return reason
        try:
            members = [self._candidate(job).member for job in jobs]
            structure_of(members[0].network)
        except NotStackableError as error:
            return str(error)
        return reason_against(members, self._loss(members[0]), self._world)

    def _reason_for_all(self, jobs: Sequence[FoldJob], ranks: int) -> str | None:
        training = self._prepared.experiment.training
        if self._prepared.experiment.search.pruner.every == "epoch":
            return "trials that may stop after each epoch (search.pruner.every)"
        if training.loop is not None:
            return "a custom training function"
        if isinstance(self._prepared.data.features, RowSource):
            return "rows that do not lie in memory"
        if self._prepared.augmentation is not None:
            return "augmentation"
        if ranks > 1 or training.precision != "no":
            return "several ranks, or a precision other than float32"
        folds = len({job.fold for job in jobs})
        if folds * self._prepared.data.prepared_bytes > _MOST_BYTES:
            return f"the inputs of {folds} folds take more than {_MOST_BYTES >> 20} MiB"
        return None

    def _candidate(self, job: FoldJob) -> _Candidate:
        network, training = new_network(self._prepared, self._world, job.params, job.fold)
        if job.fold not in self._folds:
            learned = self._data.learned(self._prepared.folds[job.fold].train, job.fold, training.early_stopping)
            seed = seeds_of(self._prepared.experiment.search.seed, job.fold).order
            rows = FoldRows(self._data.rows(learned), learned.order, learned.watch, seed)
            self._folds[job.fold] = _Fold(learned, rows)
        validation = torch.from_numpy(self._prepared.folds[job.fold].validation)
        return _Candidate(job, Member(network, self._folds[job.fold].rows, training, validation))

    @staticmethod
    def _structure(member: Member) -> Hashable:
        training = member.training
        loss = training.loss.model_dump_json()
        return structure_of(member.network), training.epochs, training.batch_size, training.optimizer.type.lower(), loss

    def _loss(self, member: Member) -> RowLoss:
        """The loss, which is that of all members of a stack."""
        return row_loss(member.training.loss, self._prepared.data.task)

    def _train_group(self, structure: Hashable, candidates: list[_Candidate]) -> Iterator[Packed | Alone]:
        costs, is_fixed = self._costs[structure], isinstance(self._prepared.experiment.execution.pack, int)
        while candidates:
            reason = self._reason(structure, candidates)
            size = 1 if reason else len(candidates) if is_fixed else costs.next_size(len(candidates))
            part, candidates = candidates[:size], candidates[size:]
            began = self._clock_s()
            if size == 1:
                yield Alone(part[0].job, reason or costs.reason_against())
                costs.note(1, self._clock_s() - began)
                continue
            try:
                results = self._train_stack(part)
            except Exception as error:  # noqa: BLE001 - what a stack cannot do, its models can still do alone
                traceback.print_exception(error, file=sys.stderr)
                self.reasons[structure] = f"its stack failed: {type(error).__name__}: {error}"
                candidates = part + candidates
                continue
            costs.note(size, (self._clock_s() - began) / size)
            share = 1.0 if is_fixed else costs.share(size)
            yield Packed(tuple(_with_cost(result, share) for result in results))

    def _reason(self, structure: Hashable, candidates: Sequence[_Candidate]) -> str | None:
        """Why models of a structure cannot train as one. The first two candidates are probed."""
        if structure not in self.reasons and len(candidates) > 1:
            members = [candidate.member for candidate in candidates]
            self.reasons[structure] = reason_against(members, self._loss(members[0]), self._world)
        return self.reasons.get(structure)

    def _clock_s(self) -> float:
        """Seconds of work: CPU time on a CPU, so that other processes do not count."""
        return time.process_time() if self._world.device.type == "cpu" else time.perf_counter()

    def _train_stack(self, candidates: Sequence[_Candidate]) -> tuple[FoldScored | FoldFailed, ...]:
        began = time.perf_counter()
        members = [candidate.member for candidate in candidates]
        config = self._prepared.experiment.training.curves
        measure = functools.partial(self._measured, candidates) if config.type == "metrics" else None
        trained = train_stack(members, self._loss(members[0]), self._world.device, self._on_epoch, measure)
        ended = time.perf_counter()
        validation = [self._prepared.folds[candidate.job.fold].validation for candidate in candidates]
        gather = Gather([member.fold for member in members])
        index = gather.index(range(len(members)), [torch.from_numpy(rows) for rows in validation])
        outputs = predict_stack(trained.stack, gather, index, members[0].training.batch_size)
        share = 1 / len(members)
        results: list[FoldScored | FoldFailed] = []
        ends = zip(candidates, outputs, trained.epochs, trained.failures, trained.curves, strict=True)
        for candidate, raw, epochs, failure, curves in ends:
            job, scoring = candidate.job, time.perf_counter()
            try:
                if failure is not None:
                    raise failure
                metrics = self._metrics(candidate, raw)
            except DivergedError as error:
                results.append(FoldFailed(job.trial, job.fold, failure_of(error)))
                continue
            results.append(
                FoldScored(
                    trial=job.trial,
                    fold=job.fold,
                    metrics=metrics,
                    epochs=epochs,
                    first_step_s=(trained.first_step_at - began) * share,
                    train_s=(ended - began) * share,
                    score_s=time.perf_counter() - scoring,
                    packed=len(members),
                    curves=curves.points() if config.type != "off" else {},
                    outputs=kept_outputs(self._prepared, job.fold, raw),
                )
            )
        return tuple(results)

    def _measured(self, candidates: Sequence[_Candidate], member: int, raw: torch.Tensor) -> dict[str, float]:
        """A point of the curves on the validation rows."""
        metrics = self._metrics_of(candidates[member], raw)
        return {f"val_{name}": value for name, value in metrics.items()}

    def _metrics(self, candidate: _Candidate, raw: torch.Tensor) -> dict[str, float]:
        """Raises DivergedError where one is not finite."""
        metrics = self._metrics_of(candidate, raw)
        check_finite(metrics, f"fold {candidate.job.fold + 1}")
        return metrics

    def _metrics_of(self, candidate: _Candidate, raw: torch.Tensor) -> dict[str, float]:
        member, learned = candidate.member, self._folds[candidate.job.fold].learned
        batch_size = member.training.batch_size
        loss, rows = self._loss(member), member.fold.rows
        fitted = Fitted(learned.preprocess, member.network, learned.head, rows, loss, batch_size)
        return fitted.metrics_of(self._prepared, raw, self._prepared.folds[candidate.job.fold].validation)


def _with_cost(result: FoldScored | FoldFailed, cost: float) -> FoldScored | FoldFailed:
    return msgspec.structs.replace(result, cost=cost) if isinstance(result, FoldScored) else result
