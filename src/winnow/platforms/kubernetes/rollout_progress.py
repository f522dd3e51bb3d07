"""Reports a rollout while it lasts: what it waits for, how far it is, what blocks it.

Lines for people, each fact once. `deployer` ends the change when its time is over; until then an autoscaler may add
nodes, or a person may push an image.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from winnow.platforms.deployer import Say
from winnow.platforms.kubernetes import observe
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.observe import Pods
from winnow.platforms.kubernetes.refusals import NOT_NOW

DIAGNOSE_AFTER_S, DIAGNOSE_EVERY_S = 8.0, 5.0
"""When it is first asked what keeps pods from getting ready, and then how often."""
MOST_DIAGNOSED = 5
"""Pods that are diagnosed at a time, with a request each: they are alike, and the lease has to be renewed meanwhile."""


class Progress:
    """Reports one rollout.

    Args:
        version: of the release that is to be served.
        within_s: how long none may become ready before the change is given up.
        now: seconds of a clock that never goes back.
    """

    def __init__(
        self, cluster: Cluster, name: str, version: str, within_s: float, say: Say, now: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._name = name
        self._version = version
        self._within_s = within_s
        self._say = say
        self._now = now
        self._seen: tuple[int, int] | None = None
        self._ask_at = now() + DIAGNOSE_AFTER_S
        self._told: set[str] = set()

    def see(self, pods: Pods, wanted: int) -> None:
        """Report what is new about the pods, of which so many are wanted; to be called at least every few seconds."""
        ready = min(pods.ready, wanted)  # more are ready while a terminating one has the same template
        seen = ready, wanted
        if seen != self._seen:
            replicas = f"{wanted} replica{'' if wanted == 1 else 's'} of version {self._version}"
            if self._seen is None and ready < wanted:
                self._say(f"waiting for {replicas}{f', {ready} ready so far' if ready else ''}")
            else:
                self._say(f"{ready} of {replicas} ready")
            self._seen, self._ask_at = seen, self._now() + DIAGNOSE_AFTER_S
        elif pods.ready < wanted and self._now() >= self._ask_at:
            self._tell_diagnosis(pods)
            self._ask_at = self._now() + DIAGNOSE_EVERY_S

    def _tell_diagnosis(self, pods: Pods) -> None:
        with contextlib.suppress(*NOT_NOW):  # failing to report must not end the change
            waiting = tuple(each for each in pods.new if not is_ready(each))
            found = observe.diagnosis(self._cluster, self._name, Pods(new=waiting[:MOST_DIAGNOSED]))
            # The kubelet has two alternating reasons for an image that cannot be pulled; the remedy is the same.
            if found is None or found.remedy in self._told:
                return
            self._told.add(found.remedy)
            self._say(f"not ready yet: {found}")
            if len(self._told) == 1:
                self._say(f"It is given up when none becomes ready for {self._within_s:g} s; Ctrl-C takes it back now.")
