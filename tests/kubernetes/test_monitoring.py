"""A real Prometheus and Alertmanager watch deployments of a namespace, and an alert rolls one back."""

from __future__ import annotations

import json
import lzma
import os
import secrets
import shutil
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from tests.docker import serving_images
from tests.docker.load import Load, running
from tests.docker.prometheus_images import PROMETHEUS
from tests.kubernetes import pod_discovery, serving
from tests.kubernetes.places import ROOT, Place, place
from tests.kubernetes.pods import until
from tests.kubernetes.serving import Site
from tests.unit.serving import bundles
from tests.winnow_command import winnow
from winnow.orchestrators.drive import Driver, observe
from winnow.platforms.docker.delivery import deliver
from winnow.platforms.images import ImageRoute
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.rollout.step import Desired, Done, revision_for
from winnow.routing import Entry, Release, ReplicaSettings, Revision, Scale

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

CRDS = "WINNOW_TEST_CRDS"
"""Environment variable: a folder with the kinds of the Prometheus operator, each as NAME.yaml.xz."""
IMAGES = {PROMETHEUS: "prometheus", "prom/alertmanager:v0.25.0": "alertmanager"}
SETTINGS = ReplicaSettings(cpu_request=0.05, memory_request_bytes=128 * 2**20, settle_s=1, drain_s=5)
FATAL = json.dumps({"rows": [[5000, 2, 3]]}).encode()
"""Rows that the second version's model cannot answer."""
STACK = "--selector=winnow.stack=monitoring"


@dataclass(frozen=True)
class Watched:
    """A namespace with a deployment, and with what watches it.

    Attributes:
        project: a folder whose manifests name images that the nodes find.
    """

    site: Site
    project: Path
    releases: dict[str, Release]

    @property
    def deployer(self) -> KubernetesDeployer:
        return KubernetesDeployer(self.site.place.home, environment=self.site.environment())

    @property
    def name(self) -> str:
        return self.site.name

    def deploy(self, release: str, replicas: int = 1) -> None:
        """What `winnow prod` does."""
        wanted = Revision(0, self.releases[release], SETTINGS, Scale(replicas))
        entry = Entry(host=f"{self.name}.localhost")
        target = revision_for(observe(self.deployer, self.name), wanted)
        desired = Desired(target, entry=entry, history=3, ready_within_s=90, started=time.time(), router_replicas=1)
        assert isinstance(Driver(self.deployer, self.name, desired).drive(), Done)

    def winnow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return winnow(*arguments, "--platform", "kubernetes", env=self.site.place.environment, cwd=self.project)

    def load(self) -> Load:
        return Load(f"{self.deployer.observe(self.name).url}/predict", FATAL, rate_per_s=20, most=2000)

    def asked(self, service: str, path: str, **parameters: str) -> Any:
        """The answer of a part of the monitoring, through the API server."""
        where = f"/api/v1/namespaces/{self.site.place.namespace}/services/{service}/proxy{path}"
        return json.loads(self.site.place.admin("get", "--raw", f"{where}?{urllib.parse.urlencode(parameters)}"))

    def scraped(self) -> dict[tuple[str, str, str], str]:
        """The health of each target by its deployment, revision and replica."""
        active = self.asked("winnow-prometheus:9090", "/api/v1/targets")["data"]["activeTargets"]
        labels = [(each["labels"], each["health"]) for each in active]
        return {(each["deployment"], each["revision"], each["replica"]): health for each, health in labels}

    def replicas(self) -> dict[tuple[str, str, str], str]:
        """What `scraped` has to be."""
        found = self.deployer.observe(self.name).replicas
        return {(self.name, str(each.revision), each.identifier): "up" for each in found}


@pytest.fixture(scope="module")
def watched(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A deployment of two replicas that served before `monitoring-init`, with a rule of its own that always fires."""
    folder = tmp_path_factory.mktemp("watched")
    bare = {
        "good": serving_images.release_of(bundles.classification(folder / "good"), "1"),
        "fragile": serving_images.release_of(bundles.crashing(folder / "fragile"), "2"),
    }
    with place(folder / "place") as where:
        releases = {name: serving.delivered(serving_images.with_image(each), where) for name, each in bare.items()}
        made = Watched(Site(where, f"t{secrets.token_hex(4)}"), folder / "project", releases)
        where.admin("apply", "--filename", str(ROOT / "k8s" / "prometheus.yaml"))
        _copy_manifests(engine, where, made.project)
        experiment = yaml.safe_load((ROOT / "experiments/breast_cancer.yaml").read_text())
        rule = {"name": "FewReplicas", "metric": "live_replicas", "below": "9 replicas", "severity": "ticket"}
        experiment |= {"name": made.name, "monitoring": {"rules": [rule]}}
        (made.project / "experiment.yaml").write_text(yaml.safe_dump(experiment))
        made.deploy("good", replicas=2)
        started = made.winnow(*_init("--config", "experiment.yaml"))
        assert started.returncode == 0, started.stderr
        yield made
    serving_images.forget(bare.values())


def _init(*more: str) -> tuple[str, ...]:
    return ("monitoring-init", "--scrape-interval", "1", "--grafana", "off", *more)


def _copy_manifests(engine: docker.DockerClient, where: Place, project: Path) -> None:
    """The manifests of this clone, with images as a user names those of a registry."""
    route = ImageRoute.from_environment(where.environment, cluster="tests", home=where.home)
    shutil.copytree(ROOT / "k8s", project / "k8s")
    for image, name in IMAGES.items():
        file = project / "k8s" / "monitoring" / f"{name}.yaml"
        reference = deliver(engine, str(engine.images.get(image).id), name, route)
        file.write_text(file.read_text().replace(image, reference))
    if pod_discovery.is_needed():
        where.admin("apply", "--filename", "-", given=yaml.safe_dump_all(pod_discovery.manifests()))
        file = project / "k8s" / "monitoring" / "prometheus.yaml"
        file.write_text(pod_discovery.replaced(file.read_text()))


def test_replicas_are_scraped_and_nothing_else(watched: Watched) -> None:
    until(lambda: watched.scraped() == watched.replicas(), 40)
    assert len(watched.replicas()) == 2
    found = watched.asked("winnow-prometheus:9090", "/api/v1/query", query="winnow_model_info")["data"]["result"]
    assert {each["metric"]["version"] for each in found} == {"1"}


def test_the_experiments_rule_fires_and_reaches_alertmanager(watched: Watched) -> None:
    def fired() -> list[dict[str, str]]:
        alerts = watched.asked("winnow-alertmanager:9093", "/api/v2/alerts")
        return [each["labels"] for each in alerts if each["labels"]["alertname"] == "FewReplicas"]

    (labels,) = until(fired, 60)
    assert labels == {"alertname": "FewReplicas", "deployment": watched.name, "severity": "ticket"}


def test_another_start_keeps_the_rules_of_other_experiments(watched: Watched) -> None:
    assert watched.winnow(*_init()).returncode == 0
    rules = watched.site.place.admin.json("get", "configmap", "winnow-rules")["data"]
    assert set(rules) == {"all_deployments.yaml", f"{watched.name}.yaml"}


def test_an_alert_about_a_version_rolls_it_back(watched: Watched, train_image: str) -> None:
    admin = watched.site.place.admin
    for name in ("role", "driver"):
        admin("apply", "--filename", str(ROOT / "k8s" / f"{name}.yaml"))
    hooks = (ROOT / "k8s" / "hooks.yaml").read_text().replace('"IMAGE"', train_image).replace('"NAME"', watched.name)
    admin("apply", "--filename", "-", given=hooks)
    admin("rollout", "status", "deployment/winnow-hooks", "--timeout=90s", timeout_s=100)
    with running(watched.load(), lead_s=1) as outcome:
        watched.deploy("fragile")
        until(lambda: watched.deployer.observe(watched.name).record.rejected, 90)
    seconds = outcome.failed_at[-1] - outcome.failed_at[0]
    said = admin("logs", "deployment/winnow-hooks")
    print(f"{seconds:.1f} s and {len(outcome.failed_at)} requests from the first bad answer to the last one\n{said}")
    assert set(outcome.failed) == {"500"}
    assert seconds < 60
    record = watched.deployer.observe(watched.name).record
    assert record.serving is not None
    assert record.serving.release.version == "1"
    assert [(each.version, each.reason.partition(":")[0]) for each in record.rejected] == [
        ("2", "the alert WinnowErrors rolled it back")
    ]


def test_what_was_measured_goes_only_with_the_volumes(watched: Watched) -> None:
    admin = watched.site.place.admin
    kept = {"winnow-rules", "data-winnow-prometheus-0", "data-winnow-alertmanager-0", "winnow-hooks"}
    kinds = "statefulset,deployment,service,networkpolicy,configmap,persistentvolumeclaim,secret,pod"
    for flags, left in ((), kept), (("--volumes",), set()):
        removed = watched.winnow("monitoring-remove", *flags)
        assert removed.returncode == 0, removed.stderr
        found = admin.json("get", kinds, STACK)["items"]
        assert {each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]} == left


@pytest.mark.skipif(CRDS not in os.environ, reason=f"{CRDS} names no kinds of the Prometheus operator")
def test_where_the_operator_is_its_prometheus_gets_the_replicas_and_the_rules(watched: Watched) -> None:
    """The cluster checks each object by its kind's schema; no operator acts on them."""
    admin = watched.site.place.admin
    files = [Path(os.environ[CRDS]) / f"prometheus.{kind}.yaml.xz" for kind in ("podmonitors", "prometheusrules")]
    kinds = "\n---\n".join(lzma.decompress(each.read_bytes()).decode() for each in files)
    admin("apply", "--server-side", "--filename", "-", given=kinds)
    try:
        admin("wait", "--for=condition=Established", "--filename", "-", given=kinds)
        started = watched.winnow(*_init("--config", "experiment.yaml"))
        assert started.returncode == 0, started.stderr
        found = admin.names("podmonitors,prometheusrules,statefulsets,configmaps", STACK)
        assert {each.partition("/")[2] for each in found} == {
            *("winnow-replicas", "winnow-rules", f"winnow-rules-{watched.name}", "winnow-dashboard")
        }
        assert "the cluster's own" in started.stdout
        assert watched.winnow("monitoring-remove").returncode == 0
        assert admin.names("podmonitors,prometheusrules", STACK) == []
    finally:
        admin("delete", "--filename", "-", given=kinds)
