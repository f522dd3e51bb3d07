"""Deployments on Docker under load and fire: no change loses a request, and no accident leaves anything behind."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import msgspec
import pytest

from tests.docker import serving_images
from tests.docker.load import Load, Outcome, running
from winnow.bundle.manifest import EXAMPLE
from winnow.config.clock import Clock
from winnow.config.errors import InputError, WinnowError
from winnow.finding import Result
from winnow.orchestrators.drive import Driver, observe
from winnow.platforms.deployer import DeploymentFailedError, UnknownDeploymentError
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.docker.engine_deployment import images_of
from winnow.platforms.docker.traefik import IMAGE
from winnow.platforms.labels import DEPLOYMENT
from winnow.platforms.readiness import is_answering
from winnow.rollout.plan import Step
from winnow.rollout.step import Desired, Done, revision_for
from winnow.rollout.verdict import Verdict
from winnow.routing import (
    Entry,
    Observation,
    Record,
    Release,
    ReplicaSettings,
    Revision,
    Rollout,
    RolloutState,
    Route,
    RouterReport,
    Scale,
    revision_of,
    to_json,
)

pytestmark = pytest.mark.docker

KEY, FINGERPRINT = "a-key-of-this-test", "0123abcd"
SETTINGS = ReplicaSettings(cpu_request=0.05, drain_s=10, key=FINGERPRINT)
RATE_PER_S = 50
MOST_REQUESTS = 2000


@dataclass
class Site:
    """One deployment's name and home, and a driver's steps with it."""

    name: str
    home: Path
    releases: Mapping[str, Release]
    environment: Mapping[str, str] = field(default_factory=dict)

    def deployer(self, **environment: str) -> DockerDeployer:
        return DockerDeployer(self.home, environment={**os.environ, **environment})

    @property
    def record(self) -> Record:
        try:
            return self.observe().record
        except UnknownDeploymentError:
            return Record(self.name, router_replicas=1)

    def observe(self) -> Observation:
        return self.deployer().observe(self.name)

    def write(self, **changes: Any) -> Record:
        record = self.record
        changed = msgspec.structs.replace(record, serial=record.serial + 1, **changes)
        self.deployer().write(changed)
        return changed

    def add(self, release: str, settings: ReplicaSettings = SETTINGS, replicas: int = 1) -> int:
        """Write another revision down."""
        number = self.record.next_number
        revision = Revision(number, self.releases[release], settings, Scale(replicas))
        self.write(revisions=(*self.record.revisions, revision))
        return number

    def start(self, number: int) -> None:
        """Have a revision's replicas ready, without traffic."""
        record = self.record
        revision = record.revision(number)
        assert revision is not None
        key = KEY if revision.settings.key and record.serving is None else self.deployer().key(record)
        self.deployer().start(record, number, key)
        self.wait(lambda observed: observed.ready(number) == revision.scale.replicas)

    def route(self, number: int, entry: Entry | None = None, **changes: Any) -> Record:
        record = self.record
        route = Route(record.route.serial + 1, number, **changes)
        changed = msgspec.structs.replace(
            record, serial=record.serial + 1, route=route, entry=record.entry if entry is None else entry
        )
        self.deployer().route(changed)
        return changed

    def serve(self, number: int) -> None:
        """Have a revision answer all requests; the others keep no replicas."""
        self.start(number)
        self.route(number)
        for each in self.record.revisions:
            if each.number != number:
                self.deployer().scale(self.record, each.number, 0)

    def deploy(self, release: str, settings: ReplicaSettings = SETTINGS, replicas: int = 1) -> int:
        number = self.add(release, settings, replicas)
        self.serve(number)
        return number

    def rescale(self, number: int, replicas: int) -> None:
        self.deployer().scale(self.record, number, replicas)
        self.wait(lambda observed: observed.ready(number) == replicas)

    def wait(self, is_so: Callable[[Observation], bool], within_s: float = 30) -> Observation:
        deadline = time.monotonic() + within_s
        while not is_so(observed := self.observe()):
            assert time.monotonic() < deadline, observed
            time.sleep(0.05)
        return observed

    def load(self) -> Load:
        body = (self.releases["first"].bundle / EXAMPLE).read_bytes()
        headers = (f"authorization: Bearer {KEY}",)
        url = f"{self.observe().url}/predict"
        return Load(url, body, rate_per_s=RATE_PER_S, most=MOST_REQUESTS, headers=headers)

    def containers(self) -> list[str]:
        """Their names, without the deployment's."""
        found = connect().containers.list(all=True, filters={"label": f"{DEPLOYMENT}={self.name}"}, ignore_removed=True)
        return sorted(str(each.name).removeprefix(f"winnow-prod-{self.name}-") for each in found)


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


@pytest.fixture(scope="module")
def shared(releases: dict[str, Release], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A deployment whose first revision serves, for tests that leave it so."""
    made = Site(f"t{secrets.token_hex(4)}", tmp_path_factory.mktemp("shared") / "home", releases)
    made.deploy("first")
    yield made
    serving_images.remove_deployment(made.name)


def _is_clean(outcome: Outcome) -> bool:
    return outcome.failed == Counter() and outcome.ok == outcome.sent > RATE_PER_S


def test_no_request_fails_while_a_deployment_is_updated_rolled_back_and_scaled(site: Site) -> None:
    first = site.deploy("first", replicas=2)
    with running(site.load()) as updated:
        second = site.deploy("second", replicas=2)
    with running(site.load()) as rolled_back:
        site.serve(first)
    with running(site.load()) as scaled_up:
        site.rescale(first, 3)
    with running(site.load()) as scaled_down:
        site.rescale(first, 1)
    outcomes = (updated, rolled_back, scaled_up, scaled_down)
    assert [(_is_clean(each), each.failed) for each in outcomes] == [(True, Counter())] * 4
    assert set(updated.versions) == set(rolled_back.versions) == {"1", "2"}
    assert set(scaled_up.versions) == set(scaled_down.versions) == {"1"}
    assert [each.number for each in site.record.revisions] == [first, second]
    assert site.containers() == [f"{first}-0", "proxy"]
    assert {site.releases["first"].image, site.releases["second"].image} <= images_of(connect())
    with pytest.raises(HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(f"{site.observe().url}/predict", data=b"{}"), timeout=5)


def test_another_address_answers_before_the_old_one_closes(site: Site) -> None:
    first = site.deploy("first")
    old, port = site.observe(), _free_port()
    new, answered, is_over = f"http://127.0.0.1:{port}", [], threading.Event()

    def ask_both() -> None:
        while not is_over.is_set():
            answered.append((is_answering(old.url), is_answering(new)))

    asking = threading.Thread(target=ask_both)
    asking.start()
    site.route(first, Entry(port=port))
    is_over.set()
    asking.join()
    assert answered[0] == (True, False)
    assert {any(each) for each in answered} == {True}
    moved = site.observe()
    assert (moved.url, moved.replicas) == (new, old.replicas)
    assert (is_answering(new), is_answering(old.url)) == (True, False)
    # A taken port is refused by the engine, and the entry is where it was.
    with pytest.raises(WinnowError):
        taken = connect().containers.create(IMAGE)
        try:
            site.route(first, Entry(host="192.0.2.1", port=port))
        finally:
            taken.remove()
    assert is_answering(new)
    assert site.containers() == ["1-0", "proxy"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root kills a process of another user")
def test_a_killed_replica_costs_at_most_the_requests_that_it_had(site: Site) -> None:
    first = site.deploy("first", replicas=3)
    victim = connect().containers.get(site.observe().of(first)[0].identifier)
    with running(site.load()) as outcome:
        os.kill(victim.attrs["State"]["Pid"], signal.SIGKILL)
        time.sleep(2)
    assert set(outcome.failed) <= {"502"}
    assert outcome.failed.total() <= 2, "at 50 requests a second of a few milliseconds each, hardly one is on its way"
    site.wait(lambda observed: observed.ready(first) == 3, within_s=15)


STEPS = """
import sys
from pathlib import Path
from tests.docker.test_prod import Site
from winnow.platforms.docker.deployer import DockerDeployer
site = Site(sys.argv[1], Path(sys.argv[2]), {})
"""


@contextlib.contextmanager
def _driving(site: Site, steps: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that makes steps with the deployment."""
    argv = [sys.executable, "-c", f"{STEPS}{steps}", site.name, str(site.home)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as driving:
        yield driving
        driving.kill()


def _await_container(site: Site, name: str, driving: subprocess.Popen[bytes]) -> None:
    while name not in site.containers():
        assert driving.poll() is None
        time.sleep(0.02)


def test_what_a_killed_driver_left_is_removed_by_the_next_steps(site: Site) -> None:
    first = site.deploy("first")
    second = site.add("second")
    before = site.observe()
    with _driving(site, f"site.start({second})") as driving:
        _await_container(site, f"{second}-0", driving)
    assert site.observe().of(first) == before.of(first)
    site.start(second)
    with _driving(site, f"site.route({first}, candidate={second}, weight=0.5)") as driving:
        _await_container(site, "router-2-0", driving)
    assert site.observe().entry_serial == 1
    site.route(first, candidate=second, weight=0.25)
    site.route(first)
    site.deployer().retire(site.write(revisions=site.record.revisions[:1]), second)
    assert site.containers() == [f"{first}-0", "proxy"]
    assert site.observe().of(first) == before.of(first)


def drive(name: str, home: str, wanted: str, steps: str) -> None:
    """Drive a deployment to a revision; every step passes after a second."""

    def judge(rollout: Rollout, reports: Sequence[RouterReport]) -> Verdict | None:
        is_over = time.time() - rollout.step_started_at > 1
        return Verdict(rollout.step, (), Result.PASS, "it has lasted") if is_over and reports else None

    deployer = DockerDeployer(Path(home))
    target = revision_for(observe(deployer, name), revision_of(wanted))
    planned = msgspec.json.decode(steps, type=tuple[Step, ...])
    desired = Desired(target, planned, "canary", started=time.time(), ready_within_s=60, router_replicas=1)
    assert isinstance(Driver(deployer, name, desired, KEY, judge).drive(), Done)


def test_drivers_that_are_killed_at_random_lose_no_request_and_the_last_one_leaves_nothing_over(site: Site) -> None:
    site.deploy("first")
    wanted = to_json(Revision(0, site.releases["second"], SETTINGS, Scale()))
    steps = msgspec.json.encode([Step(weight=each, most_s=60) for each in (0.25, 0.5)]).decode()
    program = f"from tests.docker.test_prod import drive; drive(*{(site.name, str(site.home), wanted, steps)})"
    seconds = random.Random(16)
    with running(site.load()) as rolled:
        for limit_s in [*(seconds.uniform(0.8, 3) for _ in range(4)), 60]:
            driving = subprocess.Popen([sys.executable, "-c", program])
            with contextlib.suppress(subprocess.TimeoutExpired):
                driving.wait(limit_s)
            driving.kill()
            driving.wait()
    assert (driving.returncode, rolled.failed, _is_clean(rolled)) == (0, Counter(), True)
    assert set(rolled.versions) == {"1", "2"}
    record = site.record
    assert (record.route.stable, record.route.candidate, record.previous) == (2, None, 1)
    assert record.rollout is not None and record.rollout.state is RolloutState.PROMOTED
    assert site.containers() == ["2-0", "proxy"]


def test_a_revision_that_does_not_start_is_one_error_and_leaves_nothing(site: Site) -> None:
    wanted = to_json(Revision(0, site.releases["broken"], SETTINGS, Scale()))
    with pytest.raises(DeploymentFailedError, match="ended before it was ready") as refused:
        drive(site.name, str(site.home), wanted, "[]")
    (kept,) = site.home.rglob("logs/*.log")
    assert str(kept) in str(refused.value)
    assert (site.containers(), site.name in site.deployer().names()) == ([], False)


def test_an_interrupted_driver_leaves_no_container_that_never_ran(site: Site) -> None:
    first = site.add("first", replicas=4)
    with _driving(site, f"site.start({first})") as driving:
        _await_container(site, f"{first}-0", driving)
        driving.send_signal(signal.SIGINT)
        driving.wait()
    assert {each.attrs["State"]["Status"] for each in _all(site)} <= {"running"}
    assert site.deployer().remove(site.name)
    assert site.containers() == []
    assert connect().networks.list(filters={"label": f"{DEPLOYMENT}={site.name}"}) == []


def test_a_lost_folder_is_made_up_for_at_the_same_address(site: Site) -> None:
    first = site.deploy("first")
    before = site.observe()
    shutil.rmtree(site.home)
    lost = site.observe()
    assert (lost.record.revisions, lost.record.route) == (before.record.revisions, Route())
    site.serve(first)
    healed = site.observe()
    assert (healed.url, healed.of(first), healed.entry_serial) == (before.url, before.of(first), 1)
    assert is_answering(healed.url)


def test_another_entry_image_takes_the_port_over_or_gives_it_back(shared: Site) -> None:
    before, record = shared.observe(), shared.record
    again = msgspec.structs.replace(record, serial=record.serial + 1)
    # The image of a replica is none of an entry: it ends at once.
    wrong = {**os.environ, "WINNOW_PROXY_IMAGE": shared.releases["first"].image}
    hasty = DockerDeployer(shared.home, environment=wrong, clock=Clock(now=lambda: time.monotonic() * 8))
    with pytest.raises(WinnowError, match="did not take the new route over"):
        hasty.route(again)
    assert shared.wait(lambda observed: observed.entry_serial is not None, within_s=15) == before
    engine = connect()
    engine.images.get(IMAGE).tag(f"winnow-{shared.name}", "1")
    shared.deployer(WINNOW_PROXY_IMAGE=f"winnow-{shared.name}:1").route(again)
    assert (shared.observe().url, shared.observe().entry_serial) == (before.url, before.entry_serial)
    shared.deployer().route(again)
    engine.images.remove(f"winnow-{shared.name}:1")
    assert shared.containers() == ["1-0", "proxy"]


def test_containers_are_locked_in(shared: Site) -> None:
    engine = connect()
    for container in _all(shared):
        limits = container.attrs["HostConfig"]
        assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["Privileged"]) == (True, ["ALL"], False)
        assert limits["SecurityOpt"] == ["no-new-privileges"]
        assert limits["Memory"] == limits["MemorySwap"] > 0
        assert limits["RestartPolicy"]["Name"] == "unless-stopped"
        assert container.attrs["Config"]["User"] == "10001:10001"
        assert not any("docker.sock" in each["Source"] for each in container.attrs["Mounts"])
    published = {str(each.name): each.attrs["HostConfig"]["PortBindings"] or {} for each in _all(shared)}
    assert published[f"winnow-prod-{shared.name}-1-0"] == {}
    entry = published[f"winnow-prod-{shared.name}-proxy"]
    assert [each["HostIp"] for each in entry["8080/tcp"]] == ["127.0.0.1"]
    (network,) = engine.networks.list(names=[f"winnow-prod-{shared.name}"])
    assert network.attrs["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"


def test_every_home_finds_the_deployment_and_the_key(shared: Site, tmp_path: Path) -> None:
    elsewhere = replace(shared, home=tmp_path / "another-home").deployer()
    assert elsewhere.observe(shared.name) == shared.observe()
    assert shared.name in elsewhere.names()
    assert elsewhere.key(shared.record) == KEY
    assert not (tmp_path / "another-home").exists()


def test_the_key_of_a_revision_without_replicas_is_kept_and_a_lost_one_is_asked_for(site: Site, tmp_path: Path) -> None:
    first = site.deploy("first")
    folder = site.home / "deployments" / "docker" / site.name
    assert (folder / "keys" / FINGERPRINT).stat().st_mode & 0o777 == 0o600
    assert KEY not in (folder / "routes" / "route.yaml").read_text()
    site.deployer().scale(site.record, first, 0)
    assert site.deployer().key(site.record) == KEY
    (folder / "keys" / FINGERPRINT).unlink()
    with pytest.raises(InputError, match="API key of deployment"):
        site.deployer().key(site.record)
    with pytest.raises(InputError, match="API key of deployment"):
        site.deployer().start(site.record, first, None)


def test_names_of_others_are_refused(site: Site) -> None:
    engine, name = connect(), f"winnow-prod-{site.name}"
    record = Record(site.name, 1, (Revision(1, site.releases["first"], SETTINGS, Scale()),))
    taken = engine.containers.create(site.releases["first"].image, name=f"{name}-1-0")
    try:
        with pytest.raises(InputError, match=f"container '{name}-1-0'"):
            site.deployer().check_change(record, 1)
        site.deployer().write(record)
        with pytest.raises(WinnowError, match="already in use"):
            site.deployer().start(record, 1, KEY)
        taken.reload()
        assert site.deployer().remove(site.name)
    finally:
        taken.remove()
    network = engine.networks.create(name)
    try:
        with pytest.raises(InputError, match=f"network '{name}'"):
            site.deployer().check_change(record, 1)
    finally:
        network.remove()
    assert site.containers() == []


def test_what_cannot_be_started_is_refused(shared: Site) -> None:
    def check(revision: Revision, **environment: str) -> None:
        record = msgspec.structs.replace(shared.record, revisions=(*shared.record.revisions, revision))
        shared.deployer(**environment).check_change(record, revision.number)

    release = shared.releases["first"]
    check(Revision(2, release, replace_settings(memory_bytes=64 * 2**20), Scale(9)))
    with pytest.raises(InputError, match=r"^REPLICAS: expected at most \d+, .*serving.resources.memory"):
        check(Revision(2, release, SETTINGS, Scale(100_000)))
    with pytest.raises(InputError, match="image that the Docker engine has"):
        check(Revision(2, replace(release, image=f"sha256:{'0' * 64}"), SETTINGS, Scale()))
    with pytest.raises(InputError, match="Docker engine at tcp://"):
        # By TCP: of a Unix socket that nothing listens on, the SDK leaves its own end to the garbage collector.
        check(Revision(2, release, SETTINGS, Scale()), DOCKER_HOST="tcp://127.0.0.1:1")


# The SDK leaves the connection of a pull that was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_entry_image_that_is_nowhere_changes_nothing(site: Site) -> None:
    first = site.add("first")
    site.start(first)
    record = site.record
    wanted = msgspec.structs.replace(record, serial=record.serial + 1, route=Route(1, first))
    with pytest.raises(InputError, match="image localhost:1/nowhere:1"):
        site.deployer(WINNOW_PROXY_IMAGE="localhost:1/nowhere:1").route(wanted)
    assert (site.record, site.containers()) == (record, ["1-0"])


def test_a_replica_says_why_it_ended(shared: Site) -> None:
    number = shared.add("first", replace_settings(memory_bytes=32 * 2**20))
    shared.deployer().start(shared.record, number, KEY)
    observed = shared.wait(lambda observed: any(each.failure for each in observed.of(number)))
    assert [each.failure for each in observed.of(number)] == [
        "was stopped for using more memory than its limit (exit code 137)"
    ]
    shared.deployer().retire(shared.write(revisions=shared.record.revisions[:1]), number)
    assert shared.observe().of(number) == ()


def test_the_gateways_weights_are_exact_and_follow_readiness(shared: Site) -> None:
    second = shared.add("second")
    shared.start(second)
    shared.route(1, candidate=second, weight=0.25, is_gateway=True)
    assert shared.containers() == ["1-0", f"{second}-0", "proxy"]
    with running(shared.load(), lead_s=1) as split:
        pass
    assert _is_clean(split)
    assert abs(split.versions["2"] - split.ok / 4) <= 1
    connect().containers.get(f"winnow-prod-{shared.name}-{second}-0").kill()
    time.sleep(3.2)  # until Traefik has asked whether it is ready
    with running(shared.load(), lead_s=0.7) as without:
        pass
    assert (_is_clean(without), set(without.versions)) == (True, {"1"})
    shared.route(1)
    shared.deployer().retire(shared.write(revisions=shared.record.revisions[:1]), second)


def test_a_canary_costs_no_request_whatever_its_candidate_and_its_routers_do(shared: Site) -> None:
    second = shared.add("second")
    shared.start(second)
    candidate, router = (f"winnow-prod-{shared.name}-{each}" for each in (f"{second}-0", "router-{}-0"))
    with running(shared.load()) as good:
        record = shared.route(1, candidate=second, weight=0.5, lease_s=60)
        time.sleep(1)
        reports = shared.deployer().renew(record)
    with running(shared.load()) as hanging:
        connect().containers.get(candidate).pause()
        time.sleep(1)
        record = shared.route(1, candidate=second, weight=0.75, lease_s=60)
    with running(shared.load()) as dying:
        connect().containers.get(candidate).kill()
        time.sleep(1)
        missed = sum(each.misses for each in shared.deployer().renew(record))
        shared.route(1)
    outcomes = (good, hanging, dying)
    assert [(_is_clean(each), each.failed) for each in outcomes] == [(True, Counter())] * 3
    assert set(good.versions) == {"1", "2"}
    assert min(sum(each.candidate.requests for each in reports), missed) > 0
    assert shared.containers() == ["1-0", f"{second}-0", "proxy"]
    assert (shared.observe().routers, router.format(record.route.serial) in shared.containers()) == ((), False)
    shared.deployer().retire(shared.write(revisions=shared.record.revisions[:1]), second)


def test_past_routers_that_are_all_gone_requests_reach_the_stable_revision(shared: Site) -> None:
    second = shared.add("second")
    shared.start(second)
    record = shared.route(1, candidate=second, weight=1.0, lease_s=60)
    with running(shared.load(), lead_s=3) as outcome:
        # An engine starts no container again that was ended by hand.
        connect().containers.get(f"winnow-prod-{shared.name}-router-{record.route.serial}-0").kill()
    assert sum(outcome.failed.values()) <= 2, outcome.failed  # those that the router had
    assert min(outcome.versions["1"], outcome.versions["2"]) > RATE_PER_S
    shared.route(1)
    shared.deployer().retire(shared.write(revisions=shared.record.revisions[:1]), second)


def replace_settings(**changes: Any) -> ReplicaSettings:
    return msgspec.structs.replace(SETTINGS, **changes)


def _all(site: Site) -> list[Any]:
    return connect().containers.list(all=True, filters={"label": f"{DEPLOYMENT}={site.name}"}, ignore_removed=True)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
