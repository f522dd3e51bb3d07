"""Manifests of Seldon Core 2, against the fields of its definitions (SeldonIO/seldon-core, operator/config/crd)."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml

from winnow.config.errors import InputError
from winnow.config.serving import RolloutConfig, StageConfig
from winnow.integrations.seldon.manifests import StoredVersion, manifests

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
SHARE = {
    "type": "object",
    "properties": {"name": TEXT, "weight": NUMBER},
    "required": ["name", "weight"],
    "additionalProperties": False,
}
SPECS: dict[str, dict[str, Any]] = {
    "Model": {
        "type": "object",
        "properties": {
            "storageUri": TEXT,
            "requirements": {"type": "array", "items": TEXT},
            "memory": {"type": ["integer", "string"], "pattern": r"^([0-9]+(\\.[0-9]*)?)([KMGTPE]i|[numkMGTPE])?$"},
            **dict.fromkeys(("replicas", "minReplicas", "maxReplicas", "artifactVersion"), NUMBER),
            **dict.fromkeys(("server", "secretName", "schemaUri", "modelType"), TEXT),
        },
        "required": ["storageUri"],
        "additionalProperties": False,
    },
    "Experiment": {
        "type": "object",
        "properties": {
            "default": TEXT,
            "candidates": {"type": "array", "items": SHARE},
            "mirror": {
                "type": "object",
                "properties": {"name": TEXT, "percent": NUMBER},
                "required": ["name", "percent"],
                "additionalProperties": False,
            },
            "resourceType": TEXT,
        },
        "required": ["candidates"],
        "additionalProperties": False,
    },
}
ONE, TWO = StoredVersion("1", "run-1", "s3://models/1"), StoredVersion("2", "run-2", "s3://models/2")


def rendered(rollout: RolloutConfig, candidate: StoredVersion | None = TWO) -> list[dict[str, Any]]:
    made = list(yaml.safe_load_all(manifests("churn_risk", StageConfig(rollout=rollout), ONE, candidate)))
    for each in made:
        assert each["apiVersion"] == "mlops.seldon.io/v1alpha1"
        jsonschema.validate(each["spec"], SPECS[each["kind"]])
    return made


def test_a_champion_alone_is_one_model() -> None:
    [model] = rendered(RolloutConfig(strategy="canary"), None)
    assert model["metadata"]["name"] == "churn-risk-v1"
    assert model["spec"] == {
        "storageUri": "s3://models/1",
        "requirements": ["mlflow"],
        "memory": str(256 * 2**20),
        "replicas": 1,
        "minReplicas": 1,
        "maxReplicas": 2,
    }


@pytest.mark.parametrize(
    ("rollout", "shares"),
    [
        (RolloutConfig(strategy="canary", initial_weight=0.05), (95, 5)),
        (RolloutConfig(strategy="ab", weights=(0.7, 0.3)), (70, 30)),
    ],
)
def test_a_candidate_gets_the_first_share(rollout: RolloutConfig, shares: tuple[int, int]) -> None:
    *models, experiment = rendered(rollout)
    assert [each["metadata"]["name"] for each in models] == ["churn-risk-v1", "churn-risk-v2"]
    weights = [
        {"name": "churn-risk-v1", "weight": shares[0]},
        {"name": "churn-risk-v2", "weight": shares[1]},
    ]
    assert experiment["metadata"] == {"name": "churn-risk"}
    assert experiment["spec"] == {"default": "churn-risk-v1", "candidates": weights}


def test_a_shadow_is_a_mirror() -> None:
    experiment = rendered(RolloutConfig(strategy="shadow", mirror=0.5))[-1]
    assert experiment["spec"] == {
        "default": "churn-risk-v1",
        "candidates": [{"name": "churn-risk-v1", "weight": 100}],
        "mirror": {"name": "churn-risk-v2", "percent": 50},
    }


def test_a_model_outside_an_object_store_is_refused() -> None:
    with pytest.raises(InputError, match="a model in an object store"):
        manifests("churn", StageConfig(), StoredVersion("1", "run", "file:///tmp/mlruns/1"), None)


def test_a_share_that_is_no_whole_percent_is_refused() -> None:
    with pytest.raises(InputError, match="whole percents"):
        manifests("churn", StageConfig(rollout=RolloutConfig(strategy="canary", initial_weight=0.005)), ONE, TWO)
