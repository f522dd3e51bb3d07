"""A user's data function: `load(**options) -> (X, y)`, a mapping with `X` and `y`, or a torch `Dataset`.

Tensors and datasets are recognized by their methods, so that data without torch loads without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from winnow.config.errors import InputError
from winnow.config.functions import line_in, load_function
from winnow.config.nearest import did_you_mean
from winnow.data.items import read_items, training_items
from winnow.data.raw import RawData, is_foreign_table, is_frame, with_pandas
from winnow.data.rows import Load

PLACE = "data.source"
REQUIRED = ("X", "y")
OPTIONAL = ("groups", "time", "weights", "feature_names", "class_names", "augment")
DATASET, TRAIN_DATASET = "dataset", "train_dataset"
RETURNS = "(X, y), a mapping with X and y, or a map-style torch Dataset of (x, y) pairs"


def call_data_function(spec: str, options: Mapping[str, Any], load: Load = "auto") -> RawData:
    """Call the function and check what it returns.

    Args:
        load: `data.load`, for the items of a torch Dataset.

    Raises:
        InputError: it cannot be found, raises, or breaks its contract.
    """
    function = load_function(spec, PLACE)
    try:
        result = function(**options)
        result = {DATASET: result} if _is_dataset(result) else result
        if isinstance(result, Mapping) and DATASET in result:
            return _from_datasets(spec, result, load)
    except InputError:
        raise
    except Exception as error:
        file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)
        raise InputError(
            PLACE,
            expected=f"'{spec}' to return {RETURNS}",
            found=f"{type(error).__name__}: {error}{line_in(file, error)}",
            remedy="Correct the function, or `data.options`, which are its arguments.",
        ) from error
    name = spec.rpartition(":")[2]
    if isinstance(result, Mapping):
        return _from_mapping(name, spec, result)
    if isinstance(result, tuple | list) and len(result) == 2:
        return _from_mapping(name, spec, dict(zip(REQUIRED, result, strict=True)))
    raise _not_the_contract(spec, _described(result))


def _from_mapping(name: str, spec: str, result: Mapping[Any, Any]) -> RawData:
    keys = [str(key) for key in result]
    missing = [key for key in REQUIRED if result.get(key) is None]
    if missing:
        raise _not_the_contract(spec, f"a mapping with {', '.join(keys) or 'nothing'}, without {missing[0]}")
    _refuse_unknown(keys, (*REQUIRED, *OPTIONAL), spec)
    features, target = with_pandas(result["X"], PLACE), with_pandas(result["y"], "data.target")
    _refuse_target_among_features(features, target, spec)
    return RawData(
        name,
        features,
        target,
        groups=with_pandas(result.get("groups"), "data.group"),
        time=with_pandas(result.get("time"), "data.time"),
        weights=with_pandas(result.get("weights"), "data.weight"),
        feature_names=_names(result.get("feature_names"), "feature_names", spec),
        class_names=_names(result.get("class_names"), "class_names", spec),
        target_names=_target_names(target),
        augment=result.get("augment"),
    )


def _refuse_target_among_features(features: Any, target: Any, spec: str) -> None:
    """Refuse `frame, frame["target"]`, which leaves the target in X. A different column of that name may stay."""
    if not is_frame(features) or len(features) != len(target):
        return
    columns = [target[name] for name in target.columns] if is_frame(target) else [target]
    for column in columns:
        name = getattr(column, "name", None)
        if isinstance(name, str) and (features.columns == name).sum() == 1 and features[name].equals(column):
            raise InputError(
                PLACE,
                expected=f"features without the target in X of '{spec}'",
                found=f"its column '{name}' in X and in y",
                remedy=f"Leave it out of X: X.drop(columns='{name}').",
            )


def _from_datasets(spec: str, result: Mapping[Any, Any], load: Load) -> RawData:
    """Rows of a torch Dataset; its `classes`, an attribute of torchvision's sets, become the class names."""
    known = (DATASET, TRAIN_DATASET, *(key for key in OPTIONAL if key != "feature_names"))
    _refuse_unknown(map(str, result), known, spec)
    dataset, other = result[DATASET], result.get(TRAIN_DATASET)
    features, target = read_items(dataset, load, spec)
    classes = result.get("class_names", getattr(dataset, "classes", None))
    are_names = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
    return RawData(
        spec.rpartition(":")[2],
        features,
        target,
        groups=result.get("groups"),
        time=result.get("time"),
        weights=result.get("weights"),
        class_names=tuple(classes) if are_names else None,
        augment=result.get("augment"),
        training=None if other is None else training_items(other, features, spec),
    )


def _refuse_unknown(keys: Iterable[str], known: Sequence[str], spec: str) -> None:
    unknown = next((key for key in keys if key not in known), None)
    if unknown is not None:
        raise InputError(
            PLACE,
            expected=f"a mapping with some of {', '.join(known)} from '{spec}'",
            found=f"the unknown key '{unknown}'",
            remedy=did_you_mean(unknown, known) or "Leave it out.",
        )


def _is_dataset(result: Any) -> bool:
    if isinstance(result, Mapping | tuple | list | str | bytes) or hasattr(result, "dtype"):
        return False
    if is_frame(result) or is_foreign_table(result):
        return False
    return hasattr(result, "__getitem__")


def _names(value: Iterable[Any] | None, key: str, spec: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        raise _not_the_contract(spec, f"a text instead of a list as {key}")
    return tuple(str(one) for one in value)


def _target_names(target: Any) -> tuple[str, ...] | None:
    if is_frame(target):
        return tuple(str(one) for one in target.columns)
    name = getattr(target, "name", None)
    return (name,) if isinstance(name, str) and name else None


def _described(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _not_the_contract(spec: str, found: str) -> InputError:
    expected = f"{RETURNS} from '{spec}'"
    return InputError(PLACE, expected=expected, found=found, remedy="Let the function return these.")
