"""Rows from a file or from a study's data, as a registered model takes them, with what is true of them.

Unlike `sources`, nothing is inferred from the values: the model's manifest says which columns there are and what they
hold, so that the same row gives the same numbers as on the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import category_text, encode_frame
from winnow.bundle.manifest import Manifest
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.nearest import did_you_mean
from winnow.data.array_files import is_array_file
from winnow.data.bundled import load_bundled
from winnow.data.data_function import call_data_function
from winnow.data.raw import is_frame, named_frame
from winnow.data.sources import load_data
from winnow.data.table_files import named_by
from winnow.data.tables import read_table


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Rows and their truth.

    Attributes:
        source: where they are from, for people.
        rows: a pandas DataFrame with every column that the source has, also those that are no features; for tensors the
            model's inputs, float32 [rows, *input_shape].
        target: class names or values as the source has them, [rows] or [rows, targets].
    """

    source: str
    rows: Any
    target: Any

    def __len__(self) -> int:
        return len(self.rows)


def read_labelled(source: str, manifest: Manifest, place: str, read: DataConfig | None = None) -> LabelledRows:
    """Read a file, folder, pattern, URL or database for a model.

    Args:
        source: as `data.source`; for a model of tensors an `.npz` with X and y, or a folder of images.
        read: the study's `data`, whose reading of CSV files, `query` and `options` also count here.

    Raises:
        InputError: it cannot be read, or lacks the target.
    """
    config = DataConfig(source=source) if read is None else read.model_copy(update={"source": source})
    with named_by(place):
        if manifest.table is None:
            data = load_data(config.model_copy(update={"task": manifest.task, "load": "memory"}))
            names = data.class_names
            target = data.target if names is None else np.asarray(names)[data.target]
            return LabelledRows(source, data.features[:], target)
        if is_array_file(source):
            raise InputError(place, expected="a table", found=f"'{source}'", remedy="Write it as CSV or Parquet.")
        wanted = list(manifest.target_names)
        texts = [each.name for each in manifest.table if each.kind == "category"]
        labels = wanted if manifest.task == "classification" else []
        frame: Any = read_table(config, [*texts, *labels]).frame
    lacking = next((name for name in wanted if name not in frame.columns), None)
    if lacking is not None:
        raise InputError(
            place,
            expected=f"rows with the target, column '{lacking}'",
            found=f"no such column in {source}",
            remedy=did_you_mean(lacking, frame.columns)
            or "Name rows whose outcome is known; `winnow predict` needs none.",
        )
    values = frame[wanted].to_numpy(dtype=object, na_value=None)
    return LabelledRows(source, frame, values[:, 0] if len(wanted) == 1 else values)


def rows_of_study(config: DataConfig) -> Any:
    """The rows of a study's data with every column that its source has, in their order; None for tensors.

    Raises:
        InputError: the source cannot be read.
    """
    if is_array_file(config.shown_source) or config.shown_source.startswith("images:"):
        return None
    if config.function is not None:
        return named_frame(call_data_function(config.function, config.options, config.load))
    if isinstance(config.source, str) and config.source.startswith("sklearn:"):
        return named_frame(load_bundled(config.source))
    texts = [column for column, kind in config.columns.items() if kind == "category"]
    labels = [column for column in (config.target, config.group) if column is not None]
    return read_table(config, [*labels, *texts]).frame


def inputs_of(rows: Any, manifest: Manifest, source: str, before: int = 0) -> NDArray[np.float32]:
    """The model's inputs for rows, float32 [rows, *input_shape].

    Args:
        rows: as `LabelledRows.rows`.
        before: rows of the source before these.

    Raises:
        InputError: a column of the model is missing, or holds a value that it does not take.
    """
    table = manifest.table
    if table is None:
        found: NDArray[np.float32] = np.asarray(rows, dtype=np.float32)
        if found.shape[1:] != manifest.input_shape:
            raise InputError(
                source,
                expected=f"rows of shape {list(manifest.input_shape)}, as the model takes them",
                found=f"{list(found.shape[1:])}",
                remedy="Name rows of the same kind as those that it was trained on.",
            )
        return found
    if not is_frame(rows):
        raise InputError(source, expected="a table", found="tensors", remedy="Name a table with the model's columns.")
    lacking = [each.name for each in table if each.name not in rows.columns]
    if lacking:
        nearest = did_you_mean(lacking[0], rows.columns)
        raise InputError(
            source,
            expected=f"the columns of {manifest.name}, {', '.join(each.name for each in table[:12])}"
            f"{', …' if len(table) > 12 else ''}",
            found=f"none called '{lacking[0]}'" + (f", nor {len(lacking) - 1} others" if len(lacking) > 1 else ""),
            remedy=nearest or "Name rows with the model's columns.",
        )
    try:
        with np.errstate(over="ignore"):
            encoded = encode_frame(table, rows)
    except ValueError as error:
        where, _, expected = str(error).partition(": expected ")
        row, _, column = where.removeprefix("row ").partition(", ")
        wrong = _first_wrong(rows[column.removeprefix("column ").strip("'")], int(row))
        place = f"{source}, row {before + wrong + 1}, {column}"
        raise InputError(place, expected=expected, found="something else", remedy="Correct it.") from error
    if np.isinf(encoded).any():
        at, number = (int(each) for each in np.argwhere(np.isinf(encoded))[0])
        wide = [each.name for each in table for _ in range(each.width)]
        raise InputError(
            f"{source}, row {before + at + 1}, column '{wide[number]}'",
            expected="a finite number that float32 can hold",
            found="an infinite one, or one beyond it",
            remedy="Correct it, or leave the row out.",
        )
    return encoded


def _first_wrong(column: Any, row: int) -> int:
    """The row that is to blame: one text makes all numbers of a CSV column text, of which the first is refused."""
    import pandas as pd

    are_numbers = pd.to_numeric(column, errors="coerce").notna() | column.isna()
    return row if are_numbers.all() or not are_numbers.iloc[row] else int((~are_numbers).to_numpy().argmax())


def target_for(labelled: LabelledRows, manifest: Manifest) -> NDArray[np.int64] | NDArray[np.float32]:
    """What is true of rows: class indexes in the model's order, int64 [rows], or float32 [rows, targets].

    Raises:
        InputError: a class that the model does not know, or a value that is no number.
    """
    if manifest.class_names is None:
        return _values(labelled, manifest)
    index = {name: each for each, name in enumerate(manifest.class_names)}
    names: Sequence[Any] = np.asarray(labelled.target).reshape(-1).tolist()
    found = [next((index[text] for text in _texts(each) if text in index), None) for each in names]
    unknown = next((row for row, code in enumerate(found) if code is None), None)
    if unknown is not None:
        raise InputError(
            f"{labelled.source}, row {unknown + 1}, column '{manifest.target_names[0]}'",
            expected=f"one of the model's classes, {', '.join(manifest.class_names[:12])}",
            found="nothing" if names[unknown] is None else f"'{str(names[unknown])[:40]}'",
            remedy="Correct it, or leave rows of other classes out.",
        )
    return np.asarray(found, dtype=np.int64)


def _values(labelled: LabelledRows, manifest: Manifest) -> NDArray[np.float32]:
    try:
        found = np.asarray(labelled.target, dtype=np.float64).reshape(len(labelled), -1)
    except (TypeError, ValueError):
        found = np.full((len(labelled), 1), np.nan)
    wrong = ~np.isfinite(found).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{labelled.source}, row {int(wrong.argmax()) + 1}, target {', '.join(manifest.target_names)}",
            expected="a finite number",
            found="something else, or nothing",
            remedy="Correct it, or leave the row out.",
        )
    return found.astype(np.float32)


def _texts(value: Any) -> list[str]:
    """The texts under which a class may be known: `1` for 1, 1.0 and "1"; `True` and `true` for True."""
    if value is None or value != value:
        return []
    return [str(value), *([] if (text := category_text(value)) is None else [text])]
