"""The pod in which a Job runs a verb of winnow from the workers' image, with the account of `k8s/driver.yaml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.platforms.kubernetes.kinds import Manifest

ACCOUNT = "winnow-driver"
STORES: tuple[Manifest, ...] = (
    {
        "name": "WINNOW_DB_PASSWORD",
        "valueFrom": {"secretKeyRef": {"name": "winnow-tracking", "key": "WINNOW_DB_PASSWORD"}},
    },
    {"name": "WINNOW_STORAGE", "value": "postgresql://winnow:$(WINNOW_DB_PASSWORD)@winnow-postgres:5432/winnow"},
    {"name": "MLFLOW_TRACKING_URI", "value": "http://winnow-mlflow:5000"},
)
"""Variables: where the stack of the namespace keeps studies and runs."""
_FOLDERS = {"tmp": "/tmp", "winnow": "/winnow", "shm": "/dev/shm"}


def verb_pod(
    name: str,
    image: str,
    command: Sequence[str],
    variables: Sequence[Manifest],
    resources: Mapping[str, Mapping[str, str]],
    volumes: Mapping[str, Manifest],
) -> Manifest:
    """The pod's specification.

    Args:
        name: its container's.
        volumes: by name: `tmp`, `winnow` (the home) and `shm`.
    """
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": "WINNOW_HOME", "value": "/winnow"}, {"name": "HOME", "value": "/tmp"}, *variables],
        "resources": resources,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": each, "mountPath": _FOLDERS[each]} for each in volumes],
    }
    return {
        "serviceAccountName": ACCOUNT,
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": each, **source} for each, source in volumes.items()],
    }
