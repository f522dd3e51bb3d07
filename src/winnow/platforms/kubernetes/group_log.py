"""Logs of workers in pods. The log of a node consists of the logs of all its pods, as far as they can be read."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from winnow.config.errors import UnreachableError, WinnowError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.group_plan import WORKER
from winnow.platforms.kubernetes.group_state import Pod
from winnow.platforms.kubernetes.refusals import SILENT_S, ClusterError, NotFoundError, NotStartedError

READ_EVERY_S = 1.0
_IN_MEMORY = 64 * 2**10


def lines(cluster: Cluster, pod: Pod, nodes: int, seen: dict[str, str], *, follow: bool) -> Iterator[str]:
    """Lines of a pod's log, with a prefix if there are several nodes; none if the pod is gone or has not started.

    Args:
        seen: uid → time of the last line that was read. Only newer lines are read, and the time is updated.
        follow: continue until the worker ends.
    """
    if not pod.has_started:
        return
    prefix = f"node {pod.index}: " if nodes > 1 else ""
    before = seen.get(pod.uid, "")
    with contextlib.suppress(NotFoundError, NotStartedError):
        stamped = cluster.log(pod.name, WORKER, follow=follow, since=before or None, is_stamped=True)
        with contextlib.closing(stamped):
            for line in stamped:
                stamp, _, text = line.partition(" ")
                # Within a pod, times have one width and time zone, so that they sort as text.
                if stamp <= before:
                    continue
                seen[pod.uid] = stamp
                yield prefix + text.rstrip()


def followed(
    cluster: Cluster,
    index: int,
    nodes: int,
    observe: Callable[[], tuple[list[Pod], bool]],
    *,
    away_s: float = SILENT_S,
) -> Iterator[str]:
    """Lines of a node's pods, one pod after another, until its group is over.

    Args:
        observe: returns the group's pods, and whether it is over; called every second while no pod of the node runs.
        away_s: how long `observe` may raise UnreachableError.
    """
    seen: dict[str, str] = {}
    done: set[str] = set()
    seen_at = time.monotonic()
    while True:
        try:
            pods, is_over = observe()
        except UnreachableError:
            if time.monotonic() - seen_at > away_s:
                raise
            time.sleep(READ_EVERY_S)
            continue
        for pod in sorted(pods, key=lambda pod: pod.created_at_ms):
            if pod.index == index and pod.uid not in done:
                following = lines(cluster, pod, nodes, seen, follow=not is_over)
                if is_over:
                    yield from readable(following)
                    continue
                # A stream that broke is resumed after its last line.
                try:
                    yield from following
                except (UnreachableError, ClusterError):
                    continue
                if pod.is_over:
                    done.add(pod.uid)
        if is_over:
            return
        seen_at = time.monotonic()
        time.sleep(READ_EVERY_S)


class Kept:
    """Logs of pods that ended by themselves, and of the first node's pod while it is being deleted.

    A log is lost with its pod. Only the first node's log is followed: it also reports how the other nodes ended, and
    every followed log needs a connection.
    """

    def __init__(self, cluster: Cluster, pods: Sequence[Pod], nodes: int) -> None:
        self._lock = threading.Lock()
        self._is_read = False
        # Logs of hundreds of groups do not fit into memory.
        self._text = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._thread = threading.Thread(target=self._read, args=(cluster, pods, nodes), name="winnow-kept", daemon=True)
        self._thread.start()

    def lines(self, deadline: float) -> Iterator[str]:
        """All lines, when the logs have ended or `time.monotonic()` reaches the deadline. Call it once."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock, self._text:
            self._is_read = True
            self._text.seek(0)
            yield from (line.rstrip("\n") for line in self._text)

    def _read(self, cluster: Cluster, pods: Sequence[Pod], nodes: int) -> None:
        for pod in sorted(pods, key=lambda pod: (not pod.is_over, pod.index, pod.created_at_ms)):
            if pod.is_over or pod.index == 0:
                for line in readable(lines(cluster, pod, nodes, {}, follow=True)):
                    with self._lock:
                        if self._is_read:
                            return
                        self._text.write(f"{line}\n")


def readable(log: Iterator[str]) -> Iterator[str]:
    """A log as far as it can be read: an error must not keep the group from ending."""
    try:
        yield from log
    except WinnowError as error:
        yield f"the rest could not be read: {error}"
