"""The kinds of objects that winnow uses, their paths in the API, and what all objects have."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]
"""An object as JSON."""

_HASH = 8


@dataclass(frozen=True)
class Kind:
    """A namespaced kind: `kind` and `plural` as `kubectl api-resources` lists them."""

    api_version: str
    kind: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Its path in the API."""
        parts = ("apis" if self.group else "api", self.api_version, "namespaces", namespace, self.plural)
        return "/".join(("", *parts, *(part for part in (name, subresource) if part)))

    def manifest(
        self, name: str, labels: Mapping[str, str], *, annotations: Mapping[str, str] | None = None, **fields: Any
    ) -> Manifest:
        """An object of this kind; `fields` such as `spec` are those beside its metadata."""
        notes = {"annotations": dict(annotations)} if annotations else {}
        metadata = {"name": name, "labels": dict(labels), **notes}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata, **fields}


_BY_NAME: dict[tuple[str, str], Kind] = {}


def _known(api_version: str, kind: str, plural: str) -> Kind:
    return _BY_NAME.setdefault((api_version, kind), Kind(api_version, kind, plural))


POD = _known("v1", "Pod", "pods")
SERVICE = _known("v1", "Service", "services")
SECRET = _known("v1", "Secret", "secrets")
CONFIG_MAP = _known("v1", "ConfigMap", "configmaps")
VOLUME_CLAIM = _known("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SERVICE_ACCOUNT = _known("v1", "ServiceAccount", "serviceaccounts")
EVENT = _known("v1", "Event", "events")
JOB = _known("batch/v1", "Job", "jobs")
CRON_JOB = _known("batch/v1", "CronJob", "cronjobs")
DEPLOYMENT = _known("apps/v1", "Deployment", "deployments")
STATEFUL_SET = _known("apps/v1", "StatefulSet", "statefulsets")
INGRESS = _known("networking.k8s.io/v1", "Ingress", "ingresses")
NETWORK_POLICY = _known("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
DISRUPTION_BUDGET = _known("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
AUTOSCALER = _known("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
ENDPOINT_SLICE = _known("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
HTTP_ROUTE = _known("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
POD_MONITOR = _known("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
PROMETHEUS_RULE = _known("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
INFERENCE_SERVICE = _known("serving.kserve.io/v1beta1", "InferenceService", "inferenceservices")
LEASE = _known("coordination.k8s.io/v1", "Lease", "leases")

KINDS = tuple(_BY_NAME.values())


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


def owned(manifest: Manifest, owner: Manifest) -> Manifest:
    """The object, owned by another one, with which the cluster deletes it."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {key: owner["metadata"][key] for key in ("name", "uid")}
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def labels_on(manifest: Manifest) -> Mapping[str, str]:
    """An object's labels."""
    return manifest["metadata"].get("labels") or {}


def has_labels(manifest: Manifest, labels: Mapping[str, str]) -> bool:
    """Whether an object has all of these labels."""
    return labels.items() <= labels_on(manifest).items()


def annotations_on(manifest: Manifest | None) -> Mapping[str, str]:
    """An object's annotations; none of no object."""
    return {} if manifest is None else manifest["metadata"].get("annotations") or {}


def has_condition(manifest: Manifest, *types: str) -> bool:
    """Whether a condition of one of these types is true in an object's status."""
    conditions = (manifest.get("status") or {}).get("conditions") or ()
    return any(each["type"] in types and each["status"] == "True" for each in conditions)


def shortened(name: str, longest: int) -> str:
    """The name, cut to so many characters; a cut name ends with a hash of the whole, so that it stays unique."""
    if len(name) <= longest:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH]
    return f"{name[: longest - _HASH - 1].rstrip('-')}-{digest}"
