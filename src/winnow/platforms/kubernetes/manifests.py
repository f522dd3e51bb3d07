"""Manifests: read from the project's `k8s/` folders, changed field by field, printed as YAML.

`kubectl apply -k` accepts the files as they are. Settings are put into them by field path, not by a text template. A
kustomization that does more than list files is refused, since its patches would be ignored.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

from winnow.config.errors import InputError
from winnow.config.own_files import own_folder
from winnow.config.yaml_edit import yaml_of
from winnow.config.yaml_text import not_yaml
from winnow.platforms.kubernetes.kinds import SECRET, Manifest, kind_of

KUSTOMIZATION = "kustomization.yaml"
STARS = "***"
SECRET_FIELDS = ("data", "stringData")
# `images` is ignored: images are set by field path.
_UNDERSTOOD = frozenset({"apiVersion", "kind", "metadata", "resources", "images"})
_MERGE_KEYS = ("mountPath", "name")
"""Keys by which lists are merged. A mount has both, and its path is unique."""


@dataclass(frozen=True)
class Named:
    """In a field path: the item of a list with this `name`."""

    name: str


@dataclass(frozen=True)
class Append:
    """At the end of a field path: a new last item of a list."""


APPEND: Final = Append()
Part: TypeAlias = str | int | Named | Append
FieldPath: TypeAlias = tuple[Part, ...]


def load(folder: Path) -> tuple[Manifest, ...]:
    """The objects of a kustomization's `resources`, in their order, also from folders.

    Raises:
        InputError: a file is missing or not YAML, winnow does not know a kind, or the kustomization does more than list
            files.
    """
    folder = own_folder(Path(), str(folder / KUSTOMIZATION)) / folder
    file = folder / KUSTOMIZATION
    kustomization = _documents(file)[0]
    beyond = sorted(set(kustomization) - _UNDERSTOOD)
    if beyond:
        raise InputError(
            str(file),
            expected=f"only a list of `resources`; `kubectl apply -k {folder}` supports more",
            found=", ".join(f"'{key}'" for key in beyond),
            remedy="Change the files themselves, or apply the folder with kubectl.",
        )
    found: list[Manifest] = []
    for resource in kustomization.get("resources") or ():
        path = folder / resource
        if path.is_dir():
            found += load(path)
            continue
        for manifest in _documents(path):
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
            found.append(manifest)
    return tuple(found)


def changed(manifest: Manifest, changes: Mapping[FieldPath, Any]) -> Manifest:
    """A copy with fields set. None removes a field. Missing maps on the path are created.

    Raises:
        InputError: a list has no item of that name or index, or a value on the path is neither a map nor a list.
    """
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        place: Any = result
        for index, part in enumerate(path):
            is_last = index == len(path) - 1
            try:
                if is_last and isinstance(part, Append):
                    place.append(copy.deepcopy(value))
                    continue
                key = _key(place, part)
                if isinstance(place, dict) and place.get(key) is None:
                    place[key] = {} if is_last or isinstance(path[index + 1], str) else []
                if not is_last:
                    place = place[key]
                elif value is None:
                    del place[key]
                else:
                    place[key] = copy.deepcopy(value)
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise _no_field(manifest, path[: index + 1]) from error
    return result


def merged(base: Manifest, overlay: Mapping[str, Any]) -> Manifest:
    """A copy with another map merged into it.

    Maps are merged, and so are lists whose items all have a `mountPath` or all a `name`, item by item. Null removes.
    Anything else is replaced. `kubectl` treats most patches the same, but with a table of the API's types.
    """
    result: Manifest = _laid_over(base, overlay)
    return result


def to_yaml(manifests: Iterable[Manifest]) -> str:
    """The manifests as YAML documents, with asterisks for the values of Secrets."""
    return "---\n".join(yaml_of(starred(manifest)) for manifest in manifests)


def starred(manifest: Manifest) -> Manifest:
    """A Secret with asterisks for its values; any other object unchanged."""
    if manifest.get("kind") != "Secret":
        return manifest
    hidden = {field: dict.fromkeys(manifest[field], STARS) for field in SECRET_FIELDS if manifest.get(field)}
    return {**manifest, **hidden}


def secret(
    name: str, labels: Mapping[str, str], values: Mapping[str, str], annotations: Mapping[str, str] | None = None
) -> Manifest:
    """A Secret with these values by key."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return SECRET.manifest(name, labels, annotations=annotations, type="Opaque", data=data)


def secret_values(manifest: Manifest) -> dict[str, str]:
    """A Secret's values by key."""
    return {key: base64.b64decode(value).decode() for key, value in (manifest.get("data") or {}).items()}


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """The object of this kind and name. Raises InputError where there is none."""
    for manifest in manifests:
        if manifest["kind"] == kind and manifest["metadata"]["name"] == name:
            return manifest
    raise InputError(
        f"{kind} '{name}'",
        expected="this object among the manifests below k8s/",
        found="none",
        remedy="Restore it; its fields may change, its name may not.",
    )


def _documents(path: Path) -> list[Manifest]:
    try:
        # YAML 1.1, as for kubectl: a mode of 0440 is octal.
        found = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document is not None]
    except OSError as error:
        raise InputError(
            str(path),
            expected="a file of manifests",
            found=error.strerror or str(error),
            remedy="Run this in the project's folder, which contains k8s/.",
        ) from error
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    if not found or not all(isinstance(document, dict) for document in found):
        raise InputError(str(path), expected="maps, as YAML", found="something else", remedy="Correct the file.")
    return found


def _key(place: Any, part: Part) -> Any:
    """The key or index of a part of a path. Raises LookupError or TypeError where there is none."""
    if isinstance(part, str) != isinstance(place, dict):
        raise TypeError
    if isinstance(part, Named):
        return [item.get("name") for item in place].index(part.name)
    return part


def _no_field(manifest: Manifest, path: FieldPath) -> InputError:
    way = ".".join(f"[name={part.name}]" if isinstance(part, Named) else str(part) for part in path)
    return InputError(
        f"{manifest.get('kind')} '{manifest.get('metadata', {}).get('name')}': {way}",
        expected="this field, which winnow sets",
        found="none",
        remedy="Restore it in the manifest below k8s/.",
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
    """The key that all items of both lists have, if any."""
    if not isinstance(base, list) or not base:
        return None
    items = [*base, *overlay]
    for key in _MERGE_KEYS:
        if all(isinstance(item, Mapping) and key in item for item in items):
            return key
    return None
