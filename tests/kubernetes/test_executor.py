"""Worker groups on a real cluster: what holds them in, what becomes of them, and that nothing of them stays."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.kubernetes.groups import SLEEP, SMALL, Sandbox, remove, sandbox, wait_until
from tests.kubernetes.places import ROOT, Place
from tests.remote_workers import DEAF, FACTS, HELD_IN, LITERAL, TOKEN
from winnow.cli.jobs import cancel, jobs, logs
from winnow.config.errors import InputError
from winnow.config.experiment import KubernetesConfig
from winnow.platforms.executor import GroupState, GroupStatus, Volume
from winnow.platforms.kubernetes.executor import KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import plan_group
from winnow.platforms.kubernetes.refusals import NotAdmittedError

pytestmark = pytest.mark.kubernetes

TALK = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
node, master = os.environ["WINNOW_NODE"], (os.environ["WINNOW_MASTER_ADDR"], int(os.environ["WINNOW_MASTER_PORT"]))
if node == "0":
    with socket.create_server(("", master[1])) as server:
        while True:
            said = server.accept()[0].recv(100).decode()
            print("heard", said, flush=True)
            if said == "done":
                break
else:
    print("node is up", flush=True)
    while True:
        try:
            with socket.create_connection(master, timeout=1) as connection:
                connection.sendall(b"node " + node.encode())
        except OSError:
            pass
        time.sleep(0.5)
"""
UNREADY = {"containers": [{"name": "worker", "readinessProbe": {"exec": {"command": ["false"]}}}]}
SLOW = SLEEP.replace("sys.exit(143)", "(time.sleep(3), sys.exit(143))")


@pytest.fixture
def here(shared_place: Place, tmp_path: Path) -> Iterator[Sandbox]:
    made = sandbox(shared_place, tmp_path)
    yield made
    remove(made)


def status_of(here: Sandbox, name: str = "p0") -> GroupStatus:
    return here.executor().status(here.study, name)


def log_of(here: Sandbox, name: str = "p0") -> list[str]:
    return list(here.executor().log(here.study, name))


def failed_pods(here: Sandbox, name: str = "p0") -> int:
    return int(here.job(name)["status"].get("failed", 0))


def test_a_quota_that_is_used_up_keeps_out_new_groups_and_no_others(own_place: Place, tmp_path: Path) -> None:
    here = sandbox(own_place, tmp_path)
    own_place.admin("create", "quota", "one", "--hard=count/jobs.batch=1")
    wait_until(lambda: "used" in own_place.admin.json("get", "quota", "one")["status"])
    here.executor().start(here.group())
    for ask in (here.executor().validate, here.executor().start):
        ask(here.group())
    with pytest.raises(NotAdmittedError, match="exceeded quota: one"):
        here.executor().start(here.group(name="p1"))
    assert [group.name for group in here.executor().groups(here.study)] == ["p0"]


def test_a_worker_is_held_in_and_its_secrets_are_not_in_the_job(here: Sandbox) -> None:
    group = here.group(FACTS, secrets={"TOKEN": TOKEN})
    here.executor().start(replace(group, env={**group.env, "LITERAL": LITERAL}))
    wait_until(lambda: status_of(here).state is GroupState.SUCCEEDED)
    (line,) = log_of(here)
    assert json.loads(line) == HELD_IN | {"shm_bytes": 2**20}
    assert TOKEN not in json.dumps(here.job())
    here.executor().clear(here.study)
    wait_until(lambda: here.left() == [])


def test_nodes_find_each_other_before_they_are_ready_and_come_back_without_being_counted(here: Sandbox) -> None:
    """Deleted by hand or evicted; a log that is followed goes on over that.

    One pod of each of two groups: the cluster waits the longer to replace one the more of a Job have gone before.
    """
    executor, seen = here.executor(), {name: list[str]() for name in ("p0", "p1")}
    for name in seen:
        executor.start(here.group(TALK, name=name, nodes=2, options=KubernetesConfig(pod=UNREADY)))
    following = [threading.Thread(target=follow, args=(here, name, seen[name]), daemon=True) for name in seen]
    for thread in following:
        thread.start()
    wait_until(lambda: all("node 0: heard node 1" in lines for lines in seen.values()))
    first = {name: here.pods(name) for name in seen}
    here.place.admin("delete", "pod", first["p0"][1]["metadata"]["name"], "--wait=false")
    evict(here, first["p1"][0]["metadata"]["name"])
    wait_until(lambda: is_replaced(here, "p0", 1, first["p0"]) and is_replaced(here, "p1", 0, first["p1"]))
    heard = {name: lines.count("node 0: heard node 1") for name, lines in seen.items()}
    wait_until(lambda: seen["p0"].count("node 1: node is up") == 2)
    wait_until(lambda: all(lines.count("node 0: heard node 1") > heard[name] for name, lines in seen.items()))
    for name in seen:
        assert (failed_pods(here, name), status_of(here, name).state) == (0, GroupState.RUNNING)
    executor.cancel_all(here.study, grace_s=5.0)
    for thread in following:
        thread.join(20)
        assert not thread.is_alive()
    wait_until(lambda: here.left() == [])


def test_a_home_that_did_not_start_a_group_follows_it_to_its_end(here: Sandbox, tmp_path: Path) -> None:
    seen: list[str] = []
    elsewhere = here.executor(home=tmp_path / "elsewhere")
    here.executor().start(here.group())
    following = threading.Thread(target=lambda: seen.extend(elsewhere.log(here.study, "p0", follow=True)))
    following.start()
    wait_until(lambda: seen == ["at work"])
    here.executor().cancel_all(here.study, grace_s=5.0)
    here.executor().clear(here.study)
    wait_until(lambda: here.left() == [])
    following.join(20)
    assert not following.is_alive()
    assert elsewhere.groups(here.study) == ()


def test_what_ended_in_one_namespace_says_nothing_of_another(here: Sandbox, own_place: Place) -> None:
    here.executor().start(here.group())
    wait_until(lambda: status_of(here).state is GroupState.RUNNING)
    here.executor().cancel(here.study, "p0", grace_s=5.0)
    wait_until(lambda: here.left() == [])
    assert [group.name for group in here.executor().groups(here.study)] == ["p0"]
    assert KubernetesExecutor(own_place.cluster(), here.workers, here.home).groups(here.study) == ()


def follow(here: Sandbox, name: str, seen: list[str]) -> None:
    seen.extend(here.executor().log(here.study, name, follow=True))


def is_replaced(here: Sandbox, name: str, index: int, before: dict[int, dict[str, Any]]) -> bool:
    now = here.pods(name)
    return index in now and now[index]["metadata"]["uid"] != before[index]["metadata"]["uid"]


def evict(here: Sandbox, pod: str) -> None:
    """By the API that `kubectl drain` uses."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{here.place.namespace}/pods/{pod}/eviction"
    here.place.admin("create", "--raw", path, "--filename", "-", given=json.dumps(eviction))


def test_who_loses_its_partner_is_replaced_and_who_cannot_start_ends_the_group(here: Sandbox) -> None:
    executor = here.executor()
    # The second node of each group decides.
    other = "import os, sys\nif os.environ['WINNOW_NODE'] == '1': sys.exit({})\n" + SLEEP
    executor.start(here.group(other.format(77), name="p0", nodes=2))
    executor.start(here.group(other.format(3), name="p1", nodes=2))
    executor.start(here.group("raise SystemExit(1)", name="p2", options=KubernetesConfig(backoff_limit=0)))
    executor.start(here.group("print('done')", name="p3"))
    wait_until(lambda: all(status_of(here, name).state.is_over for name in ("p1", "p2", "p3")))
    ends = {name: (status_of(here, name).state, status_of(here, name).exit_code) for name in ("p1", "p2", "p3")}
    assert ends == {"p1": (GroupState.FAILED, 3), "p2": (GroupState.FAILED, 1), "p3": (GroupState.SUCCEEDED, 0)}
    assert (status_of(here, "p0").state, failed_pods(here, "p0")) == (GroupState.RUNNING, 0)
    executor.clear(here.study)
    executor.cancel(here.study, "p0", grace_s=1.0)
    wait_until(lambda: here.left() == [])
    kept = {status.name: (status.state, status.exit_code) for status in executor.groups(here.study)}
    assert {name: kept[name] for name in ends} == ends
    assert log_of(here, "p3")[0] == "done"


def test_what_keeps_a_group_from_starting_is_said_within_half_a_minute(here: Sandbox) -> None:
    executor, started_at = here.executor(), time.monotonic()
    too_large = replace(SMALL, cpus=1000.0)
    executor.start(here.group(name="p0", resources=too_large))
    here.executor(image="localhost:1/no-such-image:1").start(here.group(name="p1"))
    executor.start(here.group(name="p2", options=KubernetesConfig(pod={"hostNetwork": True})))
    executor.start(here.group(name="p3", options=KubernetesConfig(queue="a-queue")))
    with executor.watch(here.study) as look:
        wait_until(lambda: all(status.diagnosis is not None for status in look()), 30.0)
        seen = {status.name: status.diagnosis for status in look()}
    assert time.monotonic() - started_at < 30
    reasons = {name: diagnosis.reason for name, diagnosis in seen.items() if diagnosis is not None}
    assert "Insufficient cpu" in reasons["p0"]
    assert "no-such-image" in reasons["p1"]
    assert "violates PodSecurity" in reasons["p2"]
    assert "a-queue" in reasons["p3"]
    assert [name for name, diagnosis in seen.items() if diagnosis is not None and diagnosis.is_awaited] == ["p3"]
    asked = {status.name: status.diagnosis.reason for status in here.executor().groups(here.study) if status.diagnosis}
    assert asked.keys() == reasons.keys()
    for name in reasons:
        executor.cancel(here.study, name, grace_s=1.0)
    wait_until(lambda: here.left() == [])


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({"volumes": (Volume("/srv/rows", "/data"),)}, "volume claims"),
        ({"volumes": (Volume("no-such-claim", "/data"),)}, "no-such-claim"),
        (
            {"options": KubernetesConfig(pod={"terminationGracePeriodSeconds": "soon"})},
            "terminationGracePeriodSeconds",
        ),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_left(here: Sandbox, group: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as refused:
        here.executor().start(here.group(secrets={"TOKEN": "s3cret"}, **group))
    assert expected in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert here.left() == []


@pytest.mark.parametrize("folder", ["train", "prod"])
def test_the_manifests_are_taken_as_they_are(here: Sandbox, folder: str) -> None:
    """By a person with kubectl alone; what they refer to (Secrets, an image) is not looked at by this."""
    taken = here.place.admin("apply", "--dry-run=server", "--server-side", "--kustomize", str(ROOT / "k8s" / folder))
    assert {"train": "job.batch/winnow-train", "prod": "deployment.apps/winnow-prod"}[folder] in taken


def test_a_job_of_another_owner_is_left_alone(here: Sandbox) -> None:
    foreign = plan_group(here.group(), here.workers).job
    foreign["metadata"]["labels"] = foreign["spec"]["template"]["metadata"]["labels"] = {"app": "theirs"}
    foreign["spec"]["suspend"] = True
    here.place.cluster().create(foreign)
    with pytest.raises(InputError, match="found one without it"):
        here.executor().start(here.group())
    here.place.admin("delete", "job", here.name())


def test_two_processes_that_start_a_group_at_once_make_one(here: Sandbox) -> None:
    context = multiprocessing.get_context("fork")
    gate = context.Barrier(4)

    def start(home: Path) -> None:
        gate.wait(30)
        here.executor(home).start(here.group(nodes=2))

    # Each with a home of its own, as on several machines, so that only the cluster is between them.
    processes = [context.Process(target=start, args=(here.home / str(index),)) for index in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    kinds = [name.partition("/")[0] for name in here.left()]
    assert kinds.count("job.batch") == kinds.count("secret") == kinds.count("service") == 1


def test_what_its_starter_left_half_done_is_finished_by_the_next(here: Sandbox) -> None:
    """As an orchestrator leaves it that is killed between Job and Secret."""
    group = here.group(secrets={"TOKEN": "s3cret"})
    here.place.cluster().create(plan_group(group, here.workers).job)
    assert status_of(here).state is GroupState.RUNNING
    here.executor().start(group)
    wait_until(lambda: log_of(here) == ["at work"])


def test_a_job_that_is_deleted_by_hand_leaves_nothing_and_can_be_started_again(here: Sandbox) -> None:
    executor = here.executor()
    executor.start(here.group(SLOW, nodes=2))
    wait_until(lambda: log_of(here) == ["node 0: at work", "node 1: at work"])
    here.place.admin("delete", "job", here.name(), "--wait=false")
    # Its workers still are at it, with what they hold.
    assert status_of(here).state is GroupState.RUNNING
    executor.cancel(here.study, "p0", grace_s=15.0)
    wait_until(lambda: here.left() == [])
    assert (status_of(here).state, status_of(here).exit_code) == (GroupState.FAILED, 143)
    executor.start(here.group())
    wait_until(lambda: log_of(here)[-1] == "at work")


def test_a_worker_that_ignores_the_request_is_killed(here: Sandbox) -> None:
    executor = here.executor()
    executor.start(here.group(DEAF))
    wait_until(lambda: log_of(here) == ["at work"])
    started_at = time.monotonic()
    executor.cancel(here.study, "p0", grace_s=1.0)
    assert time.monotonic() - started_at < 15
    assert executor.status(here.study, "p0").exit_code == -9


def test_looking_costs_no_request(here: Sandbox) -> None:
    cluster = here.place.cluster()
    executor = KubernetesExecutor(cluster, here.workers, here.home)
    executor.start(here.group())
    wait_until(lambda: log_of(here) == ["at work"])
    with executor.watch(here.study) as look:
        assert [status.state for status in look()] == [GroupState.RUNNING]
        before = cluster.calls
        for _ in range(100):
            look()
        here.place.admin("delete", "job", here.name(), "--wait=false")
        wait_until(lambda: [status.state for status in look()] == [GroupState.ENDED])
        assert cluster.calls - before <= 3


def test_many_groups_take_few_requests(here: Sandbox) -> None:
    """Groups that a queue holds, so that no pod is made; benchmarks/groups_at_size.py has some that run."""
    cluster = here.place.cluster()
    executor = KubernetesExecutor(cluster, here.workers, here.home)
    groups = [here.group(name=f"p{i}", nodes=8, options=KubernetesConfig(queue="a-queue")) for i in range(20)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(executor.start, groups))
    assert cluster.calls == 3 * len(groups)
    with executor.watch(here.study) as look:
        assert len(look()) == len(groups)
        assert cluster.calls <= 3 * len(groups) + 4
        executor.cancel_all(here.study, 1.0)
        # Two lists, and one request for all pods and one for all Jobs.
        assert cluster.calls <= 3 * len(groups) + 8
    wait_until(lambda: here.left() == [])


def test_jobs_logs_and_cancel_work_on_pods(here: Sandbox) -> None:
    here.executor().start(here.group())
    here.executor().start(here.group(name="p1", resources=replace(SMALL, cpus=1000.0)))
    wait_until(lambda: log_of(here) == ["at work"])
    listed = {each["worker"]: each for each in json.loads(ask(here, jobs, "--json"))}
    assert (listed["p0"]["platform"], listed["p0"]["state"], listed["p0"]["diagnosis"]) == (
        "kubernetes",
        "running",
        None,
    )
    assert "Insufficient cpu" in listed["p1"]["diagnosis"]["reason"]
    assert "cannot start" in ask(here, jobs)
    assert ask(here, logs, "--worker", "p0") == "p0 at work\n"
    assert "stopped 2 workers" in ask(here, cancel)
    assert f"No workers are running in namespace {here.place.namespace} of" in ask(here, jobs)
    assert ask(here, logs, "--worker", "p0").startswith("p0 at work\np0 -----")
    wait_until(lambda: here.left() == [])


def ask(here: Sandbox, verb: click.Command, *flags: str) -> str:
    """What a verb prints of this study."""
    environment = {**here.place.environment, "WINNOW_HOME": str(here.home)}
    done = CliRunner().invoke(verb, ["--study", here.study, "--platform", "kubernetes", *flags], env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout
