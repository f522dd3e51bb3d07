"""Worker groups as Jobs of a Kubernetes cluster, in one namespace.

`group_plan` decides what is sent and `group_state` what an answer means; this module only acts. Any process finds and
ends groups by their labels. The cluster allows one Job per name, so two processes that start the same group at once
make one Job. Logs of the pods that this module removes go to `log_archive`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.platforms.executor import GroupSpec, GroupStatus, UnknownGroupError
from winnow.platforms.kubernetes import group_plan
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.group_log import Kept, followed, lines, readable
from winnow.platforms.kubernetes.group_plan import GroupObjects, KubernetesWorkers
from winnow.platforms.kubernetes.group_state import Job, Pod, group_status, last_status, read_job
from winnow.platforms.kubernetes.group_watch import GroupsFound, StudyWatch, StudyWatches, Warnings, by_group
from winnow.platforms.kubernetes.kinds import EVENT, JOB, POD, SECRET, SERVICE, VOLUME_CLAIM, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.permissions import applying, check, verbs
from winnow.platforms.kubernetes.prune import check_ours
from winnow.platforms.kubernetes.refusals import ClusterError, ConflictError, NotAdmittedError, RefusedObjectError
from winnow.platforms.labels import GROUP, STUDY
from winnow.platforms.log_archive import Archive
from winnow.platforms.log_streams import merged

PERMISSIONS = (
    *verbs("create delete deletecollection get list watch", JOB),
    *verbs("deletecollection list watch", POD),
    *verbs("get", POD, subresource="log"),
    *verbs("list", EVENT),
    # `get` checks to which group an object of the same name belongs.
    *verbs("get", VOLUME_CLAIM, SECRET, SERVICE),
    *applying(SECRET, SERVICE),
)
"""What running, watching and ending groups needs."""

_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0
_LEAVING_S = 15.0
"""How long the cluster may take to notice that pods have ended, after their grace period."""
_AT_ONCE = 16
_TOGETHER = 25
"""How many groups' pods one request deletes: the API server deletes them one by one before it answers."""


class KubernetesExecutor:
    """Implements `Executor` in one namespace of a cluster.

    Args:
        home: winnow's folder, for logs that outlive their pods.
        removal_within_s: how long a Job of the same name that is being deleted may take.
    """

    def __init__(
        self, cluster: Cluster, workers: KubernetesWorkers, home: Path, *, removal_within_s: float = 60.0
    ) -> None:
        self._workers = workers
        self._cluster = cluster
        self._removal_within_s = removal_within_s
        # Another namespace may run a study of the same name from this home.
        self._archive = Archive(home, f"pod-{cluster.namespace}-{cluster.identity.rpartition(' ')[2]}")
        self._warnings = Warnings(cluster)
        self._watches = StudyWatches(cluster)

    @property
    def place(self) -> str:
        return self._cluster.place

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The manifests, as YAML, without passwords and secrets."""
        return group_plan.render(group_plan.plan_group(group, self._workers) for group in groups)

    def validate(self, group: GroupSpec) -> None:
        """Have the cluster check a group's Job by a dry run, which omits quota, pod security and priority class."""
        job = group_plan.plan_group(group, self._workers).job
        self._check(group)
        # A Job of that name that exists already has been checked.
        with _traced(group), contextlib.suppress(ConflictError):
            try:
                self._cluster.create(job, is_dry_run=True)
            except NotAdmittedError:
                # This very study may have used up the quota.
                if not self._groups({STUDY: group.study}):
                    raise

    def start(self, group: GroupSpec) -> None:
        """Start a group, after removing one of its name that is over. A refused attempt leaves nothing behind."""
        objects = group_plan.plan_group(group, self._workers)
        self._check(group)
        with self._archive.locked(group.study, group.name):
            with _traced(group):
                job = self._brought(objects.job)
            self._archive.begin(group.study, group.name)
            self._equip(objects, job)

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        """Groups that have Jobs or pods, and groups of which only logs are left."""
        return self._with_archived(self._statuses(STUDY if study is None else f"{STUDY}={study}"), study)

    def status(self, study: str, name: str) -> GroupStatus:
        """The status of the Job in the cluster, or the recorded one of a removed Job."""
        found = self._statuses(f"{STUDY}={study},{GROUP}={name}")
        return found[0] if found else self._archive.status(study, name)

    @contextlib.contextmanager
    def watch(self, study: str) -> Iterator[Callable[[], tuple[GroupStatus, ...]]]:
        """See `Executor.watch`: two requests watch all groups."""
        with self._watches.of(study) as watch:
            yield lambda: self._with_archived(tuple(watch.statuses().values()), study)

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """The kept logs of removed pods, then those of present pods, with a prefix per node if there are several."""
        job, pods = self._find(study, name)
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

    def check_may_end(self) -> None:
        check(self._cluster, PERMISSIONS, "ending a sweep's workers")

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        """Delete the Job: SIGTERM to all pods at once, SIGKILL after `grace_s`, forced removal of pods that stay.

        Keep the first node's log. A pod gets no more than its own `terminationGracePeriodSeconds`.
        """
        # The watch begins first, so that it sees the end of every object found here.
        with self._watches.of(study) as watch:
            job, pods = self._find(study, name)
            if not self._end(study, {name: (job, pods)}, watch, grace_s) and job is None:
                self._archive.status(study, name)

    def cancel_all(self, study: str, grace_s: float) -> None:
        """As `cancel`, for all groups of a study, with a few requests and one for each log."""
        with self._watches.of(study) as watch:
            self._end(study, {name: found for (_, name), found in self._groups({STUDY: study}).items()}, watch, grace_s)

    def clear(self, study: str) -> None:
        """Keep the logs of groups that are over, and delete their Jobs; the cluster deletes what belongs to a Job."""

        def clear(found: tuple[Job | None, list[Pod]]) -> None:
            job, pods = found
            if job is not None and job.state.is_over:
                with self._archive.locked(job.study, job.group):
                    self._retire(job, pods)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="winnow-clear") as pool:
            list(pool.map(clear, self._groups({STUDY: study}).values()))

    def _groups(self, labels: Mapping[str, str] | str) -> GroupsFound:
        return by_group(self._cluster.find(JOB, labels).items, self._cluster.find(POD, labels).items)

    def _statuses(self, labels: str) -> tuple[GroupStatus, ...]:
        found = self._groups(labels)
        events = self._warnings.about(
            thing for job, pods in found.values() for thing in (job, *pods) if thing is not None
        )
        statuses = (group_status(study, name, job, pods, events) for (study, name), (job, pods) in found.items())
        return tuple(status for status in statuses if status is not None)

    def _with_archived(self, found: Sequence[GroupStatus], study: str | None) -> tuple[GroupStatus, ...]:
        statuses = {(status.study, status.name): status for status in (*self._archive.statuses(study), *found)}
        return tuple(statuses[key] for key in sorted(statuses))

    def _find(self, study: str, name: str) -> tuple[Job | None, list[Pod]]:
        return self._groups({STUDY: study, GROUP: name}).get((study, name), (None, []))

    def _pods_and_end(self, watch: StudyWatch, study: str, name: str) -> tuple[list[Pod], bool]:
        pods, seen = watch.pods(name), watch.statuses().get(name)
        if seen is not None and not seen.state.is_over:
            return pods, False
        # A watch may lag behind: when a group is over, its pods are read again.
        left = self._find(study, name)[1]
        try:
            return left, self.status(study, name).state.is_over
        except UnknownGroupError:
            # Removed by another home, and never kept here.
            return left, True

    def _check(self, group: GroupSpec) -> None:
        """Refuse what would wait forever, before anything is made."""
        for claim in group_plan.volume_claims(group):
            if self._cluster.get(VOLUME_CLAIM, claim) is None:
                raise InputError(
                    "execution.volumes",
                    expected=f"a volume claim {claim!r} in the namespace {self._cluster.namespace!r}",
                    found="none",
                    remedy="Make it and fill it, or name another; `kubectl get pvc` lists them.",
                )

    def _brought(self, wanted: Manifest) -> Manifest:
        """Make a Job, or find the one of its name that runs already. One that is over is replaced."""
        name, deadline = name_of(wanted), time.monotonic() + self._removal_within_s
        failure: WinnowError = ClusterError(
            f"job {name}: expected the previous Job of this name to be deleted, found that it is not. "
            f"`kubectl describe job {name}` may say why."
        )
        pause_s = _PAUSE_S
        while True:
            try:
                return self._cluster.create(wanted)
            except ConflictError:
                pass
            except NotAdmittedError:
                # The API checks the quota before it checks whether the name is taken.
                if self._cluster.get(JOB, name) is None:
                    raise
            except UnreachableError as error:
                # The Job may have been made.
                failure = error
            while (found := self._cluster.get(JOB, name)) is not None:
                if self._is_at_work(found, wanted):
                    return found
                if time.monotonic() > deadline:
                    raise failure
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            if time.monotonic() > deadline:
                raise failure
            if isinstance(failure, UnreachableError):
                time.sleep(_LONGEST_PAUSE_S)

    def _is_at_work(self, found: Manifest, wanted: Manifest) -> bool:
        """Whether a Job of this name runs the group; one that is over is deleted. Raises InputError."""
        _check_ours(found, wanted)
        job = read_job(found)
        if job.state.is_over and not job.is_leaving:
            self._retire(job, self._find(job.study, job.group)[1])
        return not (job.state.is_over or job.is_leaving)

    def _equip(self, objects: GroupObjects, job: Manifest) -> None:
        """Make the objects that a Job's pods wait for, also for a Job whose maker died before it made them.

        If that fails, delete the Job, unless it has pods.
        """
        try:
            for manifest in objects.belonging_to(job):
                self._put(manifest)
        except WinnowError:
            if not read_job(job).active:
                self._delete(read_job(job))
            raise

    def _put(self, manifest: Manifest) -> None:
        """Make an object, or update one of ours. Raises InputError where the name is taken."""
        try:
            self._cluster.create(manifest)
        except (ConflictError, NotAdmittedError, UnreachableError):
            found = self._cluster.get(kind_of(manifest), name_of(manifest))
            if found is not None:
                _check_ours(found, manifest)
            self._cluster.apply(manifest)

    def _end(
        self, study: str, found: Mapping[str, tuple[Job | None, list[Pod]]], watch: StudyWatch, grace_s: float
    ) -> bool:
        """Delete those groups that run, and keep their logs; False if none runs.

        Raises:
            ClusterError: a group does not end.
        """
        groups = {
            name: (job, pods)
            for name, (job, pods) in sorted(found.items())
            if (any(not pod.is_over for pod in pods) if job is None else not job.state.is_over)
        }
        if not groups:
            return False
        with contextlib.ExitStack() as held:
            # In order of names, so that two processes that end the same groups do not deadlock.
            for name in groups:
                held.enter_context(self._archive.locked(study, name))
            kept = {
                name: Kept(self._cluster, pods, job.nodes if job is not None else 1)
                for name, (job, pods) in groups.items()
            }
            jobs = {name: job for name, (job, _) in groups.items()}
            # Pods are deleted first: deleted with their Job they would get their own grace period, which a kubelet may
            # not shorten once it runs. With a grace period of 0 the API would forget processes that still run.
            self._delete_pods(study, list(groups), max(1, math.ceil(grace_s)))
            self._delete_jobs(study, [job for job in jobs.values() if job is not None])
            leaving_s = [pod.leaving_s for _, pods in groups.values() for pod in pods]
            self._await_ends(study, jobs, watch, max([grace_s, *leaving_s]))
            deadline = time.monotonic() + _LEAVING_S
            for name, job in jobs.items():
                title = f"{job.name if job is not None else group_plan.object_name(study, name)} deleted"
                self._archive.save(study, name, kept[name].lines(deadline), title)
                self._archive.end(last_status(study, name, job, watch.last_pods(name)))
        return True

    def _await_ends(self, study: str, jobs: Mapping[str, Job | None], watch: StudyWatch, grace_s: float) -> None:
        left = watch.await_ends(jobs, grace_s, _LEAVING_S)
        if left:
            # Their nodes do not answer.
            self._delete_pods(study, sorted(left), 0)
            left = watch.await_ends({name: jobs[name] for name in left}, 0.0, _LEAVING_S)
        # A watch that had to list again may have missed both the start and the end of a Job.
        stuck = []
        for name in sorted(left):
            (found, pods), job = self._find(study, name), jobs[name]
            is_job_left = found is not None and job is not None and found.uid == job.uid
            if is_job_left or any(not pod.is_over for pod in pods):
                stuck.append(name)
        if stuck:
            raise ClusterError(
                f"study {study!r}: expected the jobs of its workers {', '.join(stuck)} to be deleted with their pods, "
                f"found that they are not. `kubectl describe job --selector {STUDY}={study}` may say why."
            )

    def _delete_pods(self, study: str, names: Sequence[str], grace_s: int) -> None:
        self._for_some(study, names, lambda labels: self._cluster.delete_all(POD, labels, grace_s=grace_s))

    def _delete_jobs(self, study: str, jobs: Sequence[Job]) -> None:
        if len(jobs) == 1:
            self._delete(jobs[0])
            return
        # All groups of the study have to end, even a later Job of one of these names.
        names = [job.group for job in jobs]
        self._for_some(study, names, lambda labels: self._cluster.delete_all(JOB, labels, propagation="Foreground"))

    def _for_some(self, study: str, names: Sequence[str], do: Callable[[str], None]) -> None:
        """Act on groups in batches, with a label selector for each batch."""
        some = [",".join(names[at : at + _TOGETHER]) for at in range(0, len(names), _TOGETHER)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="winnow-end") as pool:
            list(pool.map(do, [f"{STUDY}={study},{GROUP} in ({each})" for each in some]))

    def _retire(self, job: Job, pods: list[Pod]) -> None:
        """Keep the logs of a Job that is over, then delete it."""
        for pod in sorted(pods, key=lambda pod: (pod.index, pod.created_at_ms)):
            log = readable(lines(self._cluster, pod, job.nodes, {}, follow=False))
            self._archive.save(job.study, job.group, log, f"{pod.name} {pod.phase} with {pod.code}")
        status = group_status(job.study, job.group, job, pods)
        assert status is not None
        self._archive.save(job.study, job.group, (), f"{job.name} {status.state.value}")
        self._archive.end(status)
        self._delete(job)

    def _delete(self, job: Job) -> None:
        with contextlib.suppress(ConflictError):
            # By its uid, to leave a later Job of this name alone. In the foreground, so that the Job stays, and no
            # other is made, until its pods are gone.
            self._cluster.delete(JOB, job.name, propagation="Foreground", uid=job.uid)


@contextlib.contextmanager
def _traced(group: GroupSpec) -> Iterator[None]:
    """Name the place in the experiment for a Job that the cluster refuses."""
    try:
        yield
    except RefusedObjectError as error:
        raise InputError(
            "execution.kubernetes.pod" if group_plan.pod_options(group).pod else "execution.kubernetes",
            expected="fields that the cluster accepts",
            found=error.found.rstrip("."),
            remedy="Correct it there (pod, requests, gpu_resource, node_selector, tolerations, priority_class, queue, "
            "annotations), in execution.resources, or in k8s/train/job.yaml.",
        ) from error


def _check_ours(found: Manifest, wanted: Manifest) -> None:
    labels = {key: wanted["metadata"]["labels"][key] for key in (STUDY, GROUP)}
    kind, name = wanted["kind"].lower(), name_of(wanted)
    remedy = f"Delete it (`kubectl delete {kind} {name}`), or give the study another name."
    check_ours(found, labels, owner="this study", remedy=remedy)
