"""What is asked of a cluster to start and end groups, and what becomes of it where answers are lost or names taken."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, Asked, FakeApi, cluster_of, refuse, reply, running
from winnow.config.errors import InputError
from winnow.config.experiment import KubernetesConfig
from winnow.platforms.executor import GroupSpec, GroupState
from winnow.platforms.kubernetes import manifests
from winnow.platforms.kubernetes.executor import KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers, object_name
from winnow.platforms.kubernetes.refusals import NotAdmittedError
from winnow.platforms.labels import GROUP, STUDY

K8S = Path(__file__).parents[4] / "k8s" / "train"
JOBS, PODS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", f"/api/v1/namespaces/{NAMESPACE}/pods"
SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"


@dataclass
class GroupApi(FakeApi):
    """An API that says when an object goes, and deletes many at once."""

    gone: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        metadata = {"creationTimestamp": "2026-01-01T00:00:00Z", **body["metadata"]}
        return super().put(path, {**body, "metadata": metadata})

    def answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        is_many = asked.path in (JOBS, PODS)
        if asked.method == "GET" and asked.query.get("watch"):
            self.tell(to, asked.path)
        elif asked.method == "GET" and is_many:
            items = [self.objects[path] for path in self.chosen(asked)]
            reply(to, 200, {"items": items, "metadata": {"resourceVersion": "1"}})
        elif asked.method == "DELETE" and (is_many or asked.path in self.objects):
            for path in self.chosen(asked) if is_many else [asked.path]:
                self.remove(path)
            reply(to, 200, {})
        else:
            super().answer(to, asked)

    def chosen(self, asked: Asked) -> list[str]:
        """The objects that a label selector means: `a=b`, `a in (b,c)` and `a`."""
        terms = re.findall(r"([^,=() ]+)(?:=([^,]*)| in \(([^)]*)\))?", asked.query.get("labelSelector", ""))
        wanted = {name: set((one or several).split(",")) for name, one, several in terms}
        return [
            path
            for path, each in self.objects.items()
            if path.rpartition("/")[0] == asked.path
            and all(each["metadata"]["labels"].get(name) in values for name, values in wanted.items())
        ]

    def remove(self, path: str) -> None:
        """Take an object away, and tell who watches."""
        with self.changed:
            self.gone.append((path.rpartition("/")[0], self.objects.pop(path)))
            self.changed.notify_all()

    def tell(self, to: BaseHTTPRequestHandler, path: str) -> None:
        """What goes, until nobody listens."""
        to.send_response(200)
        to.end_headers()
        to.close_connection = True
        told, deadline = 0, time.monotonic() + 20
        while time.monotonic() < deadline:
            with self.changed:
                self.changed.wait_for(lambda: len(self.gone) > told, 0.5)  # noqa: B023 - waited for at once
                new, told = self.gone[told:], len(self.gone)
            lines = [json.dumps({"type": "DELETED", "object": each}).encode() for kind, each in new if kind == path]
            try:
                to.wfile.write(b"".join(line + b"\n" for line in lines))
            except OSError:
                return

    def deletions(self) -> list[str]:
        return [each for each in self.log if each.startswith("DELETE")]


@pytest.fixture
def api() -> Iterator[GroupApi]:
    made = GroupApi()
    with running(made):
        yield made


@pytest.fixture
def executor(api: GroupApi, tmp_path: Path) -> KubernetesExecutor:
    workers = KubernetesWorkers("an-image", manifests.load(K8S))
    return KubernetesExecutor(cluster_of(api, tmp_path), workers, tmp_path / "home", removal_within_s=5.0)


def group(name: str = "p0") -> GroupSpec:
    return GroupSpec("a-study", name, ("run",), {}, secrets={"TOKEN": "s3cret"})


def pod(name: str) -> dict[str, Any]:
    """One of a group, on a machine that cannot be asked for its log."""
    labels = {STUDY: "a-study", GROUP: name}
    state = {"running": {}}
    status = {"phase": "Running", "containerStatuses": [{"name": "worker", "state": state}]}
    return {"kind": "Pod", "metadata": {"name": f"{name}-pod", "labels": labels}, "status": status}


def name_of(group_name: str) -> str:
    return object_name("a-study", group_name)


def test_a_new_group_takes_one_request_for_each_of_its_objects(api: GroupApi, executor: KubernetesExecutor) -> None:
    executor.start(group())
    assert api.log == ["POST jobs", "POST secrets"]
    owner = api.objects[f"{SECRETS}/{name_of('p0')}"]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == api.objects[f"{JOBS}/{name_of('p0')}"]["metadata"]["uid"]


def test_a_group_is_checked_by_the_cluster_and_nothing_is_made(api: GroupApi, executor: KubernetesExecutor) -> None:
    executor.validate(group())
    assert (api.log, api.objects) == (["POST jobs"], {})
    assert api.asked[0].query["dryRun"] == "All"
    assert api.asked[0].body["metadata"]["name"] == name_of("p0")
    executor.start(group())
    executor.validate(group())


@pytest.mark.parametrize(
    ("pod", "place"), [({}, "execution.kubernetes"), ({"runtimeClassname": "x"}, "execution.kubernetes.pod")]
)
def test_what_the_cluster_does_not_take_is_traced_to_the_experiment(
    api: GroupApi, executor: KubernetesExecutor, pod: dict[str, Any], place: str
) -> None:
    wanted = GroupSpec("a-study", "p0", ("run",), {}, options=KubernetesConfig(pod=pod))
    for ask in (executor.validate, executor.start):
        api.script = [refuse(400, 'unknown field "spec.template.spec.runtimeClassname"')]
        with pytest.raises(InputError, match="priority_class") as caught:
            ask(wanted)
        assert (caught.value.place, caught.value.expected) == (place, "fields that the cluster accepts")
        assert caught.value.found == 'unknown field "spec.template.spec.runtimeClassname"'
    assert not api.objects


def test_what_the_cluster_forbids_is_not_laid_to_the_experiment(api: GroupApi, executor: KubernetesExecutor) -> None:
    api.script = [refuse(403, "exceeded quota")]
    with pytest.raises(InputError, match=r"jobs in namespace .*exceeded quota"):
        executor.validate(group())


def test_a_group_that_is_at_work_is_found_so_though_the_quota_is_used_up(
    api: GroupApi, executor: KubernetesExecutor
) -> None:
    def is_full(to: BaseHTTPRequestHandler, asked: Asked) -> None:
        if asked.method == "POST":
            reply(to, 403, {"message": "exceeded quota", "reason": "Forbidden", "details": {"name": "a-name"}})
        else:
            api.answer(to, asked)

    for ask in (executor.start, executor.validate):
        api.script = [is_full]
        with pytest.raises(NotAdmittedError, match="exceeded quota"):
            ask(group())
    executor.start(group())
    made = set(api.objects)
    api.answers = dict.fromkeys((JOBS, SECRETS), is_full)
    executor.start(group())
    executor.validate(group())
    assert set(api.objects) == made


def test_a_job_is_given_its_secret_though_the_answer_was_lost(api: GroupApi, executor: KubernetesExecutor) -> None:
    def make_and_be_gone(to: BaseHTTPRequestHandler, asked: Asked) -> None:
        api.put(f"{JOBS}/{name_of('p0')}", asked.body)
        to.close_connection = True

    api.script = [make_and_be_gone]
    executor.start(group())
    assert api.log == ["POST jobs", f"GET jobs/{name_of('p0')}", "POST secrets"]


def test_a_secret_of_another_owner_is_left_alone(api: GroupApi, executor: KubernetesExecutor) -> None:
    theirs = api.put(f"{SECRETS}/{name_of('p0')}", {"kind": "Secret", "metadata": {"name": name_of("p0")}})
    with pytest.raises(InputError, match="found one without it"):
        executor.start(group())
    assert list(api.objects.values()) == [theirs]


def test_a_job_that_terminates_is_polled_and_not_created_again_and_again(
    api: GroupApi, executor: KubernetesExecutor
) -> None:
    executor.start(group())
    path = f"{JOBS}/{name_of('p0')}"
    api.objects[path]["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    leaving = threading.Timer(1.0, lambda: api.remove(path))
    leaving.start()
    executor.start(group())
    assert api.log.count("POST jobs") == 3
    assert 2 <= api.log.count(f"GET jobs/{name_of('p0')}") <= 5
    assert executor.status("a-study", "p0").state is GroupState.RUNNING


def test_a_job_made_by_hand_is_ended_under_any_name(api: GroupApi, executor: KubernetesExecutor) -> None:
    executor.start(group())
    job = api.objects.pop(f"{JOBS}/{name_of('p0')}")
    api.put(f"{JOBS}/by-hand", {**job, "metadata": {**job["metadata"], "name": "by-hand"}})
    executor.cancel("a-study", "p0", grace_s=1.0)
    assert api.deletions() == ["DELETE pods", "DELETE jobs/by-hand"]
    assert executor.status("a-study", "p0").state.is_over


def test_many_groups_are_ended_with_few_requests(api: GroupApi, executor: KubernetesExecutor) -> None:
    names = [f"p{index}" for index in range(30)]
    for each in names:
        executor.start(group(each))
        api.put(f"{PODS}/{each}-pod", pod(each))
    api.objects[f"{JOBS}/{name_of('p7')}"]["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    api.asked.clear()
    executor.cancel_all("a-study", grace_s=1.0)
    assert sorted(api.deletions()) == ["DELETE jobs"] * 2 + ["DELETE pods"] * 2
    logs = [each for each in api.log if each.endswith("/log")]
    # Two lists, and a watch of each kind that begins with a list of its own.
    assert (len(logs), len(api.log)) == (29, 29 + 4 + 6)
    assert [each for each in api.objects if each.startswith(JOBS)] == [f"{JOBS}/{name_of('p7')}"]
    states = {status.name: status.state for status in executor.groups("a-study")}
    assert states.pop("p7") is GroupState.SUCCEEDED
    assert states == dict.fromkeys(set(names) - {"p7"}, GroupState.ENDED)
    executor.cancel_all("a-study", grace_s=1.0)


def test_two_who_end_the_same_groups_do_not_wait_for_each_other(api: GroupApi, executor: KubernetesExecutor) -> None:
    for each in ("p0", "p1"):
        executor.start(group(each))
        api.put(f"{PODS}/{each}-pod", pod(each))
    both = [threading.Thread(target=executor.cancel_all, args=("a-study", 1.0), daemon=True) for _ in range(2)]
    for each_of_them in both:
        each_of_them.start()
    for each_of_them in both:
        each_of_them.join(10)
        assert not each_of_them.is_alive()
