"""A trained network with what belongs around it, the network before, and the seeds of its training.

Seeds depend on the study's seed and the fold but not on the trial, so that trials are compared under the same initial
weights (of equal shapes), shuffles and masks: the difference between two trials is then less noisy than either score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parameter import is_lazy

from winnow.config.experiment import TrainingConfig
from winnow.data.dataset import DataSet
from winnow.data.inputs import InputPlan
from winnow.training.calibration import Calibration, Temperature
from winnow.training.failures import DivergedError
from winnow.training.loop import Rows, predict
from winnow.training.losses import RowLoss
from winnow.training.metrics import LOSS, MetricSpec, is_loss
from winnow.training.preparation import Prepared
from winnow.training.world import World


@dataclass(frozen=True)
class Seeds:
    """The seeds of one training, the same on all ranks."""

    weights: int
    order: int


def seeds_of(study: int, fold: int) -> Seeds:
    """Independent seeds for a fold of a study; a refit counts as the fold after the last."""
    weights, order = np.random.SeedSequence((study, fold)).generate_state(2)
    return Seeds(int(weights), int(order))


class ExportModule(nn.Module):
    """Raw rows, float32 [batch, *input_shape], to class probabilities or values in the target's own units."""

    def __init__(self, preprocess: nn.Module, network: nn.Module, head: nn.Module) -> None:
        """Put a network between its preprocessing and its head (softmax, or the target's scale)."""
        super().__init__()
        self.preprocess, self.network, self.head = preprocess, network, head

    def forward(self, input: Tensor) -> Tensor:
        """The outputs, float32 [batch, outputs]."""
        output: Tensor = self.head(self.network(self.preprocess(input)))
        return output


EMBEDDING_SPREAD = 0.01
"""Of a new vector's values. Small, so that each category begins as the unknown ones do and moves by its rows."""


class EmbeddedColumns(nn.Module):
    """A network behind embedded columns: preprocessed rows, [batch, plan.prepared], to the network's outputs.

    Code 0 stands for rare and unknown categories. It begins at 0 and is moved by rare categories of the training rows;
    without any it stays 0, so that an unknown category adds nothing.
    """

    def __init__(self, plan: InputPlan, network: nn.Module) -> None:
        super().__init__()
        self.dense, self.columns = plan.dense, len(plan.embedded)
        self.tables = nn.ModuleList(nn.Embedding(column.codes, column.dimensions) for column in plan.embedded)
        for table in self.tables:
            nn.init.normal_(table.weight, std=EMBEDDING_SPREAD)  # type: ignore[arg-type]
            with torch.no_grad():
                table.weight[0] = 0.0  # type: ignore[operator]
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        codes = inputs.narrow(1, self.dense, self.columns).long()
        vectors = [table(codes.select(1, column)) for column, table in enumerate(self.tables)]
        outputs: Tensor = self.network(torch.cat([inputs.narrow(1, 0, self.dense), *vectors], 1))
        return outputs


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network with what belongs around it.

    Attributes:
        preprocess: raw inputs to network inputs.
        network: on the world's device.
        head: the network's outputs to what people read: class probabilities, or values in the target's own units.
        rows: all rows of the data set as the network and the loss take them.
        calibration: temperature and threshold of a refitted classifier; None for a fold's, which ranks by neither.
    """

    preprocess: nn.Module
    network: nn.Module
    head: nn.Module
    rows: Rows
    loss: RowLoss
    batch_size: int
    calibration: Calibration | None = None

    def outputs(self, rows: NDArray[np.int64], world: World) -> Tensor:
        """The network's outputs for some rows, float32 [rows, …], equal on all ranks."""
        return predict(self.network, self.rows.inputs, torch.from_numpy(rows), self.batch_size, world)

    def score(self, prepared: Prepared, rows: NDArray[np.int64], world: World) -> dict[str, float]:
        """Every metric of the study over some rows, equal on all ranks; NaN where one is not defined.

        The loss is the one that training minimizes: for regression that of the target brought to spread 1.
        """
        return self.metrics_of(prepared, self.outputs(rows, world), rows)

    def metrics_of(self, prepared: Prepared, raw: Tensor, rows: NDArray[np.int64]) -> dict[str, float]:
        """The same for outputs of the network, float32 [rows, …]."""
        loss = self._loss_of(raw, torch.from_numpy(rows).to(raw.device))
        if not math.isfinite(loss):
            # Some metrics raise where outputs are NaN, others answer all the same: the loss says what happened.
            return {spec.name: loss for spec in prepared.metrics if is_loss(spec)}
        if self.calibration is not None:
            raw = raw / self.calibration.temperature
        with torch.no_grad():
            outputs = self.head(raw)
        labelled = outputs if self.calibration is None else self.calibration.decided(outputs)
        target = torch.from_numpy(prepared.data.target[rows]).to(raw.device)
        own = prepared.data.weights
        weights = None if own is None else torch.from_numpy(own[rows])

        def value(spec: MetricSpec) -> float:
            if spec.name == LOSS:
                return loss
            if spec.score is None:
                return float(functional.cross_entropy(raw, target, reduction="none").double().mean())
            of = labelled if spec.is_of_labels else outputs
            return float(spec.score(of, target, weights) if spec.takes_weights else spec.score(of, target))

        return {spec.name: value(spec) for spec in prepared.metrics}

    def _loss_of(self, raw: Tensor, index: Tensor) -> float:
        losses = self.loss(raw, self.rows.target[index]).double()
        if self.rows.weights is None:
            return float(losses.mean())
        weights = self.rows.weights[index].double()
        return float((losses * weights).sum() / weights.sum().clamp_min(torch.finfo(torch.float64).tiny))

    def finished(self, world: World) -> ExportModule:
        """The model for export: on the CPU, in eval mode, without the precision it was trained in."""
        head = self.head
        if self.calibration is not None and self.calibration.temperature != 1:
            head = nn.Sequential(Temperature(self.calibration.temperature), head)
        return ExportModule(self.preprocess, world.unwrap(self.network), head).cpu().eval()


def new_network(
    prepared: Prepared, world: World, params: Mapping[str, Any], fold: int
) -> tuple[nn.Module, TrainingConfig]:
    """A fold's network with its initial weights, on the world's device, and how it is trained.

    Raises:
        Exception: whatever the factory raises for these parameters.
    """
    experiment = prepared.experiment
    settings = prepared.routing.settings(params, experiment.model.options, experiment.training)
    world.seed(seeds_of(experiment.search.seed, fold).weights)
    network = build_network(prepared.factory, prepared.data, settings.model).to(world.device)
    return network, settings.training


def check_finite(metrics: Mapping[str, float], where: str) -> None:
    """Refuse metrics that are not numbers.

    Raises:
        DivergedError: names the first of them. All ranks compute metrics from the same gathered outputs.
    """
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise DivergedError(f"the metric {name} is {value} on {where}: not defined for these outputs, or diverged")


def build_network(factory: Callable[..., Any], data: DataSet, arguments: Mapping[str, Any]) -> nn.Module:
    """Call a model's factory, and put the network behind the embedded columns of the data, if there are any.

    Returns:
        A network that takes preprocessed rows.

    Raises:
        TypeError: it returned something else than an nn.Module.
        Exception: whatever it raises.
    """
    network = factory(data.input_shape, data.outputs, **arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(f"the model's factory returned {type(network).__name__}, not an nn.Module")
    if any(is_lazy(parameter) for parameter in network.parameters()):
        # Lazy layers learn their shapes from rows; optimizers and DDP need them before the first step.
        with torch.no_grad():
            network.eval()(torch.zeros(2, *data.input_shape))
    if data.inputs is None or not data.inputs.embedded:
        return network
    return EmbeddedColumns(data.inputs, network)
