"""Augmentation of training rows: functions of a batch of raw rows, and random numbers that a study's seed decides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.config.experiment import AugmentConfig
from winnow.config.functions import load_function
from winnow.data.rows import RowSource

Augment = Callable[[Tensor], Tensor]
"""Rows [rows, *input_shape] to as many rows of the same shape."""


@dataclass(frozen=True, eq=False)
class Augmentation:
    """What training reads in place of the rows as they are.

    Attributes:
        rows: other readings of the same rows, each of them anew; None: the rows themselves.
    """

    rows: RowSource | None
    functions: tuple[Augment, ...]

    def read(self, index: Tensor, seeds: Sequence[int]) -> Tensor:
        """The training's own readings of rows, on the CPU. A row's random numbers depend on its index and the seeds."""
        assert self.rows is not None
        read = []
        for row in index.cpu().numpy():
            with seeded((*seeds, int(row))):
                read.append(self.rows.fetch(row[None]))
        return torch.from_numpy(np.concatenate(read))

    def apply(self, rows: Tensor, seeds: Sequence[int]) -> Tensor:
        """Rows after all functions, on their device."""
        if self.functions:
            with seeded(seeds, rows.device), torch.no_grad():
                for function in self.functions:
                    rows = function(rows)
        return rows


def augmentation_of(configs: Sequence[AugmentConfig], own: Any, rows: RowSource | None) -> Augmentation | None:
    """The augmentation of an experiment; None without any.

    Args:
        own: what the data function returned as `augment`; a function, or several.
        rows: the training's own readings of the rows.

    Raises:
        InputError: a function cannot be imported.
    """
    functions = [*own] if isinstance(own, list | tuple) else [] if own is None else [own]
    for config in configs:
        function = load_function(config.type, "data.augment")
        functions.append(partial(function, **config.model_extra) if config.model_extra else function)
    if not functions and rows is None:
        return None
    return Augmentation(rows, tuple(_by_row(each) if _is_of_torchvision(each) else each for each in functions))


@contextmanager
def seeded(seeds: Sequence[int], device: torch.device | None = None) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python, and put them back afterwards."""
    seed = int(np.random.SeedSequence([*seeds]).generate_state(1)[0])
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device is not None and device.type == "cuda" else []):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _is_of_torchvision(function: Any) -> bool:
    return type(function).__module__.partition(".")[0] == "torchvision"


def _by_row(transform: Augment) -> Augment:
    """torchvision's transforms draw once per call, so that a batch would be changed as one."""
    return lambda rows: torch.stack([transform(row) for row in rows])
