"""Data functions as a person would write them, right and wrong; the tests of sources name them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

X = np.arange(40, dtype=np.float64).reshape(20, 2)
Y = np.arange(20) % 2


def pair(rows: int = 20) -> Any:
    return X[:rows], Y[:rows]


def mapping() -> Any:
    return {
        "X": X,
        "y": Y,
        "groups": Y // 2,
        "time": np.arange(20),
        "feature_names": ["a", "b"],
        "class_names": ["no", "yes"],
    }


def frames() -> Any:
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "who": np.arange(20) // 4}), pd.Series(Y, name="label")


def tensors() -> Any:
    return torch.from_numpy(X).to(torch.bfloat16).requires_grad_(), torch.from_numpy(Y)


def dataset() -> Any:
    return TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(Y))


class Images(Dataset[Any]):
    classes = ("cat", "dog")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Any:
        return np.full((1, 4, 4), index, dtype=np.uint8), index % 2


def images() -> Any:
    return Images()


def two_targets() -> Any:
    return X, pd.DataFrame({"height": X[:, 0], "width": X[:, 1]})


def named_text_classes() -> Any:
    return {"X": X, "y": np.where(Y == 0, "low", "high"), "class_names": ["low", "high"]}


class Ragged(Images):
    def __getitem__(self, index: int) -> Any:
        return np.zeros((1, 4, 4 + (index == 7))), 0


def ragged_dataset() -> Any:
    return Ragged()


class Single(Images):
    def __getitem__(self, index: int) -> Any:
        return np.zeros(3)


def single_dataset() -> Any:
    return Single()


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


def stream() -> Any:
    return Stream()


def raises() -> Any:
    raise KeyError("the column that I wanted")


def returns_none() -> Any:
    return None


def returns_three() -> Any:
    return X, Y, Y


def without_y() -> Any:
    return {"X": X, "target": Y}


def unknown_key() -> Any:
    return {"X": X, "y": Y, "group": Y}


def lengths_differ() -> Any:
    return X, Y[:-1]


def group_lengths_differ() -> Any:
    return {"X": X, "y": Y, "groups": Y[:-2]}


def no_rows() -> Any:
    return X[:0], Y[:0]


def ragged_rows() -> Any:
    return [[1.0, 2.0], [3.0]], [0, 1]


def single_value() -> Any:
    return 3, 4


def text_in_objects() -> Any:
    return np.array([[1, 2], [3, "red"]], dtype=object), [0, 1]


def numbers_in_objects() -> Any:
    return X.astype(object), Y.astype(object)


def mixed_target() -> Any:
    return X, np.array(["a", 1] * 10, dtype=object)


def date_target() -> Any:
    return X, np.arange(20).astype("datetime64[D]")


def one_hot() -> Any:
    return X, np.eye(2)[Y]


def too_many_names() -> Any:
    return {"X": X, "y": Y, "class_names": ["a", "b", "c"]}


def too_few_feature_names() -> Any:
    return {"X": X, "y": Y, "feature_names": ["a"]}


def names_as_text() -> Any:
    return {"X": X, "y": Y, "class_names": "ab"}


def two_group_columns() -> Any:
    return {"X": X, "y": Y, "groups": X}


def double_feature_names() -> Any:
    return {"X": X, "y": Y, "feature_names": ["a", "a"]}


def double_columns() -> Any:
    return pd.DataFrame(X, columns=["a", "a"]), Y


def target_among_features() -> Any:
    frame = pd.DataFrame({"a": X[:, 0], "label": Y})
    return frame, frame["label"]


def complex_numbers() -> Any:
    return X + 1j, Y


def masked() -> Any:
    return np.ma.masked_equal(X, 6.0), Y


def masked_integers() -> Any:
    return np.ma.masked_equal(X.astype(np.int64), 6), Y


def masked_target() -> Any:
    return X, np.ma.masked_array(Y, mask=np.arange(20) == 3)


def epochs_in_sequences() -> Any:
    return (1764200000000 + np.arange(20)).reshape(20, 1, 1), Y


class LazyFrame:
    """A table that has not been computed yet."""

    columns = ("a", "b")
    dtypes = ("float64", "float64")


def lazy_frame() -> Any:
    return LazyFrame(), Y


class OtherFrame(LazyFrame):
    """A table of a library that converts to pandas."""

    def to_pandas(self) -> Any:
        return pd.DataFrame(X, columns=list(self.columns))


def frame_of_another_library() -> Any:
    return OtherFrame(), pd.Series(Y)


def column_without_a_name() -> Any:
    return pd.DataFrame(X, columns=["a", ""]), Y


def empty_label() -> Any:
    return X, np.array(["a", ""] * 10)


def arrow_decimals() -> Any:
    decimals = pd.array([Decimal(index) for index in range(20)], dtype=pd.ArrowDtype(pa.decimal128(10, 2)))
    return pd.DataFrame({"a": decimals}), Y


def arrow_table() -> Any:
    return pa.table({"a": [None, *range(19)]}), pa.array(Y)


def arrow_ids() -> Any:
    return pa.table({"a": [None, *(2**60 + index for index in range(19))]}), Y
