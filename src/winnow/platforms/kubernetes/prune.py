"""Applies a set of objects, deletes those with its labels that are no longer in the set, and leaves others alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import Kind, Manifest, has_labels, kind_of, name_of
from winnow.platforms.kubernetes.refusals import ConflictError


def apply_all(
    cluster: Cluster,
    manifests: Sequence[Manifest],
    labels: Mapping[str, str],
    kinds: Sequence[Kind],
    *,
    kept: Collection[str] = (),
) -> None:
    """Apply objects in their order, then delete the others that have their labels.

    Args:
        labels: labels that all `manifests` have, and no other objects.
        kinds: what may be deleted; leave out what holds data.
        kept: uids of objects to keep although they are not in `manifests`.

    Raises:
        ValueError: an object lacks a label; nothing was applied.
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
    """The cluster's objects that have the labels and no controller, and are not among `manifests`."""
    if not labels:
        raise ValueError("expected labels, found none, which would mean every object of the namespace")
    wanted = {(kind_of(manifest), name_of(manifest)) for manifest in manifests}
    found = [each for kind in kinds for each in cluster.find(kind, labels).items]
    return [
        each
        for each in found
        if (kind_of(each), name_of(each)) not in wanted
        and "deletionTimestamp" not in each["metadata"]
        # A Deployment's ReplicaSets have its labels.
        and not any(owner.get("controller") for owner in each["metadata"].get("ownerReferences") or ())
    ]


def check_labels(manifests: Sequence[Manifest], labels: Mapping[str, str]) -> None:
    """Raises ValueError where an object lacks one of the labels."""
    for manifest in manifests:
        own = manifest["metadata"].get("labels") or {}
        missing = [f"{name}={value}" for name, value in labels.items() if own.get(name) != value]
        if missing:
            named = f"{kind_of(manifest).plural}/{name_of(manifest)}"
            raise ValueError(f"expected {named} to have the labels {', '.join(missing)}, by which it is found again")


def check_ours(live: Manifest, labels: Mapping[str, str], *, owner: str, remedy: str) -> None:
    """Raise InputError if an object lacks the labels of `owner`, such as `the stack`."""
    if has_labels(live, labels):
        return
    wanted = ",".join(f"{name}={value}" for name, value in labels.items())
    raise InputError(
        f"{live['kind']} '{name_of(live)}'",
        expected=f"none, or one of {owner}, with the label {wanted}",
        found="one without it",
        remedy=remedy,
    )
