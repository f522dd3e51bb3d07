"""Applies a set of objects as one: objects with its labels that are no longer in the set are removed.

The cluster removes what an object owns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from winnow.platforms.kubernetes.client import Cluster, ConflictError
from winnow.platforms.kubernetes.kinds import Kind, Manifest, kind_of, name_of


def apply_all(
    cluster: Cluster,
    manifests: Sequence[Manifest],
    labels: Mapping[str, str],
    kinds: Sequence[Kind],
    *,
    kept: Collection[str] = (),
) -> None:
    """Apply objects in their order, then remove the others that have their labels.

    Args:
        labels: those of all `manifests`, and of no other objects.
        kinds: what may be removed; leave out what holds data.
        kept: uids of objects that stay although they are not in `manifests`.

    Raises:
        ValueError: an object lacks a label, by which it would be found again; nothing was applied.
    """
    check_labels(manifests, labels)
    for manifest in manifests:
        cluster.apply(manifest)
    for orphan in orphans(cluster, manifests, labels, kinds):
        if orphan["metadata"]["uid"] in kept:
            continue
        # Its uid excludes a newer object of the same name.
        try:
            cluster.delete(kind_of(orphan), name_of(orphan), uid=orphan["metadata"]["uid"])
        except ConflictError:
            continue


def orphans(
    cluster: Cluster, manifests: Sequence[Manifest], labels: Mapping[str, str], kinds: Sequence[Kind]
) -> list[Manifest]:
    """The cluster's objects that have the labels, have no controller, and are not among `manifests`.

    Raises:
        ValueError: no label is given, which would mean every object of the namespace.
    """
    if not labels:
        raise ValueError("expected labels, found none, which would mean every object of the namespace")
    wanted = {(kind_of(manifest), name_of(manifest)) for manifest in manifests}
    found = [each for kind in kinds for each in cluster.find(kind, labels).items]
    return [each for each in found if (kind_of(each), name_of(each)) not in wanted and not _is_owned(each)]


def check_labels(manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
    """Raises ValueError where an object lacks one of the labels."""
    for manifest in manifests:
        own = manifest["metadata"].get("labels") or {}
        missing = [f"{name}={value}" for name, value in labels.items() if own.get(name) != value]
        if missing:
            named = f"{kind_of(manifest).plural}/{name_of(manifest)}"
            raise ValueError(f"expected {named} to carry {', '.join(missing)}, by which it is found again")


def _is_owned(manifest: Manifest) -> bool:
    """Something else made it and takes care of it: a Deployment's ReplicaSets carry its labels."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") for owner in owners) or "deletionTimestamp" in manifest["metadata"]
