"""NumPy's files as sources: `x.npy` with its target in another file, or an `.npz` with both.

A `.npy` file is mapped into memory, so that its rows can be read one by one. The arrays of an `.npz` are read whole.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig
from winnow.config.nearest import did_you_mean
from winnow.data.raw import RawData

SUFFIXES = (".npy", ".npz")
X, Y = "X", "y"


def is_array_file(source: str) -> bool:
    """Whether a source is named as a file of NumPy's."""
    return source.endswith(SUFFIXES) and "://" not in source


def read_array_file(config: DataConfig) -> RawData:
    """Read the rows of a `.npy` or `.npz` file.

    `data.target` of a `.npy` is another `.npy` file, as are `data.group`, `data.time` and `data.weight`. An `.npz`
    holds `X`, `y`, and perhaps `groups`, `time`, `weights`, `feature_names` and `class_names`; the keys above name
    arrays with other names.

    Raises:
        InputError: a file or an array is missing, or it holds Python objects.
    """
    source = config.shown_source
    name = Path(source).name
    if source.endswith(".npz"):
        return _from_npz(_opened(source, "data.source"), name, config)
    named = {"target": config.target, "group": config.group, "time": config.time, "weight": config.weight}
    parts = {f"data.{key}": part for key, part in named.items()}
    for place, part in parts.items():
        if (part is None and place == "data.target") or (part is not None and not part.endswith(".npy")):
            raise InputError(
                place,
                expected=f"a .npy file with a value for each row of {name}",
                found="nothing" if part is None else f"'{part}'",
                remedy="Name one, or write the arrays into one .npz file: np.savez('rows.npz', X=X, y=y).",
            )
    target, group, time, weight = (np.asarray(_opened(part, place)) if part else None for place, part in parts.items())
    rows = _opened(source, "data.source")
    return RawData(name, rows, target, groups=group, time=time, weights=weight)


def _from_npz(arrays: Any, name: str, config: DataConfig) -> RawData:
    named = {"target": config.target, "group": config.group, "time": config.time, "weight": config.weight}
    target = config.target or Y
    needs = {"data.source": X, "data.target": target, **{f"data.{key}": name for key, name in named.items() if name}}
    for place, needed in needs.items():
        if needed not in arrays:
            raise InputError(
                place,
                expected=f"an array '{needed}' in {name}",
                found=", ".join(arrays) or "none",
                remedy=did_you_mean(needed, list(arrays)) or "Write it with np.savez('rows.npz', X=X, y=y).",
            )
    return RawData(
        name,
        arrays[X],
        arrays[target],
        groups=arrays.get(config.group or "groups"),
        time=arrays.get(config.time or "time"),
        weights=arrays.get(config.weight or "weights"),
        feature_names=_texts(arrays.get("feature_names")),
        class_names=_texts(arrays.get("class_names")),
        target_names=(target,) if config.target else None,
    )


def _texts(names: NDArray[Any] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(str(name) for name in names.ravel())


def _opened(path: str, place: str) -> Any:
    """A mapped array, or the arrays of an `.npz` by their names."""
    file = Path(path).expanduser()
    try:
        if path.endswith(".npz"):
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            place,
            expected=f"a file of NumPy's with numbers or texts at '{file}'",
            found=f"'{error.strerror}'" if isinstance(error, OSError) and error.strerror else f"'{error}'",
            remedy="Correct the path, which counts from the working directory, or write the file again with np.save.",
        ) from error
