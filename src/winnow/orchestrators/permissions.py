"""All that winnow asks of a cluster, part by part: the Role in `k8s/role.yaml`, and the table in docs/security.md.

Each part declares what it uses beside its code; here they are only put together. Nothing asks for another namespace or
for anything of the whole cluster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.config.reference import markdown_table
from winnow.platforms.kubernetes.permissions import Permission, role

_CORE = '""'
_HEAD = (
    "# All that winnow does in a cluster, in one namespace: what its parts declare, put together by `make docs`.",
    "# docs/security.md says which part needs what, and how the Role is bound to a person.",
)


def used() -> Mapping[str, tuple[Permission, ...]]:
    """The permissions of each part, by what it is there for."""
    from winnow.platforms.kubernetes import deployer as serving
    from winnow.platforms.kubernetes import executor as sweeping
    from winnow.platforms.kubernetes import stack

    return {
        "`mlflow-init`, `mlflow-remove`, `diff`": stack.PERMISSIONS,
        "every verb that works on the stack's runs or studies": stack.REACH_PERMISSIONS,
        "`train-kubernetes`, `jobs`, `logs`, `cancel`": sweeping.PERMISSIONS,
        "`prod-kubernetes`, `rollback`": serving.PERMISSIONS,
    }


def role_file() -> str:
    """The content of `k8s/role.yaml`."""
    made = role({permission for part in used().values() for permission in part})
    lines = [f"apiVersion: {made['apiVersion']}", f"kind: {made['kind']}", "metadata:"]
    lines += [f"  name: {made['metadata']['name']}", "rules:"]
    for rule in made["rules"]:
        first, *rest = (f"{key}: {_flow(texts)}" for key, texts in rule.items())
        lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    return "\n".join((*_HEAD, *lines, ""))


def permissions_table() -> str:
    """Which part needs which verbs on what, as a table."""
    parts = used()
    resources = sorted({(each.kind.group, each.resource) for part in parts.values() for each in part})
    rows = [
        (f"`{resource}{f'.{group}' if group else ''}`", *(_verbs(part, group, resource) for part in parts.values()))
        for group, resource in resources
    ]
    return markdown_table(("resource", *parts), rows)


def _flow(texts: Sequence[str]) -> str:
    """A list on one line, as people write Roles."""
    return f"[{', '.join(text if text else _CORE for text in texts)}]"


def _verbs(permissions: tuple[Permission, ...], group: str, resource: str) -> str:
    return ", ".join(
        sorted({each.verb for each in permissions if (each.kind.group, each.resource) == (group, resource)})
    )
