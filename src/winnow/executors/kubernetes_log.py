"""What workers in pods print: a node's log goes on over all the pods that it has had, as long as they can be read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from winnow.cluster.api import Cluster
from winnow.cluster.refusals import NotFoundError, NotStartedError
from winnow.config.errors import UnreachableError
from winnow.executors.kubernetes_plan import WORKER
from winnow.executors.kubernetes_state import Pod

LOOK_EVERY_S = 1.0


def lines(cluster: Cluster, pod: Pod, nodes: int, seen: dict[str, str], *, follow: bool) -> Iterator[str]:
    """Lines of a pod's log, with its node's number where there are several; none where it is gone or has not started.

    Args:
        seen: uid → time of the last line that was had. Only what is newer comes, and it is moved on.
        follow: go on until the worker ends.
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
                # Fixed in width and, within a pod, in its time zone: the order of the texts is that of the times.
                if stamp <= before:
                    continue
                seen[pod.uid] = stamp
                yield prefix + text.rstrip()


def followed(cluster: Cluster, index: int, nodes: int, look: Callable[[], tuple[list[Pod], bool]]) -> Iterator[str]:
    """Lines of one node's pods, one pod after another, until its group is over.

    Args:
        look: the group's pods, and whether it is over; asked once a second while the node has none that runs.
    """
    seen: dict[str, str] = {}
    done: set[str] = set()
    while True:
        pods, is_over = look()
        for pod in sorted(pods, key=lambda pod: pod.created_at_ms):
            if pod.index == index and pod.uid not in done:
                # A stream that was cut is gone on with after the line that came last.
                with contextlib.suppress(UnreachableError):
                    yield from lines(cluster, pod, nodes, seen, follow=not is_over)
                if pod.is_over:
                    done.add(pod.uid)
        if is_over:
            return
        time.sleep(LOOK_EVERY_S)
