"""Services of a stack: waits until their pods are ready or gone, and says what keeps them from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from winnow.config.clock import Clock
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes import forward
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner
from winnow.platforms.kubernetes.kinds import EVENT, POD, STATEFUL_SET, Kind, Manifest, name_of
from winnow.platforms.kubernetes.permissions import verbs
from winnow.platforms.kubernetes.refusals import NOT_NOW, SILENT_S, NotFoundError, NotStartedError
from winnow.platforms.stack import LOG_LINES, StackError

DIAGNOSIS_LIMIT_S = 30.0
"""How long a pod may have a diagnosis before the stack counts as failed: volumes take a while to attach."""
PERMISSIONS = (*verbs("list delete", POD), *verbs("get", POD, subresource="log"), *verbs("list", EVENT))

_POLL_S = 1.0
_RESTARTS = 3
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Service:
    """A Deployment or StatefulSet that has to become ready, and the labels of its pods."""

    kind: Kind
    name: str
    labels: Mapping[str, str]


class ServicesError(StackError):
    """Services failed or were not ready in time; `said` has diagnoses, events and logs."""

    def __init__(self, names: list[str], why: str, said: str) -> None:
        self.names, self.why, self.said = names, why, said
        super().__init__(f"{', '.join(names)} {why}.\n{said}")


@dataclass(frozen=True)
class _State:
    """The state of one service, and what keeps it from running."""

    is_ready: bool
    diagnosis: Diagnosis | None = None
    has_failed: bool = False


class Services:
    """The services of a stack by name. Every method raises what `Cluster` raises.

    Args:
        stack: labels of all pods of the stack.
        say: receives what is being waited for, a line each.
    """

    def __init__(
        self,
        cluster: Cluster,
        services: Mapping[str, Service],
        stack: Mapping[str, str],
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._cluster, self._services, self._stack = cluster, services, stack
        self._say, self._clock = say, clock

    def wait(self, timeout_s: float) -> None:
        """Return once all are ready. Raises ServicesError where one fails, or is not ready within `timeout_s`."""
        self._drop_stuck()
        began, since, said = self._clock.now(), dict[str, float](), dict[str, bool]()
        while True:
            states, silent_s = self._answered(
                lambda: {name: self._state(each) for name, each in self._services.items()}
            )
            # Time in which the API server gave no answer does not count.
            began, since = began + silent_s, {service: at + silent_s for service, at in since.items()}
            waiting = [service for service, each in states.items() if not each.is_ready]
            if not waiting:
                return
            now = self._clock.now()
            diagnosed = [service for service in waiting if states[service].diagnosis]
            since = {service: since.get(service, now) for service in diagnosed}
            failed = [each for each in diagnosed if states[each].has_failed or now - since[each] > DIAGNOSIS_LIMIT_S]
            if failed:
                raise self._failure(failed, states, "failed")
            if now - began > timeout_s:
                raise self._failure(waiting, states, f"not ready after {timeout_s:.0f} s")
            # Print a diagnosis once; the cluster repeats it in other words.
            shown = {service: bool(states[service].diagnosis) for service in waiting}
            if shown != said:
                why = {name: each.diagnosis.reason for name, each in states.items() if each.diagnosis}
                self._say(
                    f"waiting for {'; '.join(f'{each} ({why[each]})' if each in why else each for each in waiting)}"
                )
                said = shown
            self._clock.sleep(_POLL_S)

    def wait_gone(self, timeout_s: float) -> None:
        """Return once the stack has no pods. Raises StackError where some do not end in time."""
        deadline = self._clock.now() + timeout_s
        while True:
            pods, silent_s = self._answered(lambda: self._cluster.find(POD, self._stack).items)
            left, deadline = [name_of(pod) for pod in pods], deadline + silent_s
            if not left:
                return
            if self._clock.now() > deadline:
                raise StackError(
                    f"the stack in namespace {self._cluster.namespace}: expected its pods to end, found "
                    f"{', '.join(left)} after {timeout_s:.0f} s."
                )
            self._clock.sleep(_POLL_S)

    def _drop_stuck(self) -> None:
        """Delete pods of an older revision that are not ready: a StatefulSet would wait for them forever.

        https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#forced-rollback
        """
        for workload in self._cluster.find(STATEFUL_SET, self._stack).items:
            for pod in self._cluster.find(POD, workload["spec"]["selector"]["matchLabels"]).items:
                revision = pod["metadata"]["labels"].get("controller-revision-hash")
                latest = workload.get("status", {}).get("updateRevision")
                if not forward.is_ready(pod) and latest not in (None, revision):
                    self._cluster.delete(POD, name_of(pod), uid=pod["metadata"]["uid"])

    def _answered(self, ask: Callable[[], _Answer]) -> tuple[_Answer, float]:
        """The API server's answer, and the seconds without one before it, at most `SILENT_S`: servers are replaced."""
        began, is_said = self._clock.now(), False
        while True:
            asked = self._clock.now()
            try:
                return ask(), asked - began
            except NOT_NOW as error:
                if asked - began > SILENT_S:
                    raise
                if not is_said:
                    self._say(f"asking again for up to {SILENT_S:.0f} s: {error}")
                    is_said = True
                self._clock.sleep(_POLL_S)

    def _state(self, service: Service) -> _State:
        workload = self._cluster.get(service.kind, service.name)
        if workload is not None and _is_rolled_out(workload):
            return _State(is_ready=True)
        pods = self._cluster.find(POD, service.labels).items
        for pod in pods:
            diagnosis = diagnosis_of(pod, self._cluster.events(pod))
            if diagnosis is not None:
                has_failed = any(int(each.get("restartCount", 0)) >= _RESTARTS for each in _containers(pod))
                return _State(False, diagnosis, has_failed=has_failed)
        if workload is not None and not pods:
            return _State(False, diagnosis_of_owner(workload, self._cluster.events(workload)))
        return _State(is_ready=False)

    def _failure(self, names: list[str], states: Mapping[str, _State], why: str) -> ServicesError:
        diagnoses = [diagnosis for name in names if (diagnosis := states[name].diagnosis) is not None]
        known = [f"{diagnosis.reason}\n{diagnosis.remedy}" for diagnosis in diagnoses]
        return ServicesError(
            names, why, "\n".join([*known, *(line for name in names for line in self._events_and_logs(name))])
        )

    def _events_and_logs(self, name: str) -> list[str]:
        """Events and last log lines of a service's pods."""
        lines = []
        for pod in self._cluster.find(POD, self._services[name].labels).items:
            events = [f"{each.get('reason')}: {each.get('message')}" for each in self._cluster.events(pod)]
            lines += [f"--- events of {name_of(pod)} ---", *events[-LOG_LINES:]]
            for container in _containers(pod):
                lines += self._log(name_of(pod), container)
        return lines

    def _log(self, pod: str, container: Manifest) -> list[str]:
        """The last lines of a container; of its previous run where it has not started again."""
        is_waiting = "waiting" in (container.get("state") or {"waiting": {}})
        if is_waiting and not container.get("lastState"):
            return []
        try:
            lines = list(self._cluster.log(pod, container["name"], tail=LOG_LINES, is_previous=is_waiting))
        except (NotStartedError, NotFoundError):
            # The pod was replaced meanwhile.
            return []
        return [f"--- last lines of {pod}, {container['name']} ---", *lines] if lines else []


def _is_rolled_out(workload: Manifest) -> bool:
    """Whether as many pods of the latest revision are ready as are wanted, and no other is left."""
    wanted, status = workload["spec"].get("replicas", 1), workload.get("status") or {}
    is_current = status.get("observedGeneration") == workload["metadata"]["generation"]
    if workload["kind"] == "StatefulSet" and status.get("updateRevision") != status.get("currentRevision"):
        return False
    counted = (status.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "replicas"))
    return is_current and all(count == wanted for count in counted)


def _containers(pod: Manifest) -> list[Manifest]:
    """The statuses of a pod's containers, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
