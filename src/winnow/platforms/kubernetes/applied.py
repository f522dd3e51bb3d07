"""What one field manager has applied of an object, read back from what the API server keeps about it.

Server-side apply records every field's owner, so the object as it was last applied can be restored, without defaults,
other managers' fields and status. A failed change is undone with it. Fields that the change took over from other
managers are read back, too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from winnow.platforms.kubernetes.client import FIELD_MANAGER
from winnow.platforms.kubernetes.kinds import Manifest


def applied_of(live: Manifest, manager: str = FIELD_MANAGER, *, changed: Manifest | None = None) -> Manifest | None:
    """The object as the manager applied it; None where it never did.

    Args:
        changed: the same object after the manager has applied it again. A field that it took over from another manager
            by that is read back as well: its value would be lost when the manager releases it.

    `metadata.managedFields` of API type meta/v1, in the notation of sigs.k8s.io/structured-merge-diff: `f:NAME` is a
    field, `k:{…}` the item of a list that has these keys, `v:VALUE` an item of a set, `.` the thing itself.
    """
    entry = _entry(live, manager)
    if entry is None:
        return None
    later = _entry(changed, manager) if changed is not None else None
    fields = entry["fieldsV1"] if later is None else _united(entry["fieldsV1"], later["fieldsV1"])
    owned = _owned(live, fields)
    metadata = {"name": live["metadata"]["name"], **(owned.get("metadata") or {})}
    return {"apiVersion": entry["apiVersion"], "kind": live["kind"], **owned, "metadata": metadata}


def _entry(live: Manifest, manager: str) -> Mapping[str, Any] | None:
    """What is kept about the last time that the manager applied all of an object."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"):
            found: Mapping[str, Any] = entry
            return found
    return None


def _united(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of both."""
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
    """What of a list's item is owned; None where nothing is."""
    for key, inner in fields.items():
        sign, _, text = key.partition(":")
        if sign == "v" and json.loads(text) == item:
            return {}
        if sign == "k" and isinstance(item, dict) and json.loads(text).items() <= item.items():
            owned: Mapping[str, Any] = inner
            return owned
    return None
