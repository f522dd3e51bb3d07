"""Deployments on Kubernetes under load and under fire, through the Ingress, with the permissions of the Role alone.

`tests/contracts/test_deployers.py` moves routes under load; here the cluster, its owner and other processes interfere.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from tests.contracts.deployed import KEY, Deployed, changed, to
from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from tests.kubernetes import serving
from tests.kubernetes.places import Place
from tests.kubernetes.serving import Site
from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError
from winnow.orchestrators.drive import Driver, observe
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.manifests import to_yaml
from winnow.platforms.kubernetes.revision_plan import object_name
from winnow.platforms.labels import DEPLOYMENT
from winnow.rollout.plan import Step
from winnow.rollout.step import Desired, Done, revision_for
from winnow.rollout.verdict import Result, Verdict
from winnow.routing import (
    Entry,
    Release,
    ReplicaSettings,
    Revision,
    Rollout,
    RolloutState,
    RouterReport,
    Scale,
    revision_of,
    to_json,
)

pytestmark = pytest.mark.kubernetes

RATE_PER_S = 40
MOST_REQUESTS = 6000
SMALL = ReplicaSettings(cpu_request=0.05, memory_request_bytes=128 * 2**20, settle_s=1, drain_s=5)


@dataclass
class _Backend:
    """A deployment's name and place, as `Deployed` needs them."""

    site: Site
    settle_s: float = 2.0
    router_image: str = ""
    has_routers: bool = True
    keeps_keys: bool = True
    shows_replicas: bool = True
    taken_over_within_s: float = 40.0
    gateway: str = ""

    @property
    def name(self) -> str:
        return self.site.name

    @property
    def entry(self) -> Entry:
        return Entry(host=f"{self.site.name}.localhost", gateway=self.gateway)

    def deployer(self) -> KubernetesDeployer:
        return KubernetesDeployer(self.site.place.home, environment=self.site.environment())

    def ask(self, observed: object) -> str:
        raise NotImplementedError

    def kill(self, identifier: str) -> None:
        self.site.kill(identifier)

    def take_port(self) -> None:
        return None

    def hold(self, name: str) -> Callable[[], None]:
        raise NotImplementedError

    def close(self) -> None:
        self.site.close()


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory, shared_place: Place) -> Iterator[dict[str, Release]]:
    made = serving_images.make_releases(tmp_path_factory.mktemp("bundles"))
    yield {name: serving.delivered(serving_images.with_image(each), shared_place) for name, each in made.items()}
    serving_images.forget(made.values())


@contextlib.contextmanager
def deployed_in(place: Place, releases: dict[str, Release], gateway: str = "") -> Iterator[Deployed]:
    backend = _Backend(Site(place, f"t{secrets.token_hex(4)}"), gateway=gateway)
    try:
        yield Deployed(backend, releases)
    finally:
        backend.close()


@pytest.fixture
def deployed(shared_place: Place, releases: dict[str, Release]) -> Iterator[Deployed]:
    with deployed_in(shared_place, releases) as made:
        yield made


@dataclass(frozen=True)
class Scaled:
    """What an autoscaler did. Seconds from the first request until a second replica was ready, and from the last one
    until it was gone."""

    added_s: float
    gone_s: float
    outcome: Outcome


@pytest.fixture(scope="module", autouse=True)
def scaled(shared_place: Place, releases: dict[str, Release]) -> Iterator[Future[Scaled]]:
    """What takes long because the cluster waits; it goes on beside the other tests of this module."""
    with deployed_in(shared_place, releases) as made, ThreadPoolExecutor(1) as pool:
        yield pool.submit(autoscale, made)


def autoscale(deployed: Deployed) -> Scaled:
    scale = Scale(1, most=2, cpu_target_percent=50, scale_down_after_s=5)
    settings = msgspec.structs.replace(SMALL, cpu_request=0.02)
    record = changed(deployed.record, revisions=(Revision(1, deployed.releases["first"], settings, scale),))
    deployed.deployer.write(record)
    deployed.deployer.start(record, 1, None)
    deployed.wait(lambda observed: observed.ready(1) == 1)
    deployed.deployer.route(to(record, 1))
    began = time.monotonic()
    with running(load_of(deployed)) as outcome:
        deployed.wait(lambda observed: observed.ready(1) == 2, within_s=120)
        added_s = time.monotonic() - began
    ended = time.monotonic()
    deployed.wait(lambda observed: len(observed.of(1)) == 1, within_s=150)
    return Scaled(added_s, time.monotonic() - ended, outcome)


def load_of(deployed: Deployed) -> Load:
    body = (deployed.releases["first"].bundle / EXAMPLE).read_bytes()
    headers = (f"authorization: Bearer {KEY}",)
    url = f"{deployed.observe().url}/predict"
    return Load(url, body, rate_per_s=RATE_PER_S, most=MOST_REQUESTS, headers=headers)


def site_of(deployed: Deployed) -> Site:
    assert isinstance(deployed.backend, _Backend)
    return deployed.backend.site


def objects_of(deployed: Deployed) -> list[str]:
    """All that a deployment consists of, without its prefix and without what the cluster makes."""
    kinds = "deployment,service,ingress,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,secret,lease"
    found = site_of(deployed).place.admin.json("get", kinds, f"--selector={DEPLOYMENT}={deployed.backend.name}")
    own = object_name(deployed.backend.name)
    return sorted(f"{each['kind']}{each['metadata']['name'].removeprefix(own)}" for each in found["items"])


def is_clean(outcome: Outcome) -> bool:
    return outcome.failed == Counter() and outcome.ok == outcome.sent > RATE_PER_S


def until(is_so: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_no_request_fails_while_every_pod_is_evicted_in_turn(deployed: Deployed) -> None:
    number = deployed.serve("first", replicas=2)
    site = site_of(deployed)
    one, other = (each.identifier for each in deployed.observe().of(number))
    with running(load_of(deployed)) as outcome:
        assert site.evict(one) == ""
        assert "disruption budget" in site.evict(other), "one at a time"
        until(lambda: site.evict(other) == "")
        after = deployed.wait(lambda observed: observed.ready(number) == 2)
        time.sleep(3)
    assert (outcome.failed, is_clean(outcome)) == (Counter(), True)
    assert not any(each.failure for each in after.replicas)
    assert {one, other}.isdisjoint(each.identifier for each in after.replicas)


def test_a_canary_costs_no_request_whatever_its_candidate_and_its_routers_do(deployed: Deployed) -> None:
    old = deployed.serve("first")
    record, new = deployed.start("second")
    site = site_of(deployed)
    with running(load_of(deployed)) as good:
        record = to(msgspec.structs.replace(record, router_replicas=2), old, candidate=new, weight=0.5, lease_s=60)
        deployed.deployer.route(record)
        time.sleep(1)
        routed = sum(each.candidate.requests for each in deployed.deployer.renew(record))
    with running(load_of(deployed)) as dying:
        site.kill(deployed.observe().of(new)[0].identifier)
        time.sleep(1)
    with running(load_of(deployed)) as evicted:
        assert site.evict(deployed.observe().routers[0].identifier) == ""
        deployed.wait(lambda observed: sum(each.is_ready for each in observed.routers) == 2)
        record = to(record, old)
        deployed.deployer.route(record)
        deployed.deployer.scale(record, new, 0)
        time.sleep(2)
    outcomes = (good, dying, evicted)
    assert [(each.failed, is_clean(each)) for each in outcomes] == [(Counter(), True)] * 3
    assert routed > 0
    assert set(good.versions) == {"1", "2"}
    assert not [each for each in objects_of(deployed) if "router" in each]


def drive(name: str, home: str, environment: Mapping[str, str], wanted: str, steps: str) -> None:
    """Drive a deployment to a revision; every step passes after a second."""

    def judge(rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict | None:
        is_over = time.time() - rollout.step_started_at > 1
        return Verdict(rollout.step, (), Result.PASS, "it has lasted") if is_over and reports else None

    deployer = KubernetesDeployer(Path(home), environment=environment)
    target = revision_for(observe(deployer, name), revision_of(wanted))
    planned = msgspec.json.decode(steps, type=tuple[Step, ...])
    desired = Desired(target, planned, "canary", started=time.time(), ready_within_s=60, router_replicas=1)
    assert isinstance(Driver(deployer, name, desired, KEY, judge).drive(), Done)


def test_a_driver_that_is_killed_loses_no_request_and_the_next_one_leaves_nothing_over(deployed: Deployed) -> None:
    deployed.serve("first")
    site = site_of(deployed)
    settings = deployed.record.revisions[0].settings
    wanted = to_json(Revision(0, deployed.releases["second"], settings, Scale()))
    steps = msgspec.json.encode([Step(weight=0.5, most_s=60)]).decode()
    facts = (site.name, str(site.place.home), dict(site.environment()), wanted, steps)
    program = f"from tests.kubernetes.test_prod import drive; drive(*{facts})"
    seconds = random.Random(16)
    with running(load_of(deployed)) as rolled:
        for limit_s in (seconds.uniform(4, 9), 120):
            driving = subprocess.Popen([sys.executable, "-c", program])
            with contextlib.suppress(subprocess.TimeoutExpired):
                driving.wait(limit_s)
            driving.kill()
            driving.wait()
    assert (driving.returncode, rolled.failed, is_clean(rolled)) == (0, Counter(), True)
    assert set(rolled.versions) == {"1", "2"}
    record = deployed.record
    assert (record.route.stable, record.route.candidate, record.previous) == (2, None, 1)
    assert record.rollout is not None and record.rollout.state is RolloutState.PROMOTED
    own = [f"{kind}-{number}" for kind in ("Deployment", "PodDisruptionBudget", "Service") for number in (1, 2)]
    key = f"Secret-key-{settings.key}"
    assert objects_of(deployed) == sorted([*own, key, "Service", "Ingress", "NetworkPolicy"])


@pytest.fixture
def gateway(shared_place: Place) -> Iterator[str]:
    """A Gateway of Traefik's, at the port at which it listens already."""
    api, name = "gateway.networking.k8s.io/v1", shared_place.namespace
    listener = {"name": "http", "port": 8000, "protocol": "HTTP"}
    made = [
        {"kind": "GatewayClass", "spec": {"controllerName": "traefik.io/gateway-controller"}},
        {"kind": "Gateway", "spec": {"gatewayClassName": name, "listeners": [listener]}},
    ]
    manifests = to_yaml({"apiVersion": api, "metadata": {"name": name}, **each} for each in made)
    shared_place.admin("create", "--filename", "-", given=manifests)
    yield f"{shared_place.namespace}/{name}"
    shared_place.admin("delete", "gateway", name)
    shared_place.admin("delete", "gatewayclass", name)


def test_a_gateway_splits_by_weight_without_routers_and_loses_no_request(
    shared_place: Place, releases: dict[str, Release], gateway: str
) -> None:
    with deployed_in(shared_place, releases, gateway) as deployed:
        old = deployed.serve("first")
        assert "Ingress" not in objects_of(deployed)
        record, new = deployed.start("second")
        deployed.deployer.check_change(record, new)
        with running(load_of(deployed)) as moved:
            record = to(record, old, candidate=new, weight=0.25, is_gateway=True)
            deployed.deployer.route(record)
        with running(load_of(deployed)) as split:
            time.sleep(3)
        with running(load_of(deployed)) as back:
            record = to(record, old)
            deployed.deployer.route(record)
            deployed.deployer.scale(record, new, 0)
        assert [(each.failed, is_clean(each)) for each in (moved, split, back)] == [(Counter(), True)] * 3
        # Traefik takes turns by weight, so that each four requests have one for the candidate.
        # Within two: a gateway counts anew where its configuration changes in between.
        assert abs(split.versions["2"] - split.ok / 4) <= 2
        assert deployed.deployer.remove(deployed.backend.name) is True
        assert not shared_place.admin.names("httproutes", f"--selector={DEPLOYMENT}={deployed.backend.name}")


def test_pods_that_do_not_start_or_are_not_created_say_why(deployed: Deployed, own_place: Place) -> None:
    release = deployed.releases["second"]
    deployed.releases = {
        **deployed.releases,
        "nowhere": replace(release, image=f"{release.image.partition('@')[0]}:no"),
    }
    record, number = deployed.add("nowhere")
    deployed.deployer.start(record, number, KEY)
    observed = deployed.wait(lambda observed: any(each.waiting for each in observed.of(number)))
    assert "Image" in observed.of(number)[0].waiting
    own_place.admin("create", "quota", "small", "--hard=pods=0")
    with deployed_in(own_place, deployed.releases) as refused:
        record, number = refused.add("first")
        refused.deployer.start(record, number, KEY)
        observed = refused.wait(lambda observed: any(each.waiting for each in observed.of(number)))
        assert "exceeded quota: small" in observed.of(number)[0].waiting
        assert refused.deployer.remove(refused.backend.name) is True
        assert objects_of(refused) == []


def test_hosts_and_names_of_others_are_refused_and_nothing_is_made(deployed: Deployed) -> None:
    deployed.serve("first")
    site = site_of(deployed)
    other = Deployed(_Backend(replace(site, name=f"{site.name}x")), deployed.releases)
    revisions = (Revision(1, deployed.releases["first"], SMALL, Scale()),)
    record = changed(other.record, revisions=revisions)
    taken = msgspec.structs.replace(record, entry=deployed.backend.entry)
    with pytest.raises(InputError, match=f"requests to {site.name}.localhost go to the deployment '{site.name}'"):
        other.deployer.check_change(taken, 1)
    with pytest.raises(InputError, match="PORT"):
        other.deployer.check_change(msgspec.structs.replace(record, entry=Entry(port=80)), 1)
    with pytest.raises(InputError, match=r"serving\.gateway"):
        route = msgspec.structs.replace(record.route, is_gateway=True)
        other.deployer.check_change(msgspec.structs.replace(record, route=route), 1)
    other.deployer.check_change(record, 1)
    site.place.admin("create", "service", "clusterip", object_name(other.backend.name), "--tcp=80")
    try:
        with pytest.raises(InputError, match=f"Service '{object_name(other.backend.name)}'"):
            other.deployer.check_change(record, 1)
    finally:
        site.place.admin("delete", "service", object_name(other.backend.name))
    assert objects_of(other) == []


def test_no_object_of_another_owner_is_taken_over(deployed: Deployed) -> None:
    deployed.serve("first")
    site = site_of(deployed)
    number = deployed.record.next_number
    # Revision 2 of `NAME`, and a deployment `NAME-2`, would each have a Service of one name.
    namesake = Deployed(_Backend(replace(site, name=f"{site.name}-1")), deployed.releases)
    first = msgspec.structs.replace(deployed.record.revisions[0], number=1)
    with pytest.raises(InputError, match=f"Service '{object_name(site.name, '1')}'"):
        namesake.deployer.check_change(changed(namesake.record, revisions=(first,)), 1)
    assert objects_of(namesake) == []
    own, settings = object_name(site.name, str(number)), msgspec.structs.replace(SMALL, key="f00d")
    wanted = Revision(number, deployed.releases["second"], settings, Scale(1, most=2))
    record = changed(deployed.record, revisions=(*deployed.record.revisions, wanted))
    deployed.deployer.check_change(record, number)
    before = objects_of(deployed)
    others: dict[tuple[str, str], tuple[str, ...]] = {
        ("deployment", own): ("--image=none", "--replicas=0"),
        ("poddisruptionbudget", own): ("--selector=a=b", "--min-available=1"),
        ("secret", object_name(site.name, "key-f00d")): (),
    }
    for (kind, name), arguments in others.items():
        what = (kind, "generic") if kind == "secret" else (kind,)
        site.place.admin("create", *what, name, *arguments)
        with pytest.raises(InputError, match=f"(?i){kind} '{name}'"):
            deployed.deployer.check_change(record, number)
        site.place.admin("delete", kind, name)
    assert objects_of(deployed) == before


def test_a_difference_is_empty_for_what_is_served_and_shows_no_key(deployed: Deployed) -> None:
    number = deployed.serve("first")
    record = deployed.record
    assert deployed.deployer.difference(record, number) == ""
    (served,) = record.revisions
    scale = msgspec.structs.replace(served.scale, most=3)
    other = msgspec.structs.replace(served, number=number + 1, scale=scale)
    difference = deployed.deployer.difference(changed(record, revisions=(served, other)), number + 1)
    assert f"+++ deployments/{object_name(deployed.backend.name)}-{number + 1} (planned)" in difference
    assert KEY not in difference


def test_the_autoscaler_adds_replicas_under_load_and_takes_them_away(scaled: Future[Scaled]) -> None:
    done = scaled.result(timeout=280)
    print(f"a replica was added after {done.added_s:.0f} s of load, and gone {done.gone_s:.0f} s after it")
    assert (done.outcome.failed, is_clean(done.outcome)) == (Counter(), True)
