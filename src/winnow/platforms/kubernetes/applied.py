"""Recovers what winnow last applied of an object, to undo a failed change.

Server-side apply records the owner of every field, so the result has no defaults, status or fields of other managers.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from winnow.platforms.kubernetes.client import FIELD_MANAGER
from winnow.platforms.kubernetes.kinds import Manifest


def applied_of(live: Manifest, *, changed: Manifest | None = None) -> Manifest | None:
    """The object as winnow applied it; None where it never did.

    Args:
        changed: the same object after winnow has applied it again. Fields that this took over from other managers are
            included, since their values would be lost when winnow releases them.

    `metadata.managedFields` use the notation of sigs.k8s.io/structured-merge-diff: `f:NAME` is a field, `k:{…}` the
    item of a list that has these keys, `v:VALUE` an item of a set, `.` the value itself.
    """
    entry = _entry(live)
    if entry is None:
        return None
    later = _entry(changed) if changed is not None else None
    fields = entry["fieldsV1"] if later is None else _united(entry["fieldsV1"], later["fieldsV1"])
    owned = _owned(live, fields)
    metadata = {"name": live["metadata"]["name"], **(owned.get("metadata") or {})}
    return {"apiVersion": entry["apiVersion"], "kind": live["kind"], **owned, "metadata": metadata}


def _entry(live: Manifest) -> Mapping[str, Any] | None:
    for entry in live["metadata"].get("managedFields") or ():
        if entry["manager"] == FIELD_MANAGER and entry["operation"] == "Apply" and not entry.get("subresource"):
            found: Mapping[str, Any] = entry
            return found
    return None


def _united(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _united(one.get(key, {}), other.get(key, {})) for key in (*one, *(set(other) - set(one)))}


def _owned(value: Any, fields: Mapping[str, Any]) -> Any:
    if not fields:
        return copy.deepcopy(value)
    if isinstance(value, dict):
        names = {key[2:]: inner for key, inner in fields.items() if key.startswith("f:")}
        return {name: _owned(value[name], inner) for name, inner in names.items() if name in value}
    if isinstance(value, list):
        return [_owned(item, inner) for item in value if (inner := _fields_of(item, fields)) is not None]
    return value


def _fields_of(item: Any, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owned fields of a list's item; None if there are none."""
    for key, inner in fields.items():
        sign, _, text = key.partition(":")
        if sign == "v" and json.loads(text) == item:
            return {}
        if sign == "k" and isinstance(item, dict) and json.loads(text).items() <= item.items():
            owned: Mapping[str, Any] = inner
            return owned
    return None
