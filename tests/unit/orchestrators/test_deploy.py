from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.orchestrators.registries import FakeRegistry
from tests.unit.platforms.kubernetes.api_server import kubeconfig
from tests.unit.serving import bundles
from winnow.config.errors import InputError, UnavailableError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import ServeRequest, plan_serving, preview_serving, rolls_forward
from winnow.platforms.release_deployer import DeploymentRequest
from winnow.routing import Release
from winnow.testing.release_deployer import MemoryDeployer, MemoryWorld


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


def test_serving_the_champion_after_a_rollback_says_that_it_rolls_forward() -> None:
    first, second = (
        Release("cells", version, digest * 32, Path("/models")) for version, digest in (("1", "aa"), ("2", "bb"))
    )
    deployer = MemoryDeployer(MemoryWorld())

    def said(release: Release) -> str:
        return rolls_forward(deployer, deployer.plan(DeploymentRequest("cells", release)), ServeRequest("cells"))

    assert said(first) == ""
    deployer.deploy(deployer.plan(DeploymentRequest("cells", first)))
    assert said(second) == ""
    deployer.deploy(deployer.plan(DeploymentRequest("cells", second)))
    assert said(second) == ""
    deployer.deploy(deployer.plan_rollback("cells"))
    assert said(second) == "Rolling forward to version 2, which is @champion and was served before version 1."


def test_fewer_replicas_than_one_are_refused() -> None:
    with pytest.raises(InputError, match="replicas: expected 1 or more, found 0"):
        ServeRequest("cells", replicas=0)


def test_a_version_is_planned_on_its_platform(bundle: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    registry, request = FakeRegistry(bundle, ("3", "2")), ServeRequest("cells", replicas=2)
    planned = plan_serving("local", settings, registry, request)
    assert planned.plan.render().count("--model-version 3") == 2
    assert planned.deployer.names() == ()
    older = plan_serving("local", settings, registry, replace(request, version="2"))
    assert older.plan.render().count("--model-version 2") == 2


def test_a_preview_on_this_machine_looks_everything_up(bundle: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    preview = preview_serving("local", settings, FakeRegistry(bundle), ServeRequest("cells"))
    assert (preview.unknown, preview.absences, preview.note) == ((), (), "")
    assert "--model-version 3" in preview.plan.render()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a machine without a Docker engine and without a kubeconfig."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize(
    ("platform", "planned"),
    [("docker", "IMAGE-TO-BE-BUILT --model-version 2"), ("kubernetes", "image: IMAGE-TO-BE-BUILT")],
)
def test_a_preview_needs_neither_engine_nor_cluster(
    platform: str, planned: str, bundle: Path, nowhere: Settings
) -> None:
    registry, request = FakeRegistry(bundle, ("3", "2")), ServeRequest("cells", version="2")
    preview = preview_serving(platform, nowhere, registry, request)
    assert planned in preview.plan.render()
    not_permitted = ("whether the namespace takes the manifests, and whether you may apply them",)
    assert preview.unknown == (
        "what serves now, so it is planned as a first deployment",
        *(not_permitted if platform == "kubernetes" else ()),
        "whether the image is there, and its id",
    )
    engine = f"the Docker engine at {os.environ['DOCKER_HOST']}: "
    cluster = (f"kubeconfig {os.environ['KUBECONFIG']}: ",) if platform == "kubernetes" else ()
    assert [each.startswith(what) for each, what in zip(preview.absences, (*cluster, engine), strict=True)]
    assert not nowhere.home.exists()
    with pytest.raises(UnavailableError):
        plan_serving(platform, nowhere, registry, request)


def test_a_preview_does_not_need_a_cluster_that_is_down(
    bundle: Path, nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["DOCKER_HOST"].replace("tcp", "http")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(nowhere.home.with_name("kubeconfig"), address)))
    monkeypatch.setenv("WINNOW_NAMESPACE", "place")
    preview = preview_serving("kubernetes", nowhere, FakeRegistry(bundle), ServeRequest("cells"))
    assert preview.unknown[0] == "what serves now, so it is planned as a first deployment"
    assert address in preview.absences[0]
