"""The items of a torch `Dataset` as rows: read once where they fit in memory, and else when a batch needs them.

Splits need every target before the first item is trained on. They are the Dataset's attribute `targets`, as in
torchvision's sets, or else each item is read once for its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.data.raw import as_array, is_tensor
from winnow.data.rows import IN_MEMORY_BYTES, Load, RowSource, spread

PLACE = "data.source"
FINGERPRINT_ITEMS = 64


class ItemRows(RowSource):
    """The inputs of a Dataset's items, read one by one.

    Attributes:
        fingerprint: sha256 of some items from everywhere in the Dataset.
    """

    may_be_threaded = False

    def __init__(self, dataset: Any, item_shape: Sequence[int], spec: str) -> None:
        self._dataset, self._spec = dataset, spec
        self.shape = (len(dataset), *item_shape)

    @property
    def fingerprint(self) -> str:
        rows = self.fetch(spread(len(self), FINGERPRINT_ITEMS))
        return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()

    def fetch(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = np.empty((len(index), *self.shape[1:]), dtype=np.float32)
        for place, item in enumerate(index.tolist()):
            row, _ = pair_of(self._dataset, item, self._spec)
            if row.shape != self.shape[1:]:
                raise _shapes(self._spec, self.shape[1:], row.shape, item)
            rows[place] = row
        return rows


def read_items(dataset: Any, load: Load, spec: str) -> tuple[NDArray[Any] | ItemRows, NDArray[Any]]:
    """Inputs [rows, …] and targets of a map-style Dataset.

    Raises:
        InputError: items of several shapes, or one that differs when it is read again.
        TypeError: the Dataset has no length.
    """
    if not hasattr(dataset, "__len__"):
        raise TypeError(f"{type(dataset).__name__} has no length; only a map-style Dataset can be split into folds")
    count = len(dataset)
    if count == 0:
        return np.empty((0, 1)), np.empty((0, 1))
    first, _ = pair_of(dataset, 0, spec)
    _refuse_random(dataset, count, spec)
    is_large = 4 * count * math.prod(first.shape) > IN_MEMORY_BYTES
    if load == "lazy" or (load == "auto" and is_large):
        return ItemRows(dataset, first.shape, spec), _targets(dataset, count, spec)
    pairs = [pair_of(dataset, item, spec) for item in range(count)]
    for item, (row, _) in enumerate(pairs):
        if row.shape != first.shape:
            raise _shapes(spec, first.shape, row.shape, item)
    return np.stack([row for row, _ in pairs]), np.stack([target for _, target in pairs])


def training_items(dataset: Any, rows: NDArray[Any] | ItemRows, spec: str) -> ItemRows:
    """The items that training reads in place of those of another Dataset.

    Raises:
        InputError: they are not as many, or of another shape.
    """
    found = (len(dataset), *pair_of(dataset, 0, spec)[0].shape)
    if found != rows.shape:
        raise InputError(
            PLACE,
            expected=f"'train_dataset' of '{spec}' with the items of 'dataset', {len(rows)} of shape {rows.shape[1:]}",
            found=f"{found[0]} of shape {found[1:]}",
            remedy="Make both from the same files, and let only their transforms differ.",
        )
    return ItemRows(dataset, found[1:], spec)


def pair_of(dataset: Any, item: int, spec: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Input and target [targets] of an item."""
    pair = dataset[item]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        is_list = isinstance(pair, tuple | list)
        kind = f"a {type(pair).__name__} of {len(pair)}" if is_list else f"a value of type {type(pair).__name__}"
        raise InputError(
            PLACE,
            expected=f"pairs (x, y) as items of the Dataset from '{spec}'",
            found=f"{kind} as item {item} of a Dataset",
            remedy="Let its __getitem__ return x and y.",
        )
    x, y = pair
    row = as_array(x, PLACE) if is_tensor(x) and x.ndim else np.asarray(x)
    return row, as_array(y.reshape(-1), PLACE) if is_tensor(y) else np.ravel(y)


def _targets(dataset: Any, count: int, spec: str) -> NDArray[Any]:
    known = getattr(dataset, "targets", None)
    if known is not None and len(known) == count:
        values: NDArray[Any] = as_array(known, PLACE) if is_tensor(known) else np.asarray(known)
        return values
    return np.stack([pair_of(dataset, item, spec)[1] for item in range(count)])


def _refuse_random(dataset: Any, count: int, spec: str) -> None:
    """Refuse a Dataset whose items change, for validation and the holdout are read without augmentation."""
    for item in spread(count, 3).tolist():
        one, again = (pair_of(dataset, item, spec)[0] for _ in range(2))
        if one.shape == again.shape and not np.array_equal(one, again, equal_nan=one.dtype.kind == "f"):
            raise InputError(
                PLACE,
                expected=f"items that are the same each time in the Dataset from '{spec}'",
                found=f"item {item} with other values when it is read again",
                remedy="Return {'dataset': …, 'train_dataset': …}, the first without random transforms: validation and "
                "the holdout read it.",
            )


def _shapes(spec: str, expected: tuple[int, ...], found: tuple[int, ...], item: int) -> InputError:
    return InputError(
        PLACE,
        expected=f"items of one shape, {expected}, from '{spec}'",
        found=f"{found} in item {item}",
        remedy="Crop, pad or resize them in the Dataset.",
    )
