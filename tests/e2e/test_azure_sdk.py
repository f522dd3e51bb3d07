"""Our entities and calls against azure-ai-ml itself, as far as it goes without Azure."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.tools import installed
from winnow.platforms.azure import revision_plan, sdk_process
from winnow.platforms.azure.revision_plan import PORT, ROUTES
from winnow.routing import Record, Release, ReplicaSettings, Revision, Route, Scale

pytestmark = [pytest.mark.tools("azureml"), pytest.mark.slow]


def test_entities_survive_the_sdks_yaml_and_its_calls(tmp_path: Path) -> None:
    python = installed("azureml")
    release = Release("churn", "3", "d" * 64, Path("bundle"), "r.azurecr.io/churn@sha256:" + "0" * 64)
    revisions = tuple(Revision(number, release, ReplicaSettings(drain_s=10), Scale(2)) for number in (1, 2))
    record = Record("churn", 4, revisions, Route(3, 1, candidate=2, weight=0.25, is_gateway=True))
    endpoint = revision_plan.endpoint_of(record, "churn", "3@100")
    deployment = revision_plan.deployment_of(record, revisions[1], "churn", "green-2")
    rendered = tmp_path / "rendered.yaml"
    rendered.write_text(revision_plan.render(endpoint, (deployment,)))
    routes = {name: {"port": PORT, "path": path} for name, path in ROUTES.items()}
    sent = {**asdict(deployment), "inference_config": routes, "concurrency": 32}
    requests = [
        {"call": "put_endpoint", "endpoint": asdict(endpoint)},
        {"call": "put_deployment", "deployment": sent},
        {"call": "endpoints"},
        {"call": "deployments", "endpoint": "churn"},
        {"call": "key", "endpoint": "churn"},
        {"call": "logs", "endpoint": "churn", "deployment": "green-2", "lines": 9},
        {"call": "delete_deployment", "endpoint": "churn", "name": "green-2"},
        {"call": "deployments", "endpoint": "churn"},
    ]
    script = Path(__file__).with_name("azure_sdk.py")
    done = subprocess.run(
        [python, script, str(sdk_process.__file__), rendered],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])

    plain_endpoint = {key: value for key, value in asdict(endpoint).items() if key not in ("url", "state")}
    plain_deployment = {key: value for key, value in asdict(deployment).items() if key not in ("state", "error")}
    assert found["endpoint"] == {**plain_endpoint, "url": "", "state": ""}
    assert found["deployment"] == {**plain_deployment, "state": ""}
    assert found["routes"] == [routes, routes]
    listed = {**plain_endpoint, "url": "https://e.inference.ml.azure.com/predict", "state": "Succeeded"}
    assert [each["ok"] for each in found["answers"]] == [
        None,
        None,
        [listed],
        [{**plain_deployment, "state": "Creating"}],
        "key of churn",
        ["one line of green-2", "another"],
        None,
        [],
    ]
    assert found["refusals"] == ["refused", "away", "away"]
