"""What an engine is asked for, as a whole."""

from __future__ import annotations

from winnow.platforms.docker.group_plan import (
    DockerWorkers,
    container_body,
    container_labels,
    container_name,
    hostname,
    plan_group,
    render,
)
from winnow.platforms.executor import GroupResources, GroupSpec, Volume

WORKERS = DockerWorkers(image="winnow-train", network="winnow_inside")
GROUP = GroupSpec(
    study="a-study",
    name="c0",
    argv=("python", "-m", "winnow.worker.group", "--study", "a-study", "--group", "c0"),
    env={"WINNOW_STORAGE": "postgresql://me:s3cret@postgres:5432/winnow", "WINNOW_HOME": "/home/me/.winnow"},
    secrets={"TOKEN": "t0ken"},
    resources=GroupResources(cpus=1.5, memory_bytes=2 * 2**30, shm_bytes=64 * 2**20, gpus=("0", "GPU-12ab")),
    volumes=(Volume("/srv/rows", "/data"), Volume("cache", "/cache", is_read_only=False)),
)
LABELS = {"winnow.study": "a-study", "winnow.group": "c0"}


def of_nodes(count: int) -> GroupSpec:
    return GroupSpec("a-study", "c0", ("run",), {"A": "1"}, nodes=count)


def test_the_engine_is_sent_all_of_it() -> None:
    request = plan_group(GROUP, WORKERS)
    assert request.network is None
    (node,) = request.nodes
    assert container_name(node) == "winnow-a-study-c0-0"
    assert container_body(node, WORKERS) == {
        "Image": "winnow-train",
        "Cmd": ["python", "-m", "winnow.worker.group", "--study", "a-study", "--group", "c0"],
        "Env": [
            "TOKEN=t0ken",
            "WINNOW_HOME=/winnow",
            "WINNOW_STORAGE=postgresql://me:s3cret@postgres:5432/winnow",
        ],
        "Labels": {**LABELS, "winnow.node": "0", "winnow.nodes": "1"},
        "Hostname": "winnow-a-study-c0-0",
        "User": "10001:10001",
        "StopTimeout": 30,
        "HostConfig": {
            "NetworkMode": "winnow_inside",
            "Mounts": [
                {"Type": "bind", "Source": "/srv/rows", "Target": "/data", "ReadOnly": True},
                {"Type": "volume", "Source": "cache", "Target": "/cache", "ReadOnly": False},
            ],
            "Tmpfs": {
                "/tmp": "rw,exec,nosuid,nodev,mode=1777",
                "/winnow": "rw,noexec,nosuid,nodev,mode=0700,uid=10001,gid=10001",
            },
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "NanoCpus": 1_500_000_000,
            "Memory": 2_147_483_648,
            "MemorySwap": 2_147_483_648,
            "ShmSize": 67_108_864,
            "PidsLimit": 4096,
            "DeviceRequests": [{"DeviceIDs": ["0", "GPU-12ab"], "Capabilities": [["gpu"]]}],
        },
    }


def test_what_is_not_asked_for_is_not_limited() -> None:
    workers = DockerWorkers("an-image", restarts=0)
    host = container_body(plan_group(of_nodes(1), workers).nodes[0], workers)["HostConfig"]
    assert {"NanoCpus", "Memory", "MemorySwap", "DeviceRequests"} & host.keys() == set()
    assert host["NetworkMode"] == "default"
    # On-failure with a count of 0 would be without end.
    assert host["RestartPolicy"] == {"Name": "no"}


def test_nodes_have_a_network_of_their_own_and_know_the_first() -> None:
    request = plan_group(of_nodes(2), WORKERS)
    assert (request.network, request.nodes[0].labels) == ("winnow-a-study-c0", LABELS)
    found = [(container_name(node), node.environment, container_labels(node)) for node in request.nodes]
    assert found == [
        (
            f"winnow-a-study-c0-{node}",
            {
                "A": "1",
                "WINNOW_HOME": "/winnow",
                "WINNOW_NODE": str(node),
                "WINNOW_NODES": "2",
                "WINNOW_MASTER_ADDR": "winnow-a-study-c0-0",
                "WINNOW_MASTER_PORT": "29400",
            },
            {**LABELS, "winnow.node": str(node), "winnow.nodes": "2"},
        )
        for node in (0, 1)
    ]


def test_host_names_are_short_enough_and_differ() -> None:
    nodes = plan_group(GroupSpec("s" * 63, "c0", ("run",), {}, nodes=2), WORKERS).nodes
    names = [hostname(container_name(node)) for node in nodes]
    assert names == [f"{'s' * 58}-c0-{index}" for index in (0, 1)]
    assert {node.environment["WINNOW_MASTER_ADDR"] for node in nodes} == {names[0]}


def test_a_plan_is_a_command_without_a_password_in_it() -> None:
    assert render(plan_group(GROUP, WORKERS)) == [
        "docker run --detach --name winnow-a-study-c0-0 --hostname winnow-a-study-c0-0 --network winnow_inside "
        "--label winnow.study=a-study --label winnow.group=c0 --label winnow.node=0 "
        "--label winnow.nodes=1 --user 10001:10001 --read-only --tmpfs /tmp:rw,exec,nosuid,nodev,mode=1777 "
        "--tmpfs /winnow:rw,noexec,nosuid,nodev,mode=0700,uid=10001,gid=10001 "
        "--mount type=bind,source=/srv/rows,target=/data,readonly --mount type=volume,source=cache,target=/cache "
        "--cap-drop ALL --security-opt no-new-privileges --cpus 1.5 --memory 2147483648 --memory-swap 2147483648 "
        "--shm-size 67108864 --pids-limit 4096 --gpus '\"device=0,GPU-12ab\"' --restart on-failure:3 "
        "--stop-timeout 30 --log-driver json-file --log-opt max-size=10m --log-opt max-file=3 "
        "--env TOKEN --env WINNOW_HOME=/winnow --env WINNOW_STORAGE='postgresql://me:***@postgres:5432/winnow' "
        "winnow-train python -m winnow.worker.group --study a-study --group c0"
    ]


def test_a_plan_for_several_nodes_connects_them_before_they_start() -> None:
    lines = render(plan_group(of_nodes(2), DockerWorkers("an-image")))
    assert [" ".join(line.split()[:3]) for line in lines] == [
        "docker network create",
        "docker create --name",
        "docker network connect",
        "docker create --name",
        "docker network connect",
        "docker start winnow-a-study-c0-0",
    ]
    assert lines[0] == (
        "docker network create --internal --label winnow.study=a-study --label winnow.group=c0 winnow-a-study-c0"
    )
    assert lines[4] == ("docker network connect --alias winnow-a-study-c0-1 winnow-a-study-c0 winnow-a-study-c0-1")
    assert lines[5] == "docker start winnow-a-study-c0-0 winnow-a-study-c0-1"


def test_no_value_of_a_secret_is_shown_by_accident() -> None:
    assert "t0ken" not in repr(GROUP)
    assert "t0ken" not in repr(plan_group(GROUP, WORKERS))
