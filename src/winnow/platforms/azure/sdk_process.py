"""Makes calls on an Azure ML workspace by azure-ai-ml, in the interpreter that has it; imports nothing of winnow.

One JSON request a line on standard input, `{"call": …, …}`; one JSON answer a line on standard output: `{"ok": …}`, or
`{"error": message, "kind": "refused" | "away"}`. The first request is `connect`.
"""

from __future__ import annotations

import json
import math
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

BUSY = 409
WAITED_S = 1800
SCOPE = "https://management.azure.com/.default"
METRICS = "https://management.azure.com{id}/providers/Microsoft.Insights/metrics?"


def endpoint_entity(found: dict[str, Any]) -> Any:
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    return ManagedOnlineEndpoint(
        name=found["name"],
        auth_mode="key",
        tags=found["tags"],
        traffic=found["traffic"],
        mirror_traffic=found["mirror"],
    )


def deployment_entity(found: dict[str, Any]) -> Any:
    """The SDK's deployment: our image as a custom container."""
    from azure.ai.ml.entities import Environment, ManagedOnlineDeployment, OnlineRequestSettings, ProbeSettings

    return ManagedOnlineDeployment(
        name=found["name"],
        endpoint_name=found["endpoint"],
        environment=Environment(image=found["image"], inference_config=found["inference_config"]),
        environment_variables=found["environment"],
        instance_type=found["machine"],
        instance_count=found["instances"],
        request_settings=OnlineRequestSettings(
            request_timeout_ms=found["timeout_ms"], max_concurrent_requests_per_instance=found["concurrency"]
        ),
        # The server answers /livez while it loads, and /readyz once it has reproduced its reference rows.
        liveness_probe=ProbeSettings(initial_delay=10, period=10, timeout=5, failure_threshold=30),
        readiness_probe=ProbeSettings(initial_delay=5, period=5, timeout=3, failure_threshold=60),
        tags=found["tags"],
    )


def endpoint_values(entity: Any) -> dict[str, Any]:
    return {
        "name": entity.name,
        "tags": dict(entity.tags or {}),
        "traffic": {name: share for name, share in (entity.traffic or {}).items() if share},
        "mirror": {name: share for name, share in (entity.mirror_traffic or {}).items() if share},
        "url": entity.scoring_uri or "",
        "state": entity.provisioning_state or "",
    }


def deployment_values(entity: Any) -> dict[str, Any]:
    environment = entity.environment
    settings = entity.request_settings
    return {
        "endpoint": entity.endpoint_name,
        "name": entity.name,
        "image": getattr(environment, "image", None) or str(environment or ""),
        "machine": entity.instance_type or "",
        "instances": entity.instance_count or 0,
        "environment": dict(entity.environment_variables or {}),
        "tags": dict(entity.tags or {}),
        "timeout_ms": getattr(settings, "request_timeout_ms", None) or 0,
        "state": entity.provisioning_state or "",
    }


class Workspace:
    """A workspace. `client`: an `azure.ai.ml.MLClient`; `credential`: for Azure Monitor."""

    def __init__(self, client: Any, credential: Any = None) -> None:
        self._endpoints, self._deployments = client.online_endpoints, client.online_deployments
        self._credential = credential

    def endpoints(self) -> list[dict[str, Any]]:
        return [endpoint_values(each) for each in self._endpoints.list()]

    def deployments(self, endpoint: str) -> list[dict[str, Any]]:
        return [deployment_values(each) for each in self._deployments.list(endpoint)]

    def put_endpoint(self, endpoint: dict[str, Any]) -> None:
        _await(self._endpoints.begin_create_or_update(endpoint_entity(endpoint)))

    def delete_endpoint(self, name: str) -> None:
        _await(self._endpoints.begin_delete(name=name))

    def put_deployment(self, deployment: dict[str, Any]) -> None:
        # It takes many minutes; `deployments` shows how it goes.
        self._deployments.begin_create_or_update(deployment_entity(deployment), skip_script_validation=True)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        _await(self._deployments.begin_delete(name=name, endpoint_name=endpoint))

    def logs(self, endpoint: str, deployment: str, lines: int) -> list[str]:
        return str(self._deployments.get_logs(deployment, endpoint, lines)).splitlines()

    def key(self, endpoint: str) -> str:
        return str(self._endpoints.get_keys(endpoint).primary_key)

    def counts(self, endpoint: str, since: float) -> dict[str, list[int]]:
        """Requests and those with status 5xx, by deployment, from the first full minute after `since` on."""
        first = math.ceil(since / 60) * 60
        if time.time() < first + 60:
            return {}
        query = {
            "api-version": "2023-10-01",
            "metricnames": "RequestsPerMinute",
            "aggregation": "total",
            "interval": "PT1M",
            "timespan": f"{_at(first)}/{_at(time.time())}",
            "$filter": "deployment eq '*' and statusCodeClass eq '*'",
        }
        address = METRICS.format(id=self._endpoints.get(endpoint).id) + urllib.parse.urlencode(query)
        token = self._credential.get_token(SCOPE).token
        request = urllib.request.Request(address, headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=30) as response:  # nosec B310 (METRICS is https)
            return counts_in(json.loads(response.read()))


def counts_in(answer: dict[str, Any]) -> dict[str, list[int]]:
    """The sums in an answer of Azure Monitor, by deployment."""
    found: dict[str, list[int]] = {}
    for metric in answer["value"]:
        for series in metric["timeseries"]:
            of = {each["name"]["value"].lower(): each["value"] for each in series["metadatavalues"]}
            count = round(sum(point.get("total") or 0 for point in series["data"]))
            counts = found.setdefault(of["deployment"], [0, 0])
            counts[0] += count
            counts[1] += count if of.get("statuscodeclass", "").lower() == "5xx" else 0
    return found


def _await(operation: Any) -> None:
    """Wait for an operation of Azure; a poller returns without a word where its time is over."""
    operation.result(timeout=WAITED_S)
    if not operation.done():
        raise TimeoutError(f"no end within {WAITED_S // 60} minutes")


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def connect(subscription: str, group: str, name: str, has_principal: bool) -> Workspace:
    """The workspace, by a service principal of the environment, or by what Azure's default credential finds."""
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential, EnvironmentCredential

    credential = EnvironmentCredential() if has_principal else DefaultAzureCredential()
    return Workspace(MLClient(credential, subscription, group, name), credential)


def answer_of(workspace: Workspace, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request; errors of Azure are answers."""
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    call = request.pop("call")
    try:
        return {"ok": getattr(workspace, call)(**request)}
    except ClientAuthenticationError as error:
        return {"error": _first_line(error), "kind": "refused"}
    except HttpResponseError as error:
        status = error.status_code or 0
        is_away = status == BUSY or status == 429 or status >= 500
        return {"error": _first_line(error), "kind": "away" if is_away else "refused"}
    except urllib.error.HTTPError as error:
        return {"error": f"Azure Monitor: status {error.code}", "kind": "away" if error.code >= 429 else "refused"}
    except (AzureError, OSError) as error:
        return {"error": _first_line(error), "kind": "away"}
    except Exception as error:  # noqa: BLE001 - azure-ai-ml has a class of its own for each kind of bad input
        return {"error": _first_line(error), "kind": "refused"}


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "message", "") or error).strip().splitlines() or [type(error).__name__])[0]


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # the SDK prints
    workspace = None
    for line in sys.stdin:
        request = json.loads(line)
        if workspace is None:
            request.pop("call")
            try:
                workspace = connect(**request)
                answer: dict[str, Any] = {"ok": None}
            except Exception as error:  # noqa: BLE001 - as above
                answer = {"error": _first_line(error), "kind": "refused"}
        else:
            answer = answer_of(workspace, request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
