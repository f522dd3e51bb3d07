from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.deployments import (
    SeveralDeploymentsError,
    ask_deployers,
    find_deployment,
    list_deployments,
)
from winnow.platforms.release_deployer import DeploymentRequest, UnknownDeploymentError
from winnow.routing import Release
from winnow.testing.release_deployer import MemoryDeployer, MemoryWorld


def _deployer(*names: str) -> MemoryDeployer:
    """A deployer that serves a model under each of the names."""
    deployer = MemoryDeployer(MemoryWorld())
    for name in names:
        release = Release(name, "1", "aa" * 32, Path("/models/aa"))
        deployer.deploy(deployer.plan(DeploymentRequest(name, release)))
    return deployer


def test_the_platform_that_serves_a_name_is_found() -> None:
    deployers = {"local": _deployer("cells"), "docker": _deployer("digits")}
    assert find_deployment(deployers, "digits") == ("docker", "digits")
    assert [(platform, each.name) for platform, each in list_deployments(deployers)] == [
        ("local", "cells"),
        ("docker", "digits"),
    ]
    assert [platform for platform, _ in list_deployments(deployers, "digits")] == ["docker"]


def test_without_a_name_the_only_deployment_is_meant() -> None:
    assert find_deployment({"local": _deployer(), "docker": _deployer("digits")}, None) == (
        "docker",
        "digits",
    )


def test_several_that_may_be_meant_are_listed_with_the_command_for_each() -> None:
    deployers = {"local": _deployer("cells", "wine"), "docker": _deployer("cells")}
    with pytest.raises(SeveralDeploymentsError) as unnamed:
        find_deployment(deployers, None)
    assert unnamed.value.candidates == (("cells", "local"), ("wine", None), ("cells", "docker"))
    assert "Choose one:\n  NAME=cells PLATFORM=local\n  NAME=wine\n" in str(unnamed.value)
    unnamed.value.suggest(["stop cells on local", "stop wine", "stop cells on docker"])
    assert str(unnamed.value) == (
        "deployments: expected one, since none is named, found 3: cells (local), wine (local), cells (docker). "
        "Choose one:\n  stop cells on local\n  stop wine\n  stop cells on docker"
    )
    with pytest.raises(SeveralDeploymentsError) as named:
        find_deployment(deployers, "cells")
    assert str(named.value) == (
        "deployment 'cells': expected one platform that serves it, found 2: cells (local), cells (docker). "
        "Choose one:\n  NAME=cells PLATFORM=local\n  NAME=cells PLATFORM=docker"
    )
    assert len(list_deployments(deployers, "cells")) == 2


def test_a_name_that_is_not_served_is_one_error_that_names_those_that_are() -> None:
    deployers = {"local": _deployer("cells"), "docker": _deployer()}
    with pytest.raises(UnknownDeploymentError, match="served: cells"):
        find_deployment(deployers, "wine")
    with pytest.raises(UnknownDeploymentError, match="served: cells"):
        list_deployments(deployers, "wine")
    with pytest.raises(UnknownDeploymentError, match="expected something that is being served, found nothing"):
        find_deployment({"local": _deployer()}, None)


def test_a_named_platform_alone_is_asked(tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert list(ask_deployers(settings, "local")[0]) == ["local"]
    with pytest.raises(InputError, match="one of local, docker"):
        ask_deployers(settings, "moon")
