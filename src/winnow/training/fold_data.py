"""The data set on the device, and the preprocessing fitted on each fold's training rows.

The preprocessing depends only on the fold and the share of rows that early stopping watches, so it is fitted once per
pair. For large rows that takes as long as some epochs on a GPU.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from winnow.config.experiment import EarlyStoppingConfig
from winnow.data.preprocessing import TargetScale, fit_preprocessing
from winnow.data.rows import RowSource, select
from winnow.data.splits import split_watch
from winnow.training.fetched_inputs import FetchedInputs, return_freed_memory
from winnow.training.loop import Rows
from winnow.training.preparation import Prepared
from winnow.training.weights import row_weights


@dataclass(frozen=True, eq=False)
class Learned:
    """What a fold's training rows teach.

    Attributes:
        order: int64 [training rows]: indexes of the rows to train on, on the CPU.
        watch: indexes of the rows that early stopping watches, on the CPU; None without early stopping.
        preprocess: raw inputs to network inputs, on the device.
        head: the network's outputs to what people read, on the device.
        target: of all rows of the data set as the loss takes it, on the device.
        weights: what each row of the data set counts in the loss, on the device; None: all alike.
    """

    order: Tensor
    watch: Tensor | None
    preprocess: nn.Module
    head: nn.Module
    target: Tensor
    weights: Tensor | None = None


class FoldData:
    """The data set on a device.

    Attributes:
        features, target: all rows as they were loaded; features that do not lie in memory are fetched.
    """

    def __init__(self, prepared: Prepared, device: torch.device) -> None:
        self._prepared, self._device = prepared, device
        features = prepared.data.features
        if isinstance(features, RowSource):
            return_freed_memory()
        self.features = features if isinstance(features, RowSource) else torch.from_numpy(features).to(device)
        self.target = torch.from_numpy(prepared.data.target).to(device)
        self._learned: dict[tuple[int, float | None], Learned] = {}

    def learned(self, train_rows: NDArray[np.int64], fold: int, stopping: EarlyStoppingConfig | None) -> Learned:
        """What the training rows of a fold teach; the modules are the caller's own."""
        key = (fold, stopping.fraction if stopping is not None else None)
        if key not in self._learned:
            self._learned[key] = self._learn(train_rows, key[1])
        found = self._learned[key]
        # An export moves its modules to the CPU.
        preprocess, head = copy.deepcopy((found.preprocess, found.head))
        return Learned(found.order, found.watch, preprocess, head, found.target, found.weights)

    def rows(self, learned: Learned) -> Rows:
        """All rows as the network and the loss take them."""
        augmentation = self._prepared.augmentation
        if augmentation is not None or isinstance(self.features, RowSource):
            inputs = FetchedInputs(self.features, learned.preprocess, self._device, augmentation)
            return Rows(inputs, learned.target, learned.weights)
        return Rows(self._inputs(self.features, learned.preprocess), learned.target, learned.weights)

    def raw_rows(self) -> Rows:
        """All rows as they were loaded, for a network that takes them so."""
        if isinstance(self.features, RowSource):
            return Rows(FetchedInputs(self.features, nn.Identity(), self._device), self.target)
        return Rows(self.features, self.target)

    def _learn(self, train_rows: NDArray[np.int64], fraction: float | None) -> Learned:
        data, experiment = self._prepared.data, self._prepared.experiment
        order, watch = train_rows, None
        if fraction is not None:
            splitter = experiment.cross_validation.splitter
            order, watched = split_watch(data, train_rows, fraction, splitter, experiment.search.seed)
            watch = torch.from_numpy(watched)
        chosen = select(data.features, order)
        preprocess = fit_preprocessing(chosen, data.inputs, self._prepared.scaling).to(self._device)
        found = row_weights(data, experiment.training.class_weights, order)
        weights = None if found is None else torch.from_numpy(found).to(self._device)
        if data.task == "classification":
            return Learned(torch.from_numpy(order), watch, preprocess, nn.Softmax(-1), self.target, weights)
        head = TargetScale.fit(data.target[order]).to(self._device)
        return Learned(torch.from_numpy(order), watch, preprocess, head, head.scale(self.target), weights)

    @torch.no_grad()
    def _inputs(self, features: Tensor, preprocess: nn.Module) -> Tensor:
        """Preprocessed inputs, in parts, so that only the result is as large as the data."""
        return torch.cat([preprocess(part) for part in torch.split(features, 65_536)])
