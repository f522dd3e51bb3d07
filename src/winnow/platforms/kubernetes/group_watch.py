"""A study's current Jobs and pods, kept up to date by two watches, so that reading them needs no request.

While the cluster does not answer as it should, readers get an error.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.platforms.executor import GroupStatus
from winnow.platforms.kubernetes.client import Change, Cluster, Listing
from winnow.platforms.kubernetes.group_state import (
    Events,
    Job,
    Pod,
    by_object,
    group_status,
    is_of_group,
    read_job,
    read_pod,
)
from winnow.platforms.kubernetes.kinds import EVENT, JOB, POD, Kind, Manifest
from winnow.platforms.kubernetes.refusals import ClusterError, ExpiredError
from winnow.platforms.kubernetes.transport import Stream
from winnow.platforms.labels import GROUP, STUDY

RETRY_S = 1.0
"""Pause after a shorter round, which failed or ended at once."""
REFUSED_S = 30.0
"""How long credentials have to be refused before they count as wrong: a starting API server refuses good ones, too."""
SILENT_S = 5.0
"""How long a pod may take to start before its events are read."""
EVENTS_EVERY_S = 10.0

GroupsFound: TypeAlias = Mapping[tuple[str, str], tuple[Job | None, list[Pod]]]

_ABOUT: Mapping[type, str] = {Job: "involvedObject.kind=Job", Pod: "involvedObject.kind=Pod"}
"""Field selectors of the events that may say why one of these does not start."""


class Watch:
    """The objects of a kind with some labels, and their changes, over many requests; any thread may close it.

    A request that the API ends is sent again from the last `resourceVersion`; after a failure all are listed again.
    A round is a call of `refresh` and then of `changes`. Both raise the errors of `Cluster`.
    """

    def __init__(self, cluster: Cluster, kind: Kind, labels: Mapping[str, str], *, clock: Clock | None = None) -> None:
        self._cluster = cluster
        self._kind = kind
        self._labels = labels
        self._clock = clock if clock is not None else Clock()
        self._began_at = -math.inf
        self._version: str | None = None
        self._stream: Stream[Change] | None = None
        self._is_closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._is_closed.is_set()

    def close(self) -> None:
        """End the current request, and every later one."""
        # First, for a thread that is just sending a request, whose stream is not known here yet.
        self._is_closed.set()
        if self._stream is not None:
            self._stream.close()

    def refresh(self) -> Listing | None:
        """All objects if changes may have been missed; None if `changes` continues from the last one."""
        if self._clock.now() - self._began_at < RETRY_S:
            # Some proxies end every request at once, and may withhold changes.
            self._version = None
            self._clock.sleep(RETRY_S)
        self._began_at = self._clock.now()
        if self._version is not None:
            return None
        listing = self._cluster.find(self._kind, self._labels)
        self._version = listing.resource_version
        return listing

    def changes(self) -> Generator[Change, None, None]:
        """Changes until the round ends; none if the objects have to be listed first."""
        # Forgotten unless the reader reads every change.
        version, self._version = self._version, None
        if version is None:
            return
        stream = self._stream = self._cluster.watch(self._kind, self._labels, version)
        if self.is_closed:
            stream.close()
        with contextlib.closing(stream), contextlib.suppress(ExpiredError):
            for change in stream:
                version = change.object["metadata"]["resourceVersion"]
                if change.kind != "BOOKMARK":
                    yield change
            self._version = version


@dataclass
class Group:
    """The objects of one group.

    Attributes:
        jobs: uids of all Jobs that were ever seen.
        pods, gone: present pods by uid, and the last state of the last removed pod by index.
    """

    name: str
    changed: threading.Condition
    job: Job | None = None
    jobs: set[str] = field(default_factory=set)
    pods: dict[str, Pod] = field(default_factory=dict)
    gone: dict[int, Pod] = field(default_factory=dict)

    def is_there(self, job: Job | None) -> bool:
        """Whether this Job or any running pod is left. A Job that was never seen counts as left."""
        is_left = job is not None and self.job is not None and self.job.uid == job.uid
        is_unseen = job is not None and job.uid not in self.jobs
        return is_left or is_unseen or any(not pod.is_over for pod in self.pods.values())


class Warnings:
    """Events of a namespace, read at most every `EVENTS_EVERY_S`, and only if something does not start."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._known: Events = {}
        self._asked_at = -EVENTS_EVERY_S

    def about(self, things: Iterable[Job | Pod]) -> Events:
        """Events by object; none if all have started or may still start soon. Raises UnreachableError."""
        long_ago_ms = 1000 * (time.time() - SILENT_S)
        silent = {type(thing) for thing in things if thing.created_at_ms < long_ago_ms and thing.is_silent}
        if silent and time.monotonic() - self._asked_at > EVENTS_EVERY_S:
            # Normal events, too: they end a warning.
            asked = [fields for kind, fields in _ABOUT.items() if kind in silent]
            self._asked_at = time.monotonic()
            # Events only add explanations.
            with contextlib.suppress(ClusterError):
                self._known = by_object(
                    event for fields in asked for event in self._cluster.find(EVENT, fields=fields).items
                )
        return self._known if silent else {}


class StudyWatch:
    """A study's groups. Safe to use from several threads. The constructor lists the objects, and raises its errors."""

    def __init__(self, cluster: Cluster, study: str, *, refused_s: float = REFUSED_S) -> None:
        self._study = study
        self._refused_s = refused_s
        self._refused_since: dict[Kind, float] = {}
        self._warnings = Warnings(cluster)
        self._lock = threading.Lock()
        self._groups: dict[str, Group] = {}
        self._failures: dict[Kind, WinnowError] = {}
        self._changed_at = time.monotonic()
        self._watches = {kind: Watch(cluster, kind, {STUDY: study}) for kind in (JOB, POD)}
        for kind, watch in self._watches.items():
            self._replace(kind, watch.refresh())
        for kind, watch in self._watches.items():
            threading.Thread(
                target=self._keep_up, args=(kind, watch), name=f"winnow-watch-{kind.plural}", daemon=True
            ).start()

    def close(self) -> None:
        """End the watches."""
        for watch in self._watches.values():
            watch.close()

    def statuses(self) -> dict[str, GroupStatus]:
        """The statuses by group. Raises UnreachableError while the cluster is silent, InputError without permission."""
        with self._lock:
            self._check()
            seen = [(group.name, group.job, list(group.pods.values())) for group in self._groups.values()]
        events = self._warnings.about(thing for _, job, pods in seen for thing in (job, *pods) if thing is not None)
        found = {name: group_status(self._study, name, job, pods, events) for name, job, pods in seen}
        return {name: status for name, status in found.items() if status is not None}

    def await_ends(self, jobs: Mapping[str, Job | None], grace_s: float, quiet_s: float) -> set[str]:
        """Wait until the processes of these groups and these very Jobs are gone. Return the groups that are left.

        Args:
            quiet_s: how long no object of the study may change after `grace_s`: ending many groups takes time.
        """
        ready_at = time.monotonic() + grace_s
        with self._lock:
            return {name for name, job in jobs.items() if not self._ends(self._group(name), job, ready_at, quiet_s)}

    def _ends(self, group: Group, job: Job | None, ready_at: float, quiet_s: float) -> bool:
        while group.is_there(job):
            left_s = max(ready_at, self._changed_at) + quiet_s - time.monotonic()
            if left_s <= 0:
                return False
            group.changed.wait(left_s)
        return True

    def pods(self, name: str) -> list[Pod]:
        """A group's pods. Raises the errors of `statuses`."""
        with self._lock:
            self._check()
            return list(self._group(name).pods.values())

    def last_pods(self, name: str) -> list[Pod]:
        """A group's pods, and the last state of the last removed pod of each index."""
        with self._lock:
            group = self._group(name)
            return [*group.gone.values(), *group.pods.values()]

    def _check(self) -> None:
        for failure in self._failures.values():
            raise failure

    def _keep_up(self, kind: Kind, watch: Watch) -> None:
        while not watch.is_closed:
            try:
                with contextlib.closing(watch.changes()) as changes:
                    for change in changes:
                        with self._lock:
                            group = self._take(kind, change.object, is_gone=change.kind == "DELETED")
                            self._changed_at = time.monotonic()
                            if group is not None:
                                group.changed.notify_all()
                if not watch.is_closed:
                    self._replace(kind, watch.refresh())
            except Exception as error:  # noqa: BLE001 - if the thread died, readers would see old objects forever
                self._fail(kind, error)

    def _replace(self, kind: Kind, listing: Listing | None) -> None:
        """Replace all objects of a kind; None: the known ones are current."""
        with self._lock:
            if listing is not None:
                for group in self._groups.values():
                    if kind is JOB:
                        group.job = None
                    else:
                        group.gone |= {pod.index: pod for pod in group.pods.values()}
                        group.pods = {}
                for manifest in listing.items:
                    self._take(kind, manifest, is_gone=False)
            self._failures.pop(kind, None)
            self._refused_since.pop(kind, None)
            for group in self._groups.values():
                group.changed.notify_all()

    def _fail(self, kind: Kind, error: Exception) -> None:
        """Keep an error for readers: UnreachableError, since the watch retries, unless credentials stay refused."""
        now = time.monotonic()
        with self._lock:
            if not isinstance(error, InputError):
                self._refused_since.pop(kind, None)
            elif now - self._refused_since.setdefault(kind, now) >= self._refused_s:
                self._failures[kind] = error
                return
            said = str(error) if isinstance(error, WinnowError) else f"{kind.plural}: {type(error).__name__}: {error}"
            self._failures[kind] = UnreachableError(said)

    def _take(self, kind: Kind, manifest: Manifest, *, is_gone: bool) -> Group | None:
        if not is_of_group(manifest):
            return None
        group = self._group(manifest["metadata"]["labels"][GROUP])
        if kind is JOB:
            job = read_job(manifest)
            group.jobs.add(job.uid)
            group.job = None if is_gone else job
            return group
        pod = read_pod(manifest)
        if is_gone:
            group.pods.pop(pod.uid, None)
            group.gone[pod.index] = pod
        else:
            group.pods[pod.uid] = pod
        return group

    def _group(self, name: str) -> Group:
        if name not in self._groups:
            self._groups[name] = Group(name, threading.Condition(self._lock))
        return self._groups[name]


class StudyWatches:
    """A watch per study, shared by its readers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._open: dict[str, tuple[StudyWatch, int]] = {}

    @contextlib.contextmanager
    def of(self, study: str) -> Iterator[StudyWatch]:
        """A study's watch. The last reader closes it."""
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


def by_group(jobs: Iterable[Manifest], pods: Iterable[Manifest]) -> GroupsFound:
    """Listed Jobs and pods by group."""
    found: dict[tuple[str, str], tuple[Job | None, list[Pod]]] = {}
    for job in map(read_job, filter(is_of_group, jobs)):
        found[job.study, job.group] = (job, [])
    for pod in map(read_pod, filter(is_of_group, pods)):
        found.setdefault((pod.study, pod.group), (None, []))[1].append(pod)
    return found
