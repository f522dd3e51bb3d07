"""The Kubernetes tier under load and under fire, through the Ingress, as somebody with the Role alone."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.error import HTTPError

import pytest

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from tests.kubernetes import serving
from tests.kubernetes.places import ROOT, Place
from tests.kubernetes.serving import ONLY_BY_HAND, Site
from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.kinds import LEASE
from winnow.platforms.kubernetes.release_deployer import KubernetesDeployer
from winnow.platforms.kubernetes.release_plan import object_name
from winnow.platforms.labels import DEPLOYMENT
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
)
from winnow.routing import Release

pytestmark = pytest.mark.kubernetes

KEY = "a-key-of-this-test"
RATE_PER_S = 40
MOST_REQUESTS = 6000


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory, shared_place: Place) -> Iterator[dict[str, Release]]:
    made = serving_images.make_releases(tmp_path_factory.mktemp("bundles"))
    yield {name: serving.delivered(serving_images.with_image(each), shared_place) for name, each in made.items()}
    serving_images.forget(made.values())


@dataclass(frozen=True)
class Scaled:
    """What an autoscaler did. Seconds from the first request until a second replica was ready, and from the last one
    until it was gone."""

    added_s: float
    gone_s: float
    outcome: Outcome


@dataclass(frozen=True)
class Slow:
    """What takes long because the cluster waits; it goes on beside the other tests of this module."""

    scaled: Future[Scaled]
    made_up_for: Future[list[object]]


@pytest.fixture(scope="module", autouse=True)
def slow(shared_place: Place, releases: dict[str, Release]) -> Iterator[Slow]:
    sites = [Site(shared_place, f"t{secrets.token_hex(4)}") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        yield Slow(pool.submit(scale, sites[0], releases), pool.submit(make_up_for_a_killed_change, sites[1], releases))
    for each in sites:
        each.close()


@pytest.fixture
def site(shared_place: Place) -> Iterator[Site]:
    made = Site(shared_place, f"t{secrets.token_hex(4)}")
    yield made
    made.close()


def deployer_of(site: Site, **settings: str) -> KubernetesDeployer:
    return KubernetesDeployer(site.place.home, environment=site.environment(**settings))


def request_of(site: Site, release: Release, replicas: int | None = None, within_s: float = 90.0) -> DeploymentRequest:
    return DeploymentRequest(site.name, release, replicas, ready_within_s=within_s)


def deploy(site: Site, release: Release, replicas: int | None = None, **settings: str) -> Deployment:
    deployer = deployer_of(site, **settings)
    return deployer.deploy(deployer.plan(request_of(site, release, replicas)))


def load_of(deployment: Deployment, rate_per_s: float = RATE_PER_S) -> Load:
    body = (deployment.release.bundle / EXAMPLE).read_bytes()
    headers = (f"authorization: Bearer {KEY}",)
    return Load(f"{deployment.url}/predict", body, rate_per_s=rate_per_s, most=MOST_REQUESTS, headers=headers)


def unpullable(release: Release) -> Release:
    """A version whose pods never start."""
    return replace(release, version="9", digest="9" * 64, image=f"{release.image.partition('@')[0]}:nobody-pushed-this")


def is_clean(outcome: Outcome) -> bool:
    return outcome.failed == Counter() and outcome.ok == outcome.sent > RATE_PER_S


def becomes(wanted: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if wanted():
            return True
        time.sleep(0.5)
    return wanted()


def test_no_request_fails_while_a_deployment_is_rolled_rolled_back_and_scaled(
    site: Site, releases: dict[str, Release]
) -> None:
    first = deploy(site, releases["first"], 1, WINNOW_API_KEY=KEY, WINNOW_SETTLE_S="5", **ONLY_BY_HAND)
    # From here on as from a terminal that does not know the key, which has to stay.
    deployer = deployer_of(site, WINNOW_SETTLE_S="5")
    with running(load_of(first)) as rolled:
        deploy(site, releases["second"], WINNOW_SETTLE_S="5")
    with running(load_of(first)) as rolled_back:
        deployer.deploy(deployer.plan_rollback(site.name))
    with running(load_of(first)) as scaled_up:
        up = deploy(site, releases["first"], 4, WINNOW_SETTLE_S="5")
    with running(load_of(first)) as scaled_down:
        deploy(site, releases["first"], 2, WINNOW_SETTLE_S="5")
        assert becomes(lambda: len(deployer.status(site.name).replicas) == 2, within_s=60)
        time.sleep(6)  # until those that leave have left
    assert {each.failed.total() for each in (rolled, rolled_back, scaled_up, scaled_down)} == {0}
    assert [is_clean(each) for each in (rolled, rolled_back, scaled_up, scaled_down)] == [True] * 4
    assert set(rolled.versions) == set(rolled_back.versions) == {"1", "2"}
    assert set(scaled_up.versions) == set(scaled_down.versions) == {"1"}
    assert set(deployer.status(site.name).replicas) < set(up.replicas)
    assert set(first.replicas).isdisjoint(up.replicas)
    status, _ = answer(f"{first.url}/predict", b"{}")
    assert status == 401


def test_no_request_fails_while_every_pod_is_evicted_in_turn(site: Site, releases: dict[str, Release]) -> None:
    deployment = deploy(site, releases["first"], 2, WINNOW_SETTLE_S="5", **ONLY_BY_HAND)
    deployer = deployer_of(site)
    one, other = (each.identifier for each in deployment.replicas)
    with running(load_of(deployment)) as outcome:
        assert site.evict(one) == ""
        assert "disruption budget" in site.evict(other), "one at a time"
        assert becomes(lambda: site.evict(other) == "", within_s=60)
        assert becomes(lambda: deployer.status(site.name).state is DeploymentState.READY, within_s=60)
        time.sleep(6)
    assert outcome.failed == Counter()
    assert is_clean(outcome)
    now = {each.identifier for each in deployer.status(site.name).replicas}
    assert len(now) == 2
    assert now.isdisjoint({one, other})


def scale(site: Site, releases: dict[str, Release]) -> Scaled:
    settings = {
        "WINNOW_MAX_REPLICAS": "2",
        "WINNOW_REPLICA_CPU_TARGET": "50",
        "WINNOW_REPLICA_CPU_REQUEST": "20m",
        "WINNOW_SCALE_DOWN_AFTER_S": "5",
    }
    deployment = deploy(site, releases["first"], 1, **settings)
    deployer = deployer_of(site)

    def is_ready_with(count: int) -> bool:
        status = deployer.status(site.name)
        return (len(status.replicas), status.state) == (count, DeploymentState.READY)

    began = time.monotonic()
    with running(load_of(deployment)) as outcome:
        assert becomes(lambda: is_ready_with(2), within_s=120)
        added_s = time.monotonic() - began
    ended = time.monotonic()
    assert becomes(lambda: is_ready_with(1), within_s=150)
    return Scaled(added_s, time.monotonic() - ended, outcome)


def test_a_version_that_never_becomes_ready_is_undone_and_its_log_shown(
    site: Site, releases: dict[str, Release]
) -> None:
    before = deploy(site, releases["first"], 1)
    objects = applied(site)
    deployer = deployer_of(site, WINNOW_API_KEY=KEY, WINNOW_MAX_ROWS="7")
    with running(load_of(before)) as outcome, pytest.raises(DeploymentFailedError) as caught:
        deployer.deploy(deployer.plan(request_of(site, unpullable(releases["second"]), 2, within_s=6)))
    said = str(caught.value)
    assert "no new replica was ready within 6 s (container server: " in said
    assert "ImagePull" in said and "what was served before still is" in said
    assert becomes(lambda: deployer.status(site.name) == before, within_s=20)
    assert applied(site) == objects
    assert outcome.failed == Counter()


def applied(site: Site) -> list[object]:
    """All that a deployment consists of, as it was asked for."""
    kinds = "deployment,service,ingress,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,secret,lease"
    found = site.place.admin.json("get", kinds, f"--selector={DEPLOYMENT}={site.name}")["items"]
    return [(each["kind"], each["metadata"]["name"], each.get("spec"), each.get("data")) for each in found]


def deploying_elsewhere(site: Site, release: Release) -> subprocess.Popen[str]:
    """A process that deploys a release, and waits for it."""
    code = (
        "import sys; from pathlib import Path\n"
        "from winnow.platforms.release_deployer import DeploymentRequest, Release\n"
        "from winnow.platforms.kubernetes.release_deployer import KubernetesDeployer\n"
        "name, home, bundle, digest, image = sys.argv[1:]\n"
        "deployer = KubernetesDeployer(Path(home))\n"
        "release = Release('cells', '9', digest, Path(bundle), image)\n"
        "deployer.deploy(deployer.plan(DeploymentRequest(name, release, ready_within_s=200)))"
    )
    facts = [site.name, str(site.place.home), str(release.bundle), release.digest, release.image]
    argv = [sys.executable, "-c", code, *facts]
    started = subprocess.Popen(
        argv, cwd=ROOT, env=site.environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    chosen = f"--selector={DEPLOYMENT}={site.name}"
    before = set(site.place.admin.names("pods", chosen))
    assert becomes(lambda: bool(set(site.place.admin.names("pods", chosen)) - before), within_s=60), "its pod is there"
    assert started.poll() is None
    return started


def test_a_second_change_is_refused_and_an_interrupted_one_is_undone(site: Site, releases: dict[str, Release]) -> None:
    before = deploy(site, releases["first"])
    stale = deployer_of(site).plan(request_of(site, releases["second"]))
    with deploying_elsewhere(site, unpullable(releases["second"])) as deploying:
        with pytest.raises(InputError, match="expected no other process that changes it"):
            deployer_of(site).deploy(stale)
        deploying.send_signal(signal.SIGINT)
        said = deploying.communicate(timeout=30)[1]
    assert "KeyboardInterrupt" in said
    assert becomes(lambda: deployer_of(site).status(site.name) == before, within_s=20)
    assert site.place.cluster().get(LEASE, object_name(site.name)) is None
    deploy(site, releases["second"])
    with pytest.raises(InputError, match="another command has changed since"):
        deployer_of(site).deploy(stale)


def test_an_interrupted_first_change_leaves_nothing(site: Site, releases: dict[str, Release]) -> None:
    with deploying_elsewhere(site, unpullable(releases["second"])) as deploying:
        deploying.send_signal(signal.SIGINT)
        deploying.communicate(timeout=30)
    assert applied(site) == []


def make_up_for_a_killed_change(site: Site, releases: dict[str, Release]) -> list[object]:
    with deploying_elsewhere(site, unpullable(releases["second"])) as deploying:
        deploying.kill()
        deploying.communicate(timeout=30)
    healed = deploy(site, releases["first"])
    assert (healed.state, healed.release) == (DeploymentState.READY, releases["first"])
    assert deployer_of(site).remove(site.name) is True
    return applied(site)


def test_a_key_is_kept_changed_and_taken_away_and_shown_to_nobody(site: Site, releases: dict[str, Release]) -> None:
    first = deploy(site, releases["first"], 1, WINNOW_API_KEY=KEY)
    assert deployer_of(site).plan(request_of(site, releases["first"])).action is Action.NOTHING
    assert deployer_of(site, WINNOW_API_KEY=KEY).plan(request_of(site, releases["first"])).action is Action.NOTHING
    changed = deployer_of(site, WINNOW_API_KEY="another")
    plan = changed.plan(request_of(site, releases["first"]))
    difference = changed.difference(plan)
    assert f"{object_name(site.name)}-key-2" in difference and "another" not in difference + plan.render() + repr(plan)
    changed.deploy(plan)
    assert (asked_with(first, KEY), asked_with(first, "another")) == (401, 200)
    assert changed.difference(changed.plan(request_of(site, releases["first"]))) == ""
    deploy(site, releases["first"], WINNOW_API_KEY="")
    assert asked_with(first, "whatever") == 200
    assert [each for each in applied(site) if isinstance(each, tuple) and each[0] == "Secret"] == []


def test_hosts_and_names_of_others_are_refused(site: Site, releases: dict[str, Release]) -> None:
    deploy(site, releases["first"])
    other = replace(site, name=f"{site.name}x")
    try:
        with pytest.raises(InputError, match=f"requests to {site.name}.localhost go to the deployment '{site.name}'"):
            deployer_of(other, WINNOW_INGRESS_HOST=f"{site.name}.localhost").plan(request_of(other, releases["first"]))
        site.place.admin("create", "service", "clusterip", object_name(other.name), "--tcp=80")
        with pytest.raises(InputError, match=f"Service '{object_name(other.name)}'"):
            deployer_of(other).plan(request_of(other, releases["first"]))
    finally:
        site.place.admin("delete", "service", object_name(other.name), "--ignore-not-found")
    assert applied(other) == []


def test_a_killed_change_is_made_up_for_when_its_lease_is_no_longer_renewed(slow: Slow) -> None:
    assert slow.made_up_for.result(timeout=200) == []


def test_the_autoscaler_adds_replicas_under_load_and_takes_them_away(slow: Slow) -> None:
    scaled = slow.scaled.result(timeout=280)
    print(f"a replica was added after {scaled.added_s:.0f} s of load, and gone {scaled.gone_s:.0f} s after it")
    assert scaled.outcome.failed == Counter()
    assert scaled.outcome.ok == scaled.outcome.sent > RATE_PER_S


def asked_with(deployment: Deployment, key: str) -> int:
    body = (deployment.release.bundle / EXAMPLE).read_bytes()
    return answer(f"{deployment.url}/predict", body, key)[0]


def answer(url: str, body: bytes, key: str = "") -> tuple[int, bytes]:
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    headers = {"host": host, "content-type": "application/json", "authorization": f"Bearer {key}"}
    port = host.partition(":")[2]
    address = f"{scheme}://localhost{':' + port if port else ''}/{path}"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=10) as response:
            return response.status, response.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()
