"""What applying a set of objects would change in the cluster, as a unified diff.

The diff compares the live objects with the answers to a dry run of the same server-side apply, so defaults and fields
of other managers make no difference. It only says whether a Secret's values differ.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence

from winnow.config.yaml_edit import yaml_of
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import Kind, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.manifests import SECRET_FIELDS, STARS
from winnow.platforms.kubernetes.prune import check_labels, orphans

_OF_THE_SERVER = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid")
_OF_KUBECTL = "kubectl.kubernetes.io/last-applied-configuration"
"""This annotation contains the whole object, including a Secret's values."""


def difference(
    cluster: Cluster, manifests: Sequence[Manifest], labels: Mapping[str, str], kinds: Sequence[Kind]
) -> str:
    """What `prune.apply_all` would change; empty if nothing.

    Raises:
        ValueError: an object lacks a label.
        InputError: the cluster refuses an object.
    """
    check_labels(manifests, labels)
    parts: list[str] = []
    for manifest in manifests:
        live = cluster.get(kind_of(manifest), name_of(manifest))
        parts += _lines(manifest, live, cluster.apply(manifest, is_dry_run=True))
    for orphan in orphans(cluster, manifests, labels, kinds):
        parts += _lines(orphan, orphan, None)
    return "".join(parts)


def _lines(manifest: Manifest, live: Manifest | None, wanted: Manifest | None) -> Iterator[str]:
    name = f"{kind_of(manifest).plural}/{name_of(manifest)}"
    before, after = _cleaned(live), _cleaned(wanted)
    if manifest["kind"] == "Secret":
        before, after = _starred(before, after, "old"), _starred(after, before, "new")
    return difflib.unified_diff(
        _text(before),
        _text(after),
        f"{name} (in the cluster)" if live is not None else f"{name} (not in the cluster)",
        f"{name} (planned)" if wanted is not None else f"{name} (removed)",
    )


def _text(manifest: Manifest | None) -> list[str]:
    return [] if manifest is None else yaml_of(manifest).splitlines(keepends=True)


def _cleaned(manifest: Manifest | None) -> Manifest | None:
    """An object without fields that only the server sets, sorted."""
    if manifest is None:
        return None
    rest = {key: value for key, value in manifest.items() if key != "status"}
    metadata = {key: value for key, value in rest["metadata"].items() if key not in _OF_THE_SERVER}
    annotations = {key: value for key, value in metadata.pop("annotations", {}).items() if key != _OF_KUBECTL}
    cleaned = {**rest, "metadata": {**metadata, **({"annotations": annotations} if annotations else {})}}
    ordered: Manifest = json.loads(json.dumps(cleaned, sort_keys=True))
    return ordered


def _starred(own: Manifest | None, other: Manifest | None, word: str) -> Manifest | None:
    if own is None:
        return None
    result = dict(own)
    for field in SECRET_FIELDS:
        if own.get(field):
            theirs = (other or {}).get(field) or {}
            result[field] = {
                key: STARS if key not in theirs or theirs[key] == value else f"{STARS} ({word})"
                for key, value in own[field].items()
            }
    return result
