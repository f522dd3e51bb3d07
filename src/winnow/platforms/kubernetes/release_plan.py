"""The objects of a deployment on Kubernetes, and what deploying it will do: values and pure functions only.

Deployment, Service, Ingress, PodDisruptionBudget, HorizontalPodAutoscaler, NetworkPolicy   `winnow-prod-NAME`
Secret                 `winnow-prod-NAME-key-SERIAL`: the API key, if any; a new key gets a new name
Lease                  `winnow-prod-NAME`, while a process changes it

They are the manifests in `k8s/prod`, with names, image and settings set by field path. The Deployment's annotations
hold the release, the previous one, the settings and the number of changes, so every terminal sees the same deployment.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from winnow.config.errors import InputError
from winnow.config.quantities import cpu_text, memory_text
from winnow.platforms import labels
from winnow.platforms.api_key import API_KEY
from winnow.platforms.kubernetes.deployment_settings import DRAIN, MOST, SETTLE, USUAL_DRAIN_S, DeploymentSettings
from winnow.platforms.kubernetes.kinds import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    INGRESS,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    Kind,
    Manifest,
    kind_of,
    name_of,
    shortened,
)
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, to_yaml
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.platforms.release_json import release_text
from winnow.routing import Release

SERVER_PORT = 8080

FOLDER = Path("k8s") / "prod"
BASE, CONTAINER, MODEL = "winnow-prod", "server", "winnow.model"
SETTINGS, FINGERPRINT, TEMPLATE = "winnow.settings", "winnow.fingerprint", "winnow.template"
"""Annotations of the Deployment, and a label with a digest of the pod template."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "winnow"}
KINDS: tuple[Kind, ...] = (
    *(INGRESS, AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, SERVICE, NETWORK_POLICY),
    *(CONFIG_MAP, SECRET),
)
"""The kinds of a deployment's objects, in the order of their removal: first the Ingress, so that requests stop."""

KEPT_CONNECTIONS_S, SPARE_S = 1.0, 6.0
"""Time to close kept-alive connections, and further time that ending may take."""
_LONGEST_NAME = 63
"""A Service's name is a DNS label."""


@dataclass(frozen=True)
class Key:
    """The API key: the name of its Secret, and its value; both empty where they are missing."""

    secret: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class ClusterDeployment:
    """A deployment as found in a cluster.

    Attributes:
        minimum, count: the least number of replicas, and the number that the Deployment asks for now.
        is_drifted: an object was changed or removed since it was applied.
    """

    release: Release | None = None
    previous: Release | None = None
    serial: int = 0
    settings: DeploymentSettings = field(default_factory=DeploymentSettings)
    fingerprint: str = ""
    minimum: int = 0
    count: int = 0
    is_autoscaled: bool = False
    is_ready: bool = False
    is_drifted: bool = False
    key: Key | None = None


@dataclass(frozen=True)
class KubernetesPlan:
    """See `AnyPlan`.

    Attributes:
        basis: serial of the deployment that the plan was made for; 0: there was none.
        replicas: the minimum.
        scale_to: number of replicas to set at once; None leaves it to the autoscaler.
        template: label of the new pods.
        settle_s: how long replaced pods still answer.
        manifests: in the order in which they are applied.
    """

    request: DeploymentRequest
    action: Action
    basis: int
    replicas: int
    scale_to: int | None
    template: str
    settle_s: float
    manifests: tuple[Manifest, ...] = field(repr=False)

    def render(self) -> str:
        """A summary as a comment, and the manifests without the API key."""
        release, name = self.request.release, self.request.name
        what = f"{release.model} version {release.version}"
        if self.action is Action.NOTHING:
            return f"# {name}: {what} is being served already; nothing to do.\n"
        count = f"at least {self.replicas} replica{'s' if self.replicas > 1 else ''}"
        return f"# {name}: serve {what} (sha256 {release.digest[:12]}) on {count}\n{to_yaml(self.manifests)}"


def object_name(name: str) -> str:
    """The name of a deployment's objects."""
    return shortened(f"{BASE}-{name}", _LONGEST_NAME)


def labels_of(name: str) -> dict[str, str]:
    """Labels that all objects of a deployment have, and no others."""
    return {**MANAGED_BY, labels.DEPLOYMENT: name}


def key_of(
    environment: Mapping[str, str], current: Key | None, name: str, serial: int, key_file: str | None
) -> Key | None:
    """The API key to serve with. A new key gets a new Secret, so that running replicas keep theirs.

    Args:
        key_file: the key in `WINNOW_API_KEY_FILE`, which overrides `WINNOW_API_KEY`.

    Raises:
        InputError: the key of the running replicas is lost, and the environment has none.
    """
    if key_file is None and API_KEY not in environment:
        if current is not None and not current.value:
            where = f"the Secret '{current.secret}', to which its replicas refer" if current.secret else "a Secret"
            raise InputError(
                f"deployment '{name}'",
                expected=f"its API key in {where}",
                found="none",
                remedy=f"Set {API_KEY} to the key, or to nothing ({API_KEY}=) to serve without one.",
            )
        return current
    value = (key_file if key_file is not None else environment[API_KEY]).strip()
    if not value:
        return None
    if current is not None and current.value == value:
        return current
    return Key(f"{object_name(name)}-key-{serial}", value)


def plan(
    request: DeploymentRequest,
    found: ClusterDeployment,
    settings: DeploymentSettings,
    key: Key | None,
    files: Sequence[Manifest],
) -> KubernetesPlan:
    """Plan a deployment; `files` are the manifests of `k8s/prod`.

    Raises:
        InputError: the files lack a field that is set, or contain a kind that a deployment cannot have.
    """
    release = request.release
    replicas = request.replicas or found.minimum or 1
    is_same = found.release is not None and found.release.is_same(release)
    objects = [_object(each, request, settings, key, replicas) for each in files]
    if key is not None:
        secret = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {"name": key.secret, "labels": labels_of(request.name)},
            "type": "Opaque",
            "data": {API_KEY: base64.b64encode(key.value.encode()).decode()},
        }
        objects.insert(0, secret)
    (own,) = (index for index, each in enumerate(objects) if kind_of(each) == DEPLOYMENT)
    template = _digest(objects[own]["spec"]["template"])[:12]
    # A Secret counts by its name, not by its value.
    fingerprint = _digest([{**each, "data": None} if kind_of(each) == SECRET else each for each in objects])
    is_whole = found.is_ready and not found.is_drifted
    is_as_wanted = is_same and is_whole and (found.fingerprint, found.minimum) == (fingerprint, replicas)
    # If nothing changes, the annotation stays: another machine's folder of the bundle is no difference.
    noted = found.release if is_as_wanted and found.release is not None else release
    previous = found.previous if is_same else found.release
    notes = {
        labels.SERIAL: str(found.serial if is_as_wanted else found.serial + 1),
        labels.RELEASE: release_text(noted),
        **({labels.PREVIOUS: release_text(previous)} if previous is not None else {}),
        SETTINGS: msgspec.json.encode(settings).decode(),
        FINGERPRINT: fingerprint,
    }
    labelled = {"template": {"metadata": {"labels": {TEMPLATE: template}}}}
    objects[own] = merged(objects[own], {"metadata": {"annotations": notes}, "spec": labelled})
    action = Action.NOTHING if is_as_wanted else (Action.REPLACE if found.serial else Action.START)
    return KubernetesPlan(
        request=request,
        action=action,
        basis=found.serial,
        replicas=replicas,
        scale_to=_scale(request, found, replicas, has_autoscaler=any(kind_of(each) == AUTOSCALER for each in objects)),
        template=template,
        settle_s=settings.settle_s + KEPT_CONNECTIONS_S,
        manifests=tuple(objects),
    )


def url_of(name: str, namespace: str, ingress: Manifest | None, entry: str) -> str:
    """The URL of a deployment.

    Args:
        ingress: as found in the cluster.
        entry: URL of the Ingress controller from this terminal; empty: the Ingress's own address. The Ingress's host
            replaces the host in it, since the controller routes by host.
    """
    spec = (ingress or {}).get("spec") or {}
    host = next((rule["host"] for rule in spec.get("rules") or () if rule.get("host")), "")
    if entry:
        parts = urlsplit(entry)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/") if host else entry.rstrip("/")
    scheme = "https" if spec.get("tls") else "http"
    address = host or address_of(ingress)
    return f"{scheme}://{address}" if address else f"http://{object_name(name)}.{namespace}.svc"


def address_of(ingress: Manifest | None) -> str:
    """The address in an Ingress's status; empty until its controller has set it, which some never do."""
    status = ((ingress or {}).get("status") or {}).get("loadBalancer") or {}
    addresses = (each.get("hostname") or each.get("ip") or "" for each in status.get("ingress") or ())
    return next((each for each in addresses if each), "")


def _object(
    file: Manifest, request: DeploymentRequest, settings: DeploymentSettings, key: Key | None, replicas: int
) -> Manifest:
    """One of the files, set for this deployment."""
    name, kind = request.name, kind_of(file)
    own, selected = object_name(name), {labels.DEPLOYMENT: name}
    if kind not in KINDS:
        raise InputError(
            f"{FOLDER}: {file['kind']} '{name_of(file)}'",
            expected=f"an object that is restored and removed with the deployment: {', '.join(k.kind for k in KINDS)}",
            found=f"a {file['kind']}",
            remedy="Remove it from kustomization.yaml, and apply it separately.",
        )
    made = merged(file, {"metadata": {"name": name_of(file).replace(BASE, own, 1), "labels": labels_of(name)}})
    if kind == DEPLOYMENT:
        return _deployment(made, request, settings, key)
    changes: dict[FieldPath, Any] = {}
    if kind == SERVICE:
        changes = {("spec", "selector"): selected}
    elif kind == DISRUPTION_BUDGET:
        changes = {("spec", "selector", "matchLabels"): selected}
    elif kind == NETWORK_POLICY:
        changes = {("spec", "podSelector", "matchLabels"): selected}
    elif kind == AUTOSCALER:
        changes = _autoscaler(made, own, settings, replicas)
    elif kind == INGRESS:
        changes = _ingress(made, own, settings)
    return changed(made, changes)


def _deployment(made: Manifest, request: DeploymentRequest, settings: DeploymentSettings, key: Key | None) -> Manifest:
    release, selected = request.release, {labels.DEPLOYMENT: request.name}
    pod: FieldPath = ("spec", "template", "spec")
    server: FieldPath = (*pod, "containers", Named(CONTAINER))
    settle_s = max(math.ceil(settings.settle_s), 1)
    drain_s = float(settings.environment.get(DRAIN, USUAL_DRAIN_S))
    spreads = len(made["spec"]["template"]["spec"].get("topologySpreadConstraints") or ())
    key_from = {"secretKeyRef": {"name": key.secret, "key": API_KEY}} if key is not None else {}
    made = changed(
        made,
        {
            ("spec", "replicas"): None,
            ("spec", "selector", "matchLabels"): selected,
            (*pod, "terminationGracePeriodSeconds"): math.ceil(settle_s + KEPT_CONNECTIONS_S + drain_s + SPARE_S),
            (*server, "image"): release.image or "IMAGE-TO-BE-BUILT",
            (*server, "args"): ["--model-version", release.version],
            (*server, "lifecycle", "preStop"): {"sleep": {"seconds": settle_s}},
            # The cluster refuses a request above the limit, so a lower limit lowers the request, too.
            (*server, "resources"): {
                "requests": {
                    "cpu": cpu_text(min(settings.cpu_request, settings.cpus)),
                    "memory": memory_text(min(settings.memory_request_bytes, settings.memory_bytes)),
                },
                "limits": {"cpu": cpu_text(settings.cpus), "memory": memory_text(settings.memory_bytes)},
            },
            (*server, "env", Named(API_KEY)): {"name": API_KEY, "valueFrom": key_from} if key_from else None,
            **{
                (*pod, "topologySpreadConstraints", index, "labelSelector", "matchLabels"): selected
                for index in range(spreads)
            },
        },
    )
    variables = {SETTLE: f"{KEPT_CONNECTIONS_S:g}", **dict(sorted(settings.environment.items()))}
    env = [{"name": name, "value": value} for name, value in variables.items()]
    described = {MODEL: f"{release.model}/{release.version}", f"{MODEL}.sha256": release.digest}
    template = {
        "metadata": {"labels": labels_of(request.name), "annotations": described},
        "spec": {"containers": [{"name": CONTAINER, "env": env}]},
    }
    return merged(made, {"spec": {"template": template}})


def _autoscaler(made: Manifest, own: str, settings: DeploymentSettings, replicas: int) -> dict[FieldPath, Any]:
    most = settings.most if settings.most is not None else 2 * replicas
    if most < replicas:
        raise InputError(
            MOST,
            expected=f"at least {replicas}, the minimum number of replicas",
            found=str(most),
            remedy="Raise it, or lower REPLICAS.",
        )
    target = {"type": "Utilization", "averageUtilization": settings.cpu_target_percent}
    return {
        ("spec", "scaleTargetRef", "name"): own,
        ("spec", "minReplicas"): replicas,
        ("spec", "maxReplicas"): most,
        ("spec", "behavior", "scaleDown", "stabilizationWindowSeconds"): settings.scale_down_after_s,
        **{
            ("spec", "metrics", index, "resource", "target"): target
            for index, metric in enumerate(made["spec"].get("metrics") or ())
            if (metric.get("resource") or {}).get("name") == "cpu"
        },
    }


def _ingress(made: Manifest, own: str, settings: DeploymentSettings) -> dict[FieldPath, Any]:
    host = settings.host
    changes: dict[FieldPath, Any] = {}
    for number, rule in enumerate(made["spec"]["rules"]):
        if host:
            changes["spec", "rules", number, "host"] = host
        for index, path in enumerate(rule["http"]["paths"]):
            service = (path.get("backend") or {}).get("service") or {}
            if service.get("name") == BASE:
                changes["spec", "rules", number, "http", "paths", index, "backend", "service", "name"] = own
    if settings.ingress_class:
        changes["spec", "ingressClassName"] = settings.ingress_class
    if settings.tls_secret:
        changes["spec", "tls"] = [{**({"hosts": [host]} if host else {}), "secretName": settings.tls_secret}]
    return changes


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _scale(request: DeploymentRequest, found: ClusterDeployment, replicas: int, *, has_autoscaler: bool) -> int | None:
    """The number of replicas to set at once; None leaves it to the autoscaler.

    Too few are raised at once: the autoscaler acts every 15 s only. Too many are left to the autoscaler, which knows
    the load, unless it does not work (no metrics in the cluster) and the request names a number.
    """
    if found.count < replicas or not has_autoscaler:
        return replicas if found.count != replicas else None
    is_asked = request.replicas is not None and found.count > replicas
    return replicas if is_asked and not found.is_autoscaled else None
