"""Dropout on a CPU with masks from a fast generator.

torch draws a mask with a serial Mersenne Twister at 5.6 ns a number: 40 % of the CPU time of a network with two hidden
layers of 64. SFC64 of NumPy gives four 16-bit numbers in less than 2 ns. A probability is rounded to a multiple of
2**-16, and what is kept is scaled by the rounded one, so that the expected output is the input.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LEVELS = 2**16
_torchs_dropout = functional.dropout


class Masks:
    """A stream of dropout masks.

    As a context, `functional.dropout`, and so `nn.Dropout`, draws from it. That replaces the function for the whole
    process, so it is for one that trains a single network.
    """

    def __init__(self, seed: int) -> None:
        self._generator: Any = np.random.SFC64(seed)

    def __enter__(self) -> None:
        functional.dropout = self._dropout

    def __exit__(self, *_raised: object) -> None:
        functional.dropout = _torchs_dropout

    def bits(self, size: int) -> Tensor:
        """The next `size` numbers, evenly distributed over int16."""
        return torch.from_numpy(self._generator.random_raw((size + 3) // 4).view(np.int16))[:size]

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not 0 < p < 1:
            return _torchs_dropout(input, p, training, inplace)
        mask = torch.empty(input.shape, dtype=input.dtype)
        torch.le(self.bits(input.numel()).view(input.shape), threshold(p), out=mask)
        mask *= scale(p)
        return input.mul_(mask) if inplace else input * mask


def threshold(probability: float) -> int:
    """Up to which number of a stream a value is kept."""
    return max(_kept(probability), 1) - 1 - _LEVELS // 2


def scale(probability: float) -> float:
    """What a kept value is multiplied by; 0 where none is kept."""
    kept = _kept(probability)
    return _LEVELS / kept if kept else 0.0


def _kept(probability: float) -> int:
    return round((1 - probability) * _LEVELS)
