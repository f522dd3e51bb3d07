"""Pods for tests: small ones that the `restricted` standard lets in, running Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tests.kubernetes.places import PYTHON_IMAGE

_Found = TypeVar("_Found")


def pod_spec(code: str, *, image: str = PYTHON_IMAGE, cpu: str = "20m", **container: Any) -> dict[str, Any]:
    """A pod's `spec` with one container, `main`."""
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": image,
                "command": ["python3", "-u", "-c", code],
                "resources": {"requests": {"cpu": cpu, "memory": "16Mi"}},
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                **container,
            }
        ],
    }


def pod(name: str, code: str, labels: Mapping[str, str] | None = None, **others: Any) -> dict[str, Any]:
    """A pod by itself."""
    metadata = {"name": name, "labels": dict(labels or {"winnow.test": name})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(code, **others)}


def deployment(name: str, code: str, labels: Mapping[str, str], **others: Any) -> dict[str, Any]:
    """One pod that is made again where it goes."""
    spec = {**pod_spec(code, **others), "restartPolicy": "Always"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(labels)},
            "template": {"metadata": {"labels": dict(labels)}, "spec": spec},
        },
    }


def until(found: Callable[[], _Found], timeout_s: float = 40.0) -> _Found:
    """Look until there is something, and return it."""
    deadline = time.monotonic() + timeout_s
    while not (something := found()):
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.2)
    return something
