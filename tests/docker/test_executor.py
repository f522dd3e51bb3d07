"""Worker groups on a real engine: what holds them in, what becomes of them, and that nothing of them stays."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docker.groups import IMAGE, Sandbox, sandbox, wait_until
from tests.remote_workers import DEAF, FACTS, HELD_IN, LITERAL, TOKEN
from winnow.config.errors import InputError
from winnow.platforms.docker.executor import DockerExecutor
from winnow.platforms.docker.group_plan import container_body, container_name, plan_group
from winnow.platforms.executor import GroupResources, GroupSpec, GroupState, Volume
from winnow.platforms.labels import GROUP, NODE, STUDY

pytestmark = pytest.mark.docker

TALK = """
import os, socket, time
node, master = os.environ["WINNOW_NODE"], (os.environ["WINNOW_MASTER_ADDR"], int(os.environ["WINNOW_MASTER_PORT"]))
if node == "0":
    with socket.create_server(("", master[1])) as server:
        print("heard", server.accept()[0].recv(100).decode(), flush=True)
else:
    for _ in range(100):
        try:
            with socket.create_connection(master) as connection:
                connection.sendall(b"node " + node.encode())
            break
        except OSError:
            time.sleep(0.1)
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(tmp_path) as made:
        yield made


def state_of(here: Sandbox, name: str = "c0") -> GroupState:
    return here.executor().status(here.study, name).state


def container(here: Sandbox, node: int = 0) -> dict[str, object]:
    found: dict[str, object] = here.engine.api.inspect_container(f"winnow-{here.study}-c0-{node}")
    return found


def test_a_worker_is_held_in(here: Sandbox) -> None:
    resources = GroupResources(cpus=0.5, memory_bytes=128 * 2**20, shm_bytes=32 * 2**20)
    group = here.group(FACTS, resources=resources, secrets={"TOKEN": TOKEN})
    here.executor().start(replace(group, env={**group.env, "LITERAL": LITERAL}))
    wait_until(lambda: state_of(here) is GroupState.SUCCEEDED)
    (line,) = here.executor().log(here.study, "c0")
    assert json.loads(line) == HELD_IN | {"shm_bytes": 32 * 2**20}
    host = container(here)["HostConfig"]
    assert isinstance(host, dict)
    limits = {name: host[name] for name in ("NanoCpus", "Memory", "MemorySwap", "PidsLimit", "Privileged", "Binds")}
    assert limits == {
        "NanoCpus": 500_000_000,
        "Memory": 128 * 2**20,
        "MemorySwap": 128 * 2**20,
        "PidsLimit": 4096,
        "Privileged": False,
        "Binds": None,
    }
    assert TOKEN not in json.dumps(container(here)["Config"]["Labels"])  # type: ignore[index]


def test_a_killed_container_is_a_failed_group(here: Sandbox) -> None:
    here.executor().start(here.group())
    here.engine.api.kill(f"winnow-{here.study}-c0-0")
    wait_until(lambda: state_of(here) is GroupState.FAILED)
    assert here.executor().status(here.study, "c0").exit_code == -9


def test_a_worker_whose_process_is_killed_comes_back_by_itself(here: Sandbox) -> None:
    here.executor().start(here.group())
    wait_until(lambda: list(here.executor().log(here.study, "c0")) == ["at work"])
    os.kill(container(here)["State"]["Pid"], signal.SIGKILL)  # type: ignore[index]
    wait_until(lambda: list(here.executor().log(here.study, "c0")) == ["at work", "at work"])
    assert state_of(here) is GroupState.RUNNING
    assert container(here)["RestartCount"] == 1


def test_a_log_is_followed_through_a_restart(here: Sandbox) -> None:
    here.executor().start(here.group("import os, time; print('at work', flush=True); time.sleep(1); os._exit(1)"))
    assert list(here.executor().log(here.study, "c0", follow=True)) == ["at work"] * 4


def test_a_worker_that_waits_for_its_restart_can_be_cancelled(here: Sandbox) -> None:
    executor = here.executor(restarts=50)
    executor.start(here.group("raise SystemExit(1)"))
    wait_until(lambda: container(here)["RestartCount"] > 3)  # type: ignore[operator]
    assert state_of(here) is GroupState.RUNNING
    executor.cancel(here.study, "c0", grace_s=1.0)
    assert executor.status(here.study, "c0").state is GroupState.FAILED


def test_a_worker_that_ignores_the_request_is_killed(here: Sandbox) -> None:
    executor = here.executor()
    executor.start(here.group(DEAF))
    wait_until(lambda: list(executor.log(here.study, "c0")) == ["at work"])
    executor.cancel(here.study, "c0", grace_s=0.2)
    assert executor.status(here.study, "c0").exit_code == -9


def test_what_was_made_and_never_started_can_be_started_and_cancelled(here: Sandbox) -> None:
    """As an orchestrator leaves it that is killed between the two."""
    group = here.group()
    make_only(here, group)
    assert state_of(here) is GroupState.RUNNING
    here.executor().start(group)
    wait_until(lambda: list(here.executor().log(here.study, "c0")) == ["at work"])
    here.executor().cancel(here.study, "c0", grace_s=5.0)
    here.executor().clear(here.study)
    make_only(here, group)
    here.executor().cancel(here.study, "c0", grace_s=5.0)
    assert state_of(here) is GroupState.ENDED


def test_a_group_whose_starter_died_half_way_is_started_by_the_next(here: Sandbox) -> None:
    group = here.group(nodes=2)
    make_only(here, group)
    DockerExecutor(here.workers, here.home, engine=here.engine, start_within_s=0.5).start(group)
    status = here.executor().status(here.study, "c0")
    assert (status.state, status.lacks_nodes) == (GroupState.RUNNING, False)


def make_only(here: Sandbox, group: GroupSpec) -> None:
    first = plan_group(group, here.workers).nodes[0]
    here.engine.api.create_container_from_config(container_body(first, here.workers), container_name(first))


def test_two_processes_that_start_a_group_at_once_make_one(here: Sandbox) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)

    def start(home: Path) -> None:
        executor = DockerExecutor(here.workers, home)
        gate.wait(30)
        executor.start(here.group(nodes=2))

    # Each with a home of its own, as on several machines, so that only the engine is between them.
    processes = [context.Process(target=start, args=(here.home / str(index),)) for index in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    names = {f"/winnow-{here.study}-c0-0", f"/winnow-{here.study}-c0-1", f"winnow-{here.study}-c0"}
    assert sorted(here.left()) == sorted(names)
    (status,) = here.executor().groups(here.study)
    assert (status.state, status.lacks_nodes) == (GroupState.RUNNING, False)


def test_nodes_reach_each_other_by_name_and_nothing_else(here: Sandbox) -> None:
    here.executor(network=None).start(here.group(TALK, nodes=2))
    wait_until(lambda: state_of(here) is GroupState.SUCCEEDED)
    assert "node 0: heard node 1" in list(here.executor().log(here.study, "c0"))
    (network,) = here.engine.api.networks(filters={"label": f"{STUDY}={here.study}"})
    assert network["Internal"] is True
    assert network["Labels"] == {STUDY: here.study, GROUP: "c0"}
    assert container(here, 1)["Config"]["Labels"][NODE] == "1"  # type: ignore[index]


def test_a_lost_node_is_missed_and_brought_back(here: Sandbox) -> None:
    executor, group = here.executor(), here.group(nodes=2)
    executor.start(group)
    first = container(here, 0)["Id"]
    here.engine.api.kill(f"winnow-{here.study}-c0-1")
    wait_until(lambda: executor.status(here.study, "c0").lacks_nodes)
    executor.start(group)
    assert container(here, 0)["Id"] == first
    assert executor.status(here.study, "c0").lacks_nodes is False
    here.engine.api.remove_container(f"winnow-{here.study}-c0-1", force=True)
    assert executor.status(here.study, "c0").lacks_nodes is True


def test_a_group_whose_first_node_is_over_begins_anew_on_all(here: Sandbox) -> None:
    executor, group = here.executor(), here.group(nodes=2)
    executor.start(group)
    second = container(here, 1)["Id"]
    here.engine.api.kill(f"winnow-{here.study}-c0-0")
    wait_until(lambda: executor.status(here.study, "c0").state.is_over)
    executor.start(group)
    assert container(here, 1)["Id"] != second
    assert executor.status(here.study, "c0").state is GroupState.RUNNING


def test_all_nodes_or_none(here: Sandbox) -> None:
    foreign = here.engine.api.create_container_from_config(
        {"Image": IMAGE, "Cmd": ["true"]}, f"winnow-{here.study}-c0-1"
    )
    try:
        with pytest.raises(InputError, match="another owner"):
            here.executor().start(here.group(nodes=2))
        assert here.left() == []
    finally:
        here.engine.api.remove_container(foreign["Id"])


@pytest.mark.parametrize(
    ("site", "group", "remedy"),
    [
        ({"image": "no-such-image-of-winnow"}, {}, "build-train"),
        ({"network": "no-such-network-of-winnow"}, {}, "mlflow-init"),
        ({}, {"volumes": (Volume("no-such-volume-of-winnow", "/data"),)}, "docker volume create"),
        ({}, {"volumes": (Volume("/no/such/folder", "/data"),)}, "/no/such/folder"),
        ({}, {"resources": GroupResources(cpus=10_000.0)}, "10000|CPUs"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_left(
    here: Sandbox, site: dict[str, str], group: dict[str, object], remedy: str
) -> None:
    with pytest.raises(InputError, match=remedy) as refused:
        here.executor(**site).start(here.group(secrets={"TOKEN": "s3cret"}, **group))
    assert "s3cret" not in str(refused.value)
    assert here.left() == []


def test_a_command_that_is_not_in_the_image_leaves_nothing(here: Sandbox) -> None:
    with pytest.raises(InputError, match="no-such-program"):
        here.executor().start(replace(here.group(nodes=2), argv=("no-such-program",)))
    assert here.left() == []


def test_a_volume_is_seen_where_it_was_asked_for(here: Sandbox) -> None:
    here.home.chmod(0o755)
    (here.home / "rows.csv").write_text("a,b\n")
    code = "print(open('/data/rows.csv').read().strip()); open('/data/more', 'w')"
    here.executor(restarts=0).start(here.group(code, volumes=(Volume(str(here.home), "/data"),)))
    wait_until(lambda: state_of(here) is GroupState.FAILED)
    log = list(here.executor().log(here.study, "c0"))
    assert "a,b" in log
    assert any("Read-only file system" in line for line in log)


def test_long_and_odd_lines_come_whole(here: Sandbox) -> None:
    code = "import sys; print('x' * 50_000); sys.stdout.flush(); sys.stdout.buffer.write(b'caf\\xe9\\nend')"
    here.executor().start(here.group(code))
    wait_until(lambda: state_of(here) is GroupState.SUCCEEDED)
    assert list(here.executor().log(here.study, "c0")) == ["x" * 50_000, "caf\N{REPLACEMENT CHARACTER}", "end"]


def test_nothing_is_left_but_the_logs(here: Sandbox) -> None:
    executor = here.executor()
    executor.start(here.group("print('one')"))
    executor.start(here.group("print('two')", name="c1", nodes=2))
    executor.start(here.group(name="c2", nodes=2))
    wait_until(lambda: {state_of(here, name) for name in ("c0", "c1")} == {GroupState.SUCCEEDED})
    executor.clear(here.study)
    running = [f"/winnow-{here.study}-c2-{node}" for node in (0, 1)]
    assert sorted(here.left()) == sorted([*running, f"winnow-{here.study}-c2"])
    assert next(executor.log(here.study, "c0")) == "one"
    executor.cancel(here.study, "c2", grace_s=5.0)
    executor.clear(here.study)
    assert here.left() == []
    assert [(status.state, status.exit_code) for status in here.executor().groups(here.study)] == [
        (GroupState.SUCCEEDED, 0),
        (GroupState.SUCCEEDED, 0),
        (GroupState.FAILED, 143),
    ]
