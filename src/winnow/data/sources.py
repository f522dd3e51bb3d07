"""Load the `data:` section of an experiment file as a `DataSet`.

Each kind of source has a module that returns `RawData`; checks and conversion are the same for all of them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from winnow.bundle.columns import Kind
from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.functions import BUNDLED, IMAGES
from winnow.data.array_files import is_array_file, read_array_file
from winnow.data.bundled import load_bundled
from winnow.data.data_function import call_data_function
from winnow.data.dataset import DataSet, digest_of
from winnow.data.features import check_fetched, convert_features, fetched
from winnow.data.images import load_images
from winnow.data.inputs import plan_inputs
from winnow.data.labels import typed_codes, typed_labels
from winnow.data.raw import RawData, as_values, is_frame, named_frame
from winnow.data.row_keys import convert_groups, convert_time, convert_weights
from winnow.data.rows import FeatureRows, RowSource
from winnow.data.tables import read_table, take_column
from winnow.data.target import convert_target


def load_data(config: DataConfig) -> DataSet:
    """Load and check the rows of an experiment.

    The source is a bundled set (`sklearn:NAME`), files, a database, or a data function. The columns
    `data.target`, `data.group`, `data.time`, `data.weight` and those of `data.drop` are not features.

    Raises:
        InputError: the source cannot be read, or its rows cannot be trained on.
    """
    is_images = config.shown_source.startswith(IMAGES)
    if config.options and config.function is None and not is_images:
        raise InputError(
            "data.options",
            expected="no options for a source that is not a data function",
            found=", ".join(sorted(config.options)),
            remedy="Remove `data.options`, or name a data function as `data.source`.",
        )
    if config.function is not None:
        raw = call_data_function(config.function, config.options, config.load)
    elif isinstance(config.source, str) and config.source.startswith(BUNDLED):
        raw = load_bundled(config.source)
    elif is_images:
        raw = load_images(config.shown_source, config.options)
    elif is_array_file(config.shown_source):
        return _checked(read_array_file(config), config)
    else:
        return _checked(_with_columns(_from_table(config), config), config)
    if config.target is not None:
        raise InputError(
            "data.target",
            expected="no target column for a source that returns the target itself",
            found=f"'{config.target}'",
            remedy="Remove `data.target`.",
        )
    return _checked(_with_columns(raw, config), config)


def _from_table(config: DataConfig) -> RawData:
    import pandas as pd

    codes = [column for column, kind in config.columns.items() if kind == "category"]
    labels = [*(column for column in (config.target, config.group) if column is not None), *codes]
    table = read_table(config, labels)
    frame, name = table.frame, table.name
    if config.target is None:
        columns = list(frame.columns)
        raise InputError(
            "data.target",
            expected=f"the name of the column of {name} to predict",
            found="nothing",
            remedy=f"Set it to one of {', '.join(columns[:12])}{', …' if len(columns) > 12 else ''}.",
        )
    target: Any = take_column(frame, config.target, "data.target", name)
    if not table.has_types:
        target = typed_labels(target.to_numpy(dtype=object), config.task, "data.target", name)
    kept = (column for column in frame.columns if column not in config.drop and config.columns.get(column) != "drop")
    unnamed = next((column for column in kept if re.fullmatch(r"Unnamed: [0-9]+", column)), None)
    if unnamed is not None:  # mostly a saved index, which may give the target away
        raise InputError(
            "data.source",
            expected=f"a name for every column of {name}",
            found=f"none for column {int(unnamed.split()[1]) + 1}",
            remedy=f"Name it, write the file without its index, or set `data.drop: ['{unnamed}']`.",
        )
    frame = frame.drop(columns=config.target)
    for column in frame.columns.intersection(codes) if not table.has_types else ():
        frame[column] = pd.Series(typed_codes(frame[column].to_numpy(dtype=object)), dtype=object)
    if not table.has_types and config.group in frame.columns:
        texts = frame[config.group].to_numpy(dtype=object)
        frame[config.group] = pd.Series(typed_labels(texts, "classification", "data.group", name))
    return RawData(name, frame, target, target_names=(config.target,))


def _with_columns(raw: RawData, config: DataConfig) -> RawData:
    """Move the group, time and weight columns out of the features, and remove the columns that are left out."""
    kinds = _kinds(config)
    roles = _roles(config)
    named = [*roles.items(), *(("data.drop", name) for name in config.drop)]
    named += [("data.columns", name) for name in config.columns]
    if not named:
        return raw
    frame = named_frame(raw)
    if frame is None:
        raise InputError(
            named[0][0],
            expected=f"features with named columns in '{raw.name}'",
            found="features without names",
            remedy="Return a DataFrame, or `groups` and `time` themselves, from the data function.",
        )
    columns = {place: take_column(frame, name, place, raw.name) for place, name in named}
    left_out = {*roles.values(), *config.drop, *(name for name in config.columns if name not in kinds)}
    left = frame.drop(columns=list(left_out))
    is_array = not is_frame(raw.features) and not kinds
    return dataclasses.replace(
        raw,
        features=left.to_numpy() if is_array else left,
        groups=columns.get("data.group", raw.groups),
        time=columns.get("data.time", raw.time),
        weights=columns.get("data.weight", raw.weights),
        feature_names=tuple(left.columns) if is_array else None,
    )


def _kinds(config: DataConfig) -> dict[str, Kind]:
    """The kinds of feature columns that the experiment file gives."""
    kinds: dict[str, Kind] = {name: kind for name, kind in config.columns.items() if kind != "drop"}
    places = {name: place for place, name in _roles(config).items()} | dict.fromkeys(config.drop, "data.drop")
    places |= {} if config.target is None else {config.target: "data.target"}
    wrong = next((name for name in kinds if name in places), None)
    if wrong is not None:
        raise InputError(
            f"data.columns.{wrong}",
            expected="the kind of a column that is a feature",
            found=f"'{kinds[wrong]}' for the column of {places[wrong]}",
            remedy="Remove one of the two.",
        )
    return kinds


def _roles(config: DataConfig) -> dict[str, str]:
    """The columns that are neither features nor the target, by the key that names them."""
    roles = {"data.group": config.group, "data.time": config.time, "data.weight": config.weight}
    return {place: name for place, name in roles.items() if name is not None}


def _checked(raw: RawData, config: DataConfig) -> DataSet:
    """Convert every part, and check that all have the same number of rows."""
    time = convert_time(raw.time, raw.name) if raw.time is not None else None
    features: FeatureRows | None = fetched(raw.features, config.load, raw.name)
    columns = inputs = None
    if isinstance(features, RowSource):
        feature_names = check_fetched(features, raw.feature_names, raw.name, raw.features)
    else:
        whole = raw.features[:] if isinstance(raw.features, RowSource) else raw.features
        converted = convert_features(whole, raw.feature_names, raw.name, _kinds(config), time)
        features, feature_names, columns = converted.values, converted.names, converted.columns
        inputs = plan_inputs(columns, features, config.missing_indicators) if columns is not None else None
    target_values = as_values(raw.target, "data.target")
    _same_rows(len(features), target_values, "data.target", "y", raw.name)
    target = convert_target(target_values, config.task, raw.class_names, raw.name)
    groups = convert_groups(raw.groups, raw.name) if raw.groups is not None else None
    _same_rows(len(features), groups, "data.group", "groups", raw.name)
    _same_rows(len(features), time, "data.time", "time", raw.name)
    weights = convert_weights(raw.weights, raw.name) if raw.weights is not None else None
    _same_rows(len(features), weights, "data.weight", "weights", raw.name)
    targets = 1 if target.task == "classification" else target.values.shape[1]
    target_names = raw.target_names
    if target_names is None or len(target_names) != targets:
        target_names = ("target",) if targets == 1 else tuple(f"target_{one + 1}" for one in range(targets))
    names = {"features": feature_names, "classes": target.class_names, "targets": target_names}
    if columns is not None and any(column.kind in ("category", "date") for column in columns):
        names["codec"] = tuple(json.dumps((column.name, column.kind, column.categories)) for column in columns)
    arrays: dict[str, Any] = {"features": features, "target": target.values, "groups": groups, "time": time}
    arrays |= {} if weights is None else {"weights": weights}
    return DataSet(
        name=raw.name,
        task=target.task,
        features=features,
        target=target.values,
        groups=groups,
        time=time,
        feature_names=feature_names,
        class_names=target.class_names,
        target_names=target_names,
        sha256=digest_of(names, arrays),
        weights=weights,
        columns=columns,
        images=raw.images,
        augment=raw.augment,
        training=raw.training,
        inputs=inputs,
    )


def _same_rows(rows: int, values: Any, place: str, part: str, source: str) -> None:
    if values is not None and len(values) != rows:
        raise InputError(
            place,
            expected=f"as many values in {part} as rows in X of '{source}', {rows}",
            found=f"{len(values)}",
            remedy="Return a value for each row.",
        )
