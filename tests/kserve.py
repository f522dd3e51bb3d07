"""A cluster with KServe for tests: an API in memory, and a controller that turns InferenceServices into pods.

It does what KServe 0.20 documents of `spec.canary`, as far as winnow rests on it: a Deployment for each predictor's
name, which goes when no predictor has that name, and shares by `trafficPercent`. A sum above 100 is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, Asked, FakeApi, reply
from winnow.platforms import labels

SERVICES = f"/apis/serving.kserve.io/v1beta1/namespaces/{NAMESPACE}/inferenceservices"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
MODEL, DIGEST = "winnow.model", "winnow.model.sha256"


@dataclass
class KserveApi(FakeApi):
    """A cluster with KServe.

    Attributes:
        unready: digests of models whose pods end before they are ready.
        credit: by revision, the share of a request that it is owed.
    """

    unready: set[str] = field(default_factory=set)
    credit: dict[str, float] = field(default_factory=dict)

    def ask(self, name: str) -> str:
        """The `NAME/VERSION` of the model that answers a request; empty where no pod is ready."""
        found = self.objects.get(f"{SERVICES}/{name}")
        if found is None or "winnow.routed" not in found["metadata"]["annotations"]:
            return ""
        shares = {_number(each["predictor"]): each["trafficPercent"] for each in found["spec"].get("canary", ())}
        for number, share in shares.items():
            self.credit[number] = self.credit.get(number, 0.0) + share / 100
            if self.credit[number] >= 1 - 1e-9:
                self.credit[number] -= 1
                return self._answer_of(number)
        return self._answer_of(_number(found["spec"]["predictor"]))

    def kill(self, pod: str) -> None:
        """Let a pod's server die; KServe's Deployment replaces the pod when it is next looked at."""
        self.objects[f"{PODS}/{pod}"]["status"] = _ended()

    def answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        """As the server does; logs are of the pods."""
        if asked.path.startswith(PODS) and asked.path.endswith("/log"):
            content = b"server listens on port 8080\n"
            to.send_response(200)
            to.send_header("Content-Length", str(len(content)))
            to.end_headers()
            to.wfile.write(content)
            return
        if asked.path.startswith(f"{SERVICES}/") and asked.method == "DELETE":
            super().answer(to, asked)
            self._have({})
            return
        super().answer(to, asked)

    def change(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        """Apply or merge as a server does, and let the controller act."""
        found, body = self.objects.get(asked.path), asked.body
        if "kind" not in body and found is not None:
            reply(to, 200, self.put(asked.path, _merged(found, body)))
            return
        if not asked.path.startswith(f"{SERVICES}/"):
            super().change(to, asked)
            return
        if sum(each["trafficPercent"] for each in body["spec"].get("canary", ())) > 100:
            reply(to, 422, {"kind": "Status", "message": "the sum of trafficPercent is above 100"})
            return
        if found is not None:  # what others have set stays
            wish = found["metadata"].get("annotations", {}).get("winnow.wish")
            if wish is not None:
                body["metadata"]["annotations"]["winnow.wish"] = wish
        super().change(to, asked)
        if asked.query.get("dryRun") != "All" and asked.path in self.objects:
            self._sync(self.objects[asked.path])

    def _sync(self, service: dict[str, Any]) -> None:
        predictors = [service["spec"]["predictor"], *(each["predictor"] for each in service["spec"].get("canary", ()))]
        self._have({each["name"]: each for each in predictors})

    def _have(self, predictors: dict[str, dict[str, Any]]) -> None:
        wanted = {f"{name}-{index}": each for name, each in predictors.items() for index in range(each["minReplicas"])}
        for path in [path for path in self.objects if path.startswith(f"{PODS}/")]:
            if path.rpartition("/")[2] not in wanted:
                del self.objects[path]
        for name, each in wanted.items():
            if f"{PODS}/{name}" not in self.objects:
                self.put(f"{PODS}/{name}", self._pod(name, each))

    def _pod(self, name: str, predictor: dict[str, Any]) -> dict[str, Any]:
        is_failing = predictor["annotations"][DIGEST] in self.unready
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": predictor["labels"],
                "annotations": predictor["annotations"],
                "creationTimestamp": f"2026-01-01T00:00:{next(self.serial) % 60:02}Z",
            },
            "spec": {"containers": predictor["containers"]},
            "status": _ended() if is_failing else _ready(),
        }

    def _answer_of(self, number: str) -> str:
        pods = [each for path, each in self.objects.items() if path.startswith(f"{PODS}/")]
        mine = [each for each in pods if each["metadata"]["labels"][labels.REVISION] == number]
        ready = [each for each in mine if each["status"] == _ready()]
        return str(ready[0]["metadata"]["annotations"][MODEL]) if ready else ""


def _merged(found: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    whole = dict(found) if isinstance(found, dict) else {}
    for name, value in patch.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = _merged(whole.get(name), value)
    return whole


def _number(predictor: dict[str, Any]) -> str:
    return str(predictor["labels"][labels.REVISION])


def _ready() -> dict[str, Any]:
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        "containerStatuses": [{"name": "kserve-container", "ready": True, "state": {"running": {}}}],
    }


def _ended() -> dict[str, Any]:
    ended = {"exitCode": 1, "startedAt": "2026-01-01T00:00:02Z"}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        "containerStatuses": [{"name": "kserve-container", "ready": False, "state": {"terminated": ended}}],
    }
