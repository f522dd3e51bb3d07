"""Prometheus, Alertmanager and Grafana in a namespace of a cluster; with the Prometheus operator, objects for it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from winnow.config.clock import Clock
from winnow.config.errors import UnavailableError, UnreachableError
from winnow.config.next_command import next_command
from winnow.platforms.deployer import Say
from winnow.platforms.kubernetes import kinds, monitoring_plan, permissions, services
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import NAMESPACE
from winnow.platforms.kubernetes.kinds import Kind, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.manifests import secret
from winnow.platforms.kubernetes.monitoring_plan import LABELS, OWN_KINDS, RULES_MAP, KubernetesMonitoringPlan
from winnow.platforms.kubernetes.permissions import verbs
from winnow.platforms.kubernetes.prune import apply_all, check_ours, orphans
from winnow.platforms.kubernetes.refusals import NotFoundError
from winnow.platforms.kubernetes.revision_plan import MANAGED_BY
from winnow.platforms.kubernetes.services import Services, ServicesError
from winnow.platforms.monitoring_stack import HOOKS_PORT, PROMETHEUS, MonitoringRequest
from winnow.platforms.stack import StackEnd, StackError

GONE_WITHIN_S = 120.0
_ALL_KINDS = (*OWN_KINDS, *monitoring_plan.OPERATOR_KINDS)
REMOVE_PERMISSIONS = (*verbs("list delete", *_ALL_KINDS), *verbs("list", kinds.POD))
VOLUMES_PERMISSIONS = verbs("list delete", kinds.VOLUME_CLAIM, kinds.SECRET)
INIT_PERMISSIONS = (
    *verbs("get create patch", *_ALL_KINDS),
    *verbs("get create", kinds.SECRET),
    *REMOVE_PERMISSIONS,
    *services.PERMISSIONS,
)
PERMISSIONS = tuple(dict.fromkeys((*INIT_PERMISSIONS, *VOLUMES_PERMISSIONS)))
"""Every permission that it uses."""


class KubernetesMonitoring:
    """Implements `winnow.platforms.monitoring_stack.MonitoringStack`.

    Args:
        connect: gives the cluster and its namespace. Raises UnavailableError where there is none.
        folder: the project's, with k8s/monitoring.
        say: receives what is being waited for.
    """

    hook = f"http://{monitoring_plan.SECRET_NAME}:{HOOKS_PORT}"

    def __init__(
        self,
        connect: Callable[[], Cluster],
        folder: Path,
        *,
        say: Say,
        environment: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
    ) -> None:
        self._connect, self._folder, self._say = connect, folder / monitoring_plan.FOLDER, say
        self._environment, self._clock = environment, clock or Clock()

    def plan(self, request: MonitoringRequest, *, is_dry_run: bool = False) -> KubernetesMonitoringPlan:
        facts = f"the rules in the ConfigMap {RULES_MAP}, and whether the cluster has the Prometheus operator"
        try:
            cluster = self._connect()
            permissions.check(cluster, INIT_PERMISSIONS, "starting the monitoring")
            return self._planned(cluster, request)
        except (UnavailableError, UnreachableError) as error:
            if not is_dry_run:
                raise
            found = monitoring_plan.plan_own(self._folder, request, self._environment.get(NAMESPACE, ""), {})
            why = f"{error.place}: {error.found}" if isinstance(error, UnavailableError) else str(error)
            return replace(found, unknown=(f"{facts}: {why}",))

    def start(self, plan: KubernetesMonitoringPlan, timeout_s: float) -> None:
        """See `MonitoringStack.start`. Pods with another configuration are replaced."""
        cluster = self._connect()
        for manifest in plan.manifests:
            cluster.apply(manifest, is_dry_run=True)
        if not plan.has_operator:
            _keep_token(cluster)
        prunable = (*OWN_KINDS, *((kinds.POD_MONITOR,) if _has_operator(cluster) else ()))
        kept = [each for each in cluster.find(kinds.CONFIG_MAP, LABELS).items if name_of(each) == RULES_MAP]
        apply_all(cluster, plan.manifests, LABELS, prunable, kept=[each["metadata"]["uid"] for each in kept])
        try:
            Services(cluster, plan.services, LABELS, self._say, self._clock).wait(timeout_s)
        except ServicesError as error:
            account = (
                "Prometheus needs the ServiceAccount winnow-prometheus, which the namespace's owner makes: "
                f"`kubectl --namespace {cluster.namespace} apply -f k8s/prometheus.yaml`. "
            )
            raise StackError(
                f"the monitoring in namespace {cluster.namespace}: {', '.join(error.names)} {error.why}. "
                f"{account if PROMETHEUS in error.names else ''}"
                f"`{next_command('monitoring-remove', platform='kubernetes')}` removes it all.\n{error.said}".rstrip()
            ) from error

    def plan_end(self, *, volumes: bool) -> StackEnd:
        cluster = self._connect()
        wanted = (*REMOVE_PERMISSIONS, *(VOLUMES_PERMISSIONS if volumes else ()))
        permissions.check(cluster, wanted, "removing the monitoring")
        steps = [f"delete {each['kind']} {name_of(each)}" for each in _parts(cluster, volumes=volumes)]
        if volumes:
            steps += [f"delete {kind.kind} {name}" for kind, name in _data(cluster)]
        rest = "with what it has measured" if volumes else "its volumes and its rules stay"
        return StackEnd(
            stack=f"the monitoring in namespace {cluster.namespace}",
            steps=tuple(steps),
            outcome=f"The monitoring in namespace {cluster.namespace} is removed, {rest}.",
        )

    def end(self, *, volumes: bool) -> None:
        cluster = self._connect()
        for each in _parts(cluster, volumes=volumes):
            cluster.delete(kind_of(each), name_of(each))
        Services(cluster, {}, LABELS, self._say, self._clock).wait_gone(GONE_WITHIN_S)
        for kind, name in _data(cluster) if volumes else ():
            cluster.delete(kind, name)

    def _planned(self, cluster: Cluster, request: MonitoringRequest) -> KubernetesMonitoringPlan:
        if _has_operator(cluster):
            plan = monitoring_plan.plan_for_operator(request, cluster.namespace)
        else:
            live = cluster.get(kinds.CONFIG_MAP, RULES_MAP)
            plan = monitoring_plan.plan_own(self._folder, request, cluster.namespace, (live or {}).get("data") or {})
        for manifest in plan.manifests:
            found = cluster.get(kind_of(manifest), name_of(manifest))
            if found is not None:
                remedy = "Take another namespace (WINNOW_NAMESPACE), or rename that one."
                check_ours(found, LABELS, owner="the monitoring", remedy=remedy)
        return plan


def _has_operator(cluster: Cluster) -> bool:
    """Whether the cluster has the kinds of the Prometheus operator."""
    try:
        cluster.find(kinds.POD_MONITOR, LABELS)
    except NotFoundError:
        return False
    return True


def _keep_token(cluster: Cluster) -> None:
    """Make the token of `serve-hooks`, unless there is one."""
    if cluster.get(kinds.SECRET, monitoring_plan.SECRET_NAME) is None:
        cluster.create(
            secret(
                monitoring_plan.SECRET_NAME,
                {**LABELS, **MANAGED_BY},
                {monitoring_plan.TOKEN: secrets.token_urlsafe(32)},
            )
        )


def _parts(cluster: Cluster, *, volumes: bool) -> list[Manifest]:
    """What is removed, without what holds data; the rules stay with it, but for those of the operator."""
    meant = _ALL_KINDS if _has_operator(cluster) else OWN_KINDS
    found = orphans(cluster, (), LABELS, meant)
    return [each for each in found if volumes or (kind_of(each), name_of(each)) != (kinds.CONFIG_MAP, RULES_MAP)]


def _data(cluster: Cluster) -> list[tuple[Kind, str]]:
    """The volume claims, and the Secret with the token."""
    return [
        (kind, name_of(each))
        for kind in (kinds.VOLUME_CLAIM, kinds.SECRET)
        for each in cluster.find(kind, LABELS).items
    ]
