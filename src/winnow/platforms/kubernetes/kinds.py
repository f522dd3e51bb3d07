"""The kinds of objects that winnow uses, and their paths in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""An object as the API takes and gives it."""


@dataclass(frozen=True)
class Kind:
    """A namespaced kind: `kind` and `plural` as `kubectl api-resources` lists them."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group, as permissions name it; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Its path in the API."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        parts = (root, "namespaces", namespace, self.plural, *(part for part in (name, subresource) if part))
        return "/".join(parts)


POD = Kind("v1", "Pod", "pods")
SERVICE = Kind("v1", "Service", "services")
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
EVENT = Kind("v1", "Event", "events")
JOB = Kind("batch/v1", "Job", "jobs")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
INGRESS = Kind("networking.k8s.io/v1", "Ingress", "ingresses")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS = (
    POD,
    SERVICE,
    SECRET,
    CONFIG_MAP,
    VOLUME_CLAIM,
    SERVICE_ACCOUNT,
    EVENT,
    JOB,
    DEPLOYMENT,
    REPLICA_SET,
    STATEFUL_SET,
    INGRESS,
    NETWORK_POLICY,
    DISRUPTION_BUDGET,
    AUTOSCALER,
    LEASE,
)

_BY_NAME = {(kind.api_version, kind.kind): kind for kind in KINDS}


def kind_of(manifest: Manifest) -> Kind:
    """The kind of an object. Raises ValueError where it is none of these."""
    try:
        return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
    except KeyError:
        named = f"{manifest.get('apiVersion')} {manifest.get('kind')}"
        raise ValueError(f"expected an object of a known kind, found {named!r}") from None


def name_of(manifest: Manifest) -> str:
    """An object's name."""
    return str(manifest["metadata"]["name"])
