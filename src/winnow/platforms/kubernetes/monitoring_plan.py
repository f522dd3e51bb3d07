"""What `monitoring-init` applies in a namespace of a cluster: values and pure functions only.

Without the Prometheus operator: the manifests of `k8s/monitoring`, and the ConfigMaps `winnow-rules` (a file for each
experiment that has rules), `winnow-alertmanager` and `winnow-dashboard`. With it: the PodMonitor `winnow-replicas`, a
PrometheusRule `winnow-rules-NAME` for each file of rules, and the dashboard, for the cluster's own Prometheus and
Grafana.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from winnow.config.yaml_text import not_yaml
from winnow.platforms import monitoring_stack
from winnow.platforms.kubernetes import kinds
from winnow.platforms.kubernetes.kinds import Kind, Manifest, kind_of, name_of
from winnow.platforms.kubernetes.manifests import changed, load, named, to_yaml
from winnow.platforms.kubernetes.revision_plan import MANAGED_BY, REPLICA
from winnow.platforms.kubernetes.services import Service
from winnow.platforms.labels import DEPLOYMENT as DEPLOYMENT_LABEL
from winnow.platforms.labels import REVISION, ROLE, STACK
from winnow.platforms.monitoring_stack import CONFIGURATION, DASHBOARD, GRAFANA, PROMETHEUS, MonitoringRequest

FOLDER = Path("k8s/monitoring")
LABELS: Mapping[str, str] = {STACK: "monitoring"}
"""Labels of every part; a namespace has one stack."""
RULES_MAP, SECRET_NAME, TOKEN = "winnow-rules", "winnow-hooks", PurePosixPath(monitoring_stack.TOKEN_FILE).name
"""The ConfigMap with the rules, and the Secret with the token of `serve-hooks`."""
OWN_KINDS: tuple[Kind, ...] = (
    kinds.NETWORK_POLICY,
    kinds.DEPLOYMENT,
    kinds.STATEFUL_SET,
    kinds.SERVICE,
    kinds.CONFIG_MAP,
)
"""Kinds of the parts that hold no data."""
WORKLOADS: tuple[Kind, ...] = (kinds.DEPLOYMENT, kinds.STATEFUL_SET)
OPERATOR_KINDS: tuple[Kind, ...] = (kinds.POD_MONITOR, kinds.PROMETHEUS_RULE)
_SETTINGS_DIGEST = "winnow.settings"


@dataclass(frozen=True)
class KubernetesMonitoringPlan:
    """The objects to apply; implements `winnow.platforms.stack.Plan`.

    Attributes:
        has_operator: the cluster has the kinds of the Prometheus operator.
        ports: of this machine, by service, for the commands that open their pages.
    """

    manifests: tuple[Manifest, ...]
    namespace: str
    has_operator: bool
    ports: Mapping[str, int]
    unknown: tuple[str, ...] = ()

    @property
    def services(self) -> Mapping[str, Service]:
        """What has to become ready."""
        return {
            made["metadata"]["labels"][ROLE]: Service(
                kind_of(made), name_of(made), made["spec"]["selector"]["matchLabels"]
            )
            for made in self.manifests
            if kind_of(made) in (kinds.DEPLOYMENT, kinds.STATEFUL_SET)
        }

    @property
    def endpoints(self) -> Mapping[str, str]:
        if self.has_operator:
            chosen = (
                f"if it selects the PodMonitor winnow-replicas and the PrometheusRules of namespace {self.namespace}"
            )
            return {"Prometheus": f"the cluster's own, {chosen}"}
        found = {each.capitalize(): self._address(each) for each in self.services}
        return {**found, "Token": f"of serve-hooks: key {TOKEN} of the Secret {SECRET_NAME}"}

    def render(self) -> str:
        """The manifests as YAML."""
        return to_yaml(self.manifests)

    def _address(self, service: str) -> str:
        port, here = monitoring_stack.PORTS[service], self.ports.get(service, monitoring_stack.PORTS[service])
        where = f"--namespace {self.namespace} " if self.namespace else ""
        command = f"kubectl {where}port-forward service/winnow-{service} {here}:{port}"
        return f"http://winnow-{service}.{self.namespace or 'NAMESPACE'}.svc:{port}; `{command}` opens it here"


def plan_own(
    folder: Path, request: MonitoringRequest, namespace: str, rules: Mapping[str, str]
) -> KubernetesMonitoringPlan:
    """A Prometheus, an Alertmanager and a Grafana of their own.

    Args:
        folder: of the manifests, as `k8s/monitoring`.
        rules: files of rules that the namespace has already, by name; those of the request replace them.

    Raises:
        InputError: a manifest is missing or lacks a field that is set here.
    """
    made = [_with_intervals(each, folder, request.scrape_interval_s) for each in load(folder)]
    made += [
        _config_map(RULES_MAP, PROMETHEUS, {**rules, **_rules(request)}),
        _config_map(
            "winnow-alertmanager",
            monitoring_stack.ALERTMANAGER,
            {CONFIGURATION.name: request.files[CONFIGURATION]},
        ),
        _dashboard(request),
    ]
    if not request.has_grafana:
        made = [each for each in made if each["metadata"]["labels"].get(ROLE) != GRAFANA]
    # What pods mount is applied before them.
    made.sort(key=lambda each: kind_of(each) in WORKLOADS)
    return KubernetesMonitoringPlan(tuple(_with_digests(made)), namespace, False, request.ports)


def plan_for_operator(request: MonitoringRequest, namespace: str) -> KubernetesMonitoringPlan:
    """Objects for the Prometheus operator, which configures the cluster's own Prometheus by them."""
    rules = [_prometheus_rule(name, text) for name, text in _rules(request).items()]
    made = (_pod_monitor(request.scrape_interval_s), *rules, _dashboard(request))
    return KubernetesMonitoringPlan(made, namespace, True, request.ports)


def _rules(request: MonitoringRequest) -> dict[str, str]:
    """Files of rules by name."""
    return {path.name: text for path, text in request.files.items() if path.parent == monitoring_stack.RULES}


def _with_intervals(manifest: Manifest, folder: Path, interval_s: int) -> Manifest:
    """Prometheus' configuration with how often it scrapes and evaluates rules; any other manifest unchanged."""
    if (kind_of(manifest), name_of(manifest)) != (kinds.CONFIG_MAP, "winnow-prometheus"):
        return manifest
    try:
        config = yaml.safe_load(manifest["data"]["prometheus.yml"])
    except yaml.YAMLError as error:
        raise not_yaml(folder / "prometheus.yaml", error) from error
    interval = f"{interval_s}s"
    config["global"] = {**config.get("global", {}), "scrape_interval": interval, "evaluation_interval": interval}
    return changed(manifest, {("data", "prometheus.yml"): yaml.safe_dump(config, sort_keys=False, width=120)})


def _config_map(name: str, role: str, data: Mapping[str, str], **more: str) -> Manifest:
    labels = {**LABELS, ROLE: role, **MANAGED_BY, **more}
    return kinds.CONFIG_MAP.manifest(name, labels, data=dict(data))


def _dashboard(request: MonitoringRequest) -> Manifest:
    """The dashboard. Grafana's charts import ConfigMaps with the label `grafana_dashboard`."""
    data = {DASHBOARD.name: request.files[DASHBOARD]}
    return _config_map("winnow-dashboard", GRAFANA, data, grafana_dashboard="1")


def _with_digests(manifests: Sequence[Manifest]) -> Iterable[Manifest]:
    """The manifests; pods have a digest of the ConfigMaps that they mount, so that a changed one replaces them."""
    for each in manifests:
        if kind_of(each) not in WORKLOADS:
            yield each
            continue
        volumes = each["spec"]["template"]["spec"]["volumes"]
        mounted = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
        data = {name: named(manifests, kinds.CONFIG_MAP.kind, name)["data"] for name in mounted}
        digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
        yield changed(each, {("spec", "template", "metadata", "annotations", _SETTINGS_DIGEST): digest})


def _pod_monitor(interval_s: int) -> Manifest:
    def copied(label: str, target: str) -> dict[str, Any]:
        source = "__meta_kubernetes_pod_" + (f"label_{label.replace('.', '_')}" if label else "name")
        return {"sourceLabels": [source], "targetLabel": target}

    relabelings = [
        *(copied(DEPLOYMENT_LABEL, "deployment"), copied(REVISION, "revision")),
        *(copied("", "replica"), copied("", "instance")),
    ]
    endpoint = {"port": "http", "path": "/metrics", "interval": f"{interval_s}s", "relabelings": relabelings}
    spec = {"selector": {"matchLabels": {ROLE: REPLICA}}, "podMetricsEndpoints": [endpoint]}
    return kinds.POD_MONITOR.manifest("winnow-replicas", {**LABELS, ROLE: PROMETHEUS, **MANAGED_BY}, spec=spec)


def _prometheus_rule(file: str, text: str) -> Manifest:
    name = RULES_MAP if file == monitoring_stack.GENERAL_RULES.name else f"{RULES_MAP}-{PurePosixPath(file).stem}"
    spec = {"groups": yaml.safe_load(text)["groups"]}
    return kinds.PROMETHEUS_RULE.manifest(name, {**LABELS, ROLE: PROMETHEUS, **MANAGED_BY}, spec=spec)
