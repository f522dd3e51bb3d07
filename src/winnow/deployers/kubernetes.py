"""Serves on a Kubernetes cluster: a Deployment that rolls, a Service, an Ingress, and what guards them.

The cluster does the work; this applies what is wanted, watches the pods until all who are asked are new and ready, and
takes everything back as it was where they are not. What is applied is in `kubernetes_plan`, what is seen in
`kubernetes_look`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from winnow.cluster import lease
from winnow.cluster.api import Cluster, ConflictError, ExpiredError
from winnow.cluster.applied import applied_of
from winnow.cluster.connection import connect
from winnow.cluster.difference import difference
from winnow.cluster.kinds import DEPLOYMENT, EVENT, INGRESS, POD, REPLICA_SET, Manifest, kind_of, name_of
from winnow.cluster.lease import HeldLease
from winnow.cluster.manifests import load
from winnow.cluster.permissions import applying, check, verbs
from winnow.cluster.prune import apply_all
from winnow.config.errors import InputError, UnreachableError
from winnow.containers import engine
from winnow.deployers import kubernetes_look as looking
from winnow.deployers import kubernetes_plan
from winnow.deployers.deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    UnknownDeploymentError,
    changed_meanwhile,
    no_previous,
)
from winnow.deployers.kubernetes_look import Pods
from winnow.deployers.kubernetes_plan import ENTRY, FOLDER, KINDS, KubernetesPlan, labels_of, object_name
from winnow.deployers.machine import Clock, uninterrupted

PERMISSIONS = (
    *applying(*KINDS),
    *(each for kind in KINDS for each in verbs(kind, "get", "list", "delete")),
    *verbs(DEPLOYMENT, "patch", subresource="scale"),
    *verbs(POD, "list", "watch"),
    *verbs(POD, "get", subresource="log"),
    *verbs(REPLICA_SET, "list"),
    *verbs(EVENT, "list"),
    *lease.PERMISSIONS,
)
"""All that deploying, asking, rolling back and removing take."""

WATCHED_S = 4.0
"""How long pods are watched before the lease is renewed and the Deployment looked at."""
BACK_WITHIN_S, ANSWERS_S, SPARE_S = 60.0, 15.0, 5.0
SHOWN_LINES, KEPT_LINES, KEPT_LOGS, SHOWN_EVENTS = 20, 1000, 20, 5


class KubernetesDeployer:
    """`Deployer` with pods.

    Args:
        home: folder below which logs of replicas that are gone are kept.
        cluster: None: where kubeconfig points, looked up when it is first asked something.
        environment: what replicas take over: API key, limits, the Ingress's names.
        folder: the manifests.

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
    ) -> None:
        self._home = home.absolute()
        self._given = cluster
        self._environment = environment
        self._folder = folder
        self._clock = clock if clock is not None else Clock()

    @cached_property
    def _cluster(self) -> Cluster:
        return self._given if self._given is not None else connect(self._environment)

    def plan(self, request: DeploymentRequest) -> KubernetesPlan:
        """See `Deployer.plan`. A release without an image is planned as one whose image is still to be built."""
        if request.port is not None:
            raise InputError(
                "PORT",
                expected="none: requests come in by the Ingress controller, at its own port",
                found=str(request.port),
                remedy="Leave it out; HOST= names the host that the Ingress listens to.",
            )
        found = looking.look(self._cluster, request.name)
        settings = kubernetes_plan.settings_of(self._environment, found.settings, request)
        key_file = _key_file(self._environment)
        key = kubernetes_plan.key_of(self._environment, found.key, request.name, found.serial + 1, key_file)
        made = kubernetes_plan.plan(request, found, settings, key, load(self._folder))
        self._check(made)
        return made

    def plan_rollback(self, name: str) -> KubernetesPlan:
        """See `Deployer.plan_rollback`."""
        found = looking.look(self._cluster, name)
        if found.release is None:
            raise UnknownDeploymentError(name, self.names())
        if found.previous is None:
            raise no_previous(name)
        return self.plan(DeploymentRequest(name, found.previous))

    def difference(self, plan: KubernetesPlan) -> str:
        """What deploying a plan would change in the cluster, as a unified diff; empty where that is nothing."""
        return difference(self._cluster, plan.manifests, labels_of(plan.request.name), KINDS)

    def check(self) -> None:
        """Ask whether all that is needed is allowed. Raises InputError with every verb that is not."""
        check(self._cluster, PERMISSIONS, "serving on the cluster")

    def deploy(self, plan: KubernetesPlan) -> Deployment:
        """See `Deployer.deploy`."""
        name = plan.request.name
        if plan.action is Action.NOTHING:
            return self.status(name)
        if not plan.request.release.image:
            raise ValueError("a release without an image can only be planned")
        self.check()
        # That it is there tells later commands of this home that a cluster is in use.
        self.log_path(name).mkdir(parents=True, exist_ok=True)
        with self._alone(name) as held:
            if looking.look(self._cluster, name).serial != plan.basis:
                raise changed_meanwhile(name)
            self._change(plan, held)
        deployed = self.status(name)
        self._wait_for_answer(deployed.url)
        return deployed

    def status(self, name: str) -> Deployment:
        """See `Deployer.status`."""
        found, live = looking.look(self._cluster, name), self._cluster.get(DEPLOYMENT, object_name(name))
        if found.release is None or live is None:
            raise UnknownDeploymentError(name, self.names())
        pods = looking.pods_of(self._cluster, name, looking.template_of(live["spec"]["template"]))
        replicas = tuple(looking.replica_of(each) for each in (*pods.old, *pods.new))
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
        """Where a deployment is asked, from this terminal."""
        entry = kubernetes_plan.check_entry(self._environment.get(ENTRY, ""))
        ingress = self._cluster.get(INGRESS, object_name(name))
        return kubernetes_plan.url_of(name, self._cluster.namespace, ingress, entry)

    def names(self) -> tuple[str, ...]:
        """See `Deployer.names`."""
        return tuple(looking.names(self._cluster))

    def logs(self, name: str, lines: int = SHOWN_LINES) -> list[str]:
        """See `Deployer.logs`."""
        pods = self._pods(name)
        for pod in sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=True):
            if said := looking.log(self._cluster, pod, lines):
                return said
        kept = sorted(self.log_path(name).glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        if not kept and not pods:
            raise UnknownDeploymentError(name, self.names())
        return kept[-1].read_text(encoding="utf-8").splitlines()[-lines:] if kept else []

    def log_path(self, name: str) -> Path:
        """The folder with the logs of replicas that are gone, kept at changes of this terminal's."""
        return self._home / "deployments" / "kubernetes" / self._cluster.namespace / name / "logs"

    def remove(self, name: str) -> bool:
        """See `Deployer.remove`. Images stay."""
        if not self._objects(name):
            return False
        self.check()
        with self._alone(name):
            self._keep_logs(name, self._pods(name))
            apply_all(self._cluster, (), labels_of(name), KINDS)
            self._wait_until_gone(name)
        return True

    # How

    def _alone(self, name: str) -> contextlib.AbstractContextManager[HeldLease]:
        time = lease.Clock(self._clock.now, self._clock.sleep)
        return lease.held(self._cluster, object_name(name), labels_of(name), f"deployment '{name}'", time)

    def _objects(self, name: str) -> list[Manifest]:
        """All that a deployment consists of, but its pods and what the cluster makes for it."""
        found = [each for kind in KINDS for each in self._cluster.find(kind, labels_of(name)).items]
        return [each for each in found if not each["metadata"].get("ownerReferences")]

    def _check(self, plan: KubernetesPlan) -> None:
        """Refuse what somebody else has.

        Raises:
            InputError: an object's name, or the Ingress's host, is another's.
        """
        name = plan.request.name
        if plan.action is Action.START:
            for each in plan.manifests:
                if (live := self._cluster.get(kind_of(each), name_of(each))) is not None:
                    looking.check_ours(live, name)
        wanted = [_route(each) for each in plan.manifests if kind_of(each) == INGRESS]
        for other in self._cluster.find(INGRESS, kubernetes_plan.MANAGED_BY).items:
            owner = (other["metadata"].get("labels") or {}).get(engine.DEPLOYMENT)
            if owner and owner != name and any(each.collides(_route(other)) for each in wanted):
                raise _same_route(owner, _route(other).host)

    def _change(self, plan: KubernetesPlan, held: HeldLease) -> None:
        """Apply, and wait until all who are asked are new and ready; else take everything back as it was."""
        name = plan.request.name
        before, count = self._objects(name), looking.look(self._cluster, name).count
        known = frozenset(map(name_of, self._pods(name)))
        try:
            # What the release before needs goes only when that has gone.
            apply_all(self._cluster, plan.manifests, labels_of(name), ())
            self._scale(name, plan.scale_to)
            self._wait_until_rolled(plan, held, known, is_old_serving=bool(before))
        except _OvertakenError as error:  # what is there now is somebody else's wish
            raise changed_meanwhile(name) from error
        except BaseException as error:
            with uninterrupted():
                template = self._put_back(name, before, count)
            if template and isinstance(error, Exception):
                self._wait_until_back(name, template)
            raise
        apply_all(self._cluster, plan.manifests, labels_of(name), KINDS)
        self._wait_until_left(plan)

    def _wait_until_left(self, plan: KubernetesPlan) -> None:
        """Return when the release before answers nobody any more; one that ends a long request is not waited for."""
        deadline = self._clock.now() + plan.settle_s + SPARE_S
        with contextlib.closing(self._seen(plan.request.name)) as seen:
            for pods, _ in seen:
                others = [each for each in pods.values() if looking.template_of(each) != plan.template]
                if not others or self._clock.now() > deadline:
                    return

    def _scale(self, name: str, count: int | None) -> None:
        if count is not None:
            self._cluster.merge(DEPLOYMENT, object_name(name), {"spec": {"replicas": count}}, subresource="scale")

    def _put_back(self, name: str, before: Sequence[Manifest], count: int) -> str:
        """Make all be as it was applied before, and remove what was not; the label of the pods that then run."""
        self._keep_logs(name, [each for each in self._pods(name) if not looking.is_ready(each)])
        old = [applied for each in before if (applied := applied_of(each)) is not None]
        apply_all(self._cluster, old[::-1], labels_of(name), KINDS)
        deployment = next((each for each in old if kind_of(each) == DEPLOYMENT), None)
        if deployment is None:
            return ""
        self._scale(name, count)
        return looking.template_of(deployment["spec"]["template"])

    def _wait_until_back(self, name: str, template: str) -> None:
        deadline = self._clock.now() + BACK_WITHIN_S
        with contextlib.closing(self._seen(name)) as seen:
            for pods, _ in seen:
                if not looking.sorted_out(pods.values(), template).old or self._clock.now() > deadline:
                    return

    def _wait_until_rolled(
        self, plan: KubernetesPlan, held: HeldLease, known: frozenset[str], *, is_old_serving: bool
    ) -> None:
        """Return when it is done.

        Args:
            known: pods that there were before; one that has died may yet come back by itself.

        Raises:
            DeploymentFailedError: a new replica ended before it was ready, or for too long none became ready.
            _OvertakenError: somebody else has changed the deployment.
        """
        wanted, ready, began = plan.replicas, 0, self._clock.now()
        with contextlib.closing(self._seen(plan.request.name)) as seen:
            for every, is_due in seen:
                pods = looking.sorted_out(every.values(), plan.template)
                if is_due:
                    wanted = max(plan.replicas, self._still_ours(plan, held))
                if pods.is_rolled(wanted):
                    return
                if pods.ready > ready:
                    ready, began = pods.ready, self._clock.now()
                for pod in pods.new:
                    if name_of(pod) not in known and (reason := looking.ended(pod)):
                        what = f"replica {name_of(pod)} {reason}"
                        raise self._failed(plan.request.name, [pod], what, is_old_serving)
                self._check_patience(plan, pods, self._clock.now() - began, is_old_serving)

    def _check_patience(self, plan: KubernetesPlan, pods: Pods, waited_s: float, is_old_serving: bool) -> None:
        """Raises DeploymentFailedError where nothing has become ready for too long."""
        name, within_s = plan.request.name, plan.request.ready_within_s
        if waited_s > within_s:
            why = looking.trouble(self._cluster, name, pods)
            waiting = [each for each in pods.new if not looking.is_ready(each)]
            reason = f"no new replica was ready within {within_s:g} s{f' ({why})' if why else ''}"
            raise self._failed(name, waiting, reason, is_old_serving)

    def _still_ours(self, plan: KubernetesPlan, held: HeldLease) -> int:
        """How many replicas are wanted by now. Raises _OvertakenError where somebody else wants something else."""
        try:
            held.renew()
        except ConflictError as error:
            raise _OvertakenError from error
        live = self._cluster.get(DEPLOYMENT, object_name(plan.request.name))
        if live is None or looking.template_of(live["spec"]["template"]) != plan.template:
            raise _OvertakenError
        return int(live["spec"].get("replicas", 1))

    def _seen(self, name: str) -> Generator[tuple[Mapping[str, Manifest], bool], None, None]:
        """A deployment's pods by name whenever one changes, and every `WATCHED_S` anyhow, which the flag says."""
        version, pods, labels = "", dict[str, Manifest](), labels_of(name)
        while True:
            try:
                if not version:
                    listing = self._cluster.find(POD, labels)
                    version, pods = listing.resource_version, {name_of(each): each for each in listing.items}
                yield pods, True
                with contextlib.closing(self._cluster.watch(POD, labels, version, timeout_s=WATCHED_S)) as changes:
                    for change in changes:
                        version = change.object["metadata"]["resourceVersion"]
                        if change.kind == "DELETED":
                            pods.pop(name_of(change.object), None)
                        elif change.kind != "BOOKMARK":
                            pods[name_of(change.object)] = change.object
                        yield pods, False
            except (ExpiredError, UnreachableError):
                version = ""
                self._clock.sleep(1.0)
                yield pods, False

    def _failed(self, name: str, pods: Sequence[Manifest], reason: str, is_old_serving: bool) -> DeploymentFailedError:
        """The error with what the cluster and the replica have said; its log is kept before the replica goes."""
        self._keep_logs(name, pods)
        if not pods:
            lines, source = looking.owner_events(self._cluster, name, SHOWN_EVENTS), "what the cluster says of its pods"
            return DeploymentFailedError(name, reason, lines, source, is_old_serving=is_old_serving)
        pod = pods[0]
        said = looking.log(self._cluster, pod, SHOWN_LINES)
        source = str(self._log_file(name, pod)) if said else f"what the cluster says of pod {name_of(pod)}"
        lines = [*looking.events(self._cluster, pod, SHOWN_EVENTS), *said]
        return DeploymentFailedError(name, reason, lines, source, is_old_serving=is_old_serving)

    def _log_file(self, name: str, pod: Manifest) -> Path:
        return self.log_path(name) / f"{name_of(pod)}.log"

    def _pods(self, name: str) -> tuple[Manifest, ...]:
        return self._cluster.find(POD, labels_of(name)).items

    def _keep_logs(self, name: str, pods: Sequence[Manifest]) -> None:
        """Keep the ends of pods' logs, and of the newest few of them all."""
        folder = self.log_path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for pod in pods:
            if said := looking.log(self._cluster, pod, KEPT_LINES):
                self._log_file(name, pod).write_text("\n".join([*said, ""]), encoding="utf-8")
        kept = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-KEPT_LOGS]:
            path.unlink(missing_ok=True)

    def _wait_until_gone(self, name: str) -> None:
        """Return when no pod is left, or when each has had the time that it is given."""
        given = [float(each["spec"].get("terminationGracePeriodSeconds", 30)) for each in self._pods(name)]
        deadline = self._clock.now() + max(given, default=0.0) + SPARE_S
        with contextlib.closing(self._seen(name)) as seen:
            for pods, _ in seen:
                if not pods or self._clock.now() > deadline:
                    return

    def _wait_for_answer(self, url: str) -> None:
        """Wait a little until requests get through; where from here they never do, the cluster may still be right."""
        deadline = self._clock.now() + ANSWERS_S
        while looking.is_reachable(url) and not looking.answers(url) and self._clock.now() < deadline:
            self._clock.sleep(0.2)


class _OvertakenError(Exception):
    """Somebody else has changed the deployment while this process waited for it."""


@dataclass(frozen=True)
class _Route:
    """Which requests an Ingress takes; an empty class is the cluster's default, whatever that is called."""

    host: str
    ingress_class: str

    def collides(self, other: _Route) -> bool:
        """Both would take the same requests."""
        classes = {self.ingress_class, other.ingress_class} - {""}
        return self.host == other.host and len(classes) < 2


def _route(ingress: Manifest) -> _Route:
    hosts = [str(rule.get("host", "")) for rule in ingress["spec"].get("rules") or ()]
    return _Route(hosts[0] if hosts else "", str(ingress["spec"].get("ingressClassName", "")))


def _same_route(owner: str, host: str) -> InputError:
    return InputError(
        "WINNOW_INGRESS_HOST",
        expected=f"a host of its own: requests to {host or 'any host'} go to the deployment '{owner}'",
        found=f"'{host}'" if host else "none",
        remedy="Name one with HOST= or WINNOW_INGRESS_HOST: the star of `*.models.example.com` becomes the name of the "
        "deployment.",
    )


def _key_file(environment: Mapping[str, str]) -> str | None:
    path = environment.get("WINNOW_API_KEY_FILE")
    if not path:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            "WINNOW_API_KEY_FILE",
            expected="a readable file with the API key",
            found=f"'{path}' ({(error.strerror or str(error)).lower()})",
            remedy="Correct or unset it.",
        ) from error
