"""Check `serving.features` by the model that is to be served: its columns, and the service that it is trained on.

Neither Feast nor its repository is needed: the lineage of a version names the service and its keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import get_args

from msgspec import UNSET, structs

from winnow.bundle.columns import Column, ColumnValueError
from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.routing import FeatureSettings, KeyKind, Release
from winnow.tracking.records import LINEAGE

SERVICE, KEYS = f"{LINEAGE}feast", f"{LINEAGE}feast_keys"
"""The tags with `REPOSITORY#SERVICE`, and with the kind of each key as JSON, which earlier versions lack."""


def checked_features(features: FeatureSettings, release: Release) -> FeatureSettings:
    """The settings with the kinds of their keys, where the release's lineage has them.

    Raises:
        InputError: the service or a key is not that of the model's training, or a fallback does not fit its columns.
    """
    model = f"{release.model} version {release.version}"
    _check_fallback(features.fallback, read_manifest(release.bundle).table, model)
    trained = release.lineage.get(SERVICE)
    if trained is None:
        return features
    service = trained.rpartition("#")[2]
    if features.service != service:
        remedy = "Name that service, or train a version on the other one."
        expected = f"'{service}', on whose features {model} is trained"
        raise InputError("serving.features.service", expected=expected, found=f"'{features.service}'", remedy=remedy)
    if KEYS not in release.lineage:
        return features
    kinds: Mapping[str, str] = json.loads(release.lineage[KEYS])
    expected, known = f"the keys of the service '{service}': {', '.join(kinds)}", list(kinds)
    for key in features.keys:
        if key not in kinds:
            remedy = did_you_mean(key, known) or "Remove it."
            raise InputError("serving.features.keys", expected=expected, found=f"'{key}'", remedy=remedy)
    missing = next((key for key in kinds if key not in features.keys), None)
    if missing is not None:
        found = f"{', '.join(features.keys)}, without '{missing}'"
        raise InputError("serving.features.keys", expected=expected, found=found, remedy="Add it.")
    given: dict[str, KeyKind] = {key: kind for key in features.keys for kind in get_args(KeyKind) if kind == kinds[key]}
    return structs.replace(features, kinds=given or UNSET)


def _check_fallback(fallback: object, columns: tuple[Column, ...] | None, model: str) -> None:
    if columns is None:
        remedy = "Remove the section: no feature has a place in a tensor."
        raise InputError("serving.features", expected="a model with named columns", found=model, remedy=remedy)
    by_name = {column.name: column for column in columns}
    for name, value in (fallback if isinstance(fallback, dict) else {}).items():
        place = f"serving.features.fallback.{name}"
        if name not in by_name:
            remedy = did_you_mean(name, list(by_name)) or f"It has {', '.join(by_name)}."
            raise InputError(place, expected=f"a column of {model}", found="none", remedy=remedy)
        try:
            by_name[name].encode([value])
        except ColumnValueError as error:
            remedy = "It would refuse every row that needs it."
            raise InputError(place, expected=error.expected, found=repr(value), remedy=remedy) from None
