from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.platforms.deployer import mute
from winnow.platforms.docker.monitoring import COMPOSE_FILE, DockerMonitoring, gateway_of, prometheus_config
from winnow.platforms.docker.scraping import monitoring_folder, targets
from winnow.platforms.monitoring_stack import CONFIGURATION, DASHBOARD, RULES, MonitoringRequest

ROOT = Path(__file__).parents[4]
NO_ENGINE = {"DOCKER_HOST": "tcp://127.0.0.1:1"}
FILES = {RULES / "all_deployments.yaml": "groups: []\n", CONFIGURATION: "route: {}\n", DASHBOARD: "{}\n"}


def test_targets_name_containers_by_their_short_identifiers() -> None:
    found = json.loads(targets("cells", [("0123456789abcdef", "winnow-prod-cells-2-0", 2)]))
    labels = {"deployment": "cells", "revision": "2", "replica": "winnow-prod-cells-2-0"}
    assert found == [
        {"targets": ["0123456789ab:8080"], "labels": {**labels, "instance": "winnow-prod-cells-2-0"}},
    ]


def test_a_deployment_without_replicas_has_a_group_without_targets() -> None:
    assert json.loads(targets("cells", [])) == [{"targets": []}]


def test_the_folder_of_monitoring_is_in_the_home_of_the_deployments() -> None:
    assert monitoring_folder(Path("/home/deployments/docker")) == Path("/home/monitoring-stack/docker")


def test_prometheus_scrapes_as_often_as_it_evaluates_and_waits_no_longer() -> None:
    assert yaml.safe_load(prometheus_config(2))["global"] == {
        "scrape_interval": "2s",
        "evaluation_interval": "2s",
        "scrape_timeout": "2s",
    }
    assert yaml.safe_load(prometheus_config(60))["global"]["scrape_timeout"] == "10s"


def test_a_plan_is_shown_without_an_engine(tmp_path: Path) -> None:
    stack = DockerMonitoring(tmp_path, project="mine", folder=ROOT, say=mute, environment=NO_ENGINE)
    plan = stack.plan(MonitoringRequest(FILES, has_grafana=False, ports={"prometheus": 9191}), is_dry_run=True)
    folder = tmp_path / "monitoring-stack/docker"
    variables = f"MONITORED={tmp_path}/deployments/docker MONITORING_FOLDER={folder} PROMETHEUS_PORT=9191"
    assert plan.render().splitlines() == [
        f"write {folder}/prometheus/rules/all_deployments.yaml",
        f"write {folder}/alertmanager/alertmanager.yml",
        f"write {folder}/prometheus/prometheus.yml",
        f"write {folder}/alertmanager/hooks.token unless it exists",
        f"run {variables} ALERTMANAGER_PORT=9093 GRAFANA_PORT=3000 docker compose --project-name mine-monitoring "
        f"--file {ROOT / COMPOSE_FILE} --env-file /dev/null up --detach --quiet-pull --remove-orphans",
        "publish prometheus at http://127.0.0.1:9191",
        "publish alertmanager at http://127.0.0.1:9093",
        "join prometheus to the networks of the deployments",
    ]
    assert plan.unknown == ("whether ports are free: no Docker engine answers",)
    assert not (tmp_path / "monitoring-stack").exists()


def test_grafana_is_provisioned_with_the_source_and_the_dashboard(tmp_path: Path) -> None:
    stack = DockerMonitoring(tmp_path, project="mine", folder=ROOT, say=mute, environment=NO_ENGINE)
    files = {str(path): text for path, text in stack.plan(MonitoringRequest(FILES), is_dry_run=True).files.items()}
    source = yaml.safe_load(files["grafana/provisioning/datasources/winnow.yaml"])["datasources"][0]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    provider = yaml.safe_load(files["grafana/provisioning/dashboards/winnow.yaml"])["providers"][0]
    assert provider["options"] == {"path": "/etc/winnow/dashboards"}
    assert "grafana/dashboards/winnow.json" in files


def test_without_an_engine_nothing_is_started(tmp_path: Path) -> None:
    stack = DockerMonitoring(tmp_path, project="mine", folder=ROOT, say=mute, environment=NO_ENGINE)
    with pytest.raises(InputError, match="the Docker engine"):
        stack.plan(MonitoringRequest(FILES))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.9"}, "172.17.0.9"),
        ({"Subnet": "172.17.0.0/16"}, "172.17.0.1"),
        ({}, "127.0.0.1"),
    ],
)
def test_the_hooks_listen_on_the_gateway_though_a_restarted_engine_leaves_it_out(
    config: dict[str, str], expected: str
) -> None:
    assert gateway_of(config) == expected
