"""Runs in the environment that has azure-ai-ml: our entities against the SDK's own classes and YAML, without Azure.

`python azure_sdk.py SDK_PROCESS RENDERED`: prints JSON with what `tests/e2e/test_azure_sdk.py` compares.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from azure.ai.ml import load_online_deployment, load_online_endpoint
from azure.core.exceptions import HttpResponseError

specification = importlib.util.spec_from_file_location("sdk_process", sys.argv[1])
sdk_process = importlib.util.module_from_spec(specification)
specification.loader.exec_module(sdk_process)


class Done:
    def result(self, timeout: float) -> None:
        assert timeout > 0

    def done(self) -> bool:
        return True


class Endpoints:
    """What the service keeps of endpoints: the entities that it was given."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.status = 0

    def list(self) -> list[Any]:
        if self.status:
            error = HttpResponseError("the service says no")
            error.status_code = self.status
            raise error
        return list(self.kept.values())

    def begin_create_or_update(self, endpoint: Any) -> Done:
        endpoint._scoring_uri, endpoint._provisioning_state = "https://e.inference.ml.azure.com/predict", "Succeeded"
        self.kept[endpoint.name] = endpoint
        return Done()

    def get_keys(self, name: str) -> Any:
        return SimpleNamespace(primary_key=f"key of {name}")


class Deployments:
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def list(self, endpoint: str) -> list[Any]:
        return [each for each in self.kept.values() if each.endpoint_name == endpoint]

    def begin_create_or_update(self, deployment: Any, skip_script_validation: bool) -> Done:
        deployment._provisioning_state = "Creating"
        self.kept[deployment.name] = deployment
        return Done()

    def begin_delete(self, name: str, endpoint_name: str) -> Done:
        del self.kept[name]
        return Done()

    def get_logs(self, name: str, endpoint_name: str, lines: int) -> str:
        return f"one line of {name}\nanother"


def read_back(load: Any, text: str) -> dict[str, Any]:
    """What the SDK's own YAML reader makes of a document, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.yaml"
        path.write_text(text)
        once = load(path)
        again = Path(folder) / "again.yaml"
        again.write_text(yaml.safe_dump(json.loads(json.dumps(once._to_dict()))))
        return load(again)


def routes_of(environment: Any) -> dict[str, Any]:
    """The routes as they are sent to Azure."""
    sent = environment._to_rest_object().properties.inference_config
    return {
        name: {"port": route.port, "path": route.path}
        for name in ("liveness_route", "readiness_route", "scoring_route")
        for route in [getattr(sent, name)]
    }


def main() -> None:
    endpoint_yaml, deployment_yaml = Path(sys.argv[2]).read_text().split("---\n")
    endpoint = read_back(load_online_endpoint, endpoint_yaml)
    deployment = read_back(load_online_deployment, deployment_yaml)
    client = SimpleNamespace(online_endpoints=Endpoints(), online_deployments=Deployments())
    workspace = sdk_process.Workspace(client)
    requests = json.load(sys.stdin)
    answers = [sdk_process.answer_of(workspace, each) for each in requests]
    refusals = []
    for status in (403, 409, 500):
        client.online_endpoints.status = status
        refusals.append(sdk_process.answer_of(workspace, {"call": "endpoints"})["kind"])
    made = sdk_process.deployment_entity(requests[1]["deployment"])
    print(
        json.dumps(
            {
                "endpoint": sdk_process.endpoint_values(endpoint),
                "deployment": sdk_process.deployment_values(deployment),
                "routes": [routes_of(deployment.environment), routes_of(made.environment)],
                "answers": answers,
                "refusals": refusals,
            }
        )
    )


main()
