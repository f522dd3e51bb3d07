"""Reads what a cluster has of a deployment, and the state of its pods. Changes nothing."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.platforms import labels
from winnow.platforms.api_key import API_KEY
from winnow.platforms.deployer import DeploymentState, Release, Replica
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes.client import Cluster, NotFoundError, NotStartedError
from winnow.platforms.kubernetes.deployment_plan import (
    CONTAINER,
    FINGERPRINT,
    MANAGED_BY,
    MODEL,
    SETTINGS,
    TEMPLATE,
    ClusterDeployment,
    Key,
    labels_of,
    object_name,
)
from winnow.platforms.kubernetes.deployment_settings import DeploymentSettings
from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.kinds import AUTOSCALER, DEPLOYMENT, POD, REPLICA_SET, SECRET, Manifest, name_of
from winnow.platforms.kubernetes.ownership import check_ours
from winnow.platforms.kubernetes.pods import is_over
from winnow.platforms.release_json import release_of


@dataclass(frozen=True)
class Pods:
    """A deployment's pods without those that terminate.

    Attributes:
        new, old: of the template that is wanted, and of others; the oldest first.
    """

    new: tuple[Manifest, ...] = ()
    old: tuple[Manifest, ...] = ()

    @property
    def ready(self) -> int:
        """How many of the new ones take requests."""
        return sum(map(is_ready, self.new))

    def is_rolled(self, wanted: int) -> bool:
        """Every replica that takes requests is new and ready."""
        return not self.old and self.ready == len(self.new) >= max(wanted, 1)


def find(cluster: Cluster, name: str) -> ClusterDeployment:
    """What the cluster has; empty where nothing of that name is deployed.

    Raises:
        InputError: a Deployment of that name is not winnow's.
    """
    live = cluster.get(DEPLOYMENT, object_name(name))
    if live is None:
        return ClusterDeployment()
    check_is_of(live, name)
    notes = live["metadata"].get("annotations") or {}
    autoscaler = cluster.get(AUTOSCALER, object_name(name))
    count, template = int(live["spec"].get("replicas", 1)), template_of(live["spec"]["template"])
    return ClusterDeployment(
        release=_release(notes.get(labels.RELEASE), name),
        previous=_previous(notes.get(labels.PREVIOUS)),
        serial=int(notes.get(labels.SERIAL, "0")),
        settings=_settings(notes.get(SETTINGS)),
        fingerprint=notes.get(FINGERPRINT, ""),
        minimum=int(autoscaler["spec"].get("minReplicas", 1)) if autoscaler is not None else count,
        count=count,
        is_autoscaled=autoscaler is not None and _is_scaling(autoscaler),
        is_ready=pods_of(cluster, name, template).is_rolled(count),
        key=_key(cluster, live),
    )


def check_is_of(live: Manifest, name: str) -> None:
    """Raises InputError where an object does not belong to the deployment of this name."""
    remedy = f"Remove or rename it, or serve under another name ({next_flag('study')})."
    check_ours(live, {labels.DEPLOYMENT: name}, owner=f"the deployment '{name}'", remedy=remedy)


def names(cluster: Cluster) -> list[str]:
    """All deployments of the namespace."""
    found = cluster.find(DEPLOYMENT, ",".join([*(f"{k}={v}" for k, v in MANAGED_BY.items()), labels.DEPLOYMENT])).items
    noted = [each for each in found if labels.RELEASE in (each["metadata"].get("annotations") or {})]
    return sorted(each["metadata"]["labels"][labels.DEPLOYMENT] for each in noted)


def pods_of(cluster: Cluster, name: str, template: str) -> Pods:
    """Its pods as they are now."""
    return sorted_out(cluster.find(POD, labels_of(name)).items, template)


def sorted_out(pods: Iterable[Manifest], template: str) -> Pods:
    """Pods by whether they are of a template, without those that terminate or have ended."""
    staying = [each for each in pods if "deletionTimestamp" not in each["metadata"] and not is_over(each)]
    staying.sort(key=lambda each: (each["metadata"]["creationTimestamp"], name_of(each)))
    is_new = [template_of(each) == template for each in staying]
    return Pods(
        new=tuple(pod for pod, new in zip(staying, is_new, strict=True) if new),
        old=tuple(pod for pod, new in zip(staying, is_new, strict=True) if not new),
    )


def template_of(carrier: Manifest) -> str:
    """Which template a pod is of, or which one a template is."""
    return str((carrier["metadata"].get("labels") or {}).get(TEMPLATE, ""))


def is_counted(deployment: Manifest, wanted: int) -> bool:
    """Whether a Deployment's controller has seen its latest change, and counts so many new pods and no others.

    As in `kubectl rollout status`. Terminating pods are not counted.
    """
    status = deployment.get("status") or {}
    is_seen = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    updated = status.get("updatedReplicas", 0)
    return bool(is_seen and wanted <= updated == status.get("replicas", 0))


def ended(pod: Manifest) -> str:
    """How a pod's server ended before it was ready; empty where it did not."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        past = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated")
        if past and not status.get("ready"):
            why = (
                "was stopped for using more memory than its limit"
                if past.get("reason") == "OOMKilled"
                else "ended before it was ready"
            )
            return f"{why} (exit code {past.get('exitCode')})"
    return ""


def replica_of(pod: Manifest) -> Replica:
    """A pod as a replica."""
    model = (pod["metadata"].get("annotations") or {}).get(MODEL, "")
    state = DeploymentState.READY if is_ready(pod) else DeploymentState.DOWN
    return Replica(name_of(pod), model.rpartition("/")[2], state)


def diagnosis(cluster: Cluster, name: str, pods: Pods) -> Diagnosis | None:
    """What keeps new pods from running; None where nothing does, or nothing is reported yet."""
    for pod in pods.new:
        if (found := diagnosis_of(pod, cluster.events(pod))) is not None:
            return found
    for owner in cluster.find(REPLICA_SET, labels_of(name)).items:
        if (found := diagnosis_of_owner(owner, cluster.events(owner))) is not None:
            return found
    return None


def events(cluster: Cluster, pod: Manifest, most: int) -> list[str]:
    """The last events about a pod."""
    return [_line(each) for each in cluster.events(pod)[-most:]]


def owner_events(cluster: Cluster, name: str, most: int) -> list[str]:
    """The last events about a deployment's attempts to make pods."""
    owners = cluster.find(REPLICA_SET, labels_of(name)).items
    newest = sorted(owners, key=lambda each: str(each["metadata"]["creationTimestamp"]))[-1:]
    return [_line(event) for each in newest for event in cluster.events(each)[-most:]]


def _line(event: Manifest) -> str:
    return f"{event.get('type')} {event.get('reason')}: {' '.join(str(event.get('message')).split())}"


def log(cluster: Cluster, pod: Manifest, lines: int) -> list[str]:
    """The end of a pod's log, or of the run before where this one has printed nothing; empty where it never ran."""
    for is_previous in (False, True):
        try:
            found = list(cluster.log(name_of(pod), CONTAINER, tail=lines, is_previous=is_previous))
        except (NotStartedError, NotFoundError):
            continue
        if found:
            return found
    return []


def _is_scaling(autoscaler: Manifest) -> bool:
    conditions = (autoscaler.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "ScalingActive" and each["status"] == "True" for each in conditions)


def _release(text: str | None, name: str) -> Release:
    try:
        return release_of(text or "")
    except ValueError as error:
        raise InputError(
            f"deployment '{name}'",
            expected=f"a release in the annotation {labels.RELEASE}",
            found=f"'{text}'",
            remedy="It was changed by hand: remove it with "
            f"`{next_command('prod-remove', study=name, platform='kubernetes')}` and deploy again.",
        ) from error


def _previous(text: str | None) -> Release | None:
    try:
        return release_of(text) if text else None
    except ValueError:
        return None


def _settings(text: str | None) -> DeploymentSettings:
    try:
        return msgspec.json.decode(text or "{}", type=DeploymentSettings)
    except ValueError:
        return DeploymentSettings()


def _key(cluster: Cluster, live: Manifest) -> Key | None:
    """The API key that replicas ask for; without a value where the Deployment names a Secret that is missing."""
    containers: Sequence[Manifest] = live["spec"]["template"]["spec"]["containers"]
    variables = [each for container in containers for each in container.get("env") or () if each["name"] == API_KEY]
    if not variables:
        return None
    reference = (variables[0].get("valueFrom") or {}).get("secretKeyRef") or {}
    secret = cluster.get(SECRET, reference["name"]) if reference else None
    encoded = ((secret or {}).get("data") or {}).get(reference.get("key"), "")
    return Key(reference.get("name", ""), _decoded(encoded).strip())


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
