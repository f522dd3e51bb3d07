"""Network inputs that are made from raw rows when a batch needs them.

Rows that do not fit in memory are fetched, put on the device and preprocessed, some megabytes at a time, one part ahead
of the network.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from winnow.data.rows import RowSource
from winnow.training.augmentation import Augmentation

_M_MMAP_THRESHOLD = -3
_MAPPED_BYTES = 2**20

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class FetchedInputs:
    """The network's inputs for some rows of the data set, indexed like a tensor.

    Attributes:
        features: raw rows; those in memory lie on the device.
        preprocess: raw rows to network inputs, on the device.
    """

    features: RowSource | Tensor
    preprocess: nn.Module
    device: torch.device
    augmentation: Augmentation | None = None

    @torch.no_grad()
    def __getitem__(self, index: Tensor | slice | int) -> Tensor:
        """Network inputs of rows, on the device; of a single row for a number."""
        if isinstance(index, int):
            return self[torch.tensor([range(len(self))[index]])][0]
        rows: Tensor = self.preprocess(self._fetch(index).to(self.device))
        return rows

    def __len__(self) -> int:
        return len(self.features)

    @torch.no_grad()
    def for_training(self, indexes: Iterable[Tensor], seeds: tuple[int, ...]) -> Iterator[Tensor]:
        """Network inputs of one part of an epoch after another.

        Args:
            seeds: what the random numbers of the augmentation depend on, beside the place in the epoch.
        """
        changed = self.augmentation
        if changed is not None and changed.rows is not None:
            raw: Iterable[Tensor] = (changed.read(index, seeds[:2]) for index in indexes)
        elif isinstance(self.features, RowSource) and self.features.may_be_threaded:
            raw = _one_ahead(self._fetch, indexes)
        else:
            raw = map(self._fetch, indexes)
        for place, rows in enumerate(raw):
            moved = rows.to(self.device)
            yield self.preprocess(moved if changed is None else changed.apply(moved, (*seeds, place)))

    def _fetch(self, index: Tensor | slice) -> Tensor:
        if isinstance(self.features, Tensor):
            return self.features[index]
        return torch.from_numpy(self.features[index if isinstance(index, slice) else index.cpu().numpy()])


def return_freed_memory() -> None:
    """Let glibc give large blocks back to the system when they are freed.

    By itself it soon keeps blocks of up to 32 MiB on its heap, where small tensors that stay pin them: reading 1 GB in
    parts of 20 MB then takes 600 MB. Where libc has no `mallopt`, nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def _one_ahead(make: Callable[[_Item], _Made], items: Iterable[_Item]) -> Iterator[_Made]:
    """What becomes of each item, in their order; the next one is made in another thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[Future[_Made]] = deque()
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
