from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.orchestrators.serving import lose_stack, revision, serve
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.deployments import (
    Deployment,
    DeploymentState,
    Replica,
    SeveralDeploymentsError,
    Share,
    ask_deployers,
    deployment_of,
    find_deployment,
    list_deployments,
    observe_serving,
)
from winnow.platforms.deployer import UnknownDeploymentError
from winnow.platforms.table import serving_platform_for
from winnow.routing import Observation, Record, ReplicaObserved, Rollout, RolloutState, Route, record_of, to_json
from winnow.testing.deployer import MemoryDeployer, MemoryWorld


def _deployer(*names: str) -> MemoryDeployer:
    """A deployer that serves a model under each of the names."""
    deployer = MemoryDeployer(MemoryWorld())
    for name in names:
        serve(deployer, name, "1")
    return deployer


def test_a_deployment_shows_where_requests_go_and_what_a_rollback_would_serve() -> None:
    first, second = (revision("cells", number) for number in (1, 2))
    record = Record(
        "cells",
        revisions=(first, second),
        route=Route(3, stable=1, candidate=2, weight=0.25),
        previous=2,
        rollout=Rollout(2, 1, "canary", state=RolloutState.PAUSED),
    )
    replicas = (ReplicaObserved("a", 1, is_ready=True), ReplicaObserved("b", 2, is_ready=False))
    shown = deployment_of(Observation(record, replicas, entry_serial=3, url="http://here"))
    assert shown == Deployment(
        name="cells",
        state=DeploymentState.DEGRADED,
        url="http://here",
        release=first.release,
        replicas=(
            Replica("a", "1", DeploymentState.READY, 1),
            Replica("b", "2", DeploymentState.DOWN, 2),
        ),
        previous=second.release,
        revision=1,
        shares=(Share(1, "1", 0.75), Share(2, "2", 0.25)),
        rollout="paused",
    )
    assert deployment_of(Observation(Record("cells"))) is None


def test_the_record_of_an_earlier_winnow_is_read_and_shows_numbers_alone() -> None:
    record = Record("cells", revisions=(revision("cells", 1),), route=Route(3, stable=1))
    content = json.loads(to_json(record))
    for key in ("semantic", "lineage"):
        del content["revisions"][0]["release"][key]
    found = record_of(json.dumps(content))
    assert (found, found.revisions[0].release.label) == (record, "1")


@pytest.mark.parametrize(("ready", "serial", "state"), [(1, 3, "ready"), (0, 3, "down"), (1, 2, "degraded")])
def test_a_deployment_is_ready_where_the_entry_follows_the_route_to_ready_replicas(
    ready: int, serial: int, state: str
) -> None:
    record = Record("cells", revisions=(revision("cells", 1),), route=Route(3, stable=1))
    replicas = tuple(ReplicaObserved(str(each), 1, is_ready=True) for each in range(ready))
    shown = deployment_of(Observation(record, replicas, entry_serial=serial))
    assert shown is not None
    assert shown.state == state


def test_the_platform_that_serves_a_name_is_found() -> None:
    deployers = {"local": _deployer("cells"), "docker": _deployer("digits")}
    assert find_deployment(deployers, "digits") == ("docker", "digits")
    assert [(platform, each.record.name) for platform, each in list_deployments(deployers)] == [
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


def test_a_deployment_is_shown_where_the_stack_that_knows_its_champion_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_stack(tmp_path, monkeypatch)
    settings, said = Settings.from_environment(), list[str]()
    deployer = serving_platform_for("local", settings).deployer(say=said.append)
    deployer.write(Record("cells", serial=1, revisions=(revision("cells", 1),), route=Route(1, stable=1)))
    (found,) = observe_serving(settings, None, "local", said.append).deployments
    assert (found.deployment.name, found.champion) == ("cells", None)
    assert [line.partition(": kubeconfig")[0] for line in said] == [
        "warning: which versions are champions is not known"
    ]
