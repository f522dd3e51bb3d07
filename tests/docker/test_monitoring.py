"""A real Prometheus and Alertmanager watch deployments on Docker, and an alert rolls one back."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.docker import serving_images
from tests.docker.load import Load, running
from tests.docker.stacks import ROOT, clean_environment, free_port
from tests.unit.serving import bundles
from tests.winnow_command import winnow
from winnow.bundle.manifest import EXAMPLE, read_manifest, sha256_of, write_manifest
from winnow.bundle.profile import PROFILE, ColumnCounts, ColumnProfile, Profile, write_profile
from winnow.monitoring.dashboard import queries
from winnow.orchestrators.drive import Driver, observe
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.docker.monitoring import gateway_of
from winnow.rollout.step import Desired, Done, revision_for
from winnow.routing import Release, ReplicaSettings, Revision, Scale

pytestmark = pytest.mark.docker

SERVICES = ("prometheus", "alertmanager")
SETTINGS = ReplicaSettings(cpu_request=0.05, drain_s=2)
COLUMNS = tuple(
    ColumnProfile(name, "number", ColumnCounts((500, 500)), edges=(2.5,), centre=2.5, scale=1.4)
    for name in bundles.COLUMNS
)
OUTPUTS = (
    ColumnProfile("prediction", "category", ColumnCounts((500, 500)), labels=bundles.CLASSES),
    ColumnProfile("confidence", "number", ColumnCounts((500, 500)), edges=(0.75,), centre=0.75),
)
FAULTY = """
from winnow.serving import app

def fail(*_):
    raise RuntimeError("a fault of this version")

app.App._work = fail
"""


@dataclass(frozen=True)
class Watched:
    """A deployment that is watched, and what watches it."""

    name: str
    home: Path
    env: dict[str, str]
    releases: dict[str, Release]
    config: Path
    gateway: str
    ports: dict[str, int]

    @property
    def prometheus(self) -> str:
        return f"http://127.0.0.1:{self.ports['prometheus']}"

    @property
    def alertmanager(self) -> str:
        return f"http://127.0.0.1:{self.ports['alertmanager']}"

    @property
    def deployer(self) -> DockerDeployer:
        return DockerDeployer(self.home)

    def deploy(self, release: str, replicas: int = 1) -> None:
        """What `winnow prod` does."""
        wanted = Revision(0, self.releases[release], SETTINGS, Scale(replicas))
        target = revision_for(observe(self.deployer, self.name), wanted)
        desired = Desired(target, history=3, ready_within_s=60, started=time.time(), router_replicas=1)
        assert isinstance(Driver(self.deployer, self.name, desired).drive(), Done)

    def winnow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return winnow(*arguments, env=self.env)

    def load(self, rate_per_s: float = 50) -> Load:
        body = (self.releases["good"].bundle / EXAMPLE).read_bytes()
        return Load(f"{self.deployer.observe(self.name).url}/predict", body, rate_per_s=rate_per_s, most=5000)

    def asked(self, path: str, **parameters: str) -> Any:
        """The data of Prometheus' answer."""
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def scraped(self) -> dict[str, str]:
        """The health of each target by its replica."""
        active = self.asked("targets")["activeTargets"]
        return {each["labels"]["replica"]: each["health"] for each in active}


def until(is_so: Callable[[], Any], within_s: float) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.1)
    return found


def experiment(**monitoring: Any) -> str:
    """An experiment file of the releases' model."""
    known = yaml.safe_load((ROOT / "experiments/breast_cancer.yaml").read_text())
    return yaml.safe_dump({**known, "name": "cells", "monitoring": monitoring})


def release(folder: Path, version: str, scale: float) -> Release:
    bundle = bundles.classification(folder, scale=scale)
    write_profile(bundle, Profile(1000, COLUMNS, OUTPUTS, 1000, "holdout"))
    manifest = read_manifest(bundle)
    files = {**manifest.files, PROFILE: sha256_of(bundle / PROFILE)}
    write_manifest(bundle, msgspec.structs.replace(manifest, files=files))
    return serving_images.with_image(serving_images.release_of(bundle, version))


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Release]]:
    folder = tmp_path_factory.mktemp("bundles")
    good, other = release(folder / "good", "1", 1.0), release(folder / "other", "2", 2.0)
    with serving_images.patched(other.image, FAULTY, folder / "patch") as image:
        yield {"good": good, "faulty": replace(other, image=image)}
    serving_images.forget((good, other))


@pytest.fixture(scope="module")
def watched(releases: dict[str, Release], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A deployment that served before `monitoring-init`, with a rule of its own that always fires."""
    folder = tmp_path_factory.mktemp("watched")
    name, ports = f"t{secrets.token_hex(4)}", {each: free_port() for each in (*SERVICES, "hooks")}
    env = {**clean_environment(folder / "home"), "WINNOW_PROJECT": name}
    gateway = gateway_of(connect().networks.get("bridge").attrs["IPAM"]["Config"][0])
    config = folder / "experiment.yaml"
    made = Watched(name, folder / "home", env, releases, config, gateway, ports)
    rule = {"name": "FewReplicas", "metric": "live_replicas", "below": "9 replicas", "severity": "ticket"}
    config.write_text(experiment(rules=[rule], alert={"alertmanager": made.alertmanager}))
    flags = (f"--{each}-port={ports[each]}" for each in SERVICES)
    hooks = f"http://host.docker.internal:{ports['hooks']}"
    try:
        made.deploy("good")
        options = ("--scrape-interval", "1", "--grafana", "off", "--config", str(config), "--name", name)
        started = made.winnow("monitoring-init", *options, *flags, "--hooks", hooks)
        assert started.returncode == 0, started.stderr
        yield made
    finally:
        removed = made.winnow("monitoring-remove", "--volumes")
        serving_images.remove_deployment(name)
    assert removed.returncode == 0, removed.stderr


def test_an_alert_about_a_version_rolls_it_back(watched: Watched, tmp_path: Path) -> None:
    token = watched.home / "monitoring-stack/docker/alertmanager/hooks.token"
    argv = [
        "serve-hooks",
        "--action",
        "rollback",
        "--name",
        watched.name,
        *("--host", watched.gateway, "--port", str(watched.ports["hooks"])),
    ]
    env = {**watched.env, "WINNOW_HOOKS_TOKEN_FILE": str(token)}
    said = tmp_path / "said"
    with said.open("w") as stderr:
        hooks = subprocess.Popen([sys.executable, "-m", "winnow", *argv], cwd=ROOT, env=env, stderr=stderr)
    try:
        until(lambda: "listening" in said.read_text(), within_s=60)
        with running(watched.load(), lead_s=2) as outcome:
            watched.deploy("faulty")
            until(lambda: "alert WinnowErrors: done" in said.read_text(), within_s=90)
    finally:
        hooks.terminate()
        hooks.wait(timeout=10)
    seconds = outcome.failed_at[-1] - outcome.failed_at[0]
    print(f"{seconds:.1f} s and {len(outcome.failed_at)} requests from the first bad answer to the last one")
    print(said.read_text())
    assert set(outcome.failed) == {"500"}
    assert seconds < 30
    record = watched.deployer.observe(watched.name).record
    assert record.serving is not None
    assert record.serving.release.version == "1"
    assert [(each.version, each.reason.partition(":")[0]) for each in record.rejected] == [
        ("2", "the alert WinnowErrors rolled it back")
    ]


def test_prometheus_knows_the_replicas_that_there_are(watched: Watched) -> None:
    def names() -> set[str]:
        return {each.identifier for each in watched.deployer.observe(watched.name).replicas}

    until(lambda: watched.scraped() == dict.fromkeys(names(), "up"), within_s=30)
    before = names()
    watched.deploy("good", replicas=2)
    until(lambda: watched.scraped() == dict.fromkeys(names(), "up"), within_s=30)
    assert names() != before


def test_every_query_of_the_dashboard_has_an_answer(watched: Watched) -> None:
    with running(watched.load(rate_per_s=20), lead_s=3):
        given = {"$deployment": watched.name, "$column": bundles.COLUMNS[0], "$__rate_interval": "5s"}
        for query in queries():
            for variable, value in given.items():
                query = query.replace(variable, value)
            until(lambda query=query: watched.asked("query", query=query)["result"], within_s=70)


def test_a_look_reads_this_prometheus_and_tells_this_alertmanager(watched: Watched) -> None:
    with running(watched.load(), lead_s=5):
        which = ("--name", watched.name, "--platform", "docker", "--config", str(watched.config))
        looked = watched.winnow("monitor", *which, "--prometheus", watched.prometheus, "--json")
    assert looked.returncode == 3, looked.stderr
    assert json.loads(looked.stdout)["source"] == watched.prometheus
    with urllib.request.urlopen(f"{watched.alertmanager}/api/v2/alerts", timeout=10) as answer:
        labels = [each["labels"] for each in json.load(answer)]
    told = {(each["alertname"], each.get("subject")) for each in labels if each["deployment"] == watched.name}
    assert {("WinnowDrift", name) for name in bundles.COLUMNS} <= told
    assert ("FewReplicas", None) in told  # by Prometheus itself


def test_what_is_wrong_is_one_error_and_changes_nothing(watched: Watched, tmp_path: Path) -> None:
    config = tmp_path / "experiment.yaml"
    config.write_text(experiment(rules=[{"name": "Gaps", "metric": "missing", "column": "mean radus", "above": "5 %"}]))
    ports = [f"--{each}-port={free_port()}" for each in SERVICES]
    before = watched.asked("rules")
    status, said = refused(watched, "--config", str(config), "--name", watched.name, *ports)
    assert status == 2, said
    assert "rules.Gaps.column" in said
    assert "Did you mean 'mean radius'" in said
    taken = watched.deployer.observe(watched.name).url.rpartition(":")[2]
    status, said = refused(watched, f"--prometheus-port={taken}", *ports[1:])
    assert (status, f"prometheus's port {taken}: expected a free port" in said) == (2, True), said
    status, said = refused(watched, "--alertmanager-config", str(tmp_path / "none.yml"), *ports)
    assert (status, "a configuration file of Alertmanager's" in said) == (2, True), said
    (tmp_path / "wrong.yml").write_text("route: {receiver: nowhere}\n")
    given = [f"--{each}-port={watched.ports[each]}" for each in SERVICES]
    status, said = refused(watched, "--alertmanager-config", str(tmp_path / "wrong.yml"), *given)
    assert (status, "alertmanager refuses its configuration" in said, "nowhere" in said) == (1, True, True), said
    kept = (watched.home / "monitoring-stack/docker/alertmanager/alertmanager.yml").read_text()
    assert "host.docker.internal" in kept
    other = {**watched.env, "WINNOW_HOME": str(tmp_path / "home")}
    status, said = refused(replace(watched, env=other), *ports)
    assert (status, f"found one of {watched.home}/deployments/docker" in said) == (2, True), said
    assert names_of(watched.asked("rules")) == names_of(before)


def refused(watched: Watched, *arguments: str) -> tuple[int, str]:
    """The exit status of `monitoring-init`, and what it said."""
    done = watched.winnow("monitoring-init", "--grafana", "off", *arguments)
    return done.returncode, done.stderr


def names_of(rules: Any) -> list[str]:
    return [rule["name"] for group in rules["groups"] for rule in group["rules"]]


def test_a_deployment_that_is_removed_is_scraped_no_more(watched: Watched) -> None:
    until(lambda: "up" in watched.scraped().values(), within_s=30)
    assert watched.deployer.remove(watched.name)
    until(lambda: watched.scraped() == {}, within_s=30)
    rules = watched.asked("rules")["groups"]
    assert {each["name"] for each in rules} == {"winnow", "winnow-drift"}
