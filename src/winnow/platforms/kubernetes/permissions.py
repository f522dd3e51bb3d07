"""Checks permissions before anything is made, and names every missing verb at once.

Every part that deals with the cluster declares the `PERMISSIONS` that it uses; `k8s/role.yaml` is their union. Who
grants them, and to whom, is left to the cluster's owner.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import Kind

_AT_ONCE = 16


@dataclass(frozen=True)
class Permission:
    """One verb on one kind, in one namespace."""

    verb: str
    kind: Kind
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As a Role names it: `pods/log`."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural

    def __str__(self) -> str:
        group = f".{self.kind.group}" if self.kind.group else ""
        return f"{self.verb} {self.kind.plural}{group}{f'/{self.subresource}' if self.subresource else ''}"


def verbs(kind: Kind, *names: str, subresource: str = "") -> tuple[Permission, ...]:
    """Several verbs on a kind."""
    return tuple(Permission(name, kind, subresource) for name in names)


def applying(*kinds: Kind) -> tuple[Permission, ...]:
    """What `Cluster.apply` needs: a server-side apply is a patch, and creates what is not there."""
    return tuple(permission for kind in kinds for permission in verbs(kind, "create", "patch"))


def check(cluster: Cluster, permissions: Iterable[Permission], what: str) -> None:
    """Ask whether all of it is allowed.

    Args:
        what: what the permissions are for, to put into a sentence: "training on the cluster".

    Raises:
        InputError: something is not; every missing verb is named.
        UnreachableError: the cluster does not answer.
    """
    wanted = list(dict.fromkeys(permissions))
    if not wanted:
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), thread_name_prefix="winnow-permissions") as pool:
        allowed = list(pool.map(lambda each: cluster.is_allowed(each.verb, each.kind, each.subresource), wanted))
    missing = [permission for permission, is_allowed in zip(wanted, allowed, strict=True) if not is_allowed]
    if missing:
        raise InputError(
            f"namespace '{cluster.namespace}' of the cluster '{cluster.context}'",
            expected=f"permission for {what}",
            found=f"none to {', '.join(map(str, sorted(missing, key=str)))}",
            remedy="Have its owner bind the Role to you: `kubectl apply -f k8s/role.yaml` and a RoleBinding, as "
            "docs/security.md shows.",
        )
