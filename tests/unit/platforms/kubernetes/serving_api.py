"""A Kubernetes API that serves: what is applied is kept with its managers, and a Deployment has pods at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, Asked, FakeApi, reply, stream
from tests.unit.platforms.kubernetes.field_owners import applied, edited
from winnow.config.clock import Clock
from winnow.platforms.labels import RELEASE
from winnow.platforms.release_json import release_of
from winnow.routing import Release

DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
CREATED = "2026-01-01T00:00:00Z"


@dataclass
class Time:
    """A clock that passes when somebody sleeps."""

    now_s: float = 0.0

    def clock(self) -> Clock:
        """As the product takes it."""
        return Clock(now=lambda: self.now_s, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class ServingApi(FakeApi):
    """Watches end at once, as behind a proxy that keeps none open; so whoever waits asks again, and time passes.

    Attributes:
        is_ready: which pods take requests.
        leaving_until: when pods of templates that were wanted before are gone.
        refusal: the status with which everything is refused now; 0: nothing is.
        log_status: of every request for a log.
        answers_as: the release that answers at the Ingress; None: the one that is deployed.
        waits_for: why servers that are not ready do not start, as the kubelet says it.
        renewed: when the lease was, by the clock.
        counted_from: until when a Deployment's controller has not seen it as it is.
        is_invalid: which objects are refused as such.
    """

    time: Time = field(default_factory=Time)
    is_ready: Callable[[dict[str, Any]], bool] = lambda _pod: True
    leaving_until: float = 0.0
    refusal: Callable[[], int] = lambda: 0
    log_status: int = 200
    answers_as: Release | None = None
    waits_for: dict[str, str] = field(default_factory=dict)
    renewed: list[float] = field(default_factory=list)
    counted_from: float = 0.0
    is_invalid: Callable[[dict[str, Any]], bool] = lambda _object: False
    past: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        """Do what is asked, as far as serving needs it."""
        path, kind = asked.path, asked.path.rpartition("/")[2]
        if status := self.refusal():
            reply(to, status, {"message": "not now"})
        elif path.endswith("/log"):
            reply(to, self.log_status, {"message": "its node does not answer"})
        elif path == "/readyz":  # what is served, since this is the Ingress, too
            self._be_asked(to)
        elif asked.query.get("watch"):
            stream()(to, asked)
        elif asked.method == "GET" and path.endswith(f"/{NAMESPACE}/{kind}"):
            self._list(to, asked, kind)
        elif asked.method == "POST" and not path.endswith("reviews"):
            self._create(to, asked)
        elif asked.method == "PATCH" and "force" in asked.query:
            self._apply(to, asked)
        elif asked.method == "PATCH":
            self._merge(to, path, asked.body)
        elif asked.method == "DELETE" and path in self.objects:
            self._delete(to, asked)
        elif path.startswith(DEPLOYMENTS) and path in self.objects and self.time.now_s < self.counted_from:
            reply(to, 200, {**self.objects[path], "status": {"observedGeneration": 0}})
        else:
            super().answer(to, asked)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Keep an object; a Deployment has pods, and its controller sees it, at once."""
        if body["kind"] == "Deployment":
            before = self.objects.get(path)
            if before and _template(before) != _template(body):
                self.past[_template(before)] = before
            self.past.pop(_template(body), None)
            number = int(before["metadata"]["generation"]) + (before["spec"] != body["spec"]) if before else 1
            count = body["spec"]["replicas"]
            status = {"observedGeneration": number, "replicas": count, "updatedReplicas": count}
            body = {**body, "metadata": {**body["metadata"], "generation": number}, "status": status}
        return super().put(path, body)

    def edit(self, kind: str, changes: dict[str, Any]) -> None:
        """Change fields of the one object of a kind, as `kubectl patch` does."""
        ((path, found),) = ((path, each) for path, each in self.objects.items() if each["kind"] == kind)
        self.put(path, edited(found, changes, "kubectl"))

    def live(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return [each for each in self.objects.values() if each["kind"] == kind]

    def _be_asked(self, to: BaseHTTPRequestHandler) -> None:
        noted = [each["metadata"]["annotations"][RELEASE] for each in self.live("Deployment")]
        release = self.answers_as or release_of(noted[0])
        model = f"{release.model}/{release.version} sha256:{release.digest}"
        reply(to, 200, {"ready": True}, x_winnow_model=model)

    def _list(self, to: BaseHTTPRequestHandler, asked: Asked, kind: str) -> None:
        items = (
            self._pods() if kind == "pods" else [o for p, o in self.objects.items() if p.startswith(f"{asked.path}/")]
        )
        wanted = [part.partition("=") for part in asked.query.get("labelSelector", "").split(",") if part]
        found = [each for each in items if all(_has(each, name, value) for name, _, value in wanted)]
        reply(to, 200, {"items": found, "metadata": {"resourceVersion": "1"}})

    def _create(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        path = f"{asked.path}/{asked.body['metadata']['name']}"
        if path in self.objects:
            reply(to, 409, {"message": "already exists"})
        else:
            reply(to, 201, self.put(path, asked.body))

    def _apply(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        made = applied(self.objects.get(asked.path), asked.body, asked.query["fieldManager"])
        if self.is_invalid(made):
            reply(to, 422, {"message": f"{made['kind']} is invalid"})
            return
        if made["kind"] == "Deployment":
            made["spec"].setdefault("replicas", 1)
        reply(to, 200, made if asked.query.get("dryRun") == "All" else self.put(asked.path, made))

    def _merge(self, to: BaseHTTPRequestHandler, path: str, patch: dict[str, Any]) -> None:
        found = self.objects.get(path.removesuffix("/scale"))
        if found is None:
            reply(to, 404, {"message": "not found"})
            return
        if found["kind"] == "Lease":
            self.renewed.append(self.time.now_s)
        reply(to, 200, self.put(path.removesuffix("/scale"), {**found, "spec": {**found["spec"], **patch["spec"]}}))

    def _delete(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        uid = (asked.body.get("preconditions") or {}).get("uid")
        if uid not in (None, self.objects[asked.path]["metadata"]["uid"]):
            reply(to, 409, {"message": "another one"})
            return
        gone = self.objects.pop(asked.path)
        if gone["kind"] == "Deployment":
            self.past[_template(gone)] = gone
        reply(to, 200, {})

    def _pods(self) -> list[dict[str, Any]]:
        if self.time.now_s >= self.leaving_until:
            self.past.clear()
        wanted = [pod for each in self.live("Deployment") for pod in self._of(each, {})]
        leaving = [pod for each in self.past.values() for pod in self._of(each, {"deletionTimestamp": CREATED})]
        return [*wanted, *leaving]

    def _of(self, deployment: dict[str, Any], more: dict[str, str]) -> list[dict[str, Any]]:
        template, pods = deployment["spec"]["template"], []
        for number in range(deployment["spec"]["replicas"]):
            name = f"{deployment['metadata']['name']}-{_template(deployment)}-{number}"
            metadata = {
                **template["metadata"],
                "name": name,
                "uid": f"uid-{name}",
                "creationTimestamp": CREATED,
                "resourceVersion": "1",
                **more,
            }
            pod = {"metadata": metadata, "spec": template["spec"]}
            ready = self.is_ready(pod)
            status: dict[str, Any] = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
            if self.waits_for and not ready:
                waiting = {"name": "server", "ready": False, "state": {"waiting": self.waits_for}}
                status = {**status, "phase": "Pending", "containerStatuses": [waiting]}
            pods.append({**pod, "status": status})
        return pods


def _template(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["template"]["metadata"]["labels"]["winnow.template"])


def _has(item: dict[str, Any], name: str, value: str) -> bool:
    labels = item["metadata"].get("labels", {})
    return labels.get(name) == value if value else name in labels
