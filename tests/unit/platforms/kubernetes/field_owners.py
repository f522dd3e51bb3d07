"""Server-side apply for tests: who set which field, what is taken over by force, and what goes with its last owner.

As https://kubernetes.io/docs/reference/using-api/server-side-apply/ has it, but that every list is a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

_OF_NOBODY = {("apiVersion",), ("kind",), ("metadata", "name")}


def applied(live: dict[str, Any] | None, wanted: dict[str, Any], manager: str) -> dict[str, Any]:
    """An object after somebody has applied it, by force."""
    before = live if live is not None else {"metadata": {}}
    mine, me = set(_leaves(wanted)) - _OF_NOBODY, (manager, "Apply")
    owners = _without(_owners(before), me, {path for path in mine if _at(before, path) != _at(wanted, path)})
    let_go = owners.get(me, set()) - mine
    owners[me] = mine
    result = _laid_over(before, wanted)
    for path in let_go:
        if not any(path in owned for owned in owners.values()):
            _remove(result, path)
    return _noted(result, owners)


def edited(live: dict[str, Any], changes: dict[str, Any], manager: str) -> dict[str, Any]:
    """An object after somebody has changed fields of it, as `kubectl patch` does."""
    mine, me = set(_leaves(changes)), (manager, "Update")
    owners = _without(_owners(live), me, mine)
    owners[me] = owners.get(me, set()) | mine
    return _noted(_laid_over(live, changes), owners)


def _leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    else:
        yield path


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _remove(value: dict[str, Any], path: Path) -> None:
    for name in path[:-1]:
        value = value.get(name, {})
    value.pop(path[-1], None)


def _laid_over(base: Any, more: Any) -> Any:
    if isinstance(base, dict) and isinstance(more, dict):
        return {name: _laid_over(base.get(name), more.get(name, base.get(name))) for name in {**base, **more}}
    return copy.deepcopy(more)


def _without(
    owners: Mapping[tuple[str, str], set[Path]], kept: tuple[str, str], taken: set[Path]
) -> dict[tuple[str, str], set[Path]]:
    return {owner: paths if owner == kept else paths - taken for owner, paths in owners.items()}


def _owners(live: dict[str, Any]) -> dict[tuple[str, str], set[Path]]:
    entries = live["metadata"].get("managedFields") or ()
    return {
        (each["manager"], each["operation"]): {
            tuple(name.removeprefix("f:") for name in path) for path in _leaves(each["fieldsV1"])
        }
        for each in entries
    }


def _noted(result: dict[str, Any], owners: Mapping[tuple[str, str], set[Path]]) -> dict[str, Any]:
    entries = [
        {"manager": manager, "operation": operation, "apiVersion": result["apiVersion"], "fieldsV1": _tree(paths)}
        for (manager, operation), paths in owners.items()
        if paths
    ]
    return {**result, "metadata": {**result["metadata"], "managedFields": entries}}


def _tree(paths: set[Path]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        place = tree
        for name in path:
            place = place.setdefault(f"f:{name}", {})
    return tree
