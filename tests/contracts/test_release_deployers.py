"""What every deployer keeps, whatever it starts."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.docker import serving_images
from tests.kubernetes import serving
from tests.kubernetes.places import Place, place
from winnow.config.errors import InputError
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.release_deployer import DockerDeployer
from winnow.platforms.kubernetes.release_deployer import KubernetesDeployer
from winnow.platforms.local.release_deployer import LocalDeployer
from winnow.platforms.release_deployer import (
    Action,
    Deployer,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    UnknownDeploymentError,
)
from winnow.routing import Release
from winnow.serving.client import NoAnswerError, card
from winnow.testing.release_deployer import MemoryDeployer, MemoryWorld


class Backend(Protocol):
    """A kind of deployer with what a test has to do behind its back."""

    name: str
    """What its deployment is called."""

    def deployer(self) -> Deployer[Any]:
        """A new deployer that knows the world only by looking."""

    def kill(self, name: str, identifier: str) -> None: ...

    def take_port(self) -> int:
        """A port that somebody else holds."""

    def close(self) -> None: ...


class LocalBackend:
    name = "cells"

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="winnow-test-")
        self._sockets: list[socket.socket] = []

    def deployer(self) -> Deployer[Any]:
        return LocalDeployer(Path(self._home.name))

    def kill(self, name: str, identifier: str) -> None:
        os.kill(int(identifier), signal.SIGKILL)

    def take_port(self) -> int:
        taken = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(taken)
        return int(taken.getsockname()[1])

    def close(self) -> None:
        for name in self.deployer().names():
            self.deployer().remove(name)
        for each in self._sockets:
            each.close()
        self._home.cleanup()


class MemoryBackend:
    name = "cells"

    def __init__(self, broken_digest: str) -> None:
        self._world = MemoryWorld()
        self._broken = broken_digest

    def deployer(self) -> Deployer[Any]:
        return MemoryDeployer(self._world, unready=[self._broken])

    def kill(self, name: str, identifier: str) -> None:
        MemoryDeployer(self._world).kill(name, identifier)

    def take_port(self) -> int:
        self._world.taken_ports.add(4711)
        return 4711

    def close(self) -> None:
        return


class DockerBackend(LocalBackend):
    def __init__(self) -> None:
        super().__init__()
        self.name = f"t{secrets.token_hex(4)}"

    def deployer(self) -> Deployer[Any]:
        return DockerDeployer(Path(self._home.name))

    def kill(self, name: str, identifier: str) -> None:
        connect().containers.get(identifier).kill()  # as a person would: it does not come back by itself

    def close(self) -> None:
        serving_images.remove_deployment(self.name)
        for each in self._sockets:
            each.close()
        self._home.cleanup()


class KubernetesBackend:
    """Two deployers of one home, in the namespace of a least-privileged person."""

    def __init__(self, where: Place) -> None:
        self._site = serving.Site(where, f"t{secrets.token_hex(4)}")
        self.name = self._site.name

    def deployer(self) -> Deployer[Any]:
        return KubernetesDeployer(self._site.place.home, environment=self._site.environment(WINNOW_SETTLE_S="1"))

    def kill(self, name: str, identifier: str) -> None:
        self._site.kill(identifier)

    def take_port(self) -> int:
        return 80  # all ports are the Ingress controller's

    def close(self) -> None:
        self._site.close()


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
    params=[
        "memory",
        "local",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),
    ]
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def releases(kind: str, request: pytest.FixtureRequest) -> dict[str, Release]:
    found: dict[str, Release] = request.getfixturevalue(
        {"docker": "imaged", "kubernetes": "delivered"}.get(kind, "bundled")
    )
    return found


@pytest.fixture
def backend(kind: str, bundled: dict[str, Release], request: pytest.FixtureRequest) -> Iterator[Backend]:
    backends: dict[str, Callable[[], Backend]] = {
        "memory": lambda: MemoryBackend(bundled["broken"].digest),
        "local": LocalBackend,
        "docker": DockerBackend,
        "kubernetes": lambda: KubernetesBackend(request.getfixturevalue("somewhere")),
    }
    made = backends[kind]()
    yield made
    made.close()


def _request(backend: Backend, release: Release, **changes: Any) -> DeploymentRequest:
    return DeploymentRequest(backend.name, release, ready_within_s=60, **changes)


def test_a_deployed_release_is_ready_and_found_by_anybody(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    plan = deployer.plan(_request(backend, releases["first"], replicas=2))
    assert plan.action is Action.START
    assert "version 1" in plan.render()
    deployed = deployer.deploy(plan)
    assert (deployed.state, deployed.release, deployed.previous) == (DeploymentState.READY, releases["first"], None)
    assert [each.version for each in deployed.replicas] == ["1", "1"]
    assert backend.deployer().status(backend.name) == deployed
    assert backend.name in backend.deployer().names()


def test_planning_changes_nothing(backend: Backend, releases: dict[str, Release]) -> None:
    backend.deployer().plan(_request(backend, releases["first"]))
    assert backend.name not in backend.deployer().names()


def test_the_same_model_again_changes_nothing(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    plan = backend.deployer().plan(_request(backend, releases["first"]))
    assert plan.action is Action.NOTHING
    assert backend.deployer().deploy(plan) == first


def test_another_model_replaces_it_at_the_same_address(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    plan = deployer.plan(_request(backend, releases["second"]))
    assert plan.action is Action.REPLACE
    second = deployer.deploy(plan)
    assert (second.state, second.release, second.previous) == (
        DeploymentState.READY,
        releases["second"],
        releases["first"],
    )
    assert second.url == first.url
    assert {each.identifier for each in first.replicas}.isdisjoint(each.identifier for each in second.replicas)


def test_a_model_that_does_not_become_ready_leaves_the_old_one(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    with pytest.raises(DeploymentFailedError, match="what was served before still is") as caught:
        deployer.deploy(deployer.plan(_request(backend, releases["broken"])))
    assert caught.value.lines
    assert backend.deployer().status(backend.name) == first


def test_a_first_model_that_does_not_become_ready_leaves_nothing(
    backend: Backend, releases: dict[str, Release]
) -> None:
    deployer = backend.deployer()
    with pytest.raises(DeploymentFailedError, match="nothing is being served"):
        deployer.deploy(deployer.plan(_request(backend, releases["broken"])))
    assert backend.name not in deployer.names()


def test_a_rollback_brings_the_previous_release_back(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    deployer.deploy(deployer.plan(_request(backend, releases["second"])))
    back = deployer.deploy(deployer.plan_rollback(backend.name))
    assert (back.release, back.previous) == (releases["first"], releases["second"])


def test_a_rollback_needs_something_to_go_back_to(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    with pytest.raises(InputError, match="served before the current one"):
        deployer.plan_rollback(backend.name)


def test_a_port_in_use_is_refused(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    with pytest.raises(InputError, match="port"):
        deployer.deploy(deployer.plan(_request(backend, releases["first"], port=backend.take_port())))
    assert backend.name not in deployer.names()


def test_a_dead_replica_is_seen_and_deploying_again_heals(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    backend.kill(backend.name, first.replicas[0].identifier)
    assert _state_within(deployer, backend.name, DeploymentState.DOWN)
    assert deployer.logs(backend.name)
    healed = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    assert (healed.state, healed.url) == (DeploymentState.READY, first.url)


def test_removing_twice_is_harmless(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployed = deployer.deploy(deployer.plan(_request(backend, releases["first"])))
    served = _answering(deployed.url) if not isinstance(backend, MemoryBackend) else {"version": "1"}
    assert served is not None and served["version"] == "1"
    assert deployer.remove(backend.name) is True
    assert backend.deployer().remove(backend.name) is False
    assert backend.name not in deployer.names()
    assert deployer.logs(backend.name)
    if not isinstance(backend, MemoryBackend):
        assert _answering(deployed.url) != served


def test_an_unknown_name_is_one_error(backend: Backend) -> None:
    deployer = backend.deployer()
    for ask in (deployer.status, deployer.logs, deployer.plan_rollback):
        with pytest.raises(UnknownDeploymentError):
            ask("nobody-of-that-name")
    assert deployer.remove("nobody-of-that-name") is False


def _answering(url: str) -> dict[str, Any] | None:
    """Whose card is shown there; on a cluster, somebody else's Ingress for any host may take over what nobody has."""
    try:
        return card(url)
    except NoAnswerError:
        return None


def _state_within(deployer: Deployer[Any], name: str, wanted: DeploymentState) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if deployer.status(name).state is wanted:
            return True
        time.sleep(0.05)
    return False
