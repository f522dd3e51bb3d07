from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from winnow.platforms.docker import revision_plan, traefik
from winnow.platforms.docker.revision_plan import backends
from winnow.platforms.docker.traefik import Backend
from winnow.routing import (
    Entry,
    PredictionLogSettings,
    Record,
    Release,
    ReplicaSettings,
    Revision,
    Route,
    RouterSettings,
    Scale,
    revision_of,
    to_json,
)

ROUTES = Path("/home/ada/.winnow/deployments/docker/cells/routes")
SETTINGS = ReplicaSettings(limits={"max_rows": 7}, drain_s=10, key="fp", is_access_logged=True)
FIRST = Revision(1, Release("cells", "1", "aa" * 32, Path("/models/aa"), "sha256:1111"), SETTINGS, Scale(2))
SECOND = Revision(2, Release("cells", "2", "bb" * 32, Path("/models/bb"), "sha256:2222"), SETTINGS, Scale())
CANARY = Record("cells", 5, (FIRST, SECOND), Route(3, 1, candidate=2, weight=0.25), router_replicas=2)


def test_a_replica_is_locked_in_and_says_what_it_is() -> None:
    request = revision_plan.replica("cells", SECOND, 0, "secret", is_restarted=False)
    assert request.name == "winnow-prod-cells-2-0"
    assert request.body() == {
        "Image": "sha256:2222",
        "Cmd": ["--model-version", "2"],
        "Env": [
            'WINNOW_SERVING={"drain_s":10,"is_access_logged":true,"max_rows":7,"settle_s":0.2}',
            "WINNOW_API_KEY=secret",
        ],
        "Labels": {
            "winnow.deployment": "cells",
            "winnow.role": "replica",
            "winnow.revision": "2",
            "winnow.revision.json": to_json(SECOND),
        },
        "Hostname": "replica-2-0",
        "User": "10001:10001",
        "ExposedPorts": {},
        "StopTimeout": 16,
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
    assert revision_of(request.labels["winnow.revision.json"]) == SECOND


def test_a_replicas_log_names_its_deployment_and_revision_and_a_router_has_none() -> None:
    logged = structs.replace(SECOND, settings=ReplicaSettings(log=PredictionLogSettings(sample=0.5)))
    replica = revision_plan.replica("cells", logged, 0, None, is_restarted=False)
    log = msgspec.json.decode(replica.environment["WINNOW_SERVING"])["log"]
    assert log == {"sample": 0.5, "fields": [], "to": "stdout", "deployment": "cells", "revision": 2}
    routed = structs.replace(CANARY, revisions=(structs.replace(logged, number=1), SECOND))
    assert '"log"' not in revision_plan.router(routed, 0, "winnow-router:ab", "token").environment["WINNOW_SERVING"]


def test_a_router_finds_replicas_by_name_and_limits_clients_as_the_stable_revision_does() -> None:
    request = revision_plan.router(CANARY, 1, "winnow-router:ab", "token")
    wanted = RouterSettings("cells", CANARY.route, ("replica-1-0:8080", "replica-1-1:8080"), ("replica-2-0:8080",))
    assert (request.name, request.hostname) == ("winnow-prod-cells-router-3-1", "router-3-1")
    assert request.environment == {
        "WINNOW_SERVING": '{"drain_s":10,"is_access_logged":false,"max_rows":7,"settle_s":0.2}',
        "WINNOW_ROUTER": to_json(wanted),
        "WINNOW_ROUTER_TOKEN": "token",
    }
    assert request.published is None


def test_a_route_with_one_revision_goes_straight_to_it() -> None:
    hosts = {1: ("replica-1-0", "replica-1-1"), 2: ("replica-2-0",)}
    straight, gateway = Route(1, 1), Route(3, 1, candidate=2, weight=0.25, is_gateway=True)
    assert backends(straight, hosts, ()) == (Backend("revision-1", hosts[1]),)
    routed = (Backend("routers-3", ("router-3-0",), spare=hosts[1]),)
    assert backends(CANARY.route, hosts, ("router-3-0",)) == routed
    assert backends(gateway, hosts, ()) == (
        Backend("revision-1", hosts[1], 0.75),
        Backend("revision-2", hosts[2], 0.25),
    )
    assert backends(Route(1, 4), hosts, ()) == (Backend("revision-4", ()),)


def test_rendering_shows_commands_that_a_shell_takes_and_the_route_file() -> None:
    record = Record("cells", 1, (FIRST,), Route(1, 1), entry=Entry(host="0.0.0.0"))
    lines = revision_plan.render(record, 1, ROUTES, traefik.IMAGE, "").splitlines()
    common = "--user 10001:10001 --read-only --tmpfs /tmp:rw,noexec,nosuid,nodev,size=67108864"
    locked = "--cap-drop ALL --security-opt no-new-privileges --cpus 1"
    rest = "--log-driver json-file --log-opt max-size=10m --log-opt max-file=3"
    assert lines[1] == (
        "docker run --detach --name winnow-prod-cells-1-1 --hostname replica-1-1"
        f" --network winnow-prod-cells --network-alias replica-1-1 {common} {locked}"
        " --memory 1073741824 --memory-swap 1073741824 --pids-limit 128 --dns 127.0.0.1 --restart no"
        f" --stop-timeout 16 {rest}"
        """ --env WINNOW_SERVING='{"drain_s":10,"is_access_logged":true,"max_rows":7,"settle_s":0.2}'"""
        " --env WINNOW_API_KEY sha256:1111 --model-version 1"
    )
    assert lines[2] == (
        "docker run --detach --name winnow-prod-cells-proxy --hostname proxy"
        f" --network winnow-prod-cells --network-alias proxy --publish 0.0.0.0:8100-8199:8080/tcp {common}"
        f" --mount type=bind,source={ROUTES},target=/routes,readonly {locked} --memory 268435456"
        " --memory-swap 268435456 --pids-limit 128 --dns 127.0.0.1 --restart unless-stopped"
        f" --stop-timeout 35 {rest} traefik:v3.6 {' '.join(traefik.arguments())}"
    )
    hosts = {1: ("replica-1-0", "replica-1-1")}
    assert lines[3] == f"# {ROUTES}/route.yaml"
    assert "\n".join(lines[4:]) == traefik.route_file(record, backends(record.route, hosts, ())).rstrip()


def test_a_canary_is_rendered_with_its_routers_and_without_secrets() -> None:
    text = revision_plan.render(CANARY, 2, ROUTES, traefik.IMAGE, "winnow-router")
    names = [line.split("--name ")[1].split()[0] for line in text.splitlines() if line.startswith("docker run")]
    assert names == [
        "winnow-prod-cells-2-0",
        "winnow-prod-cells-router-3-0",
        "winnow-prod-cells-router-3-1",
        "winnow-prod-cells-proxy",
    ]
    assert "--env WINNOW_ROUTER_TOKEN winnow-router " in text
    with pytest.raises(ValueError, match="no revision 3"):
        revision_plan.render(CANARY, 3, ROUTES, traefik.IMAGE, "")
