"""Reads a deployment and the state of its pods from a cluster. Changes nothing."""

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
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.deployment_settings import DeploymentSettings
from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.kinds import AUTOSCALER, DEPLOYMENT, POD, REPLICA_SET, SECRET, Manifest, name_of
from winnow.platforms.kubernetes.ownership import check_ours
from winnow.platforms.kubernetes.pods import is_over
from winnow.platforms.kubernetes.refusals import NotFoundError, NotStartedError
from winnow.platforms.kubernetes.release_plan import (
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
from winnow.platforms.release_deployer import DeploymentState, Replica
from winnow.platforms.release_json import release_of
from winnow.routing import Release


@dataclass(frozen=True)
class Pods:
    """A deployment's pods that do not terminate: those of the current template, and others; the oldest first."""

    new: tuple[Manifest, ...] = ()
    old: tuple[Manifest, ...] = ()

    @property
    def ready(self) -> int:
        """How many of the new ones are ready."""
        return sum(map(is_ready, self.new))

    def is_rolled(self, wanted: int) -> bool:
        """Whether there are enough new pods, all ready, and no others."""
        return not self.old and self.ready == len(self.new) >= max(wanted, 1)


def find(cluster: Cluster, name: str) -> ClusterDeployment:
    """The deployment; empty where there is none of that name. Raises InputError where it is not winnow's."""
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
        is_autoscaled=any(
            each["type"] == "ScalingActive" and each["status"] == "True"
            for each in ((autoscaler or {}).get("status") or {}).get("conditions") or ()
        ),
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
    """The deployment's pods now."""
    return sorted_out(cluster.find(POD, labels_of(name)).items, template)


def sorted_out(pods: Iterable[Manifest], template: str) -> Pods:
    """Pods by whether they have this template, without those that terminate or have ended."""
    staying = [each for each in pods if "deletionTimestamp" not in each["metadata"] and not is_over(each)]
    staying.sort(key=lambda each: (each["metadata"]["creationTimestamp"], name_of(each)))
    return Pods(
        new=tuple(each for each in staying if template_of(each) == template),
        old=tuple(each for each in staying if template_of(each) != template),
    )


def template_of(carrier: Manifest) -> str:
    """The template label of a pod or of a pod template."""
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
    """How a pod's server ended before it was ready; empty if it did not."""
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
    """Why new pods do not run; None if they do, or if no reason is reported yet."""
    for pod in pods.new:
        if (found := diagnosis_of(pod, cluster.events(pod))) is not None:
            return found
    for owner in cluster.find(REPLICA_SET, labels_of(name)).items:
        if (found := diagnosis_of_owner(owner, cluster.events(owner))) is not None:
            return found
    return None


def events(cluster: Cluster, about: Manifest, most: int) -> list[str]:
    """The last events about an object."""
    return [
        f"{each.get('type')} {each.get('reason')}: {' '.join(str(each.get('message')).split())}"
        for each in cluster.events(about)[-most:]
    ]


def owner_events(cluster: Cluster, name: str, most: int) -> list[str]:
    """The last events about a deployment's newest ReplicaSet."""
    owners = cluster.find(REPLICA_SET, labels_of(name)).items
    newest = max(owners, key=lambda each: str(each["metadata"]["creationTimestamp"]), default=None)
    return [] if newest is None else events(cluster, newest, most)


def log(cluster: Cluster, pod: Manifest, lines: int) -> list[str]:
    """The end of a pod's log, or of its previous run's if the log is empty."""
    for is_previous in (False, True):
        try:
            found = list(cluster.log(name_of(pod), CONTAINER, tail=lines, is_previous=is_previous))
        except (NotStartedError, NotFoundError):
            continue
        if found:
            return found
    return []


def _release(text: str | None, name: str) -> Release:
    try:
        return release_of(text or "")
    except ValueError as error:
        raise InputError(
            f"deployment '{name}'",
            expected=f"a release in the annotation {labels.RELEASE}",
            found=f"'{text}'",
            remedy="The annotation was changed by hand: remove the deployment with "
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
    """The API key of the replicas; its value is empty if their Secret is missing."""
    containers: Sequence[Manifest] = live["spec"]["template"]["spec"]["containers"]
    variables = [each for container in containers for each in container.get("env") or () if each["name"] == API_KEY]
    if not variables:
        return None
    reference = (variables[0].get("valueFrom") or {}).get("secretKeyRef") or {}
    secret = cluster.get(SECRET, reference["name"]) if reference else None
    encoded = ((secret or {}).get("data") or {}).get(reference.get("key"), "")
    try:
        value = base64.b64decode(encoded).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        value = ""
    return Key(reference.get("name", ""), value)
