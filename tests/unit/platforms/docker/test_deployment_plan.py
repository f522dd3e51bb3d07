from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.platforms.docker import release_plan as docker_plan
from winnow.platforms.docker import traefik
from winnow.platforms.docker.release_plan import (
    DockerPlan,
    EngineDeployment,
    ProxyFound,
    ReplicaFound,
    ReplicaSettings,
    settings_of,
)
from winnow.platforms.docker.traefik import Route
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.platforms.release_json import release_of
from winnow.routing import Release

FOLDER = Path("/home/ada/.winnow/deployments/docker/cells/routes")
FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"), "sha256:1111")
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"), "sha256:2222")
SETTINGS = ReplicaSettings(environment=(("WINNOW_SETTLE_S", "0.2"),))
PROXY = ProxyFound(
    "winnow-prod-cells-proxy", "127.0.0.1", 8100, traefik.IMAGE, traefik.arguments(), FOLDER, is_running=True
)


def _replica(serial: int, index: int, release: Release = FIRST, *, is_ready: bool = True) -> ReplicaFound:
    return ReplicaFound(f"winnow-prod-cells-{serial}-{index}", serial, release, SETTINGS, is_ready)


REPLICAS = (_replica(1, 0), _replica(1, 1))
RUNNING = EngineDeployment((PROXY,), REPLICAS, Route(1, FIRST, None, ("replica-1-0", "replica-1-1")))


def _plan(
    release: Release, found: EngineDeployment = RUNNING, settings: ReplicaSettings = SETTINGS, **changes: Any
) -> DockerPlan:
    return docker_plan.plan(DeploymentRequest("cells", release, **changes), found, settings, FOLDER, 8123)


def test_a_first_deployment_starts_replicas_and_an_entry_point() -> None:
    settings = ReplicaSettings(environment=(("WINNOW_API_KEY", "secret"), ("WINNOW_MAX_ROWS", "7")))
    made = _plan(FIRST, EngineDeployment(), settings)
    assert (made.action, made.basis, made.host, made.port) == (Action.START, 0, "127.0.0.1", 8123)
    assert made.route == Route(1, FIRST, None, ("replica-1-0",))
    common = "--user 10001:10001 --read-only --tmpfs /tmp:rw,noexec,nosuid,nodev,size=67108864"
    locked = "--cap-drop ALL --security-opt no-new-privileges --cpus 1"
    rest = "--log-driver json-file --log-opt max-size=10m --log-opt max-file=3"
    assert made.render() == (
        "cells: serve cells version 1 (sha256 aaaaaaaaaaaa) at 127.0.0.1:8123\n"
        "  start  docker run --detach --name winnow-prod-cells-1-0 --hostname replica-1-0"
        f" --network winnow-prod-cells --network-alias replica-1-0 {common} {locked}"
        f" --memory 1073741824 --memory-swap 1073741824 --pids-limit 128 --dns 127.0.0.1 --restart no {rest}"
        " --env WINNOW_API_KEY --env WINNOW_MAX_ROWS=7 sha256:1111 --model-version 1\n"
        "  start  docker run --detach --name winnow-prod-cells-proxy --hostname proxy"
        f" --network winnow-prod-cells --network-alias proxy --publish 127.0.0.1:8123:8080/tcp {common}"
        f" --mount type=bind,source={FOLDER},target=/routes,readonly {locked} --memory 268435456"
        f" --memory-swap 268435456 --pids-limit 128 --dns 127.0.0.1 --restart unless-stopped {rest}"
        f" traefik:v3.6 {' '.join(traefik.arguments())}\n"
        "  when ready, send requests to: replica-1-0"
    )


def test_a_replica_is_locked_in_and_says_what_it_is() -> None:
    (start,) = _plan(SECOND, replicas=1).starts
    assert start.name == "winnow-prod-cells-2-0"
    assert start.body() == {
        "Image": "sha256:2222",
        "Cmd": ["--model-version", "2"],
        "Env": ["WINNOW_SETTLE_S=0.2"],
        "Labels": {
            "winnow.deployment": "cells",
            "winnow.serial": "2",
            "winnow.role": "replica",
            "winnow.release": '{"model":"cells","version":"2","digest":"' + "bb" * 32 + '","bundle":"/models/bb",'
            '"image":"sha256:2222"}',
            "winnow.previous": '{"model":"cells","version":"1","digest":"' + "aa" * 32 + '","bundle":"/models/aa",'
            '"image":"sha256:1111"}',
        },
        "Hostname": "replica-2-0",
        "User": "10001:10001",
        "ExposedPorts": {},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "NetworkMode": "winnow-prod-cells",
            "Mounts": [],
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=67108864"},
            "RestartPolicy": {"Name": "no"},
            "NanoCpus": 1_000_000_000,
            "Memory": 1073741824,
            "MemorySwap": 1073741824,
            "PidsLimit": 128,
            "Dns": ["127.0.0.1"],
        },
        "NetworkingConfig": {"EndpointsConfig": {"winnow-prod-cells": {"Aliases": ["replica-2-0"]}}},
    }
    assert release_of(dict(start.labels)["winnow.release"]) == SECOND


def test_the_same_again_changes_nothing() -> None:
    made = _plan(FIRST)
    assert (made.action, made.starts, made.drains, made.proxy) == (Action.NOTHING, (), (), None)
    assert made.render() == "cells: cells version 1 is being served already; nothing to do."


def test_another_release_rolls_all_replicas_and_keeps_the_entry_point() -> None:
    made = _plan(SECOND)
    assert (made.action, made.basis, made.port, made.proxy) == (Action.REPLACE, 1, 8100, None)
    assert made.route == Route(2, SECOND, FIRST, ("replica-2-0", "replica-2-1"))
    assert made.drains == ("winnow-prod-cells-1-0", "winnow-prod-cells-1-1")


def test_more_replicas_start_only_the_missing_and_fewer_drain_only_the_surplus() -> None:
    more = _plan(FIRST, replicas=3)
    assert ([each.name for each in more.starts], more.drains) == (["winnow-prod-cells-2-0"], ())
    assert more.route == Route(2, FIRST, None, ("replica-1-0", "replica-1-1", "replica-2-0"))
    fewer = _plan(FIRST, replicas=1)
    assert (fewer.starts, fewer.drains) == ((), ("winnow-prod-cells-1-1",))
    assert fewer.route == Route(2, FIRST, None, ("replica-1-0",))


def test_a_replica_that_is_not_ready_or_runs_otherwise_is_replaced() -> None:
    sick = replace(RUNNING, replicas=(REPLICAS[0], _replica(1, 1, is_ready=False)))
    assert _plan(FIRST, sick).drains == ("winnow-prod-cells-1-1",)
    assert len(_plan(FIRST, settings=replace(SETTINGS, cpus=2.0)).drains) == 2


def test_another_address_replaces_the_entry_point_alone() -> None:
    made = _plan(FIRST, port=9000)
    assert (made.action, made.starts, made.drains) == (Action.REPLACE, (), ())
    assert made.proxy is not None
    assert (made.proxy.published, made.is_port_asked) == (("127.0.0.1", 9000), True)


def test_the_other_image_of_a_model_is_another_release() -> None:
    rebuilt = replace(FIRST, image="sha256:3333")
    assert _plan(rebuilt).route.previous == FIRST
    assert len(_plan(rebuilt).starts) == 2


def test_what_an_interrupted_change_has_left_is_removed_and_its_number_not_used_again() -> None:
    found = replace(RUNNING, replicas=(*REPLICAS, _replica(2, 0, SECOND)))
    made = _plan(SECOND, found)
    assert made.removes == ("winnow-prod-cells-2-0",)
    assert [each.name for each in made.starts] == ["winnow-prod-cells-3-0", "winnow-prod-cells-3-1"]
    assert (_plan(FIRST, found).action, _plan(FIRST, found).removes) == (Action.NOTHING, ("winnow-prod-cells-2-0",))


def test_without_its_routes_a_deployment_is_made_anew_at_its_address() -> None:
    made = _plan(FIRST, replace(RUNNING, route=None))
    assert (made.action, made.basis, made.port, made.route.serial) == (Action.START, 0, 8100, 2)
    assert made.removes == ("winnow-prod-cells-1-0", "winnow-prod-cells-1-1")
    assert made.proxy is not None


def test_a_setting_that_is_not_named_stays_and_an_empty_one_goes() -> None:
    current = ReplicaSettings(2.0, 2**30, (("WINNOW_API_KEY", "secret"), ("WINNOW_MAX_ROWS", "7")))
    assert settings_of({}, current, 0.2) == current
    assert settings_of({"WINNOW_API_KEY": ""}, current, 0.2).environment == (("WINNOW_MAX_ROWS", "7"),)
    changed = settings_of({"WINNOW_REPLICA_CPUS": "0.5", "WINNOW_REPLICA_MEMORY": "512Mi"}, current, 0.2, "key")
    assert changed == ReplicaSettings(0.5, 512 * 2**20, (("WINNOW_API_KEY", "key"), ("WINNOW_MAX_ROWS", "7")))
    assert settings_of({}, None, 0.2) == SETTINGS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WINNOW_REPLICA_CPUS", "many"),
        ("WINNOW_REPLICA_CPUS", "nan"),
        ("WINNOW_REPLICA_CPUS", "0"),
        ("WINNOW_REPLICA_MEMORY", "much"),
        ("WINNOW_REPLICA_MEMORY", "1"),
        ("WINNOW_REPLICA_MEMORY", "-1g"),
        ("WINNOW_MAX_ROWS", "abc"),
        ("WINNOW_MAX_BODY_BYTES", "0"),
    ],
)
def test_a_limit_that_is_none_is_refused(name: str, value: str) -> None:
    with pytest.raises(InputError, match=name):
        settings_of({name: value}, None, 0.2)
