"""What a deployment on Kubernetes is made of, and what deploying one will do: values and pure functions only.

Deployment, Service, Ingress, PodDisruptionBudget, HorizontalPodAutoscaler, NetworkPolicy   `winnow-prod-NAME`
Secret                 `winnow-prod-NAME-key-SERIAL`: the API key, where there is one, under a new name for a new key
Lease                  `winnow-prod-NAME`, while a process changes it

They are the manifests in `k8s/prod`, with names, image and settings set by field path. The Deployment's annotations
hold the release, the one before it, the settings and the number of changes, so every terminal sees the same deployment.
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
from winnow.platforms.deployer import Action, DeploymentRequest, Release
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
)
from winnow.platforms.kubernetes.manifests import FieldPath, Named, changed, merged, to_yaml
from winnow.platforms.kubernetes.names import shortened
from winnow.platforms.release_json import release_text

SERVER_PORT = 8080
"""Where a replica listens, as its image says."""

FOLDER = Path("k8s") / "prod"
BASE, CONTAINER, MODEL = "winnow-prod", "server", "winnow.model"
SETTINGS, FINGERPRINT, TEMPLATE = "winnow.settings", "winnow.fingerprint", "winnow.template"
"""Annotations of the Deployment, and the label that tells pods of one template from those of another."""
MANAGED_BY = {"app.kubernetes.io/managed-by": "winnow"}
KINDS: tuple[Kind, ...] = (
    *(INGRESS, AUTOSCALER, DEPLOYMENT, DISRUPTION_BUDGET, SERVICE, NETWORK_POLICY),
    *(CONFIG_MAP, SECRET),
)
"""The kinds of a deployment's objects, in the order of their removal: the entry for requests goes first."""

KEPT_CONNECTIONS_S, SPARE_S = 1.0, 6.0
"""Time in which kept connections are closed, and further time that ending may take."""
_LONGEST_NAME = 63
"""Of a Service: its name is a label of a host name."""


@dataclass(frozen=True)
class Key:
    """The API key: the Secret that holds it, and its value; both empty where they are missing."""

    secret: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class ClusterDeployment:
    """What a cluster has of a deployment.

    Attributes:
        minimum: the least number of replicas.
        count: how many are wanted now.
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
        basis: serial of the deployment that the plan was made for; 0 where there was none.
        replicas: the least that is to run.
        scale_to: number of replicas to set at once; None leaves it to the autoscaler.
        template: the label of the pods that are wanted.
        settle_s: how long replaced pods go on answering.
        manifests: all objects, in the order in which they are applied.
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
        """The manifests, the API key starred, below a sentence as a comment."""
        release, name = self.request.release, self.request.name
        what = f"{release.model} version {release.version}"
        if self.action is Action.NOTHING:
            return f"# {name}: {what} is being served already; nothing to do.\n"
        count = f"at least {self.replicas} replica{'s' if self.replicas > 1 else ''}"
        return f"# {name}: serve {what} (sha256 {release.digest[:12]}) on {count}\n{to_yaml(self.manifests)}"


def object_name(name: str) -> str:
    """What a deployment's objects are called."""
    return shortened(f"{BASE}-{name}", _LONGEST_NAME)


def labels_of(name: str) -> dict[str, str]:
    """Labels of all objects of a deployment, and of no others."""
    return {**MANAGED_BY, labels.DEPLOYMENT: name}


def key_of(
    environment: Mapping[str, str], current: Key | None, name: str, serial: int, key_file: str | None
) -> Key | None:
    """The API key that is wanted. A new key gets a Secret of its own, so that running replicas keep theirs.

    Args:
        key_file: the key in `WINNOW_API_KEY_FILE`, which overrides `WINNOW_API_KEY`.

    Raises:
        InputError: the key of the running replicas is lost and the caller names none. A key is never dropped silently.
    """
    if key_file is None and API_KEY not in environment:
        if current is not None and not current.value:
            raise _lost_key(name, current.secret)
        return current
    value = (key_file if key_file is not None else environment[API_KEY]).strip()
    if not value:
        return None
    if current is not None and current.value == value:
        return current
    return Key(f"{object_name(name)}-key-{serial}", value)


def _lost_key(name: str, secret: str) -> InputError:
    where = f"the Secret '{secret}', to which its replicas refer" if secret else "a Secret"
    return InputError(
        f"deployment '{name}'",
        expected=f"its API key in {where}",
        found="none",
        remedy=f"Set {API_KEY} to the key that is to be asked for, or to nothing ({API_KEY}=) to serve without one.",
    )


def plan(
    request: DeploymentRequest,
    found: ClusterDeployment,
    settings: DeploymentSettings,
    key: Key | None,
    files: Sequence[Manifest],
) -> KubernetesPlan:
    """Work out what serving the request takes.

    Args:
        files: what lies in `k8s/prod`.

    Raises:
        InputError: the files lack what is to be set, or hold a kind that a deployment does not consist of.
    """
    release = request.release
    replicas = request.replicas or found.minimum or 1
    is_same = found.release is not None and found.release.is_same(release)
    objects = [_object(each, request, settings, key, replicas) for each in files]
    if key is not None:
        objects.insert(0, _secret(request.name, key))
    template, fingerprint = _template_label(objects), _fingerprint(objects)
    is_whole = found.is_ready and not found.is_drifted
    is_as_wanted = is_same and is_whole and (found.fingerprint, found.minimum) == (fingerprint, replicas)
    # Where nothing is to change, the annotation stays: the bundle's folder on another machine is no difference.
    noted = found.release if is_as_wanted and found.release is not None else release
    notes = {
        labels.SERIAL: str(found.serial if is_as_wanted else found.serial + 1),
        labels.RELEASE: release_text(noted),
        labels.PREVIOUS: _text_of(found.previous if is_same else found.release),
        SETTINGS: msgspec.json.encode(settings).decode(),
        FINGERPRINT: fingerprint,
    }
    action = Action.NOTHING if is_as_wanted else (Action.REPLACE if found.serial else Action.START)
    return KubernetesPlan(
        request=request,
        action=action,
        basis=found.serial,
        replicas=replicas,
        scale_to=_scale(request, found, replicas, has_autoscaler=_has(objects, AUTOSCALER)),
        template=template,
        settle_s=settings.settle_s + KEPT_CONNECTIONS_S,
        manifests=tuple(_noted(each, notes, template) for each in objects),
    )


def url_of(name: str, namespace: str, ingress: Manifest | None, entry: str) -> str:
    """The URL of a deployment.

    Args:
        ingress: as the cluster has it; None where there is none.
        entry: where the Ingress controller is reached from this terminal; empty: at the Ingress's own address. A host
            of the Ingress takes the place of the one in it, since the controller goes by that.
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
    """The address in an Ingress's status; empty before its controller has set it, which some never do."""
    status = ((ingress or {}).get("status") or {}).get("loadBalancer") or {}
    addresses = (each.get("hostname") or each.get("ip") or "" for each in status.get("ingress") or ())
    return next((each for each in addresses if each), "")


# Objects


def _object(
    file: Manifest, request: DeploymentRequest, settings: DeploymentSettings, key: Key | None, replicas: int
) -> Manifest:
    """One of the files, set for this deployment."""
    name, kind = request.name, kind_of(file)
    if kind not in KINDS:
        raise _not_ours_to_apply(file)
    own = object_name(name)
    metadata = {"name": name_of(file).replace(BASE, own, 1), "labels": labels_of(name)}
    made = merged(file, {"metadata": metadata})
    if kind == DEPLOYMENT:
        return _deployment(made, request, settings, key)
    selected = {labels.DEPLOYMENT: name}
    if kind == SERVICE:
        return changed(made, {("spec", "selector"): selected})
    if kind == DISRUPTION_BUDGET:
        return changed(made, {("spec", "selector", "matchLabels"): selected})
    if kind == NETWORK_POLICY:
        return changed(made, {("spec", "podSelector", "matchLabels"): selected})
    if kind == AUTOSCALER:
        return _autoscaler(made, own, settings, replicas)
    return _ingress(made, own, settings) if kind == INGRESS else made


def _not_ours_to_apply(file: Manifest) -> InputError:
    return InputError(
        f"{FOLDER}: {file['kind']} '{name_of(file)}'",
        expected=f"an object that is taken back and removed with the deployment: {', '.join(k.kind for k in KINDS)}",
        found=f"a {file['kind']}",
        remedy="Take it out of kustomization.yaml, and apply it by itself.",
    )


def _deployment(made: Manifest, request: DeploymentRequest, settings: DeploymentSettings, key: Key | None) -> Manifest:
    release, carried = request.release, labels_of(request.name)
    selected = {labels.DEPLOYMENT: request.name}
    pod: FieldPath = ("spec", "template", "spec")
    server: FieldPath = (*pod, "containers", Named(CONTAINER))
    settle_s = max(math.ceil(settings.settle_s), 1)
    drain_s = float(settings.environment.get(DRAIN, USUAL_DRAIN_S))
    variables: list[Manifest] = [{"name": SETTLE, "value": f"{KEPT_CONNECTIONS_S:g}"}]
    variables += [{"name": name, "value": value} for name, value in sorted(settings.environment.items())]
    described = {MODEL: f"{release.model}/{release.version}", f"{MODEL}.sha256": release.digest}
    made = changed(
        made,
        {
            ("spec", "replicas"): None,
            ("spec", "selector", "matchLabels"): selected,
            (*pod, "terminationGracePeriodSeconds"): math.ceil(settle_s + KEPT_CONNECTIONS_S + drain_s + SPARE_S),
            (*server, "image"): release.image or "IMAGE-TO-BE-BUILT",
            (*server, "args"): ["--model-version", release.version],
            (*server, "lifecycle", "preStop"): {"sleep": {"seconds": settle_s}},
            (*server, "resources"): _resources(settings),
            (*server, "env", Named(API_KEY)): _key_variable(key),
        },
    )
    spread = [
        changed(each, {("labelSelector", "matchLabels"): selected})
        for each in made["spec"]["template"]["spec"].get("topologySpreadConstraints") or ()
    ]
    return merged(
        made,
        {
            "spec": {
                "template": {
                    "metadata": {"labels": carried, "annotations": described},
                    "spec": {
                        "topologySpreadConstraints": spread or None,
                        "containers": [{"name": CONTAINER, "env": variables}],
                    },
                }
            }
        },
    )


def _resources(settings: DeploymentSettings) -> Manifest:
    # The cluster refuses a request above the limit, so a lower limit lowers the request, too.
    return {
        "requests": {
            "cpu": cpu_text(min(settings.cpu_request, settings.cpus)),
            "memory": memory_text(min(settings.memory_request_bytes, settings.memory_bytes)),
        },
        "limits": {"cpu": cpu_text(settings.cpus), "memory": memory_text(settings.memory_bytes)},
    }


def _key_variable(key: Key | None) -> Manifest | None:
    if key is None:
        return None
    return {"name": API_KEY, "valueFrom": {"secretKeyRef": {"name": key.secret, "key": API_KEY}}}


def _secret(name: str, key: Key) -> Manifest:
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {"name": key.secret, "labels": labels_of(name)},
        "type": "Opaque",
        "data": {API_KEY: base64.b64encode(key.value.encode()).decode()},
    }


def _autoscaler(made: Manifest, own: str, settings: DeploymentSettings, replicas: int) -> Manifest:
    most = settings.most if settings.most is not None else 2 * replicas
    if most < replicas:
        raise InputError(
            MOST,
            expected=f"at least {replicas}, the number of replicas that are always to run",
            found=str(most),
            remedy="Raise it, or ask for fewer with REPLICAS=.",
        )
    made = changed(
        made,
        {
            ("spec", "scaleTargetRef", "name"): own,
            ("spec", "minReplicas"): replicas,
            ("spec", "maxReplicas"): most,
            ("spec", "behavior", "scaleDown", "stabilizationWindowSeconds"): settings.scale_down_after_s,
        },
    )
    target = {"type": "Utilization", "averageUtilization": settings.cpu_target_percent}
    metrics = [
        changed(each, {("resource", "target"): target}) if (each.get("resource") or {}).get("name") == "cpu" else each
        for each in made["spec"].get("metrics") or ()
    ]
    return changed(made, {("spec", "metrics"): metrics})


def _ingress(made: Manifest, own: str, settings: DeploymentSettings) -> Manifest:
    host, secret = settings.host, settings.tls_secret
    rules = [
        {
            **({"host": host} if host else {}),
            **{name: value for name, value in rule.items() if name != "host" or not host},
            "http": {
                "paths": [
                    changed(path, {("backend", "service", "name"): own}) if _is_ours(path) else path
                    for path in rule["http"]["paths"]
                ]
            },
        }
        for rule in made["spec"]["rules"]
    ]
    tls = [{**({"hosts": [host]} if host else {}), "secretName": secret}]
    return changed(
        made,
        {
            ("spec", "rules"): rules,
            **({("spec", "ingressClassName"): settings.ingress_class} if settings.ingress_class else {}),
            **({("spec", "tls"): tls} if secret else {}),
        },
    )


def _is_ours(path: Manifest) -> bool:
    return bool(((path.get("backend") or {}).get("service") or {}).get("name") == BASE)


def _noted(made: Manifest, notes: Mapping[str, str], template: str) -> Manifest:
    if kind_of(made) != DEPLOYMENT:
        return made
    kept = {name: value for name, value in notes.items() if value}
    relabeled = {"template": {"metadata": {"labels": {TEMPLATE: template}}}}
    return merged(made, {"metadata": {"annotations": kept}, "spec": relabeled})


def _template_label(objects: Sequence[Manifest]) -> str:
    """The label value that tells pods of this template from others: a digest of the template."""
    (deployment,) = (each for each in objects if kind_of(each) == DEPLOYMENT)
    return _digest(deployment["spec"]["template"])[:12]


def _fingerprint(objects: Sequence[Manifest]) -> str:
    """A digest of everything that is applied. The Secret counts by its name, not by its value."""
    return _digest([{**each, "data": None} if kind_of(each) == SECRET else each for each in objects])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _has(objects: Sequence[Manifest], kind: Kind) -> bool:
    return any(kind_of(each) == kind for each in objects)


# Decisions


def _text_of(release: Release | None) -> str:
    return "" if release is None else release_text(release)


def _scale(request: DeploymentRequest, found: ClusterDeployment, replicas: int, *, has_autoscaler: bool) -> int | None:
    """How many are to run at once.

    Fewer than the minimum would run until the autoscaler acts, every 15 s. More than it are the autoscaler's to take
    away, for it knows the load; where it knows nothing (no metrics in the cluster), a person's word counts.
    """
    if found.count < replicas or not has_autoscaler:
        return replicas if found.count != replicas else None
    is_asked = request.replicas is not None and found.count > replicas
    return replicas if is_asked and not found.is_autoscaled else None
