"""The rows that a source returns, before any check or conversion.

From here on all sources are treated alike. Values are pandas objects or numpy arrays; `as_values` converts the rest
(tensors, lists) without importing torch or pandas.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from winnow.bundle.images import ImageInput
from winnow.config.errors import InputError
from winnow.data.rows import RowSource

NUMBERS = (bool, int, float, Decimal, np.bool_, np.integer, np.floating)
"""Types of real numbers in arrays of objects."""


@dataclass(frozen=True, eq=False)
class RawData:
    """Rows as the source returned them.

    Attributes:
        name: the source's name, for messages.
        features: a DataFrame, or an array [rows, …].
        target: an array or a pandas object, [rows] or [rows, targets].
        groups, time, weights: one value per row, or None.
        images: how the features are decoded from images, or None.
        augment: a function of training rows, or several, or None.
        training: the features as training reads them, or None.
        feature_names, class_names, target_names: the source's own names, or None.
    """

    name: str
    features: Any
    target: Any
    groups: Any = None
    time: Any = None
    images: ImageInput | None = None
    augment: Any = None
    training: RowSource | None = None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    target_names: tuple[str, ...] | None = None
    weights: Any = None


def is_frame(value: Any) -> bool:
    """Whether it is a pandas DataFrame; does not import pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def named_frame(raw: RawData) -> Any:
    """The features as a DataFrame whose columns have texts as names; None where they have no names."""
    if is_frame(raw.features):
        return raw.features.rename(columns=str)
    if raw.feature_names is None:  # nor have rows that are fetched, which are not to be read here
        return None
    features = as_values(raw.features, "data.source")
    if features.ndim != 2 or len(raw.feature_names) != features.shape[1]:
        return None
    import pandas as pd

    return pd.DataFrame(features, columns=list(raw.feature_names))


def is_foreign_table(value: Any) -> bool:
    """Whether it is a table or column of another library (polars, pyarrow, …), recognized by its methods."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, pandas.DataFrame | pandas.Series | pandas.Index):
        return False
    # Asking the type and not the value, since a lazy frame computes its columns when they are read.
    kind = type(value)
    if hasattr(kind, "columns") and hasattr(kind, "dtypes"):
        return True
    return any(hasattr(kind, name) for name in ("__dataframe__", "__arrow_c_stream__", "__arrow_c_array__"))


def with_pandas(value: Any, place: str) -> Any:
    """Convert a table or column of another library to pandas; return anything else unchanged.

    Raises:
        InputError: it cannot be converted, for example because it is lazy.
    """
    if not is_foreign_table(value):
        return value
    library = type(value).__module__.partition(".")[0]
    try:
        if not hasattr(value, "__arrow_c_stream__") or not hasattr(value, "columns"):
            return value.to_pandas()
        import pyarrow as pa

        # Integers stay exact beside missing ones; as floats, those beyond 2**53 would merge.
        return pa.table(value).to_pandas(integer_object_nulls=True)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise InputError(
            place,
            expected="a DataFrame of pandas, an array, or something that `to_pandas()` converts",
            found=f"a {type(value).__name__} of {library}",
            remedy="Collect or compute it first, and return its `.to_pandas()` or `.to_numpy()`.",
        ) from error


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor; does not import torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy") and hasattr(value, "cpu")


def as_values(value: Any, place: str) -> Any:
    """A pandas object unchanged, anything else as an array of at least one dimension; masked values become missing.

    Raises:
        InputError: rows of different lengths, or a single value.
    """
    if is_frame(value) or hasattr(value, "to_numpy"):
        return value
    if is_tensor(value):
        value = value.detach().cpu()
        # numpy has no bfloat16.
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
        return _with_rows(value.numpy(), place)
    try:
        return _with_rows(_unmasked(value) if isinstance(value, np.ma.MaskedArray) else np.asarray(value), place)
    except ValueError as error:
        remedy = "Give every row the same shape."
        raise InputError(place, expected="rows of one shape", found=f"'{error}'", remedy=remedy) from error


def as_array(value: Any, place: str) -> Any:
    """Like `as_values`, with pandas objects as arrays too."""
    values = as_values(value, place)
    return values.to_numpy() if hasattr(values, "to_numpy") else values


def _unmasked(array: Any) -> np.ndarray[Any, Any]:
    """A masked array as a plain one, with NaN, or None among objects, in the masked places."""
    if not np.ma.is_masked(array):
        return np.asarray(array.data)
    if array.dtype.kind == "f":
        return np.asarray(array.filled(np.nan))
    values = np.asarray(array.data).astype(object)
    values[np.ma.getmaskarray(array)] = None
    return values


def _with_rows(array: np.ndarray[Any, Any], place: str) -> np.ndarray[Any, Any]:
    if array.ndim == 0:
        raise InputError(
            place,
            expected="an array with a row for each example",
            found=f"a single value of type {type(array.item()).__name__}",
            remedy="Return a numpy array, a DataFrame or a tensor.",
        )
    return array
