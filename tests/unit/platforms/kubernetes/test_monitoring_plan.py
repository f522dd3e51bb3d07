"""What `monitoring-init` applies in a namespace, with the Prometheus operator and without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from winnow.config.errors import UnavailableError
from winnow.platforms.deployer import mute
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.manifests import named
from winnow.platforms.kubernetes.monitoring import KubernetesMonitoring
from winnow.platforms.kubernetes.monitoring_plan import FOLDER, LABELS, plan_for_operator, plan_own
from winnow.platforms.kubernetes.prune import check_labels
from winnow.platforms.monitoring_stack import CONFIGURATION, DASHBOARD, RULES, TOKEN_FILE, MonitoringRequest

ROOT = Path(__file__).parents[4]
GROUPS = [{"name": "winnow", "rules": [{"alert": "Down", "expr": "up == 0"}]}]
RULE = yaml.safe_dump({"groups": GROUPS})
FILES = {
    RULES / "all_deployments.yaml": RULE,
    RULES / "wine.yaml": "groups: []\n",
    CONFIGURATION: "route: {receiver: none}\n",
    DASHBOARD: "{}\n",
}
REQUEST = MonitoringRequest(FILES, scrape_interval_s=7)


def own(request: MonitoringRequest = REQUEST, rules: Mapping[str, str] = {}) -> tuple[Manifest, ...]:
    return plan_own(ROOT / FOLDER, request, "team", rules).manifests


def pod(manifests: tuple[Manifest, ...], kind: str, name: str) -> dict[str, Any]:
    return dict(named(manifests, kind, name)["spec"]["template"]["spec"])


def replaced_by(changed: tuple[Manifest, ...]) -> set[str]:
    """The services whose pods another plan replaces."""

    def templates(manifests: tuple[Manifest, ...]) -> dict[str, Any]:
        return {each["metadata"]["name"]: each["spec"]["template"] for each in manifests if "replicas" in each["spec"]}

    before = templates(tuple(each for each in own() if "spec" in each))
    after = templates(tuple(each for each in changed if "spec" in each))
    return {name for name in before if before[name] != after.get(name)}


def test_every_part_is_found_again_by_its_labels() -> None:
    check_labels(own(), LABELS)
    check_labels(plan_for_operator(REQUEST, "team").manifests, LABELS)


def test_pods_mount_only_what_is_applied_before_them() -> None:
    made = own()
    for position, manifest in enumerate(made):
        if manifest["kind"] not in ("StatefulSet", "Deployment"):
            continue
        earlier = {each["metadata"]["name"] for each in made[:position] if each["kind"] == "ConfigMap"}
        volumes = manifest["spec"]["template"]["spec"]["volumes"]
        assert {each["configMap"]["name"] for each in volumes if "configMap" in each} <= earlier


def test_alertmanager_finds_its_configuration_and_its_token() -> None:
    made = own()
    alertmanager = pod(made, "StatefulSet", "winnow-alertmanager")
    mounts = {each["name"]: each["mountPath"] for each in alertmanager["containers"][0]["volumeMounts"]}
    assert (mounts["config"], mounts["token"]) == ("/etc/alertmanager", str(PurePosixPath(TOKEN_FILE).parent))
    assert named(made, "ConfigMap", "winnow-alertmanager")["data"] == {"alertmanager.yml": FILES[CONFIGURATION]}


def test_prometheus_scrapes_and_evaluates_as_often_as_asked() -> None:
    config = yaml.safe_load(named(own(), "ConfigMap", "winnow-prometheus")["data"]["prometheus.yml"])
    assert config["global"] == {"scrape_interval": "7s", "evaluation_interval": "7s"}


def test_rules_of_other_experiments_stay_and_those_of_the_same_one_are_replaced() -> None:
    rules = named(own(rules={"wine.yaml": "old", "iris.yaml": "kept"}), "ConfigMap", "winnow-rules")["data"]
    assert rules == {"all_deployments.yaml": RULE, "wine.yaml": "groups: []\n", "iris.yaml": "kept"}


@pytest.mark.parametrize(
    ("path", "service"),
    [
        (RULES / "wine.yaml", "winnow-prometheus"),
        (CONFIGURATION, "winnow-alertmanager"),
        (DASHBOARD, "winnow-grafana"),
    ],
)
def test_another_configuration_replaces_the_pods_that_read_it(path: PurePosixPath, service: str) -> None:
    assert replaced_by(own()) == set()
    assert replaced_by(own(replace(REQUEST, files={**FILES, path: "other"}))) == {service}


def test_without_grafana_nothing_of_it_is_applied() -> None:
    plan = plan_own(ROOT / FOLDER, replace(REQUEST, has_grafana=False), "team", {})
    assert set(plan.services) == {"prometheus", "alertmanager"}
    assert not [each for each in plan.manifests if "grafana" in each["metadata"]["name"]]


def test_the_operator_gets_the_replicas_by_label_and_each_file_as_one_object() -> None:
    plan = plan_for_operator(REQUEST, "team")
    found = {(each["kind"], each["metadata"]["name"]): each for each in plan.manifests}
    assert set(found) == {
        *(("PodMonitor", "winnow-replicas"), ("PrometheusRule", "winnow-rules")),
        *(("PrometheusRule", "winnow-rules-wine"), ("ConfigMap", "winnow-dashboard")),
    }
    assert found["PrometheusRule", "winnow-rules"]["spec"] == {"groups": GROUPS}
    labels = {"winnow.deployment": "deployment", "winnow.revision": "revision"}
    meta = [(f"__meta_kubernetes_pod_label_{each.replace('.', '_')}", target) for each, target in labels.items()]
    meta += [("__meta_kubernetes_pod_name", target) for target in ("replica", "instance")]
    assert found["PodMonitor", "winnow-replicas"]["spec"] == {
        "selector": {"matchLabels": {"winnow.role": "replica"}},
        "podMetricsEndpoints": [
            {
                "port": "http",
                "path": "/metrics",
                "interval": "7s",
                "relabelings": [{"sourceLabels": [source], "targetLabel": target} for source, target in meta],
            }
        ],
    }
    assert plan.services == {}


def test_a_plan_without_a_cluster_says_what_it_does_not_know() -> None:
    def connect() -> Cluster:
        raise UnavailableError("kubeconfig", expected="a cluster", found="no such file", remedy="Name one.")

    monitoring = KubernetesMonitoring(connect, ROOT, say=mute, environment={"WINNOW_NAMESPACE": "team"})
    plan = monitoring.plan(REQUEST, is_dry_run=True)
    assert (plan.manifests, len(plan.unknown)) == (own(), 1)
    assert plan.unknown[0].endswith("whether the cluster has the Prometheus operator: kubeconfig: no such file")
    with pytest.raises(UnavailableError):
        monitoring.plan(REQUEST)
