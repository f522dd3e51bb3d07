"""Reports the progress of a rollout and what blocks it, each fact once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from winnow.platforms.kubernetes import observe
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.forward import is_ready
from winnow.platforms.kubernetes.observe import Pods
from winnow.platforms.kubernetes.refusals import NOT_NOW
from winnow.platforms.release_deployer import Say

DIAGNOSE_AFTER_S, DIAGNOSE_EVERY_S = 8.0, 5.0
"""When to look for the first time for what keeps pods from getting ready, and then how often."""
MOST_DIAGNOSED = 5
"""How many pods to diagnose at a time, with a request each: the lease has to be renewed meanwhile."""


class Progress:
    """Reports one rollout.

    Args:
        version: of the new release.
        within_s: how long no new pod may become ready before the change fails.
        now: a monotonic clock.
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
        self._reported: set[str] = set()

    def see(self, pods: Pods, wanted: int) -> None:
        """Report changes of the pods. Call it every few seconds."""
        ready = min(pods.ready, wanted)  # a Deployment that is scaled down has more
        seen = ready, wanted
        if seen != self._seen:
            replicas = f"{wanted} replica{'' if wanted == 1 else 's'} of version {self._version}"
            if self._seen is None and ready < wanted:
                self._say(f"waiting for {replicas}{f', {ready} ready so far' if ready else ''}")
            else:
                self._say(f"{ready} of {replicas} ready")
            self._seen, self._ask_at = seen, self._now() + DIAGNOSE_AFTER_S
        elif pods.ready < wanted and self._now() >= self._ask_at:
            self._report_diagnosis(pods)
            self._ask_at = self._now() + DIAGNOSE_EVERY_S

    def _report_diagnosis(self, pods: Pods) -> None:
        with contextlib.suppress(*NOT_NOW):  # an error here must not end the change
            waiting = tuple(each for each in pods.new if not is_ready(each))
            found = observe.diagnosis(self._cluster, self._name, Pods(new=waiting[:MOST_DIAGNOSED]))
            # The kubelet alternates between two reasons for an image that cannot be pulled, with the same remedy.
            if found is None or found.remedy in self._reported:
                return
            self._reported.add(found.remedy)
            self._say(f"not ready yet: {found}")
            if len(self._reported) == 1:
                self._say(
                    f"If none becomes ready for {self._within_s:g} s, the change is undone; Ctrl-C undoes it now."
                )
