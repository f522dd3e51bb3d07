"""What is asked of an API, and what its answers, and its silence, become."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, Asked, FakeApi, cut, kubeconfig, refuse, stream
from winnow.config.errors import InputError, UnreachableError
from winnow.platforms.kubernetes.client import Change, Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.kinds import CONFIG_MAP, JOB, POD
from winnow.platforms.kubernetes.refusals import (
    ClusterError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    NotStartedError,
)

MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}}


def test_an_object_is_applied_under_our_own_name_and_read_back(api: FakeApi, cluster: Cluster) -> None:
    cluster.apply(MAP)
    found = cluster.get(CONFIG_MAP, "a")
    assert found is not None
    assert found["data"] == {"k": "v"}
    assert api.log == ["PATCH configmaps/a", "GET configmaps/a"]
    assert api.asked[0].query == {"fieldManager": "winnow", "force": "true"}


@pytest.mark.parametrize("is_dry_run", [False, True])
def test_a_field_that_there_is_not_is_never_dropped(api: FakeApi, cluster: Cluster, is_dry_run: bool) -> None:
    cluster.create(MAP, is_dry_run=is_dry_run)
    dry = {"dryRun": "All"} if is_dry_run else {}
    assert api.asked[0].query == {"fieldManager": "winnow", "fieldValidation": "Strict", **dry}
    assert bool(api.objects) is not is_dry_run


def test_found_objects_say_what_they_are(api: FakeApi, cluster: Cluster) -> None:
    cluster.apply(MAP)
    (found,) = cluster.find(CONFIG_MAP, {"x": "y"}).items
    assert (found["apiVersion"], found["kind"], found["metadata"]["name"]) == ("v1", "ConfigMap", "a")
    assert cluster.find(CONFIG_MAP, {"x": "z"}).items == ()


def test_what_is_not_there_is_none_and_its_removal_harmless(api: FakeApi, cluster: Cluster) -> None:
    assert cluster.get(JOB, "a") is None
    assert not cluster.delete(JOB, "a")
    api.script = [refuse(404)]
    assert cluster.merge(JOB, "a", {"spec": {}}) is None


def test_all_objects_of_a_namespace_are_never_meant(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="expected labels"):
        cluster.delete_all(JOB, {})


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_busy_api_is_asked_again_when_it_says(api: FakeApi, cluster: Cluster, method: str) -> None:
    api.script = [refuse(429, Retry_After="0"), refuse(429, Retry_After="0")]
    api.objects[f"/api/v1/namespaces/{NAMESPACE}/configmaps"] = {"items": [], "metadata": {"resourceVersion": "1"}}
    if method == "GET":
        cluster.find(CONFIG_MAP)
    else:
        cluster.create(MAP)
    assert api.log == [f"{method} configmaps"] * 3


def test_a_creation_of_unknown_outcome_is_not_repeated(api: FakeApi, cluster: Cluster) -> None:
    api.script = [refuse(504, "timeout", Retry_After="0")]
    with pytest.raises(UnreachableError, match="timeout"):
        cluster.create(MAP)
    assert len(api.asked) == 1


def test_an_answer_that_is_cut_off_is_asked_for_again(api: FakeApi, cluster: Cluster) -> None:
    cluster.apply(MAP)
    api.script = [cut]
    assert cluster.get(CONFIG_MAP, "a") is not None


def test_an_api_that_is_not_there_is_an_error_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    silent = connect({"KUBECONFIG": str(kubeconfig(tmp_path / "k", f"http://127.0.0.1:{port}"))})
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="kubectl version") as caught:
        silent.find(POD)
    assert time.monotonic() - began < 5
    api = f"the cluster 'here' at http://127.0.0.1:{port}"
    expected = f"{api}: expected an answer of the Kubernetes API, found ConnectionRefusedError."
    assert str(caught.value).startswith(f"pods in namespace {NAMESPACE} of {expected}")
    with pytest.raises(UnreachableError) as caught:
        silent.open("p", 80)
    assert f" of {expected}" in str(caught.value)
    with pytest.raises(UnreachableError) as caught:
        silent.is_allowed("get", POD)
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, InputError, "expected an object that the cluster accepts"),
        (403, InputError, "bind the Role"),
        (409, ConflictError, "expected no other change at the same time"),
        (410, ExpiredError, "expected changes"),
        (422, InputError, "Correct its manifest or settings"),
        (500, ClusterError, "expected success of the Kubernetes API"),
        (503, UnreachableError, "expected an answer"),
    ],
)
def test_a_refusal_says_what_was_asked_and_never_what_was_sent(
    api: FakeApi, cluster: Cluster, status: int, error: type[Exception], said: str
) -> None:
    api.script = [refuse(status, "this is why")]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hunter2"}}
    with pytest.raises(error, match=said) as caught:
        cluster.create(secret)
    assert "this is why" in str(caught.value)
    assert f"secrets in namespace {NAMESPACE}" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_namespace_that_is_missing_is_named(api: FakeApi, cluster: Cluster) -> None:
    api.script = [refuse(404, 'namespaces "place" not found', about="namespaces")]
    with pytest.raises(InputError) as refused:
        cluster.apply(MAP)
    assert str(refused.value) == (
        "WINNOW_NAMESPACE: expected a namespace of the cluster 'here', found 'place', which does not exist there. "
        "Create it with `kubectl create namespace place`, or name another one."
    )
    api.script = [refuse(404, "the server could not find the requested resource")]
    with pytest.raises(InputError, match="expected support for the kind ConfigMap"):
        cluster.apply(MAP)


def test_credentials_that_have_changed_are_read_again(api: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    credential = '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}'
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", f"printf '{credential}' \"$(cat {token})\""],
        "interactiveMode": "Never",
    }
    file = kubeconfig(tmp_path / "k", api.url, {"exec": plugin})
    cluster = connect({"KUBECONFIG": str(file)})
    token.write_text("new")
    api.script = [refuse(401)]
    assert cluster.get(JOB, "a") is None
    assert [each.token for each in api.asked] == ["Bearer old", "Bearer new"]


def test_credentials_that_stay_unknown_are_an_error(api: FakeApi, cluster: Cluster) -> None:
    api.script = [refuse(401, "Unauthorized"), refuse(401, "Unauthorized")]
    with pytest.raises(InputError, match="Unauthorized"):
        cluster.get(JOB, "a")
    assert len(api.asked) == 2


def test_a_watch_gives_changes_and_ends_quietly(api: FakeApi, cluster: Cluster) -> None:
    api.script = [stream('{"type": "ADDED", "object": {"a": 1}}', '{"type": "BOOKMARK", "object": {"b": 2}}')]
    assert list(cluster.watch(POD, {"x": "y"}, "7")) == [Change("ADDED", {"a": 1}), Change("BOOKMARK", {"b": 2})]
    (asked,) = api.asked
    assert (asked.query["resourceVersion"], asked.query["labelSelector"]) == ("7", "x=y")


def test_what_is_not_the_apis_is_taken_for_silence(api: FakeApi, cluster: Cluster) -> None:
    """As a proxy answers by itself, and a server that goes down while it refuses."""
    api.script = [stream("<html>"), stream("<html>")]
    with pytest.raises(UnreachableError, match="a proxy"):
        cluster.get(JOB, "a")
    with pytest.raises(UnreachableError, match="a proxy"):
        next(cluster.watch(POD, {"x": "y"}, "7"))
    api.script = [stream('{"type": "ADDED"}')]
    with pytest.raises(UnreachableError, match="a proxy"):
        next(cluster.watch(POD, {"x": "y"}, "7"))


def test_a_refusal_that_is_cut_off_still_is_one(api: FakeApi, cluster: Cluster) -> None:

    def refuse_and_go(to: BaseHTTPRequestHandler, _asked: Asked) -> None:
        to.send_response(500)
        to.send_header("Content-Length", "1000")
        to.end_headers()
        to.close_connection = True

    api.script = [refuse_and_go]
    with pytest.raises(ClusterError, match="expected success of the Kubernetes API"):
        next(cluster.watch(POD, {"x": "y"}, "7"))


def test_a_watch_from_too_long_ago_says_so(api: FakeApi, cluster: Cluster) -> None:
    api.script = [stream('{"type": "ERROR", "object": {"code": 410, "message": "too old"}}'), refuse(410, "too old")]
    for _ in range(2):
        with pytest.raises(ExpiredError, match="too old"):
            next(cluster.watch(POD, "", "7"))


def test_a_stream_is_ended_by_another_thread_while_it_waits(api: FakeApi, cluster: Cluster) -> None:
    release = threading.Event()
    api.script = [stream("one", until=release)]
    log = cluster.log("p", "c", follow=True)
    assert next(log) == "one"
    began = time.monotonic()
    threading.Timer(0.2, log.close).start()
    assert list(log) == []
    assert time.monotonic() - began < 5
    release.set()


def test_a_stream_that_is_dropped_ends_by_itself(api: FakeApi, cluster: Cluster) -> None:
    release = threading.Event()
    api.script = [stream("one", until=release), stream("one", until=release)]
    assert next(cluster.log("p", "c", follow=True)) == "one"
    unread = cluster.log("p", "c", follow=True)
    assert next(unread) == "one"
    unread.close()
    assert list(unread) == []
    release.set()


def test_a_log_that_ends_without_a_line_break_is_whole(api: FakeApi, cluster: Cluster) -> None:
    api.objects[f"/api/v1/namespaces/{NAMESPACE}/pods/p/log"] = {}
    assert list(cluster.log("p", "c")) == ["{}"]


def test_a_log_says_which_of_the_two_is_missing(api: FakeApi, cluster: Cluster) -> None:
    api.script = [refuse(400, "container is waiting to start")]
    with pytest.raises(NotStartedError, match="waiting to start"):
        next(cluster.log("p", "c"))
    with pytest.raises(NotFoundError):
        next(cluster.log("p", "c"))


def test_events_come_oldest_first(api: FakeApi, cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/events"
    events = [
        {"reason": "c", "series": {"lastObservedTime": "2030-01-03T00:00:00.5Z"}},
        {"reason": "b", "lastTimestamp": "2030-01-02T00:00:00Z"},
        {"reason": "a", "eventTime": "2030-01-01T00:00:00.000001Z", "lastTimestamp": None},
    ]
    api.objects[path] = {"items": events, "metadata": {"resourceVersion": "1"}}
    pod = {"kind": "Pod", "metadata": {"name": "p", "uid": "u"}}
    assert [each["reason"] for each in cluster.events(pod)] == ["a", "b", "c"]


def test_events_are_of_this_very_object(api: FakeApi, cluster: Cluster) -> None:
    cluster.events({"kind": "Pod", "metadata": {"name": "p", "uid": "u"}})
    assert api.asked[0].query["fieldSelector"] == ("involvedObject.kind=Pod,involvedObject.name=p,involvedObject.uid=u")


def test_requests_are_counted(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.get(JOB, "a")
    assert cluster.calls == 3
