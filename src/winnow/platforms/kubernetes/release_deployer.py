"""Serves models on a Kubernetes cluster.

This module applies the objects of `release_plan`, waits until every replica is new and ready, and restores the
previous state if that fails. `observe` reads the cluster.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.next_command import next_command, next_flag
from winnow.platforms import api_key, labels
from winnow.platforms.deployer import OvertakenError
from winnow.platforms.interrupts import uninterrupted
from winnow.platforms.kubernetes import deployment_settings, forward, lease, observe
from winnow.platforms.kubernetes import release_plan as kubernetes_plan
from winnow.platforms.kubernetes.applied import applied_of
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.deployment_settings import ENTRY, READY_WITHIN_S
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.forward import Forward, is_ready
from winnow.platforms.kubernetes.kinds import DEPLOYMENT, EVENT, INGRESS, POD, REPLICA_SET, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.lease import HeldLease
from winnow.platforms.kubernetes.manifests import load
from winnow.platforms.kubernetes.observe import Pods
from winnow.platforms.kubernetes.permissions import applying, check, verbs
from winnow.platforms.kubernetes.prune import apply_all, orphans
from winnow.platforms.kubernetes.refusals import NOT_NOW, SILENT_S
from winnow.platforms.kubernetes.release_plan import (
    FOLDER,
    KINDS,
    SERVER_PORT,
    KubernetesPlan,
    labels_of,
    object_name,
)
from winnow.platforms.kubernetes.rollout_progress import Progress
from winnow.platforms.readiness import NoModelError, is_answering, is_known, model_at
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    Endpoint,
    ManualAccess,
    Say,
    UnknownDeploymentError,
    changed_meanwhile,
    mute,
    no_previous,
)
from winnow.routing import Release

READ_PERMISSIONS = (*(each for kind in KINDS for each in verbs(kind, "get", "list")), *verbs(POD, "list"))
PERMISSIONS = (
    *READ_PERMISSIONS,
    *applying(*KINDS),
    *(each for kind in KINDS for each in verbs(kind, "delete")),
    *verbs(DEPLOYMENT, "patch", subresource="scale"),
    *verbs(POD, "get", subresource="log"),
    *verbs(REPLICA_SET, "list"),
    *verbs(EVENT, "list"),
    *lease.PERMISSIONS,
)

BACK_WITHIN_S = 60.0
"""How long to try to restore the previous state, and then to wait for its pods."""
ANSWERS_S, SPARE_S = 15.0, 5.0
POLL_S = 1.0
LOGS_WITHIN_S = 20.0
"""After this, no more logs are read: their nodes may be gone."""
FORWARDED_PORT = 8080
NO_ADDRESS = (
    "The Ingress has no address that answers from here: no controller has taken it yet, or it names none. "
    "Set WINNOW_INGRESS_URL to where its controller is reached from here."
)
_Seen = TypeVar("_Seen")
SHOWN_LINES, KEPT_LINES, KEPT_LOGS, SHOWN_EVENTS = 20, 1000, 20, 5


class KubernetesDeployer:
    """`Deployer` with pods.

    Args:
        home: folder for the logs of removed replicas.
        cluster: None: kubeconfig's, found when it is first needed.
        environment: has the settings of replicas: API key, limits, host of the Ingress.
        folder: of the manifests.
        say: receives progress lines.

    Every method raises InputError where the cluster refuses or none is configured, UnreachableError where it does not
    answer, and ClusterError where it fails.
    """

    def __init__(
        self,
        home: Path,
        *,
        cluster: Cluster | None = None,
        environment: Mapping[str, str] = os.environ,
        folder: Path = FOLDER,
        clock: Clock | None = None,
        say: Say = mute,
    ) -> None:
        self._home = home.absolute()
        self._given = cluster
        self._environment = environment
        self._folder = folder
        self._clock = clock if clock is not None else Clock()
        self._say = _ignoring_closed_pipe(say)
        self._is_checked = False

    @cached_property
    def cluster(self) -> Cluster:
        return self._given if self._given is not None else connect(self._environment)

    @property
    def place(self) -> str:
        """See `Deployer.place`."""
        return self.cluster.place

    def plan(self, request: DeploymentRequest) -> KubernetesPlan:
        """See `Deployer.plan`. The image of a release without one is still to be built.

        With the permission to apply, a dry run also finds refused objects and manual changes.
        """
        found, files = observe.find(self.cluster, request.name), load(self._folder)
        made = _plan(request, found, self._environment, files)
        self._check(made)
        # For every action, to report what the cluster would refuse.
        is_different = self._may_apply() and bool(self.difference(made))
        if is_different and made.action is Action.NOTHING:
            made = _plan(request, replace(found, is_drifted=True), self._environment, files)
            self._check(made)
        return made

    def plan_rollback(self, name: str) -> KubernetesPlan:
        """See `Deployer.plan_rollback`."""
        found = observe.find(self.cluster, name)
        if found.release is None:
            raise UnknownDeploymentError(name, self.names())
        if found.previous is None:
            raise no_previous(name)
        return self.plan(DeploymentRequest(name, found.previous, ready_within_s=READY_WITHIN_S))

    def difference(self, plan: KubernetesPlan) -> str:
        """See `Deployer.difference`."""
        return difference(self.cluster, plan.manifests, labels_of(plan.request.name), KINDS)

    def check(self, *, is_read_only: bool = False) -> None:
        """See `Deployer.check`. Asks once; the error names every missing permission."""
        if is_read_only:
            check(self.cluster, READ_PERMISSIONS, "reading what is served on the cluster")
        elif not self._is_checked:
            check(self.cluster, PERMISSIONS, "serving on the cluster")
            self._is_checked = True

    def deploy(self, plan: KubernetesPlan) -> Deployment:
        """See `Deployer.deploy`."""
        name = plan.request.name
        if plan.action is Action.NOTHING:
            return self.status(name)
        if not plan.request.release.image:
            raise ValueError("a release without an image can only be planned")
        self.check()
        # By this folder, later commands of this home know that a cluster is in use.
        self.log_path(name).mkdir(parents=True, exist_ok=True)
        with self._alone(name) as held:
            if observe.find(self.cluster, name).serial != plan.basis:
                raise changed_meanwhile(name)
            with _unless_overtaken(name):
                self._change(plan, held)
        version = plan.request.release.version
        with self._saying_if_interrupted(f"version {version} is served; its address was not checked"):
            deployed = self.status(name)
            self._wait_for_answer(deployed.url, deployed.release)
        return deployed

    def status(self, name: str) -> Deployment:
        """See `Deployer.status`."""
        found, live = observe.find(self.cluster, name), self.cluster.get(DEPLOYMENT, object_name(name))
        if found.release is None or live is None:
            raise UnknownDeploymentError(name, self.names())
        pods = observe.pods_of(self.cluster, name, observe.template_of(live["spec"]["template"]))
        replicas = tuple(observe.replica_of(each) for each in (*pods.old, *pods.new))
        is_any = any(each.state is DeploymentState.READY for each in replicas)
        state = DeploymentState.DEGRADED if is_any else DeploymentState.DOWN
        return Deployment(
            name=name,
            state=DeploymentState.READY if pods.is_rolled(found.count) else state,
            url=self.url(name),
            release=found.release,
            replicas=replicas,
            previous=found.previous,
        )

    def url(self, name: str) -> str:
        """The URL of a deployment, as seen from this terminal."""
        entry = deployment_settings.check_entry(self._environment.get(ENTRY, ""))
        ingress = self.cluster.get(INGRESS, object_name(name))
        return kubernetes_plan.url_of(name, self.cluster.namespace, ingress, entry)

    def names(self) -> tuple[str, ...]:
        """See `Deployer.names`."""
        return tuple(observe.names(self.cluster))

    @contextlib.contextmanager
    def endpoint(self, deployment: Deployment) -> Iterator[Endpoint]:
        """See `Deployer.endpoint`: where the Ingress has no address, a forwarded port."""
        manual = self.manual_access(deployment)
        if manual is None:
            yield Endpoint(deployment.url)
            return
        check(self.cluster, forward.PERMISSIONS, "asking replicas through the API server")
        with Forward(self.cluster, labels_of(deployment.name), SERVER_PORT) as way:
            yield Endpoint(f"http://127.0.0.1:{way.port}", manual, lambda: way.diagnosis)

    def manual_access(self, deployment: Deployment) -> ManualAccess | None:
        """See `Deployer.manual_access`: where neither the Ingress has an address nor the Service answers."""
        name = object_name(deployment.name)
        has_entry = self._environment.get(ENTRY) or kubernetes_plan.address_of(self.cluster.get(INGRESS, name))
        if has_entry or is_answering(deployment.url):
            return None
        command = f"kubectl port-forward --namespace {self.cluster.namespace} service/{name} {FORWARDED_PORT}:80"
        return ManualAccess(NO_ADDRESS, command, f"http://127.0.0.1:{FORWARDED_PORT}")

    def logs_hint(self, deployment: Deployment) -> str:
        """See `Deployer.logs_hint`."""
        selector = f"{labels.DEPLOYMENT}={deployment.name}"
        return f"kubectl logs --namespace {self.cluster.namespace} --selector {selector} --prefix"

    def address_hint(self, deployment: Deployment) -> str:
        """See `Deployer.address_hint`."""
        where = f"--namespace {self.cluster.namespace} {object_name(deployment.name)}"
        return (
            f"Check the Ingress's class (WINNOW_INGRESS_CLASS) and host ({next_flag('host')}, WINNOW_INGRESS_HOST): "
            f"`kubectl describe ingress {where}`. WINNOW_INGRESS_URL names the address of its controller from here."
        )

    def images_hint(self, name: str) -> str:
        """See `Deployer.images_hint`."""
        return "Its images stay where they were pushed or loaded."

    def logs(self, name: str, lines: int = SHOWN_LINES) -> list[str]:
        """See `Deployer.logs`."""
        pods = self._pods(name)
        for pod in sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=True):
            if said := observe.log(self.cluster, pod, lines):
                return said
        kept = sorted(self.log_path(name).glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        if not kept and not pods:
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:] if kept else []

    def log_path(self, name: str) -> Path:
        """The folder with the logs of replicas that were removed from this home."""
        return self._home / "deployments" / "kubernetes" / self.cluster.namespace / name / "logs"

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images stay."""
        if not self._objects(name):
            return False
        self.check()
        with self._alone(name) as held:
            self._keep_logs(name, self._pods(name))
            with _unless_overtaken(name):
                held.confirm()
            apply_all(self.cluster, (), labels_of(name), KINDS)
            given = [float(each["spec"].get("terminationGracePeriodSeconds", 30)) for each in self._pods(name)]
            with contextlib.suppress(OvertakenError):
                self._wait_until(name, held, lambda pods: not pods, max(given, default=0.0) + SPARE_S)
        return True

    def _may_apply(self) -> bool:
        """Whether the caller has the permissions for a dry run: those for applying."""
        if not self._is_checked:
            try:
                check(self.cluster, applying(*KINDS), "asking what applying would do")
            except InputError:
                return False
        return True

    def _alone(self, name: str) -> contextlib.AbstractContextManager[HeldLease]:
        return lease.held(self.cluster, object_name(name), labels_of(name), f"deployment '{name}'", self._clock)

    def _objects(self, name: str) -> list[Manifest]:
        """The objects of a deployment, without those that the cluster makes for it, such as pods."""
        return orphans(self.cluster, (), labels_of(name), KINDS)

    def _check(self, plan: KubernetesPlan) -> None:
        """Refuse taken names, a taken host of the Ingress, and objects that could not be restored."""
        name = plan.request.name
        if plan.action is not Action.NOTHING:
            for each in plan.manifests:
                if (live := self.cluster.get(kind_of(each), name_of(each))) is not None:
                    observe.check_is_of(live, name)
                    _check_is_known(live)
        wanted = [each for each in plan.manifests if kind_of(each) == INGRESS]
        for other in self.cluster.find(INGRESS, kubernetes_plan.MANAGED_BY).items:
            owner = (other["metadata"].get("labels") or {}).get(labels.DEPLOYMENT)
            if owner and owner != name and any(_collide(each, other) for each in wanted):
                raise _same_route(owner, _host(other))

    def _change(self, plan: KubernetesPlan, held: HeldLease) -> None:
        """Apply the plan, and wait until every replica is new and ready; on failure, restore the previous state.

        Raises:
            OvertakenError: another process has changed the deployment; its change stays.
        """
        name = plan.request.name
        before, found = self._objects(name), observe.find(self.cluster, name)
        known = frozenset(map(name_of, self._pods(name)))
        try:
            # Objects that the previous release needs are removed after it.
            for each in plan.manifests:
                self._insist(partial(apply_all, self.cluster, (each,), labels_of(name), ()), held)
            self._insist(lambda: self._scale(name, plan.scale_to), held)
            self._wait_until_rolled(plan, held, known, is_old_serving=bool(before))
        except OvertakenError:
            raise
        except BaseException as error:
            self._say(f"undoing the change{'' if isinstance(error, Exception) else ', since it was interrupted'}")
            template = self._undo(name, before, found.count, held, error)
            if template and isinstance(error, Exception):
                with contextlib.suppress(OvertakenError, *NOT_NOW):
                    self._wait_until(
                        name,
                        held,
                        lambda pods: not observe.sorted_out(pods, template).old,
                        BACK_WITHIN_S,
                        silent_s=BACK_WITHIN_S,
                    )
            self._say(_undone(plan.request, found.release, is_anything_left=bool(before)))
            raise
        version = plan.request.release.version
        with self._saying_if_interrupted(f"version {version} is served; the previous replicas are still terminating"):
            self._insist(lambda: apply_all(self.cluster, plan.manifests, labels_of(name), KINDS), held)
            # The change has succeeded: an error while waiting is not a failure.
            with contextlib.suppress(OvertakenError, *NOT_NOW):
                self._wait_until(
                    name,
                    held,
                    lambda pods: all(observe.template_of(each) == plan.template for each in pods),
                    plan.settle_s + SPARE_S,
                    said="waiting for the previous replicas to terminate",
                )

    @contextlib.contextmanager
    def _saying_if_interrupted(self, how_far: str) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._say(f"interrupted: {how_far}")
            raise

    def _insist(self, step: Callable[[], None], held: HeldLease) -> None:
        """Run an idempotent step, again while the API does not answer, as when its server restarts.

        Raises:
            OvertakenError: another process has taken the lease, since it was not renewed.
        """
        deadline = self._clock.now() + SILENT_S
        while True:
            try:
                held.confirm()
                return step()
            except UnreachableError:
                if self._clock.now() > deadline:
                    raise
            self._clock.sleep(1.0)

    def _scale(self, name: str, count: int | None) -> None:
        if count is not None:
            self.cluster.merge(DEPLOYMENT, object_name(name), {"spec": {"replicas": count}}, subresource="scale")

    def _undo(self, name: str, before: Sequence[Manifest], count: int, held: HeldLease, cause: BaseException) -> str:
        """Restore the previous state, retrying for `BACK_WITHIN_S`, and return the template label of its pods.

        Raises:
            OvertakenError: another process has taken the lease.
            HalfChangedError: the cluster failed or refused.
        """
        deadline = self._clock.now() + BACK_WITHIN_S
        while True:
            try:
                with uninterrupted():
                    template = self._restore(name, before, count, held)
                break
            except NOT_NOW as error:
                if self._clock.now() > deadline:
                    raise HalfChangedError(name, cause, error) from cause
            self._clock.sleep(1.0)
        with contextlib.suppress(*NOT_NOW):
            self._keep_logs(name, [each for each in self._pods(name) if not is_ready(each)])
        return template

    def _restore(self, name: str, before: Sequence[Manifest], count: int, held: HeldLease) -> str:
        """Restore every object that the change modified, and delete every object that it created."""
        held.confirm()
        now = [self.cluster.get(kind_of(each), name_of(each)) for each in before]
        pairs = zip(before, now, strict=True)
        old = [applied for was, now in pairs if (applied := applied_of(was, changed=now)) is not None]
        kept = [str(each["metadata"]["uid"]) for each in before]
        apply_all(self.cluster, old[::-1], labels_of(name), KINDS, kept=kept)
        deployment = next((each for each in old if kind_of(each) == DEPLOYMENT), None)
        if deployment is None:
            return ""
        self._scale(name, count)
        return observe.template_of(deployment["spec"]["template"])

    def _wait_until(
        self,
        name: str,
        held: HeldLease,
        is_so: Callable[[Sequence[Manifest]], bool],
        within_s: float,
        *,
        silent_s: float = SILENT_S,
        said: str = "",
    ) -> None:
        """Return when the pods satisfy `is_so`, or after `within_s`. Say `said` if they do not at once."""

        def pods_now() -> Sequence[Manifest]:
            held.renew()
            return self._pods(name)

        for pods, waited_s in self._polled(pods_now, silent_s):
            if is_so(pods) or waited_s > within_s:
                return
            if said:
                self._say(said)
                said = ""

    def _polled(self, read: Callable[[], _Seen], silent_s: float = SILENT_S) -> Iterator[tuple[_Seen, float]]:
        """Read the cluster every second; yield what was read, and for how many seconds the API has answered so far.

        Raises:
            UnreachableError, ClusterError, InputError: the API has given no other answer for `silent_s`.
        """
        heard, waited_s = self._clock.now(), 0.0
        is_silent = False
        while True:
            try:
                seen = read()
            except NOT_NOW:
                if self._clock.now() - heard > silent_s:
                    raise
                is_silent = True
            else:
                now = self._clock.now()
                waited_s += 0.0 if is_silent else now - heard
                heard, is_silent = now, False
                yield seen, waited_s
            self._clock.sleep(POLL_S)

    def _wait_until_rolled(
        self, plan: KubernetesPlan, held: HeldLease, known: frozenset[str], *, is_old_serving: bool
    ) -> None:
        """Return when every replica is new and ready.

        Args:
            known: pods from before the change, which may restart by themselves.

        Raises:
            DeploymentFailedError: a new replica ended before it was ready, or none became ready in time.
            OvertakenError: another process has changed the deployment.
        """
        name, ready, since_s = plan.request.name, 0, 0.0
        version, within_s = plan.request.release.version, plan.request.ready_within_s
        progress = Progress(self.cluster, name, version, within_s, self._say, self._clock.now)
        for (found, live), waited_s in self._polled(lambda: (self._pods(name), self._own(plan, held))):
            pods, count = observe.sorted_out(found, plan.template), int(live["spec"].get("replicas", 1))
            wanted = max(plan.replicas, count)
            progress.see(pods, wanted)
            # After a manual change of the Deployment, pods with the wanted label may be of another template.
            if pods.is_rolled(wanted) and observe.is_counted(live, count):
                return
            if pods.ready > ready:
                ready, since_s = pods.ready, waited_s
            for pod in pods.new:
                if name_of(pod) not in known and (reason := observe.ended(pod)):
                    raise self._failed(name, [pod], f"replica {name_of(pod)} {reason}", is_old_serving)
            if waited_s - since_s > within_s:
                raise self._failed(name, *self._late(plan, pods), is_old_serving)

    def _late(self, plan: KubernetesPlan, pods: Pods) -> tuple[list[Manifest], str]:
        """The new pods that are not ready, and why the change fails."""
        name, within_s = plan.request.name, plan.request.ready_within_s
        (why,) = _context(lambda: [str(observe.diagnosis(self.cluster, name, pods) or "")])
        waiting = [each for each in pods.new if not is_ready(each)]
        return waiting, f"no new replica was ready within {within_s:g} s{why and f' ({why})'}"

    def _own(self, plan: KubernetesPlan, held: HeldLease) -> Manifest:
        """The plan's Deployment in the cluster. Raises OvertakenError where another process changed its template."""
        held.renew()
        live = self.cluster.get(DEPLOYMENT, object_name(plan.request.name))
        if live is None or observe.template_of(live["spec"]["template"]) != plan.template:
            raise OvertakenError
        return live

    def _failed(self, name: str, pods: Sequence[Manifest], reason: str, is_old_serving: bool) -> DeploymentFailedError:
        """The error, with the events and the log of the first pod, which is kept before the pod is removed."""
        if not pods:
            lines = _context(lambda: observe.owner_events(self.cluster, name, SHOWN_EVENTS))
            source = "events about its pods"
            return DeploymentFailedError(name, reason, lines, source, is_old_serving=is_old_serving)
        pod = pods[0]
        said = _context(lambda: observe.log(self.cluster, pod, KEPT_LINES))
        self._keep(name, pod, said)
        source = str(self._log_file(name, pod)) if said else f"events about pod {name_of(pod)}"
        lines = [*_context(lambda: observe.events(self.cluster, pod, SHOWN_EVENTS)), *said[-SHOWN_LINES:]]
        return DeploymentFailedError(name, reason, lines, source, is_old_serving=is_old_serving)

    def _log_file(self, name: str, pod: Manifest) -> Path:
        return self.log_path(name) / f"{name_of(pod)}.log"

    def _pods(self, name: str) -> tuple[Manifest, ...]:
        return self.cluster.find(POD, labels_of(name)).items

    def _keep_logs(self, name: str, pods: Sequence[Manifest]) -> None:
        """Keep the ends of pods' logs as far as they can be read."""
        deadline = self._clock.now() + LOGS_WITHIN_S
        for pod in pods:
            if not self._log_file(name, pod).exists() and self._clock.now() < deadline:
                self._keep(name, pod, _context(partial(observe.log, self.cluster, pod, KEPT_LINES)))

    def _keep(self, name: str, pod: Manifest, said: Sequence[str]) -> None:
        """Keep the end of a pod's log, and only the newest `KEPT_LOGS` logs. A full disk must not stop the change."""
        folder = self.log_path(name)
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if said:
                self._log_file(name, pod).write_text("\n".join([*said, ""]), encoding="utf-8")
            kept = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
            for path in kept[:-KEPT_LOGS]:
                path.unlink(missing_ok=True)

    def _wait_for_answer(self, url: str, release: Release) -> None:
        """Wait a little for the URL to answer. It may be unreachable from this machine, which is not an error."""
        deadline = self._clock.now() + ANSWERS_S
        if not is_known(url) or _answers(url, release):
            return
        self._say(f"waiting for an answer at {url}, {ANSWERS_S:g} s at most")
        while not _answers(url, release) and self._clock.now() < deadline:
            self._clock.sleep(0.2)


def plan_first(
    request: DeploymentRequest, environment: Mapping[str, str] = os.environ, folder: Path = FOLDER
) -> KubernetesPlan:
    """Plan a first deployment, without a cluster.

    Raises:
        InputError: a setting is wrong, or the manifests are not in `folder`.
    """
    return _plan(request, kubernetes_plan.ClusterDeployment(), environment, load(folder))


def _plan(
    request: DeploymentRequest,
    found: kubernetes_plan.ClusterDeployment,
    environment: Mapping[str, str],
    files: Sequence[Manifest],
) -> KubernetesPlan:
    if request.port is not None:
        raise InputError(
            "PORT",
            expected="none: requests arrive at the port of the Ingress controller",
            found=str(request.port),
            remedy=f"Leave it out; {next_flag('host')} names the host that the Ingress listens to.",
        )
    settings = deployment_settings.settings_of(environment, found.settings, request)
    key_file = api_key.key_file(environment)
    key = kubernetes_plan.key_of(environment, found.key, request.name, found.serial + 1, key_file)
    return kubernetes_plan.plan(request, found, settings, key, files)


class HalfChangedError(WinnowError):
    """A change has failed, and so has restoring the previous state."""

    def __init__(self, name: str, cause: BaseException, error: Exception) -> None:
        why = str(cause) or type(cause).__name__
        super().__init__(
            f"deployment '{name}' is half changed: the change failed ({why}), and undoing it failed, too ({error}).\n"
            "Replicas that were ready keep serving until new ones are. Once the cluster answers, repeat the command, "
            f"or restore the previous release: `{next_command('rollback', study=name, platform='kubernetes')}`."
        )


@contextlib.contextmanager
def _unless_overtaken(name: str) -> Iterator[None]:
    try:
        yield
    except OvertakenError as error:
        raise changed_meanwhile(name) from error


def _host(ingress: Manifest) -> str:
    return next((str(rule.get("host", "")) for rule in ingress["spec"].get("rules") or ()), "")


def _collide(one: Manifest, other: Manifest) -> bool:
    """Whether two Ingresses would take the same requests. One without a class may have the class of the other."""
    classes = {each["spec"]["ingressClassName"] for each in (one, other) if each["spec"].get("ingressClassName")}
    return _host(one) == _host(other) and len(classes) < 2


def _same_route(owner: str, host: str) -> InputError:
    return InputError(
        "WINNOW_INGRESS_HOST",
        expected=f"another host: requests to {host or 'any host'} go to the deployment '{owner}'",
        found=f"'{host}'" if host else "none",
        remedy=f"Name one with {next_flag('host')} or WINNOW_INGRESS_HOST; in `*.models.example.com`, the deployment's "
        "name replaces the asterisk.",
    )


def _ignoring_closed_pipe(say: Say) -> Say:
    """A closed pipe, when the reader of the output is gone, must not end a change."""

    def tell(line: str) -> None:
        with contextlib.suppress(OSError):
            say(line)

    return tell


def _answers(url: str, release: Release) -> bool:
    """Whether a replica with this very model answers there, and not a proxy or another model."""
    try:
        return model_at(url).is_of(release)
    except NoModelError:
        return False


def _undone(request: DeploymentRequest, old: Release | None, *, is_anything_left: bool) -> str:
    if old is not None:
        left = f"'{request.name}' serves {old.model} version {old.version}, as before"
    else:
        left = "the previous state is restored" if is_anything_left else f"nothing of '{request.name}' is left"
    return f"the change to version {request.release.version} was undone: {left}"


def _context(ask: Callable[[], list[str]]) -> list[str]:
    """Extra context for an error message. Failing to fetch it must not hide the original error."""
    try:
        return ask()
    except NOT_NOW as error:
        return [f"could not be read: {error}"]


def _check_is_known(live: Manifest) -> None:
    if applied_of(live) is None:
        raise InputError(
            f"{live['kind']} '{name_of(live)}'",
            expected="winnow's own entry in metadata.managedFields, from which a failed change is undone",
            found="none: the object was restored from a backup, or replaced by hand",
            remedy=f"Remove it with `{next_command('prod-remove', platform='kubernetes', study=...)}`, "
            "and deploy again.",
        )
