"""What every deployer keeps, whatever it starts.

Most facts share one deployment per platform: each starts from whatever revision serves, and leaves one that does.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from kubernetes.client import ApiClient, Configuration

from tests.contracts.deployed import FINGERPRINT, KEY, Backend, Deployed, changed, to
from tests.docker import serving_images
from tests.docker.load import Load, running
from tests.kserve import KserveApi
from tests.kubernetes import serving
from tests.kubernetes.places import Place, place
from tests.unit.platforms.kubernetes.api_server import NAMESPACE
from tests.unit.platforms.kubernetes.api_server import running as api_running
from winnow.config.errors import InputError, WinnowError
from winnow.config.process_identity import identity_of, is_running
from winnow.platforms.azure.deployer import AzureDeployer
from winnow.platforms.azure.workspace import Workspace
from winnow.platforms.deployer import Deployer, OvertakenError, UnknownDeploymentError
from winnow.platforms.docker.client import connect
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.deployer import INGRESS_URL
from winnow.platforms.kubernetes.kserve import KserveDeployer
from winnow.routing import (
    Entry,
    Observation,
    Record,
    Release,
    ReplicaSettings,
    Revision,
    Route,
    RouterReport,
    Scale,
)
from winnow.serving.client import NoAnswerError, ask
from winnow.testing.azure import MemoryWorkspace
from winnow.testing.deployer import MemoryDeployer, MemoryWorld

HOLD = """
import sys, time
from pathlib import Path
from importlib import import_module
module, _, kind = {kind!r}.rpartition(".")
with getattr(import_module(module), kind)(Path({home!r}), environment={environment!r}).held({name!r}) as held:
    print("held", flush=True)
    while True:
        time.sleep(1)
        held.renew()
"""
"""A driver that does nothing else than to have the right to change a deployment."""


def _held_by(program: str) -> Callable[[], None]:
    """Have a process of its own hold a deployment. Returns what kills it."""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"

    def kill() -> None:
        process.kill()
        process.communicate()

    return kill


class MemoryBackend:
    name = "cells"
    entry = Entry()
    settle_s = 0.0
    router_image = ""
    has_routers = keeps_keys = shows_replicas = True
    taken_over_within_s = 0.0

    def __init__(self, broken_digest: str) -> None:
        self._world = MemoryWorld(unready={broken_digest}, ready_after=2)

    def deployer(self) -> Deployer:
        return MemoryDeployer(self._world)

    def ask(self, observed: Observation) -> str:
        number = self._world.ask(self.name)
        revision = self._world.deployments[self.name].record.revision(number) if number is not None else None
        return revision.release.version if revision is not None else ""

    def kill(self, identifier: str) -> None:
        self._world.kill(self.name, identifier)

    def take_port(self) -> int:
        self._world.taken_ports.add(4711)
        return 4711

    def hold(self, name: str) -> Callable[[], None]:
        self._world.holders[name] = -1
        return lambda: self._world.kill_holder(name)

    def close(self) -> None:
        return


class _ServerBackend:
    """A platform whose deployments answer over HTTP."""

    kind: str
    name: str
    home: Path
    entry = Entry(host="127.0.0.1")
    settle_s = 0.2
    router_image = ""
    has_routers = keeps_keys = shows_replicas = True
    taken_over_within_s = 5.0
    environment: dict[str, str]

    def deployer(self) -> Deployer:
        module, _, kind = self.kind.rpartition(".")
        made: Deployer = getattr(import_module(module), kind)(self.home, environment=self.environment)
        return made

    def ask(self, observed: Observation) -> str:
        """A lost connection is a failed request; other servers' answers name no model of this deployment."""
        if not observed.url:
            return ""
        try:
            answer = ask(observed.url, b'{"rows": [[1, 2, 3]]}', key=KEY.encode(), timeout_s=10)
        except NoAnswerError:
            return ""
        return answer.model.partition(" ")[0].rpartition("/")[2] if answer.status == 200 else ""

    def hold(self, name: str) -> Callable[[], None]:
        program = HOLD.format(kind=self.kind, home=str(self.home), environment=dict(self.environment), name=name)
        return _held_by(program)


class LocalBackend(_ServerBackend):
    kind = "winnow.platforms.local.deployer.LocalDeployer"
    name = "cells"

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="winnow-test-")
        self.home = Path(self._folder.name)
        self.environment = dict(os.environ)
        self._sockets: list[socket.socket] = []

    def kill(self, identifier: str) -> None:
        process = identity_of(int(identifier))
        os.kill(process.pid, signal.SIGKILL)
        while is_running(process):
            time.sleep(0.01)

    def take_port(self) -> int:
        taken = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(taken)
        return int(taken.getsockname()[1])

    def close(self) -> None:
        for name in self.deployer().names():
            self.deployer().remove(name)
        for each in self._sockets:
            each.close()
        self._folder.cleanup()


class DockerBackend(LocalBackend):
    kind = "winnow.platforms.docker.deployer.DockerDeployer"

    def __init__(self) -> None:
        super().__init__()
        self.name = f"t{secrets.token_hex(4)}"

    def kill(self, identifier: str) -> None:
        connect().containers.get(identifier).kill()  # as a person would: it does not come back by itself

    def close(self) -> None:
        serving_images.remove_deployment(self.name)
        for each in self._sockets:
            each.close()
        self._folder.cleanup()


class KubernetesBackend(_ServerBackend):
    """In the namespace of a least-privileged person."""

    kind = "winnow.platforms.kubernetes.deployer.KubernetesDeployer"
    settle_s = 1.0
    taken_over_within_s = 40.0

    def __init__(self, where: Place) -> None:
        self._site = serving.Site(where, f"t{secrets.token_hex(4)}")
        self.name = self._site.name
        self.home = where.home
        self.environment = {**where.environment, "WINNOW_INGRESS_URL": os.environ["WINNOW_INGRESS_URL"]}
        self.entry = Entry(host=f"{self.name}.localhost")

    def kill(self, identifier: str) -> None:
        self._site.kill(identifier)

    def take_port(self) -> None:
        return None

    def close(self) -> None:
        self._site.close()


AZURE_HOLD = """
import sys, time
from pathlib import Path
from winnow.platforms.azure.deployer import AzureDeployer
with AzureDeployer(Path({home!r}), workspace=None, online=None).held({name!r}) as held:
    print("held", flush=True)
    while True:
        time.sleep(1)
        held.renew()
"""


class AzureBackend:
    """A workspace in memory."""

    name = "cells"
    entry = Entry()
    settle_s = 0.0
    router_image = ""
    has_routers = keeps_keys = shows_replicas = False
    taken_over_within_s = 5.0

    def __init__(self, broken_digest: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="winnow-test-")
        self._azure = MemoryWorkspace(unready={broken_digest}, ready_after=2)
        self._workspace = Workspace("subscription", "group", "workspace")

    def deployer(self) -> Deployer:
        return AzureDeployer(Path(self._folder.name), workspace=lambda: self._workspace, online=lambda: self._azure)

    def ask(self, observed: Observation) -> str:
        return self._azure.ask(self.name)[0].rpartition("/")[2]

    def kill(self, identifier: str) -> None:
        raise NotImplementedError

    def take_port(self) -> None:
        return None

    def hold(self, name: str) -> Callable[[], None]:
        program = AZURE_HOLD.format(home=self._folder.name, name=name)
        return _held_by(program)

    def close(self) -> None:
        self._folder.cleanup()


class KserveBackend:
    """A cluster in memory, with a controller that does what KServe does."""

    name = "cells"
    entry = Entry()
    settle_s = 0.0
    router_image = ""
    has_routers = shows_replicas = False
    keeps_keys = True
    taken_over_within_s = 40.0

    def __init__(self, broken_digest: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="winnow-test-")
        self._stack = ExitStack()
        self._api = KserveApi(unready={broken_digest})
        self._stack.enter_context(api_running(self._api))

    def deployer(self) -> Deployer:
        cluster = Cluster(ApiClient(Configuration(host=self._api.url)), NAMESPACE, "fake")
        return KserveDeployer(Path(self._folder.name), cluster=cluster, environment={INGRESS_URL: self._api.url})

    def ask(self, observed: Observation) -> str:
        return self._api.ask(self.name).rpartition("/")[2]

    def kill(self, identifier: str) -> None:
        self._api.kill(identifier)

    def take_port(self) -> None:
        return None

    def hold(self, name: str) -> Callable[[], None]:
        pytest.skip("its lease is that of the platform kubernetes")

    def close(self) -> None:
        self._stack.close()
        self._folder.cleanup()


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    """Two models, and one that does not start: its reference rows do not hold."""
    return serving_images.make_releases(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def imaged(bundled: dict[str, Release]) -> Iterator[dict[str, Release]]:
    yield {name: serving_images.with_image(release) for name, release in bundled.items()}
    serving_images.forget(bundled.values())


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture(scope="module")
def delivered(imaged: dict[str, Release], somewhere: Place) -> dict[str, Release]:
    return {name: serving.delivered(release, somewhere) for name, release in imaged.items()}


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        "azure",
        "kserve",
        "local",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),
    ],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def releases(kind: str, request: pytest.FixtureRequest) -> dict[str, Release]:
    found: dict[str, Release] = request.getfixturevalue(
        {"docker": "imaged", "kubernetes": "delivered"}.get(kind, "bundled")
    )
    return found


@contextmanager
def _backend(kind: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    backends: dict[str, Callable[[], Backend]] = {
        "memory": lambda: MemoryBackend(request.getfixturevalue("bundled")["broken"].digest),
        "azure": lambda: AzureBackend(request.getfixturevalue("bundled")["broken"].digest),
        "kserve": lambda: KserveBackend(request.getfixturevalue("bundled")["broken"].digest),
        "local": LocalBackend,
        "docker": DockerBackend,
        "kubernetes": lambda: KubernetesBackend(request.getfixturevalue("somewhere")),
    }
    if kind not in ("memory", "azure", "kserve"):
        pytest.importorskip(f"winnow.platforms.{kind}.deployer")
    made = backends[kind]()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def shared(kind: str, releases: dict[str, Release], request: pytest.FixtureRequest) -> Iterator[Deployed]:
    """A deployment that serves, with a revision of its own for each test that asks for one."""
    with _backend(kind, request) as backend:
        deployed = Deployed(backend, releases)
        deployed.serve("first")
        yield deployed


@pytest.fixture
def backend(kind: str, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Nothing deployed."""
    with _backend(kind, request) as made:
        yield made


def test_a_first_revision_answers_once_it_is_routed_and_nothing_is_left_after_its_removal(
    backend: Backend, releases: dict[str, Release]
) -> None:
    """The life of a deployment; each step is made twice, which is harmless."""
    deployed = Deployed(backend, releases)
    deployer, name = backend.deployer(), backend.name
    record, number = deployed.add("first", replicas=2)
    backend.deployer().write(record)
    key = KEY if backend.keeps_keys else None
    deployer.start(record, number, key)
    backend.deployer().start(record, number, key)
    observed = deployed.wait(lambda observed: observed.ready(number) == 2)
    assert (observed.record, len(observed.replicas), observed.entry_serial) == (record, 2, None)
    assert backend.ask(observed) == ""

    record = to(record, number)
    deployer.route(record)
    backend.deployer().route(record)
    observed = deployer.observe(name)
    assert (observed.record, observed.ready(number), observed.routers) == (record, 2, ())
    assert (observed.entry_serial, observed.wish) == (record.route.serial, "")
    assert backend.deployer().observe(name) == observed
    assert backend.ask(observed) == "1"
    assert name in deployer.names()
    assert deployer.logs(name)
    assert deployer.log_place(name, number)
    with deployer.endpoint(observed) as endpoint:
        assert endpoint.url

    assert deployer.remove(name) is True
    assert backend.deployer().remove(name) is False
    assert name not in deployer.names()
    assert deployer.logs(name)
    assert backend.ask(observed) == ""


def test_an_unknown_name_is_one_error(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    for ask_for in (deployer.observe, deployer.logs, lambda name: deployer.wish(name, "pause")):
        with pytest.raises(UnknownDeploymentError):
            ask_for("nothing-of-that-name")
    assert deployer.remove("nothing-of-that-name") is False


def test_a_taken_port_is_refused_before_anything_is_created(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    port = backend.take_port()
    if port is None:
        pytest.skip("entries have no port")
    entry = Entry(host=backend.entry.host, port=port)
    record = Record(backend.name, 1, (_revision(1, releases["first"]),), entry=entry)
    with pytest.raises(InputError, match=str(port)):
        deployer.check_change(record, 1)
    assert backend.name not in deployer.names()


def test_a_route_moves_from_one_revision_to_another_and_back_at_the_same_address(shared: Deployed) -> None:
    """An update, and the rollback to a revision that is kept without replicas."""
    old = shared.serve("first")
    before = shared.observe()
    record, new = shared.start("second")
    assert shared.answers(5) == {"1": 5}
    record = to(record, new)
    shared.deployer.route(record)
    assert shared.answers(5) == {"2": 5}
    shared.deployer.scale(record, old, 0)
    shared.deployer.scale(record, old, 0)
    observed = shared.observe()
    assert (observed.url, observed.entry_serial) == (before.url, record.route.serial)
    assert (len(observed.of(old)), observed.ready(new)) == (0, 1)
    assert [each.number for each in observed.record.revisions] == [old, new]

    shared.deployer.start(record, old, shared.deployer.key(record))
    shared.wait(lambda observed: observed.ready(old) == 1)
    record = to(record, old)
    shared.deployer.route(record)
    assert shared.answers(5) == {"1": 5}
    shared.leave_only(old)
    observed = shared.observe()
    assert ([each.number for each in observed.record.revisions], len(observed.replicas)) == ([old], 1)
    shared.deployer.retire(observed.record, new)


def test_a_serving_revision_is_scaled_up_and_down(shared: Deployed) -> None:
    number = shared.serve("first")
    shared.deployer.scale(shared.record, number, 3)
    observed = shared.wait(lambda observed: observed.ready(number) == 3)
    exposed = shared.deployer.metrics(observed)
    assert shared.backend.shows_replicas or exposed == {}
    assert not shared.backend.shows_replicas or exposed.keys() == {each.identifier for each in observed.replicas}
    assert all(re.search(r'^winnow_model_info{.*version="1".*} 1.0$', each, re.M) for each in exposed.values())
    shared.deployer.scale(shared.record, number, 1)
    observed = shared.wait(lambda observed: len(observed.of(number)) == 1)
    assert observed.ready(number) == 1
    assert shared.answers(5) == {"1": 5}


def test_a_route_with_a_candidate_goes_through_routers_that_split_and_count(shared: Deployed) -> None:
    if not shared.backend.has_routers:
        pytest.skip("its gateway splits requests")
    old = shared.serve("first")
    record, new = shared.start("second")
    assert shared.deployer.renew(record) == ()
    canary = to(record, old, candidate=new, weight=0.25, lease_s=60.0)
    shared.deployer.route(canary)
    shared.deployer.route(canary)
    observed = shared.observe()
    assert [(each.revision, each.is_ready) for each in observed.routers] == [(0, True)]
    assert observed.entry_serial == canary.route.serial
    assert shared.answers(20) == {"1": 15, "2": 5}
    assert _counted(shared.deployer.renew(canary)) == (canary.route.serial, 15, 5)
    assert _counted(shared.deployer.renew(canary, is_read_only=True)) == (canary.route.serial, 15, 5)

    further = to(canary, old, candidate=new, weight=0.5, lease_s=60.0)
    shared.deployer.route(further)
    assert shared.answers(20) == {"1": 10, "2": 10}
    assert _counted(shared.deployer.renew(further)) == (further.route.serial, 10, 10)

    straight = to(further, new)
    shared.deployer.route(straight)
    assert shared.answers(5) == {"2": 5}
    assert shared.wait(lambda observed: not observed.routers).entry_serial == straight.route.serial
    shared.leave_only(new)


def test_a_route_with_a_candidate_is_split_and_counted_by_a_gateway(shared: Deployed) -> None:
    if shared.backend.has_routers:
        pytest.skip("routers split requests")
    old = shared.serve("first")
    record, new = shared.start("second")
    assert shared.deployer.renew(record) == ()
    canary = to(record, old, candidate=new, weight=0.25, is_gateway=True)
    shared.deployer.route(canary)
    shared.deployer.route(canary)
    observed = shared.observe()
    assert (observed.routers, observed.entry_serial) == ((), canary.route.serial)
    assert shared.answers(20) == {"1": 15, "2": 5}
    reports = shared.deployer.renew(canary)
    assert reports == () or _counted(reports) == (canary.route.serial, 15, 5)

    straight = to(canary, new)
    shared.deployer.route(straight)
    assert shared.answers(5) == {"2": 5}
    shared.leave_only(new)


def test_a_dead_router_is_replaced_when_its_route_is_repeated(shared: Deployed) -> None:
    if not shared.backend.has_routers:
        pytest.skip("it has no routers")
    old = shared.serve("first")
    record, new = shared.start("second")
    canary = to(record, old, candidate=new, weight=0.5, lease_s=60.0)
    shared.deployer.route(canary)
    (router,) = shared.observe().routers
    shared.backend.kill(router.identifier)
    shared.deployer.route(canary)
    shared.wait(lambda observed: sum(each.is_ready for each in observed.routers) == 1)
    # An entry that went past its dead routers takes a moment to ask them again.
    shared.wait(lambda _observed: "2" in shared.answers(2))
    assert shared.answers(10) == {"1": 5, "2": 5}
    shared.deployer.route(to(canary, old))
    shared.leave_only(old)


def test_a_revision_that_fails_is_reported_and_costs_the_serving_one_nothing(shared: Deployed) -> None:
    old = shared.serve("first")
    serving = shared.observe().of(old)
    record, broken = shared.add("broken")
    shared.deployer.start(record, broken, KEY)
    observed = shared.wait(lambda observed: any(each.failure for each in observed.of(broken)))
    assert observed.ready(broken) == 0
    assert shared.deployer.logs(shared.backend.name, broken)
    assert observed.of(old) == serving
    with pytest.raises(WinnowError):
        shared.deployer.route(to(record, broken))
    assert shared.answers(5) == {"1": 5}
    shared.leave_only(old)
    assert shared.observe().of(broken) == ()


def test_a_dead_replica_is_seen_and_starting_again_heals(shared: Deployed) -> None:
    if not shared.backend.shows_replicas:
        pytest.skip("it replaces replicas by itself")
    number = shared.serve("first", replicas=2)
    observed = shared.observe()
    shared.backend.kill(observed.of(number)[0].identifier)
    shared.wait(lambda observed: observed.ready(number) == 1, within_s=20)
    shared.deployer.start(observed.record, number, KEY)
    healed = shared.wait(lambda observed: observed.ready(number) == 2)
    assert (len(healed.replicas), healed.url) == (2, observed.url)
    assert shared.answers(10) == {"1": 10}


def test_what_an_interrupted_driver_has_started_is_seen_and_can_be_retired(shared: Deployed) -> None:
    old = shared.serve("first")
    record, left = shared.add("second")
    shared.deployer.start(record, left, KEY)
    observed = shared.observe()
    assert (observed.record, len(observed.of(left))) == (record, 1)
    shared.leave_only(old)
    assert [each.revision for each in shared.observe().replicas] == [old]


def test_a_write_that_was_overtaken_changes_nothing(shared: Deployed) -> None:
    number = shared.record.route.stable
    stale = shared.record
    record = changed(stale, history=7)
    shared.deployer.write(record)
    with pytest.raises(OvertakenError):
        shared.deployer.write(changed(stale, history=8))
    with pytest.raises(OvertakenError):
        shared.deployer.route(to(stale, number))
    assert shared.record == record


def test_one_process_at_a_time_has_the_right_to_change_a_deployment(shared: Deployed) -> None:
    deployer, name = shared.deployer, shared.backend.name
    assert deployer.driver(name) == ""
    kill = shared.backend.hold(name)
    try:
        with pytest.raises(InputError), deployer.held(name):
            pass
        assert "process" in deployer.driver(name)
    finally:
        kill()
    deadline = time.monotonic() + shared.backend.taken_over_within_s
    while True:
        try:
            with deployer.held(name) as held:
                held.renew()
            break
        except InputError:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    with deployer.held(name) as held:
        held.renew()
        assert "process" in deployer.driver(name)
    assert deployer.driver(name) == ""


def test_a_wish_appears_until_it_is_taken_back(shared: Deployed) -> None:
    for wish in ("pause", "abort", ""):
        shared.deployer.wish(shared.backend.name, wish)
        assert shared.observe().wish == wish


def test_another_deployer_knows_the_key_of_the_serving_revision(shared: Deployed) -> None:
    if not shared.backend.keeps_keys:
        pytest.skip("its replicas ask for no key")
    assert shared.deployer.key(shared.record) == KEY


def test_rendering_is_pure_and_shows_no_key(shared: Deployed) -> None:
    record = Record(
        "cells", 2, (_revision(1, shared.releases["first"]), _revision(2, shared.releases["second"])), Route(2, 2)
    )
    rendered = shared.deployer.render(record, 2)
    assert rendered == shared.deployer.render(record, 2)
    assert rendered
    assert KEY not in rendered


def test_no_request_is_lost_while_routes_move(shared: Deployed) -> None:
    """An update, a rollback, scaling, a canary, and its abort; clients with new and with kept connections."""
    if isinstance(shared.backend, MemoryBackend | AzureBackend | KserveBackend):
        pytest.skip("it has no connections")
    old = shared.serve("first")
    url = f"{shared.observe().url}/predict"
    headers = (f"authorization: Bearer {KEY}",)
    with running(Load(url, b'{"rows": [[1, 2, 3]]}', rate_per_s=100, most=12_000, headers=headers)) as outcome:
        record, new = shared.start("second")
        shared.deployer.route(record := to(record, new))
        shared.deployer.scale(record, old, 0)
        shared.deployer.start(record, old, KEY)
        shared.wait(lambda observed: observed.ready(old) == 1)
        shared.deployer.route(record := to(record, old))
        shared.deployer.scale(record, old, 3)
        shared.wait(lambda observed: observed.ready(old) == 3)
        shared.deployer.scale(record, old, 1)
        for weight in (0.1, 0.5):
            shared.deployer.route(record := to(record, old, candidate=new, weight=weight, lease_s=60.0))
            time.sleep(0.5)
        shared.deployer.route(record := to(record, old))
        shared.deployer.scale(record, new, 0)
    assert outcome.failed == Counter()
    assert outcome.ok == outcome.sent > 100
    assert set(outcome.versions) == {"1", "2"}
    shared.leave_only(old)


def _revision(number: int, release: Release) -> Revision:
    return Revision(number, release, ReplicaSettings(key=FINGERPRINT), Scale())


def _counted(reports: tuple[RouterReport, ...]) -> tuple[int, int, int]:
    """The serial of the routers' route, and how many requests went to stable and to the candidate."""
    (serial,) = {each.serial for each in reports}
    return serial, sum(each.stable.requests for each in reports), sum(each.candidate.requests for each in reports)
