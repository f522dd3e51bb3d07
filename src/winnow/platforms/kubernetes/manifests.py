"""Manifests: read from the project's `k8s/` folders, changed field by field, printed for people.

The files are plain YAML that `kubectl apply -k` takes as they are. Settings are put into them by field path, never by a
template of text. A kustomization that does more than list files is refused, so that no patch is silently ignored.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from winnow.config.errors import InputError
from winnow.config.yaml_text import not_yaml
from winnow.platforms.kubernetes.kinds import Manifest, kind_of

KUSTOMIZATION = "kustomization.yaml"
STARS = "***"
SECRET_FIELDS = ("data", "stringData")
"""The fields of a Secret that are never shown."""

# `images` is ignored: images are set by field path.
_UNDERSTOOD = frozenset({"apiVersion", "kind", "metadata", "resources", "images"})
_MERGE_KEYS = ("mountPath", "name")
"""Keys by which lists are merged. A mount has both, and its path is unique."""


@dataclass(frozen=True)
class Named:
    """A part of a field path: the item of a list that has this `name`."""

    name: str


@dataclass(frozen=True)
class Append:
    """The last part of a field path: a new item at the end of a list."""


APPEND: Final = Append()
Part: TypeAlias = str | int | Named | Append
FieldPath: TypeAlias = tuple[Part, ...]


def load(folder: Path) -> tuple[Manifest, ...]:
    """The objects of a kustomization's `resources`, in their order, folders among them included.

    Raises:
        InputError: a file is missing or no YAML, an object is of a kind that winnow does not know, or the
            kustomization asks for more than a list of files.
    """
    file = folder / KUSTOMIZATION
    kustomization = _documents(file)[0]
    beyond = sorted(set(kustomization) - _UNDERSTOOD)
    if beyond:
        raise InputError(
            str(file),
            expected=f"a list of `resources`; more is understood by `kubectl apply -k {folder}` alone",
            found=", ".join(f"'{key}'" for key in beyond),
            remedy="Write it into the files themselves, or apply the folder with kubectl.",
        )
    return tuple(_resources(folder, kustomization.get("resources") or ()))


def changed(manifest: Manifest, changes: Mapping[FieldPath, Any]) -> Manifest:
    """A copy with fields set; None takes a field away. Maps on the way that are not there are made.

    Raises:
        InputError: a list has no item of that name or number, or something on the way is no map and no list.
    """
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        place: Any = result
        for index, part in enumerate(path[:-1]):
            place = _entered(
                place, part, path[: index + 1], manifest, is_list_next=not isinstance(path[index + 1], str)
            )
        _set(place, path, copy.deepcopy(value), manifest)
    return result


def merged(base: Manifest, overlay: Mapping[str, Any]) -> Manifest:
    """A copy with another map laid over it.

    Maps are merged; lists whose items all have a `mountPath`, or all a `name`, item by item; null removes; all else is
    replaced. That is what `kubectl` makes of most patches, without a table of the API's types.
    """
    result: Manifest = _laid_over(base, overlay)
    return result


def to_yaml(manifests: Iterable[Manifest]) -> str:
    """The manifests as YAML documents; what Secrets hold is starred."""
    return "---\n".join(yaml_of(starred(manifest)) for manifest in manifests)


def yaml_of(value: Any) -> str:
    """One value as YAML, in its own order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def starred(manifest: Manifest) -> Manifest:
    """A copy in which a Secret's values are starred; anything else as it is."""
    if manifest.get("kind") != "Secret":
        return manifest
    hidden = {field: dict.fromkeys(manifest[field], STARS) for field in SECRET_FIELDS if manifest.get(field)}
    return {**manifest, **hidden}


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The object of this kind and name. Raises InputError where it was removed from the files."""
    for manifest in manifests:
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name:
            return manifest
    raise InputError(
        f"{kind} '{name}'",
        expected="it among the project's manifests below k8s/",
        found="none",
        remedy="Put it back; its fields may be changed, its name may not.",
    )


# Reading


def _resources(folder: Path, resources: Sequence[str]) -> Iterator[Manifest]:
    for resource in resources:
        path = folder / resource
        if path.is_dir():
            yield from load(path)
            continue
        for manifest in _documents(path):
            _check_kind(manifest, path)
            yield manifest


def _documents(path: Path) -> list[Manifest]:
    try:
        # YAML 1.1, which kubectl reads too: a mode of 0440 is octal.
        found = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]
    except OSError as error:
        raise InputError(
            str(path),
            expected="a file of manifests",
            found=error.strerror or str(error),
            remedy="Run this in the project's own folder, where k8s/ lies.",
        ) from error
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    if not found or not all(isinstance(document, dict) for document in found):
        raise InputError(str(path), expected="maps, as YAML", found="something else", remedy="Correct the file.")
    return found


def _check_kind(manifest: Manifest, path: Path) -> None:
    try:
        kind_of(manifest)
        manifest["metadata"]["name"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(path),
            expected="objects with apiVersion, kind and metadata.name, of kinds that winnow applies",
            found=f"{manifest.get('apiVersion')} {manifest.get('kind')}",
            remedy="Correct it, or apply that object with kubectl.",
        ) from error


# Changing


def _entered(place: Any, part: Part, way: FieldPath, manifest: Manifest, *, is_list_next: bool) -> Any:
    if isinstance(part, str) and isinstance(place, dict):
        if place.get(part) is None:
            place[part] = [] if is_list_next else {}
        return place[part]
    if isinstance(place, list) and (index := _index(place, part)) is not None:
        return place[index]
    raise _no_field(manifest, way)


def _set(place: Any, path: FieldPath, value: Any, manifest: Manifest) -> None:
    part = path[-1]
    if isinstance(part, str) and isinstance(place, dict):
        if value is None:
            place.pop(part, None)
        else:
            place[part] = value
    elif isinstance(part, Append) and isinstance(place, list):
        place.append(value)
    elif isinstance(place, list) and (index := _index(place, part)) is not None:
        place[index : index + 1] = [] if value is None else [value]
    else:
        raise _no_field(manifest, path)


def _index(items: list[Any], part: Part) -> int | None:
    if isinstance(part, int):
        return part if 0 <= part < len(items) else None
    if isinstance(part, Named):
        names = [item.get("name") if isinstance(item, dict) else None for item in items]
        return names.index(part.name) if part.name in names else None
    return None


def _no_field(manifest: Manifest, path: FieldPath) -> InputError:
    way = ".".join(f"[name={part.name}]" if isinstance(part, Named) else str(part) for part in path)
    return InputError(
        f"{manifest.get('kind')} '{manifest.get('metadata', {}).get('name')}': {way}",
        expected="that field, which winnow sets",
        found="none",
        remedy="Put it back in the manifest below k8s/.",
    )


def _laid_over(base: Any, overlay: Any) -> Any:
    if isinstance(overlay, Mapping):
        known = dict(base) if isinstance(base, Mapping) else {}
        laid = {key: None if value is None else _laid_over(known.get(key), value) for key, value in overlay.items()}
        return {
            key: copy.deepcopy(value)
            for key, value in {**known, **laid}.items()
            if key not in laid or value is not None
        }
    if isinstance(overlay, list) and (by := _merge_key(base, overlay)) is not None:
        theirs = {item[by]: item for item in overlay}
        kept = [_laid_over(item, theirs.pop(item[by], {})) for item in base]
        return [*kept, *(_laid_over(None, item) for item in theirs.values())]
    return copy.deepcopy(overlay)


def _merge_key(base: Any, overlay: list[Any]) -> str | None:
    """The key that all items of both lists have; None where there is none."""
    if not isinstance(base, list) or not base:
        return None
    items = [*base, *overlay]
    for key in _MERGE_KEYS:
        if all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, several lines as a block: as people write manifests."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
