"""What `mlflow-init` makes in a namespace of a cluster, decided without asking it: the manifests of k8s/tracking."""

from __future__ import annotations

from winnow.containers.engine import ROLE

STACK = "winnow.stack"
"""Label of all that a stack consists of; its value is its name, which is the same in every namespace."""
NAME = "tracking"


def labels_of(role: str) -> dict[str, str]:
    """Labels of a service's pods."""
    return {STACK: NAME, ROLE: role}
