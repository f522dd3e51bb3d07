"""The Docker tier under load and under fire: nothing is lost in a change, and no accident leaves anything behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from winnow.bundle.manifest import EXAMPLE
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.release_deployer import DockerDeployer
from winnow.platforms.docker.traefik import IMAGE
from winnow.platforms.labels import DEPLOYMENT
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
)
from winnow.routing import Release

pytestmark = pytest.mark.docker

KEY = "a-key-of-this-test"
RATE_PER_S = 50
MOST_REQUESTS = 2000


@dataclass
class Site:
    """One deployment's name and home, and what a test does to it."""

    name: str
    home: Path
    releases: Mapping[str, Release]

    def deployer(self, **environment: str) -> DockerDeployer:
        return DockerDeployer(self.home, environment={**os.environ, **environment})

    def deploy(
        self, release: str, *, replicas: int | None = None, port: int | None = None, **environment: str
    ) -> Deployment:
        deployer = self.deployer(**environment)
        return deployer.deploy(deployer.plan(self.request(release, replicas=replicas, port=port)))

    def request(self, release: str, **changes: Any) -> DeploymentRequest:
        return DeploymentRequest(self.name, self.releases[release], ready_within_s=60, **changes)

    def load(self, url: str) -> Load:
        body = (self.releases["first"].bundle / EXAMPLE).read_bytes()
        headers = (f"authorization: Bearer {KEY}",)
        return Load(f"{url}/predict", body, rate_per_s=RATE_PER_S, most=MOST_REQUESTS, headers=headers)

    def containers(self) -> list[str]:
        found = connect().containers.list(all=True, filters={"label": f"{DEPLOYMENT}={self.name}"}, ignore_removed=True)
        return sorted(str(each.name) for each in found)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Release]]:
    made = serving_images.make_releases(tmp_path_factory.mktemp("bundles"))
    yield {name: serving_images.with_image(release) for name, release in made.items()}
    serving_images.forget(made.values())


@pytest.fixture
def site(releases: dict[str, Release], tmp_path: Path) -> Iterator[Site]:
    made = Site(f"t{secrets.token_hex(4)}", tmp_path / "home", releases)
    yield made
    serving_images.remove_deployment(made.name)


def _is_clean(outcome: Outcome) -> bool:
    return outcome.failed == Counter() and outcome.ok == outcome.sent > RATE_PER_S


def test_no_request_fails_while_a_deployment_is_rolled_rolled_back_and_scaled(site: Site) -> None:
    url = site.deploy("first", replicas=2, WINNOW_API_KEY=KEY).url
    # From here on as from a terminal that does not know the key, which has to stay.
    deployer = site.deployer()
    with running(site.load(url)) as rolled:
        site.deploy("second")
    with running(site.load(url)) as rolled_back:
        deployer.deploy(deployer.plan_rollback(site.name))
    with running(site.load(url)) as scaled_up:
        site.deploy("first", replicas=3)
    with running(site.load(url)) as scaled_down:
        site.deploy("first", replicas=1)
    assert [_is_clean(each) for each in (rolled, rolled_back, scaled_up, scaled_down)] == [True] * 4
    assert set(rolled.versions) == set(rolled_back.versions) == {"1", "2"}
    assert set(scaled_up.versions) == set(scaled_down.versions) == {"1"}
    with pytest.raises(HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(f"{url}/predict", data=b"{}"), timeout=5)


def test_scaling_leaves_the_replicas_that_fit_alone(site: Site) -> None:
    before = site.deploy("first", replicas=1)
    more = site.deploy("first", replicas=2)
    assert set(before.replicas) < set(more.replicas)
    moved = site.deploy("first", port=_free_port())
    assert (moved.replicas, moved.url == more.url) == (more.replicas, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root kills a process of another user")
def test_a_killed_replica_costs_at_most_the_requests_that_it_had(site: Site) -> None:
    deployment = site.deploy("first", replicas=3, WINNOW_API_KEY=KEY)
    victim = connect().containers.get(deployment.replicas[0].identifier)
    with running(site.load(deployment.url)) as outcome:
        os.kill(victim.attrs["State"]["Pid"], signal.SIGKILL)
        time.sleep(3)
    assert set(outcome.failed) <= {"502"}
    assert outcome.failed.total() <= 2, "at 50 requests a second of a few milliseconds each, hardly one is on its way"
    assert _state_within(site, DeploymentState.READY), "it comes back by itself"


def deploying_elsewhere(site: Site, name: str) -> subprocess.Popen[bytes]:
    """A process that deploys a release on two replicas."""
    release = site.releases[name]
    code = (
        "import sys; from pathlib import Path\n"
        "from winnow.platforms.release_deployer import DeploymentRequest, Release\n"
        "from winnow.platforms.docker.release_deployer import DockerDeployer\n"
        "name, home, bundle, digest, image = sys.argv[1:]\n"
        "deployer = DockerDeployer(Path(home))\n"
        "deployer.deploy(deployer.plan(DeploymentRequest(name, Release('cells', '2', digest, Path(bundle), image), 2)))"
    )
    argv = [sys.executable, "-c", code, site.name, str(site.home), str(release.bundle), release.digest, release.image]
    return subprocess.Popen(argv, stderr=subprocess.DEVNULL)


def test_what_a_killed_deployer_left_is_cleaned_up_by_the_next(site: Site) -> None:
    first = site.deploy("first")
    with deploying_elsewhere(site, "second") as deploying:
        while f"winnow-prod-{site.name}-2-0" not in site.containers():
            assert deploying.poll() is None
            time.sleep(0.02)
        deploying.kill()
    assert site.deployer().status(site.name) == first
    healed = site.deploy("second")
    assert healed.release == site.releases["second"]
    assert site.containers() == sorted([healed.replicas[0].identifier, f"winnow-prod-{site.name}-proxy"])


def test_an_interrupted_deployer_leaves_nothing(site: Site) -> None:
    with deploying_elsewhere(site, "first") as deploying:
        while f"winnow-prod-{site.name}-1-0" not in site.containers():
            assert deploying.poll() is None
            time.sleep(0.02)
        deploying.send_signal(signal.SIGINT)
    assert site.containers() == []
    assert connect().networks.list(filters={"label": f"{DEPLOYMENT}={site.name}"}) == []


def test_a_lost_route_folder_is_made_up_for(site: Site) -> None:
    first = site.deploy("first")
    shutil.rmtree(site.home)
    assert site.deployer().status(site.name).state is not DeploymentState.READY
    healed = site.deploy("first")
    assert (healed.state, healed.url) == (DeploymentState.READY, first.url)


def test_another_entry_point_takes_the_port_over_or_gives_it_back(site: Site) -> None:
    first = site.deploy("first")
    # The image of a replica is none of an entry point: it ends at once.
    wrong = {**os.environ, "WINNOW_PROXY_IMAGE": site.releases["first"].image}
    hasty = DockerDeployer(site.home, environment=wrong, clock=Clock(now=lambda: time.monotonic() * 8))
    with pytest.raises(DeploymentFailedError, match="did not take the new route over"):
        hasty.deploy(hasty.plan(site.request("first")))
    assert _state_within(site, DeploymentState.READY)
    assert site.deployer().status(site.name) == first
    engine = connect()
    engine.images.get(IMAGE).tag(f"winnow-{site.name}", "1")
    try:
        changed = site.deploy("first", WINNOW_PROXY_IMAGE=f"winnow-{site.name}:1")
        assert changed == first
        assert site.containers() == sorted([first.replicas[0].identifier, f"winnow-prod-{site.name}-proxy"])
    finally:
        serving_images.remove_deployment(site.name)
        engine.images.remove(f"winnow-{site.name}:1")


def test_a_plan_for_what_has_changed_since_is_refused(site: Site, tmp_path: Path) -> None:
    site.deploy("first")
    stale = site.deployer().plan(site.request("second"))
    elsewhere = replace(site, home=tmp_path / "another-home")
    assert elsewhere.deployer().names().count(site.name) == 1
    elsewhere.deploy("first", replicas=2)
    with pytest.raises(InputError, match="another command has changed since"):
        site.deployer().deploy(stale)


def test_replicas_are_locked_in(site: Site) -> None:
    deployment = site.deploy("first", WINNOW_API_KEY=KEY)
    engine = connect()
    replica, proxy = (
        engine.containers.get(name) for name in (deployment.replicas[0].identifier, f"winnow-prod-{site.name}-proxy")
    )
    for attrs in (replica.attrs, proxy.attrs):
        limits = attrs["HostConfig"]
        assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["Privileged"]) == (True, ["ALL"], False)
        assert limits["SecurityOpt"] == ["no-new-privileges"]
        assert limits["Memory"] == limits["MemorySwap"] > 0
        assert limits["RestartPolicy"]["Name"] == "unless-stopped"
        assert attrs["Config"]["User"] == "10001:10001"
        assert not any("docker.sock" in each["Source"] for each in attrs["Mounts"])
    assert replica.attrs["HostConfig"]["PortBindings"] in (None, {})
    (network,) = engine.networks.list(names=[f"winnow-prod-{site.name}"])
    assert network.attrs["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
    assert [each["HostIp"] for each in proxy.attrs["HostConfig"]["PortBindings"]["8080/tcp"]] == ["127.0.0.1"]
    assert KEY not in site.deployer(WINNOW_API_KEY=KEY).plan(site.request("second")).render()


def test_the_same_again_changes_nothing_and_another_setting_does(site: Site) -> None:
    first = site.deploy("first")
    deployer = site.deployer(WINNOW_MAX_ROWS="7")
    assert site.deployer().plan(site.request("first")).action is Action.NOTHING
    assert deployer.plan(site.request("first")).action is Action.REPLACE
    assert site.deployer().status(site.name) == first


def test_names_of_others_are_refused(site: Site) -> None:
    engine = connect()
    name = f"winnow-prod-{site.name}"
    taken = engine.containers.create(site.releases["first"].image, name=f"{name}-1-0")
    try:
        with pytest.raises(InputError, match=f"container '{name}-1-0'"):
            site.deployer().plan(site.request("first"))
    finally:
        taken.remove()
    network = engine.networks.create(name)
    try:
        with pytest.raises(InputError, match=f"network '{name}'"):
            site.deployer().plan(site.request("first"))
    finally:
        network.remove()
    assert site.containers() == []


def test_more_replicas_than_the_engine_has_memory_for_are_refused(site: Site) -> None:
    with pytest.raises(InputError, match=r"^REPLICAS: expected at most \d+, .*WINNOW_REPLICA_MEMORY"):
        site.deployer().plan(site.request("first", replicas=100_000))
    some = site.deployer(WINNOW_REPLICA_MEMORY="64Mi").plan(site.request("first", replicas=9))
    assert len(some.starts) == 9


def test_a_name_taken_since_the_plan_is_left_to_its_owner(site: Site) -> None:
    deployer = site.deployer()
    plan = deployer.plan(site.request("first", replicas=2))
    engine = connect()
    taken = engine.containers.create(site.releases["first"].image, name=f"winnow-prod-{site.name}-1-1")
    try:
        with pytest.raises(WinnowError, match="already in use"):
            deployer.deploy(plan)
        taken.reload()
        assert site.containers() == []
        assert engine.networks.list(names=[f"winnow-prod-{site.name}"]) == []
    finally:
        taken.remove()


def test_an_image_that_is_gone_and_an_engine_that_is_away_are_refused(site: Site) -> None:
    gone = replace(site.releases["first"], image=f"sha256:{'0' * 64}")
    with pytest.raises(InputError, match="image that the Docker engine has"):
        site.deployer().plan(replace(site.request("first"), release=gone))
    # By TCP: of a Unix socket that nobody listens on, the SDK leaves its own end to the garbage collector.
    away = site.deployer(DOCKER_HOST="tcp://127.0.0.1:1")
    with pytest.raises(InputError, match="Docker engine at tcp://"):
        away.plan(site.request("first"))
    assert site.containers() == []


def test_a_rollback_to_an_image_that_was_removed_is_refused(site: Site) -> None:
    engine = connect()
    template = engine.containers.create(site.releases["first"].image)
    copy = template.commit()
    template.remove()
    release = replace(site.releases["first"], image=str(copy.id))
    deployer = site.deployer()
    deployer.deploy(deployer.plan(replace(site.request("first"), release=release)))
    second = site.deploy("second")
    engine.images.remove(str(copy.id))
    with pytest.raises(InputError, match="image that the Docker engine has"):
        deployer.plan_rollback(site.name)
    assert site.deployer().status(site.name) == second


# The SDK leaves the connection of a pull that was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_entry_point_image_that_is_nowhere_leaves_nothing(site: Site) -> None:
    with pytest.raises(InputError, match="image localhost:1/nowhere:1"):
        site.deploy("first", WINNOW_PROXY_IMAGE="localhost:1/nowhere:1")
    assert site.containers() == []
    assert connect().networks.list(names=[f"winnow-prod-{site.name}"]) == []


def _state_within(site: Site, wanted: DeploymentState) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        if site.deployer().status(site.name).state is wanted:
            return True
        time.sleep(0.2)
    return False


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
