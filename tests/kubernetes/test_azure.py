"""`winnow prod --platform azure`, from a champion to a rollback: a real image and registry, a workspace in a file."""

from __future__ import annotations

import json
import os
import pickle
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest

from tests.docker.champions import Winnow
from tests.kubernetes.pods import until
from tests.kubernetes.serving import SERVING
from winnow.config.tools import FOLDER, READY, TOOLS
from winnow.platforms.azure.revision_plan import ROUTES
from winnow.testing.azure import MemoryWorkspace

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

TIER = ("--platform", "azure")
PROCESS = Path(__file__).parents[1] / "azure_process.py"
PLACE = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZURE_WORKSPACE": "w"}
CANARY = {"strategy": "canary", "initial_weight": 0.1, "weight_steps": [1.0], "step_duration_seconds": 1}


@dataclass(frozen=True)
class Site:
    """Commands, and the workspace that they meet."""

    winnow: Winnow
    state: Path

    @property
    def workspace(self) -> MemoryWorkspace:
        found = pickle.loads(self.state.read_bytes())  # noqa: S301 - the test's own
        assert isinstance(found, MemoryWorkspace)
        return found

    def change(self, **values: object) -> None:
        workspace = self.workspace
        for name, value in values.items():
            setattr(workspace, name, value)
        self.state.write_bytes(pickle.dumps(workspace))

    def traffic(self) -> dict[str, int]:
        (endpoint,) = self.workspace.endpoints()
        return dict(endpoint.traffic)

    def deployments(self) -> list[str]:
        return [each.name for each in self.workspace.deployments(self.winnow.name)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    assert os.environ.get("WINNOW_REGISTRY"), "this test pushes an image: set WINNOW_REGISTRY"
    state, tool = tmp_path / "workspace", tmp_path / "tools" / "azureml"
    state.write_bytes(pickle.dumps(MemoryWorkspace(ready_after=2)))
    (tool / "bin").mkdir(parents=True)
    python = tool / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} {PROCESS} {state}\n")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    (tool / READY).write_text("".join(f"{each}\n" for each in TOOLS["azureml"]))
    environment = {**PLACE, FOLDER: str(tool.parent), "WINNOW_REGISTRY": os.environ["WINNOW_REGISTRY"]}
    (tmp_path / "home").mkdir()
    made = Winnow(tmp_path / "home", {**os.environ, **environment}, {**SERVING, "rollout": CANARY})
    yield Site(made, state)
    made.forget()


def test_a_champion_serves_a_canary_passes_a_bad_one_goes_and_a_rollback_returns(
    site: Site, engine: docker.DockerClient
) -> None:
    winnow = site.winnow
    winnow.crown(0)
    served = winnow.run("prod", *TIER)
    assert served.returncode == 0, served.stderr
    assert "  key      az ml online-endpoint get-credentials --name" in served.stdout
    assert "$WINNOW_API_KEY" in served.stdout and "/metrics" not in served.stdout
    assert site.traffic() == {"blue-1": 100}
    (blue,) = site.workspace.deployments(winnow.name)
    assert blue.image.startswith(os.environ["WINNOW_REGISTRY"]) and "@sha256:" in blue.image
    _assert_serves(engine, blue.image, dict(blue.environment))

    winnow.crown(1)
    passed = winnow.run("prod", *TIER)
    assert passed.returncode == 0, passed.stderr
    assert (site.traffic(), site.deployments()) == ({"green-2": 100}, ["green-2"])
    rows = json.loads(winnow.run("prod-status", *TIER, "--json").stdout)
    assert [(each["platform"], each["state"], each["traffic"]) for each in rows] == [("azure", "ready", {"2": 1.0})]

    back = winnow.run("rollback", *TIER)
    assert back.returncode == 0, back.stderr
    assert (site.traffic(), site.deployments()) == ({"blue-1": 100}, ["blue-1"])

    (digest,) = {each.tags["winnow.digest"] for each in site.workspace.deployments(winnow.name)}
    site.change(erring={each for each in _digests(winnow) if each != digest})
    failed = winnow.run("prod", *TIER, "--again")
    assert failed.returncode == 1
    assert "the rollout was aborted" in failed.stderr and "requests failed" in failed.stderr
    assert (site.traffic(), site.deployments()) == ({"blue-1": 100}, ["blue-1"])

    removed = winnow.run("prod-remove", *TIER)
    assert "no longer served" in removed.stdout, removed.stderr
    assert site.workspace.endpoints() == ()


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0


def _digests(winnow: Winnow) -> set[str]:
    """Of the models that were fetched."""
    return {path.name for path in (winnow.home / "models").iterdir() if path.name != "versions"}


def _assert_serves(engine: docker.DockerClient, image: str, environment: dict[str, str]) -> None:
    """The image answers at Azure's routes with the deployment's variables, as a custom container is run."""
    container = engine.containers.run(
        image, detach=True, environment=environment, ports={"8080/tcp": ("127.0.0.1", None)}, remove=True
    )
    try:
        container.reload()
        port = container.attrs["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
        url = f"http://127.0.0.1:{port}"
        until(lambda: _status(f"{url}{ROUTES['readiness_route']}") == 200)
        assert httpx.get(f"{url}{ROUTES['liveness_route']}").status_code == 200
        card = httpx.get(f"{url}/model").json()
        answer = httpx.post(f"{url}{ROUTES['scoring_route']}", json=card["input_example"])
        assert (answer.status_code, answer.json()["model"]["version"]) == (200, "1")
    finally:
        container.kill()
