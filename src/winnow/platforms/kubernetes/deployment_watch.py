"""A deployment's pods whenever one of them changes, also while the API server restarts.

What the pods mean is left to `observe`, and what is to be done about them to `deployer`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from winnow.config.clock import Clock
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import POD, Manifest, name_of
from winnow.platforms.kubernetes.refusals import NOT_NOW, SILENT_S
from winnow.platforms.kubernetes.watch import Watch

CHECK_EVERY_S = 4.0
"""How often `check` is called while no pod changes."""


@dataclass(frozen=True)
class PodsSeen:
    """Pods at one moment.

    Attributes:
        pods: by name.
        wanted: the last answer of `check`.
        watched_s: how long they have been watched, without the time in which the API did not answer.
    """

    pods: Mapping[str, Manifest]
    wanted: int
    watched_s: float


def watch_pods(
    cluster: Cluster, labels: Mapping[str, str], clock: Clock, check: Callable[[], int], *, silent_s: float = SILENT_S
) -> Generator[PodsSeen, None, None]:
    """The pods with these labels as they are, and again at every change and every `CHECK_EVERY_S`; for ever.

    Args:
        check: renews a lease or reads the Deployment meanwhile; gives the number of pods that are wanted.

    Raises:
        UnreachableError, ClusterError, InputError: the API has given no other answer for `silent_s`.
        Whatever else `check` raises.
    """
    watch, pods = Watch(cluster, POD, labels, clock=clock, timeout_s=CHECK_EVERY_S), dict[str, Manifest]()
    started = heard = clock.now()
    lost_s, is_silent = 0.0, False
    while True:
        try:
            if (listing := watch.refresh()) is not None:
                pods = {name_of(each): each for each in listing.items}
            wanted = check()
            lost_s += clock.now() - heard if is_silent else 0.0
            heard, is_silent = clock.now(), False
            yield PodsSeen(pods, wanted, heard - started - lost_s)
            with contextlib.closing(watch.changes()) as changes:
                for change in changes:
                    if change.kind == "DELETED":
                        pods.pop(name_of(change.object), None)
                    else:
                        pods[name_of(change.object)] = change.object
                    heard = clock.now()
                    yield PodsSeen(pods, wanted, heard - started - lost_s)
        except NOT_NOW:
            if clock.now() - heard > silent_s:
                raise
            is_silent = True
