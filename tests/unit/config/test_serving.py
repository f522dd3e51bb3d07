"""The section `serving`: its checks, and what a stage changes."""

from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment
from winnow.config.serving import AutoscaleConfig, ResourcesConfig, RolloutConfig, ServingConfig

EXPERIMENT = {
    "name": "wine",
    "data": {"source": "sklearn:wine"},
    "search": {"metric": "f1", "space": {"lr": {"float": [0.001, 0.1]}}},
}

AB = {"strategy": "ab", "metric": "accuracy", "outcomes": "logs/*.jsonl"}


def loaded(serving: dict[str, Any]) -> Experiment:
    return load_experiment({**EXPERIMENT, "serving": serving})


@pytest.mark.parametrize(
    ("serving", "error"),
    [
        ({"resources": {"cpu": "100m"}}, "resources.cpu_request: expected more than 0 and at most `cpu`, 100m"),
        ({"resources": {"memory": "128Mi"}}, "resources.memory_request: expected more than 0 and at most `memory`"),
        ({"resources": {"cpu": 0}}, "resources.cpu: expected at least 0.01, found 0."),
        ({"resources": {"memory": 1}}, "resources.memory: expected at least 6Mi, found 1."),
        ({"replicas": 3, "autoscale": {"max": 2}}, "autoscale.max: expected at least `replicas`, 3, found 2."),
        ({"gateway": "public"}, "gateway: expected NAMESPACE/NAME of a Gateway, found 'public'."),
        ({"gateway": "a/b", "tls_secret": "c"}, "tls_secret: expected nothing, because `gateway` is set, found 'c'."),
        ({"api_key": {}}, "api_key: expected one of `env` and `file`, found neither."),
        ({"api_key": {"env": "A", "file": "b"}}, "api_key: expected one of `env` and `file`, found both."),
        (
            {"limits": {"max_inflight_bytes": 9}},
            "limits.max_inflight_bytes: expected at least `max_body_bytes`, 33554432",
        ),
        (
            {"rollout": {"strategy": "ab", "weights": [0.5, 0.6]}},
            "rollout.weights: expected two shares above 0 that sum",
        ),
        ({"rollout": {"strategy": "ab", "weights": [1]}}, "rollout.weights: expected two shares above 0 that sum to 1"),
        (
            {"rollout": {"strategy": "canary", "weight_steps": [0.5, 0.2, 1]}},
            "rollout.weight_steps: expected rising sh",
        ),
        (
            {"rollout": {"strategy": "canary", "weight_steps": [0.5]}},
            "rollout.weight_steps: expected rising shares, of",
        ),
        (
            {"rollout": {"strategy": "canary", "initial_weight": 0.05}},
            "rollout.initial_weight: expected less than the first of `weight_steps`, 0.05, found 0.05.",
        ),
        (
            {"rollout": {"strategy": "canary", "pause_at": [0.3]}},
            "rollout.pause_at: expected weights of its steps: [0.0",
        ),
        (
            {"rollout": {"strategy": "shadow", "then": "canary", "weight_steps": []}},
            "rollout.weight_steps: expected rising shares, of which the last one is 1, found [].",
        ),
        ({"rollout": {"max_step_duration_seconds": 1}}, "rollout.max_step_duration_seconds: expected at least `step_d"),
        ({"rollout": {"unit": "cookie"}}, "rollout.unit: expected `request`, or `header:NAME` with a request header's"),
        ({"rollout": {"strategy": "shadow", "traffic": "gateway"}}, "rollout.strategy: expected what a gateway can do"),
        (
            {"rollout": {"unit": "header:a", "traffic": "gateway"}},
            "rollout.unit: expected what a gateway can do, found",
        ),
        (
            {"rollout": {"conditions": ["errors", {"type": "prometheus", "url": "http://x"}]}},
            "rollout.conditions[1].query: expected a value, for `type: prometheus`, found nothing.",
        ),
        (
            {"rollout": {"conditions": [{"type": "metric", "url": "http://x"}]}},
            "rollout.conditions[0]: expected `min`, `max` or both, found neither.",
        ),
        ({"rollout": {"conditions": [{"type": "errors", "margn": 1}]}}, "Did you mean 'margin'?"),
        ({"rollout": {"outcomes": "a.jsonl"}}, "rollout.outcomes: expected nothing without `metric`, found 'a.jsonl'."),
        ({"rollout": {"metric": "accuracy"}}, "rollout.metric: expected nothing, with another strategy than `ab`"),
        ({"rollout": {"strategy": "ab", "metric": "recall"}}, "rollout.metric: expected 'accuracy', 'absolute_error'"),
        ({"rollout": AB | {"outcomes": []}}, "rollout.outcomes: expected where the prediction log and its feedback"),
        ({"rollout": AB | {"unit": "header:x-user"}}, "rollout.unit: expected `request`, because `metric` is set"),
        ({"rollout": AB | {"traffic": "gateway"}}, "rollout.traffic: expected `router`, because `metric` is set"),
        ({"rollout": AB | {"max_duration": "1m"}}, "rollout.max_duration: expected at least `step_duration_seconds`"),
        ({"rollout": AB | {"max_duration": "soon"}}, "rollout.max_duration: expected"),
        ({"log": "predictions.jsonl"}, "log.to: expected `stdout` or the absolute path of a file, found 'predictions"),
        ({"log": {"sample": 0}}, "log.sample: expected more than 0"),
        ({"log": {"field": ["age"]}}, "Did you mean 'fields'?"),
        ({"rollout": "canari"}, "Did you mean 'canary'?"),
        ({"stages": {"Prod": {}}}, "stages.Prod: expected lower-case letters, digits and dashes"),
        ({"stages": {"x" * 60: {}}}, f"stages.{'x' * 60}: expected at most 63 characters, found 'wine-xxx"),
        ({"stages": {"prod": {"replica": 1}}}, "stages.prod.replica: expected one of access_log, api_key,"),
        ({"stages": {"prod": {"stages": {}}}}, "stages.prod.stages: expected one of"),
        (
            {"stages": {"prod": {"resources": {"cpu": "0.2"}}}},
            "stages.prod.resources.cpu_request: expected more than 0 and at most `cpu`, 0.2, found 250m.",
        ),
    ],
)
def test_a_wrong_value_is_one_error_with_its_key(serving: dict[str, Any], error: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(serving)
    assert error in str(caught.value)
    assert getattr(caught.value, "__notes__", []) == []


def test_a_stage_changes_the_keys_that_it_names() -> None:
    serving = loaded(
        {
            "replicas": 3,
            "resources": {"cpu": 2, "cpu_request": 1},
            "autoscale": None,
            "rollout": {"strategy": "canary", "step_duration_seconds": 60},
            "stages": {
                "staging": {"replicas": 1, "resources": {"memory": "2Gi"}, "rollout": "rolling"},
                "prod": {"autoscale": {"max": 9}, "access_log": True},
            },
        }
    ).serving
    assert serving.of_stage(None).model_dump() == serving.model_dump(exclude={"stages"})
    staging = serving.of_stage("staging")
    assert staging.replicas == 1
    assert staging.resources == ResourcesConfig(cpu="2", cpu_request="1", memory="2Gi")
    assert staging.rollout == RolloutConfig(strategy="rolling", step_duration_seconds=60)
    assert staging.autoscale is None
    prod = serving.of_stage("prod")
    assert (prod.replicas, prod.autoscale, prod.access_log) == (3, AutoscaleConfig(max=9), True)


def test_a_stage_may_make_legal_what_the_defaults_alone_would_not() -> None:
    serving = {"resources": {"cpu_request": "50m"}, "stages": {"small": {"resources": {"cpu": "100m"}}}}
    assert loaded(serving).serving.of_stage("small").resources == ResourcesConfig(cpu="100m", cpu_request="50m")


def test_a_stored_experiment_has_the_same_stages() -> None:
    experiment = loaded({"replicas": 3, "stages": {"prod": {"host": "wine.example.com"}}})
    read = Experiment.model_validate_json(experiment.model_dump_json(by_alias=True))
    assert read.serving.of_stage("prod") == experiment.serving.of_stage("prod")
    assert read.serving.of_stage("prod").replicas == 3


def test_an_experiment_that_was_stored_before_the_section_existed_is_read_and_continued() -> None:
    stored = loaded({"replicas": 3}).model_dump(mode="json", by_alias=True)
    del stored["serving"]
    read = Experiment.model_validate(stored)
    assert read.serving == ServingConfig()
    assert read.definition() == loaded({"replicas": 3}).definition()


def test_a_list_may_stand_below_a_name_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "wine.yaml").write_text(
        "name: wine\ndata: {source: 'sklearn:wine'}\nsearch: {metric: f1, space: {lr: {float: [0.001, 0.1]}}}\n"
        "serving: {rollout: {strategy: canary, weight_steps: [0.5, 1], conditions: [errors]}}\n"
    )
    rollout = load_experiment(tmp_path / "wine.yaml").serving.rollout
    assert (rollout.weight_steps, [each.type for each in rollout.conditions]) == ((0.5, 1.0), ["errors"])
