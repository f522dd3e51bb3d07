"""Checks permissions before a command changes anything, and names every missing one.

Every module that uses the cluster declares its `PERMISSIONS`; `k8s/role.yaml` is their union.
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
    """A verb on a kind, in the namespace."""

    verb: str
    kind: Kind
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As in a Role: `pods/log`."""
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural

    def __str__(self) -> str:
        plural, _, subresource = self.resource.partition("/")
        return f"{self.verb} {plural}{self.kind.group and f'.{self.kind.group}'}{subresource and f'/{subresource}'}"


def verbs(names: str, *kinds: Kind, subresource: str = "") -> tuple[Permission, ...]:
    """Verbs, separated by spaces, on each of these kinds."""
    return tuple(Permission(name, kind, subresource) for kind in kinds for name in names.split())


def applying(*kinds: Kind) -> tuple[Permission, ...]:
    """Permissions for `Cluster.apply`: a server-side apply is a patch, which may create the object."""
    return verbs("create patch", *kinds)


def check(cluster: Cluster, permissions: Iterable[Permission], what: str) -> None:
    """Ask the cluster for all permissions.

    Args:
        what: for what they are needed, for the error: "training on the cluster".

    Raises:
        InputError: some are missing; every one is named.
        UnreachableError: the cluster does not answer.
    """
    wanted = list(dict.fromkeys(permissions))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="winnow-permissions") as pool:
        allowed = list(pool.map(lambda each: cluster.is_allowed(each.verb, each.kind, each.subresource), wanted))
    missing = [permission for permission, is_allowed in zip(wanted, allowed, strict=True) if not is_allowed]
    if missing:
        raise InputError(
            f"namespace '{cluster.namespace}' of the cluster '{cluster.context}'",
            expected=f"permission for {what}",
            found=f"none to {', '.join(map(str, sorted(missing, key=str)))}",
            remedy="Ask its owner to bind the Role to you: `kubectl apply -f k8s/role.yaml` and a RoleBinding, as in "
            "docs/security.md.",
        )
