"""The manifests of a model in a repository. `tests/kubernetes/test_gitops_layout.py` has a cluster read them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment
from winnow.integrations.gitops import layout
from winnow.integrations.gitops.layout import OverlayChange

EXPERIMENT = """
name: wine
data: {source: "sklearn:wine"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.001, 0.1]}}, trials: 2, metric: f1}
"""
SERVING = """
serving:
  {replicas: 3, autoscale: null, host: wine.example.com, resources: {cpu: 500m}, stages: {staging: {replicas: 1}}}
"""
ARGO_ROLLOUTS = """
monitoring: {prometheus: "http://prometheus:9090"}
serving:
  gateway: infra/public
  rollout: {strategy: canary, engine: argo-rollouts, initial_weight: 0.05, weight_steps: [0.5, 1.0], pause_at: [0.5]}
"""
CHANGE = OverlayChange(f"registry:5000/wine@sha256:{'a' * 64}", "wine", "7", "b" * 64)
PRODUCTION = layout.overlay_path("wine", "production")


def experiment(tmp_path: Path, more: str = SERVING) -> Experiment:
    file = tmp_path / "wine.yaml"
    file.write_text(EXPERIMENT + more)
    return load_experiment(file)


def overlay(tmp_path: Path, more: str = SERVING, stage: str = "production") -> dict[str, str]:
    """The files of a stage by their names."""
    made = layout.overlay_files(experiment(tmp_path, more), stage)
    return {Path(path).name: text for path, text in made.items()}


def kustomization(tmp_path: Path, more: str = SERVING) -> str:
    return overlay(tmp_path, more)["kustomization.yaml"]


def test_every_listed_file_is_there(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    files = {**layout.base_files(made), **layout.overlay_files(made, "production")}
    for path, text in files.items():
        if path.endswith("kustomization.yaml"):
            listed = yaml.safe_load(text)["resources"]
            assert all(f"{Path(path).parent}/{name}" in files for name in listed if name != "../../base")


def test_objects_have_the_models_name_and_no_label_that_winnows_own_deployments_are_found_by(tmp_path: Path) -> None:
    made = experiment(tmp_path)
    for path, text in {**layout.base_files(made), **layout.overlay_files(made, "production")}.items():
        found = yaml.safe_load(text)
        if found["kind"] != "Kustomization":
            assert found["metadata"]["name"] == "wine", path
            assert "app.kubernetes.io/managed-by" not in text, path
            assert "winnow.deployment" not in text, path


def test_a_deployment_is_updated_in_place_and_its_pods_are_scraped(tmp_path: Path) -> None:
    text = layout.base_files(experiment(tmp_path))["deploy/wine/base/deployment.yaml"]
    spec = yaml.safe_load(text)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert spec["template"]["metadata"]["labels"]["winnow.role"] == "replica"
    assert spec["template"]["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    assert "# Lenient: killing a busy server does not help it." in text


def test_a_stage_has_its_own_settings(tmp_path: Path) -> None:
    made = overlay(tmp_path)
    server = yaml.safe_load(made["server.yaml"])["spec"]["template"]["spec"]["containers"][0]
    assert server["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}
    assert yaml.safe_load(made["ingress.yaml"])["spec"]["rules"][0]["host"] == "wine.example.com"
    assert "autoscaler.yaml" not in made
    counts = [
        yaml.safe_load(overlay(tmp_path, stage=stage)["kustomization.yaml"])["replicas"]
        for stage in ("staging", "production")
    ]
    assert counts == [[{"name": "wine", "count": 1}], [{"name": "wine", "count": 3}]]


def test_an_autoscaler_owns_the_replicas(tmp_path: Path) -> None:
    made = overlay(tmp_path, "serving: {replicas: 2, autoscale: {max: 9, cpu: 70}}")
    spec = yaml.safe_load(made["autoscaler.yaml"])["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    with pytest.raises(InputError, match=r"minReplicas in autoscaler\.yaml"):
        layout.edited(made["kustomization.yaml"], dataclasses.replace(CHANGE, replicas=3), PRODUCTION)


def test_a_key_that_the_file_asks_for_is_needed(tmp_path: Path) -> None:
    made = overlay(tmp_path, "serving: {api_key: {env: KEY}}")
    (key,) = (
        each
        for each in yaml.safe_load(made["server.yaml"])["spec"]["template"]["spec"]["containers"][0]["env"]
        if each["name"] == "WINNOW_API_KEY"
    )
    assert key["valueFrom"]["secretKeyRef"] == {"name": "wine-key", "key": "WINNOW_API_KEY", "optional": False}


def test_logged_lines_name_the_version(tmp_path: Path) -> None:
    (server,) = yaml.safe_load(overlay(tmp_path, "serving: {log: stdout}")["server.yaml"])["spec"]["template"]["spec"][
        "containers"
    ]
    serving = next(each["value"] for each in server["env"] if each["name"] == "WINNOW_SERVING")
    assert '"revision":$(WINNOW_MODEL_VERSION)' in serving


def test_before_the_first_promotion_nothing_is_deployed(tmp_path: Path) -> None:
    assert layout.current(kustomization(tmp_path), PRODUCTION) is None


def test_a_promotion_changes_its_values_alone(tmp_path: Path) -> None:
    text = kustomization(tmp_path).replace("namespace: wine", "namespace: mine  # ours")
    made = layout.edited(text, dataclasses.replace(CHANGE, replicas=5), PRODUCTION)
    changed = [(old, new) for old, new in zip(text.splitlines(), made.splitlines(), strict=True) if old != new]
    assert changed == [
        ("    count: 3", "    count: 5"),
        ("# Seal: none", f"# Seal: {CHANGE.seal}"),
        ("    newName: not-promoted-yet", "    newName: registry:5000/wine"),
        ('    digest: ""', f"    digest: sha256:{'a' * 64}"),
        ('      winnow.revision: ""', '      winnow.revision: "7"'),
        ('  winnow.model: ""', "  winnow.model: wine"),
        ('  winnow.model.version: ""', '  winnow.model.version: "7"'),
        ('  winnow.model.sha256: ""', f"  winnow.model.sha256: {'b' * 64}"),
    ]
    assert layout.current(made, PRODUCTION) == dataclasses.replace(CHANGE, replicas=5)


def test_people_may_change_the_replicas(tmp_path: Path) -> None:
    text = layout.edited(kustomization(tmp_path), CHANGE, PRODUCTION).replace("count: 3", "count: 8")
    later = dataclasses.replace(CHANGE, version="8")
    assert layout.current(layout.edited(text, later, PRODUCTION), PRODUCTION) == dataclasses.replace(later, replicas=8)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('winnow.model.version: "7"', 'winnow.model.version: "8"', "version 8"),
        ("newName: registry:5000/wine", "newName: elsewhere/wine", "elsewhere/wine"),
        ("# Seal: ", "# No seal: ", "0 lines"),
        ("commonAnnotations:", "<<<<<<< HEAD\ncommonAnnotations:", "no YAML"),
    ],
)
def test_what_was_changed_by_hand_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = layout.edited(kustomization(tmp_path), CHANGE, PRODUCTION)
    assert old in text
    with pytest.raises(InputError, match=expected):
        layout.edited(text.replace(old, new), CHANGE, PRODUCTION)


def test_a_change_by_hand_that_is_meant_is_sealed_by_hand(tmp_path: Path) -> None:
    text = layout.edited(kustomization(tmp_path), CHANGE, PRODUCTION).replace(
        f"sha256:{'a' * 64}", f"sha256:{'c' * 64}"
    )
    with pytest.raises(InputError) as caught:
        layout.current(text, PRODUCTION)
    meant = dataclasses.replace(CHANGE, image=CHANGE.image.replace("a" * 64, "c" * 64), replicas=3)
    assert meant.seal in caught.value.remedy
    assert layout.current(text.replace(CHANGE.seal, meant.seal), PRODUCTION) == meant


def test_an_image_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"REPOSITORY@sha256"):
        layout.edited(kustomization(tmp_path), dataclasses.replace(CHANGE, image="wine:latest"), PRODUCTION)


def test_a_name_that_is_too_long_for_its_stage_is_refused(tmp_path: Path) -> None:
    made = experiment(tmp_path, "").model_copy(update={"name": "a" * 60})
    with pytest.raises(InputError, match=r"68 in"):
        layout.overlay_files(made, "staging")


def test_argo_cd_leaves_what_controllers_own(tmp_path: Path) -> None:
    def ignored(more: str) -> Any:
        made = layout.argocd_files(experiment(tmp_path, more), ["production"], "https://git/x.git", "main")
        return yaml.safe_load(made["deploy/wine/argocd/production.yaml"])["spec"].get("ignoreDifferences")

    assert ignored(SERVING) is None
    assert ignored("") == [{"group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"]}]
    weights = {
        "group": "gateway.networking.k8s.io",
        "kind": "HTTPRoute",
        "jqPathExpressions": [".spec.rules[].backendRefs[].weight"],
    }
    scaled = {"group": "argoproj.io", "kind": "Rollout", "jsonPointers": ["/spec/replicas"]}
    assert ignored(ARGO_ROLLOUTS) == [scaled, weights]


def test_argo_rollouts_takes_the_steps_of_the_canary_and_waits_for_verdicts(tmp_path: Path) -> None:
    made = overlay(tmp_path, ARGO_ROLLOUTS)
    steps = yaml.safe_load(made["rollout.yaml"])["spec"]["strategy"]["canary"]["steps"]
    assert [next(iter(step.items())) if "analysis" not in step else "analysis" for step in steps] == [
        ("setWeight", 5),
        "analysis",
        ("setWeight", 50),
        "analysis",
        ("pause", {}),
    ]
    assert yaml.safe_load(made["server.yaml"])["spec"]["replicas"] == 0
    assert yaml.safe_load(made["autoscaler.yaml"])["spec"]["scaleTargetRef"]["kind"] == "Rollout"
    backends = yaml.safe_load(made["http-route.yaml"])["spec"]["rules"][0]["backendRefs"]
    assert [(each["name"], each["weight"]) for each in backends] == [("wine", 100), ("wine-canary", 0)]


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (ARGO_ROLLOUTS.replace("gateway: infra/public", "replicas: 1"), "serving.gateway"),
        (ARGO_ROLLOUTS.replace("strategy: canary", "strategy: rolling"), "serving.rollout.strategy"),
        (ARGO_ROLLOUTS.replace("0.05", "0.005"), "serving.rollout.weight_steps"),
        (ARGO_ROLLOUTS.replace('monitoring: {prometheus: "http://prometheus:9090"}', ""), "monitoring.prometheus"),
    ],
)
def test_what_argo_rollouts_needs_is_checked(tmp_path: Path, more: str, place: str) -> None:
    with pytest.raises(InputError) as caught:
        experiment(tmp_path, more)
    assert place in caught.value.place


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("setWeight: 50", "setWeight: 500", "weights from 0 to 100"),
        ("setWeight: 50", "setWeight: 5", "rising weights"),
        ("    canary:\n", "    blueGreen: {activeService: wine}\n    canary:\n", "`canary` alone"),
        ("canaryService: wine-canary", "canaryService: other", "canaryService"),
        ("matchLabels:\n      app.kubernetes.io/name: wine", "matchLabels:\n      app: other", "a selector"),
    ],
)
def test_what_an_api_server_does_not_check_is_checked(tmp_path: Path, old: str, new: str, expected: str) -> None:
    made = overlay(tmp_path, ARGO_ROLLOUTS)
    assert old in made["rollout.yaml"]
    made["rollout.yaml"] = made["rollout.yaml"].replace(old, new)
    with pytest.raises(InputError, match=expected):
        layout.check_rollout([yaml.safe_load(text) for text in made.values() if "metadata:" in text], "rollout.yaml")


def test_a_name_that_leaves_no_room_for_the_canary_service_is_refused(tmp_path: Path) -> None:
    made = experiment(tmp_path, ARGO_ROLLOUTS).model_copy(update={"name": "a" * 60})
    with pytest.raises(InputError, match=r"at most 63"):
        layout.overlay_files(made, "production")
