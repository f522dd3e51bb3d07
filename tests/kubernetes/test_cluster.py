"""The connection to a cluster, on a real one: objects, watches, logs, diagnoses, ports of pods."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kubernetes.places import Place, place
from tests.kubernetes.pods import deployment, pod, pod_spec, until
from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.diagnosis import diagnosis_of, diagnosis_of_owner
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.forward import Forward, is_ready, ready_pods
from winnow.platforms.kubernetes.kinds import CONFIG_MAP, DEPLOYMENT, JOB, POD, SECRET, Manifest, name_of
from winnow.platforms.kubernetes.prune import apply_all
from winnow.platforms.kubernetes.refusals import NotFoundError, NotStartedError

pytestmark = pytest.mark.kubernetes

LARGE = 50_000_000

SERVER = """
import hashlib, http.server, random
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        left, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        while left:
            piece = self.rfile.read(min(left, 65536)); digest.update(piece); left -= len(piece)
        self.answer(digest.hexdigest().encode())
    def do_GET(self):
        self.answer(random.Random(1).randbytes(int(self.path[1:])))
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""
PROBE = {"exec": {"command": ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8000), 1)"]}}

SILENT_AFTER_A_LINE = "import time; print('at work'); time.sleep(600)"


def config_map(name: str, labels: Mapping[str, str], **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": dict(labels)}, "data": data}


def start(admin_of: Place, manifest: Manifest) -> None:
    """Make what the product's person may not: a pod by itself."""
    admin_of.admin("create", "--filename", "-", given=json.dumps(manifest))


# Objects


def test_fields_of_others_are_left_alone(cluster: Cluster, shared_place: Place) -> None:
    labels = {"winnow.test": "fields"}
    cluster.apply(config_map("fields", labels, ours="1", gone="2"))
    shared_place.admin("patch", "configmap", "fields", "--patch", '{"data": {"theirs": "3"}}')
    cluster.apply(config_map("fields", labels, ours="4"))
    (found,) = cluster.find(CONFIG_MAP, labels).items
    assert found["data"] == {"ours": "4", "theirs": "3"}


def test_what_was_applied_differs_in_nothing_until_it_is_changed(cluster: Cluster) -> None:
    labels = {"winnow.test": "difference"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "difference", "labels": labels},
        "stringData": {"password": "hunter2"},
    }
    idle = deployment("difference", "", labels)
    idle["spec"]["replicas"] = 0
    wanted, kinds = [config_map("difference", labels, a="1"), secret, idle], (CONFIG_MAP, SECRET, DEPLOYMENT)
    new = difference(cluster, wanted, labels, kinds)
    assert "+++ deployments/difference (planned)" in new
    assert cluster.find(DEPLOYMENT, labels).items == ()
    apply_all(cluster, wanted, labels, kinds)
    assert difference(cluster, wanted, labels, kinds) == ""
    idle["spec"]["template"]["spec"]["containers"][0]["image"] = "other:1"
    changed = difference(cluster, [{**secret, "stringData": {"password": "hunter3"}}, idle], labels, kinds)
    assert "image: other:1" in changed
    assert "+++ configmaps/difference (removed)" in changed
    assert "hunter" not in changed
    apply_all(cluster, [secret], labels, kinds)
    assert [name_of(each) for kind in kinds for each in cluster.find(kind, labels).items] == ["difference"]


def test_a_watch_sees_what_changes_and_goes_on_from_there(cluster: Cluster) -> None:
    labels = {"winnow.test": "watch"}
    before = cluster.find(JOB, labels)
    suspended = {"suspend": True, "template": {"spec": pod_spec("")}}
    metadata = {"name": "watch", "labels": labels}
    cluster.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": suspended})
    seen = next(cluster.watch(JOB, labels, before.resource_version))
    assert (seen.kind, seen.object["kind"], name_of(seen.object)) == ("ADDED", "Job", "watch")
    cluster.delete(JOB, "watch")
    later = cluster.watch(JOB, labels, seen.object["metadata"]["resourceVersion"], timeout_s=2)
    assert [change.kind for change in later][-1] == "DELETED"


def test_a_watch_is_ended_by_another_thread(cluster: Cluster) -> None:
    watch = cluster.watch(JOB, {"winnow.test": "nothing"}, cluster.find(JOB).resource_version)
    began = time.monotonic()
    threading.Timer(0.3, watch.close).start()
    assert [change.kind for change in watch if change.kind != "BOOKMARK"] == []
    assert time.monotonic() - began < 5


# Logs


def test_logs_are_followed_until_somebody_has_enough(cluster: Cluster, shared_place: Place) -> None:
    start(shared_place, pod("talks", SILENT_AFTER_A_LINE))
    until(lambda: _phase(cluster, "talks") == "Running")
    assert until(lambda: list(cluster.log("talks", "main"))) == ["at work"]
    (stamped,) = cluster.log("talks", "main", is_stamped=True)
    assert stamped.endswith("Z at work")
    log = cluster.log("talks", "main", follow=True)
    assert next(log) == "at work"
    began = time.monotonic()
    threading.Timer(0.3, log.close).start()
    assert list(log) == []
    assert time.monotonic() - began < 5
    assert cluster.delete(POD, "talks")


# Troubles


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace in which nothing gets on its way."""
    with place(tmp_path_factory.mktemp("crowded")) as made:
        start(made, pod("large", "", cpu="1000"))
        start(made, pod("nowhere", "", image="registry.invalid/none:1"))
        start(made, pod("misnamed", "", image="No Such Name"))
        missing = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "missing", "key": "a"}}}]}
        start(made, pod("unset", "", **missing))
        start(made, pod("not-python", "", command=["no-such-command"]))
        mounted = pod("unmounted", "")
        mounted["spec"]["volumes"] = [{"name": "v", "secret": {"secretName": "missing"}}]
        mounted["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
        start(made, mounted)
        made.admin("create", "quota", "small", "--hard=count/configmaps=100,requests.cpu=1001")
        yield made


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("large", "Unschedulable: 0/", "kubectl get nodes"),
        ("nowhere", "container main: ErrImagePull", "WINNOW_REGISTRY"),
        ("misnamed", "container main: InvalidImageName", "Correct the image's name"),
        ("unset", 'container main: CreateContainerConfigError: secret "missing" not found', "Create the Secret"),
        ("unmounted", "FailedMount: ", "Create the Secret"),
    ],
)
def test_a_pod_that_cannot_start_says_why_within_seconds(crowded: Place, name: str, reason: str, remedy: str) -> None:
    found = until(lambda: _diagnosis(crowded.cluster(), name), 30)
    assert found.reason.startswith(reason) or "ImagePullBackOff" in found.reason
    assert "\n" not in found.reason
    assert remedy in found.remedy
    assert not found.is_awaited


def test_a_log_of_what_has_not_run_is_told_from_one_of_nothing(crowded: Place) -> None:
    cluster = crowded.cluster()
    until(lambda: _diagnosis(cluster, "unset"), 30)
    with pytest.raises(NotStartedError):
        list(cluster.log("unset", "main"))
    with pytest.raises(NotFoundError):
        list(cluster.log("nobody", "main"))
    # A pod that is on no node has an empty log, says the API.
    assert list(cluster.log("large", "main")) == []


def test_a_command_that_is_not_there_ends_the_pod(crowded: Place) -> None:
    """It ends, where it never ran: that is a failure of its own, and no diagnosis in starting."""
    cluster = crowded.cluster()
    until(lambda: _phase(cluster, "not-python") == "Failed", 30)
    assert _diagnosis(cluster, "not-python") is None


def test_a_job_whose_pods_are_refused_says_why(crowded: Place) -> None:
    cluster = crowded.cluster()
    template = {"spec": pod_spec("", cpu="1500")}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "refused"}, "spec": {"template": template}}
    owner = cluster.create(job)
    found = until(lambda: diagnosis_of_owner(owner, cluster.events(owner)), 30)
    assert found.reason.startswith("FailedCreate: ")
    assert "exceeded quota: small" in found.reason


def _diagnosis(cluster: Cluster, name: str) -> Diagnosis | None:
    (found,) = cluster.find(POD, {"winnow.test": name}).items
    return diagnosis_of(found, cluster.events(found))


def _phase(cluster: Cluster, name: str) -> str:
    (found,) = cluster.find(POD, {"winnow.test": name}).items
    return str(found["status"].get("phase"))


# Ports


@pytest.fixture(scope="module")
def server(shared_place: Place) -> Iterator[Mapping[str, str]]:
    """The labels of a server that answers; its pod is made anew where it goes."""
    labels, cluster = {"winnow.test": "server"}, shared_place.cluster()
    probe = {"readinessProbe": {**PROBE, "periodSeconds": 1}}
    cluster.apply(deployment("server", SERVER, labels, **probe))
    until(lambda: ready_pods(cluster, labels))
    yield labels
    cluster.delete(DEPLOYMENT, "server")


def ask(port: int, method: str, path: str = "/", body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_port_carries_much_in_both_directions_unharmed(cluster: Cluster, server: Mapping[str, str]) -> None:
    data = random.Random(2).randbytes(LARGE)
    with closing(Forward(cluster, server, 8000)) as forward:
        assert ask(forward.port, "POST", body=data).decode() == hashlib.sha256(data).hexdigest()
        assert ask(forward.port, "GET", f"/{LARGE}") == random.Random(1).randbytes(LARGE)


def test_many_connections_share_a_port(cluster: Cluster, server: Mapping[str, str]) -> None:
    answers: list[bytes] = []
    with closing(Forward(cluster, server, 8000)) as forward:
        threads = [
            threading.Thread(target=lambda: answers.append(ask(forward.port, "GET", "/100000"))) for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == [random.Random(1).randbytes(100_000)] * 12


def test_a_port_outlives_the_pod_that_it_led_to(
    cluster: Cluster, shared_place: Place, server: Mapping[str, str]
) -> None:
    with closing(Forward(cluster, server, 8000, pod_timeout_s=40)) as forward:
        assert ask(forward.port, "GET", "/3")
        idle = socket.create_connection(("127.0.0.1", forward.port), timeout=40)
        time.sleep(0.5)
        old = name_of(ready_pods(cluster, server)[0])
        shared_place.admin("delete", "pod", old, "--wait=false")
        until(lambda: old not in [name_of(each) for each in ready_pods(cluster, server)])
        assert ask(forward.port, "GET", "/3") == random.Random(1).randbytes(3)
        assert name_of(ready_pods(cluster, server)[0]) != old
        with idle:
            assert idle.recv(1) == b""


def test_a_port_that_nothing_listens_on_is_closed_and_says_why(cluster: Cluster, server: Mapping[str, str]) -> None:
    with closing(Forward(cluster, server, 8001)) as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=20) as end:
            assert end.recv(1) == b""
        assert "refused" in until(lambda: forward.diagnosis)


def test_a_port_without_a_pod_gives_up_in_time(cluster: Cluster) -> None:
    with (
        closing(Forward(cluster, {"winnow.test": "no-pod"}, 8000, pod_timeout_s=0.5)) as forward,
        socket.create_connection(("127.0.0.1", forward.port), timeout=10) as end,
    ):
        assert end.recv(1) == b""
        assert forward.diagnosis == "no pod is ready"


def test_a_pod_on_its_way_out_is_not_ready() -> None:
    ready: dict[str, Any] = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert is_ready(ready)
    assert not is_ready({**ready, "metadata": {"deletionTimestamp": "2030-01-01T00:00:00Z"}})
    assert not is_ready({"metadata": {}, "status": {}})


# Who asks


def test_a_token_that_has_expired_is_read_again(shared_place: Place, tmp_path: Path) -> None:
    """As a plugin of a cloud hands them out: what it said before no longer opens anything."""
    file = tmp_path / "kubeconfig"
    whole = json.loads(
        shared_place.admin(
            "config", "view", "--raw", "--output", "json", "--kubeconfig", shared_place.environment["KUBECONFIG"]
        )
    )
    (tmp_path / "token").write_text("of-yesterday")
    answer = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}'
    token, whole["users"][0]["user"] = (
        whole["users"][0]["user"]["token"],
        {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": "sh",
                "args": ["-c", f"printf '{answer}' \"$(cat '{tmp_path / 'token'}')\""],
                "interactiveMode": "Never",
            }
        },
    )
    file.write_text(json.dumps(whole))
    cluster = connect({**shared_place.environment, "KUBECONFIG": str(file)})
    (tmp_path / "token").write_text(token)
    assert cluster.find(JOB, {"winnow.test": "no-pod"}).items == ()
