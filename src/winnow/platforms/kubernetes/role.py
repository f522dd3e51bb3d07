"""The permissions that winnow needs on a cluster: the Role in `k8s/role.yaml`, and the table in docs/security.md.

Each part declares the permissions that it uses beside its code; this module collects them. No part needs another
namespace or a permission for the whole cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from winnow.config.reference import markdown_table, variables_table
from winnow.platforms.kubernetes import deployer, executor, stack
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.permissions import Permission
from winnow.platforms.platform import PlatformDocuments
from winnow.platforms.stack_variables import SETTINGS

ROLE = "winnow"
"""The Role's name."""

USED: Mapping[str, tuple[Permission, ...]] = {
    "`mlflow-init`, `mlflow-remove`, `diff`": stack.PERMISSIONS,
    "every verb that works on the stack's runs or studies": stack.STORE_PERMISSIONS,
    "`train-kubernetes`, `jobs`, `logs`, `cancel`": executor.PERMISSIONS,
    "`prod-kubernetes`, `rollback`": deployer.PERMISSIONS,
}
"""The permissions of each part, by the verbs that it serves."""

_CORE = '""'
_HEAD = (
    "# All that winnow does in a cluster, in one namespace: what its parts declare, put together by `make docs`.",
    "# docs/security.md says which part needs what, and how the Role is bound to a person.",
)


def role_file() -> str:
    """The content of `k8s/role.yaml`."""
    made = role({permission for part in USED.values() for permission in part})
    lines = [f"apiVersion: {made['apiVersion']}", f"kind: {made['kind']}", "metadata:"]
    lines += [f"  name: {made['metadata']['name']}", "rules:"]
    for rule in made["rules"]:
        first, *rest = (f"{key}: {_flow(texts)}" for key, texts in rule.items())
        lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    return "\n".join((*_HEAD, *lines, ""))


def permissions_table() -> str:
    """The verbs that each part needs on each resource, as a table."""
    resources = sorted({(each.kind.group, each.resource) for part in USED.values() for each in part})
    rows = [
        (f"`{resource}{f'.{group}' if group else ''}`", *(_verbs(part, group, resource) for part in USED.values()))
        for group, resource in resources
    ]
    return markdown_table(("resource", *USED), rows)


def role(permissions: Iterable[Permission]) -> Manifest:
    """The Role that grants exactly these: one rule for each set of verbs of an API group, in alphabetical order."""
    by_resource: dict[tuple[str, str], set[str]] = {}
    for each in permissions:
        by_resource.setdefault((each.kind.group, each.resource), set()).add(each.verb)
    rules: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (group, resource), allowed in sorted(by_resource.items()):
        rules.setdefault((group, tuple(sorted(allowed))), []).append(resource)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": ROLE},
        "rules": [
            {"apiGroups": [group], "resources": resources, "verbs": list(allowed)}
            for (group, allowed), resources in rules.items()
        ],
    }


def _flow(texts: Sequence[str]) -> str:
    """A list on one line, as people write Roles."""
    return f"[{', '.join(text if text else _CORE for text in texts)}]"


def _verbs(permissions: tuple[Permission, ...], group: str, resource: str) -> str:
    return ", ".join(
        sorted({each.verb for each in permissions if (each.kind.group, each.resource) == (group, resource)})
    )


_OWN_SETTINGS = tuple(one for one in SETTINGS if one.platform == "kubernetes")
DOCUMENTS = PlatformDocuments(
    parts={"permissions": permissions_table, "stack-kubernetes": lambda: variables_table(_OWN_SETTINGS)},
    files={"k8s/role.yaml": role_file},
)
