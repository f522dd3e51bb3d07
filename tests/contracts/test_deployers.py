"""What every deployer keeps, whatever it starts."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.deployers.deployer import (
    Action,
    Deployer,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    Release,
    UnknownDeploymentError,
)
from winnow.deployers.local import LocalDeployer
from winnow.deployers.memory import MemoryDeployer, MemoryWorld


class Backend(Protocol):
    """A kind of deployer with what a test has to do behind its back."""

    def deployer(self) -> Deployer[Any]:
        """A new deployer that knows the world only by looking."""

    def kill(self, name: str, identifier: str) -> None: ...

    def take_port(self) -> int:
        """A port that somebody else holds."""

    def close(self) -> None: ...


class LocalBackend:
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


def _release(bundle: Path, version: str) -> Release:
    return Release("cells", version, read_manifest(bundle).digest, bundle)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    """Two models, and one that does not start: its reference rows do not hold."""
    folder = tmp_path_factory.mktemp("bundles")
    broken = bundles.classification(folder / "broken", scale=3.0)
    (broken / "model.onnx").write_bytes(b"no model")
    manifest = json.loads((broken / "manifest.json").read_text())
    return {
        "first": _release(bundles.classification(folder / "first"), "1"),
        "second": _release(bundles.classification(folder / "second", scale=2.0), "2"),
        "broken": Release("cells", "3", manifest["files"]["model.onnx"], broken),
    }


@pytest.fixture(params=["memory", "local"])
def backend(request: pytest.FixtureRequest, releases: dict[str, Release]) -> Iterator[Backend]:
    made: Backend = MemoryBackend(releases["broken"].digest) if request.param == "memory" else LocalBackend()
    yield made
    made.close()


def _request(release: Release, **changes: Any) -> DeploymentRequest:
    return DeploymentRequest("cells", release, ready_within_s=30, **changes)


def test_a_deployed_release_is_ready_and_found_by_anybody(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    plan = deployer.plan(_request(releases["first"], replicas=2))
    assert plan.action is Action.START
    assert "version 1" in plan.render()
    deployed = deployer.deploy(plan)
    assert (deployed.state, deployed.release, deployed.previous) == (DeploymentState.READY, releases["first"], None)
    assert [each.version for each in deployed.replicas] == ["1", "1"]
    assert backend.deployer().status("cells") == deployed
    assert backend.deployer().names() == ("cells",)


def test_planning_changes_nothing(backend: Backend, releases: dict[str, Release]) -> None:
    backend.deployer().plan(_request(releases["first"]))
    assert backend.deployer().names() == ()


def test_the_same_model_again_changes_nothing(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(releases["first"])))
    plan = backend.deployer().plan(_request(releases["first"]))
    assert plan.action is Action.NOTHING
    assert backend.deployer().deploy(plan) == first


def test_another_model_replaces_it_at_the_same_address(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(releases["first"])))
    plan = deployer.plan(_request(releases["second"]))
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
    first = deployer.deploy(deployer.plan(_request(releases["first"])))
    with pytest.raises(DeploymentFailedError, match="what was served before still is") as caught:
        deployer.deploy(deployer.plan(_request(releases["broken"])))
    assert caught.value.lines
    assert backend.deployer().status("cells") == first


def test_a_first_model_that_does_not_become_ready_leaves_nothing(
    backend: Backend, releases: dict[str, Release]
) -> None:
    deployer = backend.deployer()
    with pytest.raises(DeploymentFailedError, match="nothing is being served"):
        deployer.deploy(deployer.plan(_request(releases["broken"])))
    assert deployer.names() == ()


def test_a_rollback_brings_the_previous_release_back(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployer.deploy(deployer.plan(_request(releases["first"])))
    deployer.deploy(deployer.plan(_request(releases["second"])))
    back = deployer.deploy(deployer.plan_rollback("cells"))
    assert (back.release, back.previous) == (releases["first"], releases["second"])


def test_a_rollback_needs_something_to_go_back_to(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployer.deploy(deployer.plan(_request(releases["first"])))
    with pytest.raises(InputError, match="served before the current one"):
        deployer.plan_rollback("cells")


def test_a_port_in_use_is_refused(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    with pytest.raises(InputError, match="port"):
        deployer.deploy(deployer.plan(_request(releases["first"], port=backend.take_port())))
    assert deployer.names() == ()


def test_a_dead_replica_is_seen_and_deploying_again_heals(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    first = deployer.deploy(deployer.plan(_request(releases["first"])))
    backend.kill("cells", first.replicas[0].identifier)
    assert _state_within(deployer, DeploymentState.DOWN)
    assert deployer.logs("cells")
    healed = deployer.deploy(deployer.plan(_request(releases["first"])))
    assert (healed.state, healed.url) == (DeploymentState.READY, first.url)


def test_removing_twice_is_harmless(backend: Backend, releases: dict[str, Release]) -> None:
    deployer = backend.deployer()
    deployed = deployer.deploy(deployer.plan(_request(releases["first"])))
    assert deployer.remove("cells") is True
    assert backend.deployer().remove("cells") is False
    assert deployer.names() == ()
    assert deployer.logs("cells")
    if isinstance(backend, LocalBackend):
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{deployed.url}/livez", timeout=5)


def test_an_unknown_name_is_one_error(backend: Backend) -> None:
    deployer = backend.deployer()
    for ask in (deployer.status, deployer.logs, deployer.plan_rollback):
        with pytest.raises(UnknownDeploymentError):
            ask("nobody")
    assert deployer.remove("nobody") is False


def _state_within(deployer: Deployer[Any], wanted: DeploymentState) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if deployer.status("cells").state is wanted:
            return True
        time.sleep(0.05)
    return False
