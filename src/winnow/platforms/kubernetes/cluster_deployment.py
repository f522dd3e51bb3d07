"""What a cluster has of a deployment: its entry with the record, and its pods. Changes nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.platforms import labels
from winnow.platforms.deployer import UnknownDeploymentError
from winnow.platforms.kubernetes import kinds, revision_plan
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.diagnosis import diagnosis_of
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.kinds import Manifest, annotations_on, has_labels, labels_on, name_of
from winnow.platforms.kubernetes.pods import is_over
from winnow.platforms.kubernetes.prune import check_ours
from winnow.platforms.kubernetes.refusals import NOT_NOW, NotFoundError, NotStartedError
from winnow.platforms.kubernetes.revision_plan import (
    CONTAINER,
    RECORD,
    ROUTER,
    labels_of,
    labels_of_revision,
    object_name,
    selector,
)
from winnow.routing import Record, ReplicaObserved, record_of

MOST_DIAGNOSED = 5
"""How many pods are diagnosed at a time, with a request each."""
SLICE_OF = "kubernetes.io/service-name"


@dataclass(frozen=True)
class ClusterDeployment:
    """A deployment as a cluster has it.

    Attributes:
        entry: the entry Service.
        pods: those that neither terminate nor have ended, the oldest first; an evicted pod is no failure.
    """

    entry: Manifest
    record: Record
    pods: tuple[Manifest, ...] = ()

    @property
    def wish(self) -> str:
        """What a person asked a rollout to do."""
        return annotations_on(self.entry).get(revision_plan.WISH, "")

    @property
    def entry_serial(self) -> int | None:
        """The serial of the route that the entry follows; None before the first, and after a change by hand."""
        is_followed = self.record.serving is not None and self.entry["spec"].get("selector") == selector(self.record)
        return self.record.route.serial if is_followed else None

    def of(self, number: int) -> list[Manifest]:
        """A revision's pods."""
        return [each for each in self.pods if revision_of(each) == number]

    @property
    def routers(self) -> list[Manifest]:
        """The pods of the current route's routers."""
        serial = str(self.record.route.serial)
        return [each for each in self.pods if mark(each, labels.ROLE) == ROUTER and mark(each, labels.SERIAL) == serial]


def find(cluster: Cluster, name: str, *, has_pods: bool = True) -> ClusterDeployment | None:
    """A deployment, or None. Raises InputError for one of an earlier version, or with a changed record."""
    entry = cluster.get(kinds.SERVICE, object_name(name))
    if entry is None or not has_labels(entry, labels_of(name)):
        _refuse_earlier(cluster, name)
        return None
    try:
        record = record_of(annotations_on(entry).get(RECORD, ""))
    except ValueError as error:
        _refuse_earlier(cluster, name)
        removal = next_command("prod-remove", platform="kubernetes", name=name)
        raise InputError(
            f"deployment '{name}'",
            expected=f"its record in the annotation {RECORD} of the Service '{object_name(name)}'",
            found="none, or a changed one",
            remedy=f"Remove the deployment with `{removal}`, and deploy again.",
        ) from error
    return ClusterDeployment(entry, record, tuple(living(cluster, name)) if has_pods else ())


def found(cluster: Cluster, name: str, *, has_pods: bool = True) -> ClusterDeployment:
    """A deployment. Raises UnknownDeploymentError where there is none, and as `find`."""
    deployment = find(cluster, name, has_pods=has_pods)
    if deployment is None:
        raise UnknownDeploymentError(name, names(cluster))
    return deployment


def names(cluster: Cluster) -> tuple[str, ...]:
    """All deployments of the namespace, also those of earlier versions."""
    chosen = ",".join([*(f"{key}={value}" for key, value in revision_plan.MANAGED_BY.items()), labels.DEPLOYMENT])
    entries = _noted(cluster.find(kinds.SERVICE, chosen).items, RECORD)
    earlier = _noted(cluster.find(kinds.DEPLOYMENT, chosen).items, labels.RELEASE)
    return tuple(sorted({mark(each, labels.DEPLOYMENT) for each in (*entries, *earlier)}))


def living(cluster: Cluster, name: str) -> list[Manifest]:
    """A deployment's pods that neither terminate nor have ended, the oldest first."""
    pods = cluster.find(kinds.POD, labels_of(name)).items
    staying = [each for each in pods if "deletionTimestamp" not in each["metadata"] and not is_over(each)]
    return sorted(staying, key=lambda each: (str(each["metadata"]["creationTimestamp"]), name_of(each)))


def check_is_of(live: Manifest, name: str) -> None:
    """Raises InputError where an object does not belong to the deployment of this name."""
    remedy = f"Remove or rename it, or serve under another name ({next_flag('study')})."
    check_ours(live, {labels.DEPLOYMENT: name}, owner=f"the deployment '{name}'", remedy=remedy)


def mark(live: Manifest, label: str) -> str:
    """A label of an object; empty where it has none."""
    return str(labels_on(live).get(label, ""))


def revision_of(live: Manifest) -> int:
    """The revision that an object or a pod belongs to; 0 for none."""
    return int(mark(live, labels.REVISION) or 0)


def observed(cluster: Cluster, pods: Sequence[Manifest]) -> tuple[ReplicaObserved, ...]:
    """Pods as replicas or routers, with what keeps them from becoming ready."""
    late = [name_of(each) for each in pods if not is_ready(each)][:MOST_DIAGNOSED]
    return tuple(
        ReplicaObserved(
            identifier=name_of(each),
            revision=revision_of(each),
            is_ready=is_ready(each),
            failure=failure(each),
            waiting=_waiting(cluster, each) if name_of(each) in late else "",
        )
        for each in pods
    )


def uncreated(deployments: Sequence[Manifest], pods: Sequence[Manifest]) -> tuple[ReplicaObserved, ...]:
    """One replica for each revision that has fewer pods than its Deployment asks for."""
    return tuple(
        ReplicaObserved(name_of(each), number, is_ready=False, waiting=_refusal(each))
        for each in deployments
        if (number := revision_of(each)) and lacks_pods(pods, number, int(each["spec"].get("replicas", 1)))
    )


def lacks_pods(pods: Sequence[Manifest], number: int, wanted: int) -> bool:
    """Whether a revision has fewer pods than it is to have.

    The cluster has not created the others yet, as just after the start, or refuses to, as for a quota.
    """
    return sum(revision_of(each) == number for each in pods) < wanted


def _refusal(deployment: Manifest) -> str:
    """Why the cluster refuses to create pods of a Deployment; empty where it does not."""
    for one in (deployment.get("status") or {}).get("conditions") or ():
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return f"{one.get('reason')}: {' '.join(str(one.get('message')).split())}"
    return ""


def failure(pod: Manifest) -> str:
    """How a pod's server ended before it was ready; empty where it did not, or has been ready."""
    status = pod.get("status") or {}
    conditions = status.get("conditions") or ()
    since = next((str(each.get("lastTransitionTime")) for each in conditions if each["type"] == "Ready"), "")
    for one in status.get("containerStatuses") or ():
        past = (one.get("state") or {}).get("terminated") or (one.get("lastState") or {}).get("terminated")
        # A server that was ready stopped being so after its start; RFC 3339 times compare as text.
        if not past or one.get("ready") or since > str(past.get("startedAt")):
            continue
        is_killed = past.get("reason") == "OOMKilled"
        why = "was stopped for using more memory than its limit" if is_killed else "ended before it was ready"
        return f"{why} (exit code {past.get('exitCode')})"
    return ""


def endpoints(cluster: Cluster, name: str) -> set[str]:
    """Names of the pods that the entry sends requests to."""
    slices = cluster.find(kinds.ENDPOINT_SLICE, {SLICE_OF: object_name(name)}).items
    ready = (
        each
        for one in slices
        for each in one.get("endpoints") or ()
        if (each.get("conditions") or {}).get("ready") is not False
    )
    return {str((each.get("targetRef") or {}).get("name", "")) for each in ready}


def log(cluster: Cluster, pod: Manifest, lines: int) -> list[str]:
    """The end of a pod's log, or of its previous run's if the log is empty."""
    names = [each["name"] for each in pod["spec"]["containers"]]
    container = CONTAINER if CONTAINER in names else names[0]  # on KServe it has another name
    for is_previous in (False, True):
        with contextlib.suppress(NotStartedError, NotFoundError):
            if said := list(cluster.log(name_of(pod), container, tail=lines, is_previous=is_previous)):
                return said
    return []


def selected(name: str, number: int | None) -> dict[str, str]:
    """Labels of a revision's objects, or of all of a deployment."""
    return labels_of(name) if number is None else labels_of_revision(name, number)


def _noted(objects: Sequence[Manifest], annotation: str) -> list[Manifest]:
    return [each for each in objects if annotation in annotations_on(each)]


def _waiting(cluster: Cluster, pod: Manifest) -> str:
    with contextlib.suppress(*NOT_NOW):  # what only explains must not end what is explained
        return str(diagnosis_of(pod, cluster.events(pod)) or "")
    return ""


def _refuse_earlier(cluster: Cluster, name: str) -> None:
    live = cluster.get(kinds.DEPLOYMENT, object_name(name))
    if live is not None and mark(live, labels.DEPLOYMENT) == name and _noted([live], labels.RELEASE):
        raise InputError(
            f"deployment '{name}'",
            expected="one that this version of winnow made",
            found="one of an earlier version, which changed releases in place",
            remedy=f"Remove it with `{next_command('prod-remove', platform='kubernetes', name=name)}`, and deploy "
            "again.",
        )
