"""Worker groups as Jobs of a Kubernetes cluster, in one namespace.

What is sent is worked out in `kubernetes_plan`, what comes back is judged in `kubernetes_state`; here it is only done.
Groups are found by label, so any process finds, follows and ends them. The cluster sees to it that one name is one Job:
two processes that start a group at once make one. It also replaces pods by itself and takes a group's Secret and
Service away with its Job. Logs of pods that are taken away from here come to lie here (`archive`).
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from winnow.cluster.api import Cluster
from winnow.cluster.kinds import EVENT, JOB, POD, SECRET, SERVICE, VOLUME_CLAIM, Manifest, name_of
from winnow.cluster.permissions import Permission, applying, verbs
from winnow.cluster.refusals import ClusterError, ConflictError
from winnow.config.errors import InputError, WinnowError
from winnow.containers.engine import GROUP, STUDY
from winnow.executors.archive import Archive
from winnow.executors.executor import GroupSpec, GroupStatus
from winnow.executors.kubernetes_log import followed, lines
from winnow.executors.kubernetes_plan import (
    GroupObjects,
    KubernetesSite,
    object_name,
    plan_group,
    render,
    volume_claims,
)
from winnow.executors.kubernetes_state import Job, Pod, group_status, is_of_group, last_status, read_job, read_pod
from winnow.executors.kubernetes_watch import StudyWatch, Warnings, by_group
from winnow.executors.streams import merged

__all__ = ["PERMISSIONS", "KubernetesExecutor", "KubernetesSite"]

PERMISSIONS: tuple[Permission, ...] = (
    *verbs(JOB, "create", "delete", "get", "list", "watch"),
    *verbs(POD, "deletecollection", "list", "watch"),
    *verbs(POD, "get", subresource="log"),
    *verbs(EVENT, "list"),
    *verbs(VOLUME_CLAIM, "get"),
    *applying(SECRET, SERVICE),
)
"""All that running, following and ending groups takes."""

_PAUSE_S = 0.2
_LEAVING_S = 15.0
"""How long the cluster may take to see that pods have ended, after it should have ended them."""
_AT_ONCE = 16


class KubernetesExecutor:
    """Implements `Executor` in one namespace of a cluster.

    Args:
        cluster: in which namespace.
        site: what all groups have in common.
        home: winnow's folder, for logs that outlive their pods.
        patience_s: how long a Job of the same name may take to go that is on its way out.
    """

    def __init__(self, cluster: Cluster, site: KubernetesSite, home: Path, *, patience_s: float = 60.0) -> None:
        self._site = site
        self._cluster = cluster
        self._patience_s = patience_s
        self._archive = Archive(home, "pod")
        self._warnings = Warnings(cluster)
        self._watches = _Watches(cluster)

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The manifests, as YAML, without passwords and secrets."""
        return render(plan_group(group, self._site) for group in groups)

    def start(self, group: GroupSpec) -> None:
        """Start a group, once one of its name that is over is cleared away.

        Raises:
            InputError: a volume claim is missing, the cluster refuses an object, or the name is taken by something that
                is not winnow's. Nothing is left of the try.
            ClusterError, UnreachableError: the cluster fails, or does not answer.
        """
        objects = plan_group(group, self._site)
        deadline = time.monotonic() + self._patience_s
        self._check(group)
        with self._archive.alone(group.study, group.name):
            while (job := self._made(objects.job) or self._found(objects.job)) is None:
                if time.monotonic() > deadline:
                    raise ClusterError(
                        f"job {name_of(objects.job)}: expected the one of this name to go, found that it does not end. "
                        f"`kubectl describe job {name_of(objects.job)}` may say why."
                    )
                time.sleep(_PAUSE_S)
            self._archive.begin(group.study, group.name)
            self._equip(objects, job)

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        """Those that have Jobs or pods, and those of which only the logs are left here."""
        return self._with_archived(self._statuses(STUDY if study is None else f"{STUDY}={study}"), study)

    def status(self, study: str, name: str) -> GroupStatus:
        """What the cluster says of the Job, or what was seen of it before it was taken away."""
        found = self._statuses(f"{STUDY}={study},{GROUP}={name}")
        return found[0] if found else self._archive.status(study, name)

    @contextlib.contextmanager
    def watch(self, study: str) -> Iterator[Callable[[], tuple[GroupStatus, ...]]]:
        """See `Executor.watch`: two requests follow all groups."""
        with self._watches.of(study) as watch:
            yield lambda: self._with_archived(tuple(watch.statuses().values()), study)

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """What was kept of pods before, and what these print; several nodes each with a prefix."""
        job, pods = self._look(study, name)
        if job is None and not pods:
            self._archive.status(study, name)
        yield from self._archive.lines(study, name)
        nodes = job.nodes if job is not None else 1 + max((pod.index for pod in pods), default=0)
        if not follow or job is None:
            for pod in sorted(pods, key=lambda pod: (pod.index, pod.created_at_ms)):
                yield from lines(self._cluster, pod, nodes, {}, follow=False)
            return
        with self._watches.of(study) as watch:
            yield from merged(
                [
                    followed(self._cluster, index, nodes, lambda: self._pods_and_end(watch, study, name))
                    for index in range(nodes)
                ]
            )

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        """Delete the Job: SIGTERM to all pods at once, SIGKILL after `grace_s`, and away with those that stay.

        The first node's log is kept. A pod gets no more than its own `terminationGracePeriodSeconds`.
        """
        with self._watches.of(study) as watch:
            job, pods = self._job(study, name), watch.pods(name)
            if job is None and all(pod.is_over for pod in pods):
                self._archive.status(study, name)
            elif job is None or not job.state.is_over:
                with self._archive.alone(study, name):
                    self._end(study, name, job, watch, grace_s)

    def clear(self, study: str) -> None:
        """Save the logs of groups that are over here, and delete their Jobs; what belongs to them goes with them."""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="winnow-clear") as pool:
            list(pool.map(self._clear, self._listed(f"{STUDY}={study}")))

    # Looking

    def _listed(self, labels: str) -> list[tuple[Job, list[Pod]]]:
        """The Jobs with these labels, each with its pods."""
        found = by_group(self._cluster.find(JOB, labels).items, self._cluster.find(POD, labels).items)
        return [(job, pods) for job, pods in found.values() if job is not None]

    def _statuses(self, labels: str) -> tuple[GroupStatus, ...]:
        found = by_group(self._cluster.find(JOB, labels).items, self._cluster.find(POD, labels).items)
        events = self._warnings.about(
            thing for job, pods in found.values() for thing in (job, *pods) if thing is not None
        )
        statuses = (group_status(study, name, job, pods, events) for (study, name), (job, pods) in found.items())
        return tuple(status for status in statuses if status is not None)

    def _with_archived(self, found: Sequence[GroupStatus], study: str | None) -> tuple[GroupStatus, ...]:
        statuses = {(status.study, status.name): status for status in (*self._archive.statuses(study), *found)}
        return tuple(statuses[key] for key in sorted(statuses))

    def _job(self, study: str, name: str) -> Job | None:
        found = self._cluster.get(JOB, object_name(study, name))
        return read_job(found) if found is not None and is_of_group(found) else None

    def _look(self, study: str, name: str) -> tuple[Job | None, list[Pod]]:
        labels = {STUDY: study, GROUP: name}
        jobs = [read_job(job) for job in self._cluster.find(JOB, labels).items]
        return (jobs[0] if jobs else None), [read_pod(pod) for pod in self._cluster.find(POD, labels).items]

    def _pods_and_end(self, watch: StudyWatch, study: str, name: str) -> tuple[list[Pod], bool]:
        pods, seen = watch.pods(name), watch.statuses().get(name)
        if seen is not None and not seen.state.is_over:
            return pods, False
        # A watch may be a moment behind. What a group has left when it is over is read as a whole.
        return self._look(study, name)[1], self.status(study, name).state.is_over

    # Starting

    def _check(self, group: GroupSpec) -> None:
        """Refuse what would wait for ever, before anything is made."""
        for claim in volume_claims(group):
            if self._cluster.get(VOLUME_CLAIM, claim) is None:
                raise InputError(
                    "execution.volumes",
                    expected=f"a volume claim {claim!r} in the namespace {self._cluster.namespace!r}",
                    found="none",
                    remedy="Make it and fill it, or name another; `kubectl get pvc` lists them.",
                )

    def _made(self, job: Manifest) -> Manifest | None:
        """A new Job; None where there is one of its name."""
        with contextlib.suppress(ConflictError):
            return self._cluster.create(job)
        return None

    def _found(self, wanted: Manifest) -> Manifest | None:
        """The Job that is at work already; None where there is none, or it has been told to make room."""
        name, labels = name_of(wanted), wanted["metadata"]["labels"]
        found = self._cluster.get(JOB, name)
        if found is None:
            return None
        if not is_of_group(found) or any(found["metadata"]["labels"][key] != labels[key] for key in (STUDY, GROUP)):
            raise InputError(
                f"the job {name!r}",
                expected="none, or one that belongs to this study",
                found="one that somebody else has made",
                remedy=f"Take it away (`kubectl delete job {name}`), or give the study another name.",
            )
        job = read_job(found)
        if job.state.is_over and not job.is_leaving:
            self._retire(job, self._look(job.study, job.group)[1])
        return None if job.state.is_over or job.is_leaving else found

    def _equip(self, objects: GroupObjects, job: Manifest) -> None:
        """Give a Job what it names, also one that was made by somebody who died before doing so.

        Its pods wait for that. One that cannot have it is deleted while none of them has begun.
        """
        try:
            for manifest in objects.belonging_to(job):
                self._cluster.apply(manifest)
        except WinnowError:
            if not read_job(job).active:
                self._delete(read_job(job))
            raise

    # Ending

    def _end(self, study: str, name: str, job: Job | None, watch: StudyWatch, grace_s: float) -> None:
        """Delete a group and keep what it leaves. Raises ClusterError where it does not go."""
        pods = watch.pods(name)
        kept = _Kept(self._cluster, pods, job.nodes if job is not None else 1)
        # Before the Job, with which they would go by their own grace period: once begun, a kubelet may not make it
        # shorter. None is replaced before it is over. Without a grace the API would forget processes that still run.
        self._cluster.delete_all(POD, {STUDY: study, GROUP: name}, grace_s=max(1, math.ceil(grace_s)))
        if job is not None:
            self._delete(job)
        if not watch.await_end(name, job, max([grace_s, *(pod.leaving_s for pod in pods)]), _LEAVING_S):
            # Their machine does not answer.
            self._cluster.delete_all(POD, {STUDY: study, GROUP: name}, grace_s=0)
            if not watch.await_end(name, job, 0.0, _LEAVING_S):
                raise ClusterError(
                    f"worker {name} of study {study!r}: expected its job to go with its pods, found that it does not "
                    f"end. `kubectl describe job {object_name(study, name)}` may say why."
                )
        self._archive.save(study, name, kept.lines(), f"{object_name(study, name)} deleted")
        self._archive.end(last_status(study, name, job, watch.last_pods(name)))

    def _clear(self, listed: tuple[Job, list[Pod]]) -> None:
        job, pods = listed
        if job.state.is_over:
            with self._archive.alone(job.study, job.group):
                self._retire(job, pods)

    def _retire(self, job: Job, pods: list[Pod]) -> None:
        """Delete a Job that is over once its logs lie here."""
        for pod in sorted(pods, key=lambda pod: (pod.index, pod.created_at_ms)):
            log = _readable(lines(self._cluster, pod, job.nodes, {}, follow=False))
            self._archive.save(job.study, job.group, log, f"{pod.name} {pod.phase} with {pod.code}")
        status = group_status(job.study, job.group, job, pods)
        assert status is not None
        self._archive.save(job.study, job.group, (), f"{job.name} {status.state.value}")
        self._archive.end(status)
        self._delete(job)

    def _delete(self, job: Job) -> None:
        with contextlib.suppress(ConflictError):
            # By its uid, so that whoever looked a moment ago deletes no later Job of this name; and only after its
            # pods, so that until then nobody makes another.
            self._cluster.delete(JOB, job.name, propagation="Foreground", uid=job.uid)


class _Watches:
    """A watch for each study that somebody follows: all who do share it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._open: dict[str, tuple[StudyWatch, int]] = {}

    @contextlib.contextmanager
    def of(self, study: str) -> Iterator[StudyWatch]:
        """A study's, closed by the last who has it."""
        with self._lock:
            watch, users = self._open.get(study) or (StudyWatch(self._cluster, study), 0)
            self._open[study] = (watch, users + 1)
        try:
            yield watch
        finally:
            with self._lock:
                watch, users = self._open.pop(study)
                if users > 1:
                    self._open[study] = (watch, users - 1)
                else:
                    watch.close()


class _Kept:
    """Logs of pods that ended by themselves, and the first node's, read on while its pod is being deleted.

    With the pod its log is gone. What became of other nodes the first one's log says too, and following those of all
    would take a connection for each.
    """

    def __init__(self, cluster: Cluster, pods: Sequence[Pod], nodes: int) -> None:
        self._lines: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(cluster, pods, nodes), name="winnow-kept", daemon=True)
        self._thread.start()

    def lines(self) -> list[str]:
        """All that came, once it has ended."""
        self._thread.join(_LEAVING_S)
        return list(self._lines)

    def _read(self, cluster: Cluster, pods: Sequence[Pod], nodes: int) -> None:
        for pod in sorted(pods, key=lambda pod: (not pod.is_over, pod.index, pod.created_at_ms)):
            if pod.is_over or pod.index == 0:
                self._lines.extend(_readable(lines(cluster, pod, nodes, {}, follow=True)))


def _readable(log: Iterator[str]) -> Iterator[str]:
    """A log as far as it can be read: what cannot must not keep its group from ending."""
    try:
        yield from log
    except WinnowError as error:
        yield f"the rest could not be read: {error}"
