"""What one field manager has applied of an object, read back from what the API server keeps about it.

Server-side apply remembers every field's owner, so an object as it was applied last can be had again, without defaults,
other people's fields and status: what a change that fails is taken back to.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from winnow.cluster.api import FIELD_MANAGER
from winnow.cluster.kinds import Manifest


def applied_of(live: Manifest, manager: str = FIELD_MANAGER) -> Manifest | None:
    """The object as the manager applied it; None where it never did.

    `metadata.managedFields` of API type meta/v1, in the notation of sigs.k8s.io/structured-merge-diff: `f:NAME` is a
    field, `k:{…}` the item of a list that has these keys, `v:VALUE` an item of a set, `.` the thing itself.
    """
    for entry in live["metadata"].get("managedFields") or ():
        is_whole = entry["operation"] == "Apply" and not entry.get("subresource")
        if entry["manager"] == manager and is_whole:
            owned = _owned(live, entry["fieldsV1"])
            metadata = {"name": live["metadata"]["name"], **(owned.get("metadata") or {})}
            return {"apiVersion": entry["apiVersion"], "kind": live["kind"], **owned, "metadata": metadata}
    return None


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
