"""The manifests of a model in a repository: a base, an overlay for each stage, and what makes Argo CD or Flux apply it.

They are the files of `k8s/prod` with their comments, and with the values that `winnow render` would set: one Deployment
for each stage, updated in place. Nothing that applies files waits between two objects, so there is none per revision.

    base/              what is the same in every stage
    overlays/STAGE/    what `serving` and `serving.stages.STAGE` set; its kustomization.yaml says what is promoted
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from winnow.api.rollouts import render_stage
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.own_files import own_folder
from winnow.config.serving import StageConfig
from winnow.config.serving_faults import deployment_name
from winnow.config.yaml_edit import KeyPath, value_at, with_scalars, with_values, yaml_of
from winnow.integrations.gitops.layout.promoted import IMAGE
from winnow.integrations.gitops.layout.rollout import ARGO_ROLLOUTS, JUDGE_IMAGE, Place, rollout_files
from winnow.integrations.gitops.layout.stages import (
    FOLDER,
    base_folder,
    overlay_folder,
    serving_stage,
    template,
)

MANIFESTS = Path("k8s") / "prod"
OF_STAGES = ("PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress")
"""Kinds whose objects differ between stages."""
WAVE, WAVES = "argocd.argoproj.io/sync-wave", {"Deployment": 1, "HorizontalPodAutoscaler": 2, "Ingress": 2}
"""Argo CD applies a wave when the one before is healthy; what has none is in wave 0."""
LABELS = {"winnow.deployment": "app.kubernetes.io/name", "app.kubernetes.io/managed-by": "app.kubernetes.io/component"}
"""Labels of `k8s/prod`, and those in their place: `winnow` must not take the objects for its own deployments'."""
COMPONENT = "model-server"
SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}
"""Annotations by which a Prometheus finds replicas."""


class Source(NamedTuple):
    """A file of `k8s/prod`.

    Attributes:
        kinds: of its objects.
        text: with the model's names.
    """

    file: str
    kinds: frozenset[str]
    text: str


def base_files(experiment: Experiment) -> Mapping[str, str]:
    """What is the same in every stage, by path from the repository's root.

    Raises:
        InputError: a manifest cannot be read, or one file has objects of the base and of the stages.
    """
    name = experiment.name
    files = {each.file: each.text for each in _sources(name) if not each.kinds & {*OF_STAGES}}
    head = template("base.yaml", name=name, resources=_listed(files))
    return {f"{base_folder(name)}/{file}": text for file, text in {"kustomization.yaml": head, **files}.items()}


def overlay_files(experiment: Experiment, stage: str, namespace: str = "") -> Mapping[str, str]:
    """A stage, before anything is promoted to it, by path from the repository's root.

    Args:
        namespace: of its objects; by default the name of the stage's deployment.

    Raises:
        InputError: there is no such stage, a name is too long, or a manifest lacks what is set in it.
    """
    chosen, name = serving_stage(experiment, stage), experiment.name
    config, deployment = experiment.serving.of_stage(chosen), deployment_name(name, chosen)
    # The last Service is the entry's.
    made = {each["kind"]: each for each in yaml.safe_load_all(render_stage(experiment, chosen))}
    sources = [each for each in _sources(name) if each.kinds & {*made}]
    files = {each.file: _of_stage(each, made) for each in sources if each.kinds & {*OF_STAGES}}
    if "HTTPRoute" in made:
        files["http-route.yaml"] = _http_route(made["HTTPRoute"], name)
    server, is_scaled = made["Deployment"]["spec"], "HorizontalPodAutoscaler" in made
    is_rollout = config.rollout.engine == ARGO_ROLLOUTS
    if is_rollout:
        (service,) = (each.text for each in sources if "Service" in each.kinds)
        place = Place(name, deployment, namespace or deployment, None if is_scaled else server["replicas"])
        files |= rollout_files(experiment, config.rollout, place, service, files)
    count = {"name": name, "count": server["replicas"]}
    whole = {
        "kustomization.yaml": template(
            "overlay.yaml",
            name=name,
            stage=stage,
            deployment=deployment,
            namespace=namespace or deployment,
            resources=_listed(["../../base", *files]),
            replicas="" if is_scaled or is_rollout else yaml_of({"replicas": [count]}),
            judge=JUDGE_IMAGE if is_rollout else "",
        ),
        "server.yaml": _server(
            server["template"]["spec"],
            name,
            stage,
            has_key=config.api_key is not None,
            replicas=0 if is_rollout else None,
        ),
        **files,
    }
    return {f"{overlay_folder(name, stage)}/{file}": text for file, text in whole.items()}


def argocd_files(experiment: Experiment, stages: Sequence[str], repository: str, branch: str) -> Mapping[str, str]:
    """An Application of Argo CD for each stage, and a Kustomization of Flux, by path from the repository's root.

    Args:
        repository: the URL that Argo CD clones.
        branch: that it follows.

    Raises:
        InputError: there is no such stage, or its name is too long.
    """
    name, files = experiment.name, {}
    for stage in stages:
        chosen = serving_stage(experiment, stage)
        deployment = deployment_name(name, chosen)
        values = {
            "name": name,
            "stage": stage,
            "deployment": deployment,
            "namespace": deployment,
            "repository": json.dumps(repository),
            "branch": json.dumps(branch),
            "folder": overlay_folder(name, stage),
            "ignored": _ignored(experiment.serving.of_stage(chosen)),
        }
        for tool, file in (("argocd", "application.yaml"), ("flux", "flux.yaml")):
            files[f"{FOLDER}/{name}/{tool}/{stage}.yaml"] = template(file, **values)
    return files


def _ignored(config: StageConfig) -> str:
    """Fields that controllers own, which Argo CD must not set back."""
    is_rollout = config.rollout.engine == ARGO_ROLLOUTS
    ignored: list[dict[str, Any]] = []
    if config.autoscale is not None:
        kind = {"group": "argoproj.io", "kind": "Rollout"} if is_rollout else {"group": "apps", "kind": "Deployment"}
        ignored.append({**kind, "jsonPointers": ["/spec/replicas"]})
    if is_rollout:
        weights = {"jqPathExpressions": [".spec.rules[].backendRefs[].weight"]}
        ignored.append({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", **weights})
    if not ignored:
        return ""
    lines = yaml_of({"ignoreDifferences": ignored}).splitlines()
    return "\n".join(("  # What the cluster's controllers set.", *(f"  {line}" for line in lines)))


def _sources(name: str) -> Iterator[Source]:
    """The files that the kustomization of `k8s/prod` lists, with a model's names."""
    folder = own_folder(Path(), str(MANIFESTS / "kustomization.yaml")) / MANIFESTS
    for file in yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]:
        text = (folder / file).read_text(encoding="utf-8")
        kinds = frozenset(each["kind"] for each in yaml.safe_load_all(text) if each is not None)
        if kinds & {*OF_STAGES} and len(kinds) > 1:
            remedy = "Give each a file of its own."
            raise InputError(str(folder / file), expected="one object", found=", ".join(sorted(kinds)), remedy=remedy)
        yield Source(file, kinds, _named(text, name, kinds))


def _named(text: str, name: str, kinds: frozenset[str]) -> str:
    """A manifest with the names and labels of a model's objects, and its sync wave."""

    def new(key: str, value: str) -> str:
        if key in LABELS:
            return name if key == "winnow.deployment" else COMPONENT
        if not key:
            return LABELS.get(value, value)
        is_ours = value == IMAGE or value.startswith(f"{IMAGE}-")
        return value.replace(IMAGE, name, 1) if is_ours else value

    text = with_scalars(text, new)
    changes: dict[KeyPath, Any] = {}
    (kind,) = kinds if len(kinds) == 1 else ("",)
    if kind == "Deployment":
        changes["spec", "template", "metadata", "labels", "winnow.role"] = "replica"
        changes["spec", "template", "metadata", "annotations"] = dict(SCRAPED)
    if kind in WAVES:
        changes["metadata", "annotations", WAVE] = str(WAVES[kind])
    return with_values(text, changes)


def _of_stage(source: Source, made: Mapping[str, Any]) -> str:
    """The file of a stage's object with the values that `winnow render` sets."""
    (kind,) = source.kinds
    spec = made[kind]["spec"]
    changes: dict[KeyPath, Any] = {}
    if kind == "PodDisruptionBudget":
        changes["spec", "maxUnavailable"] = spec["maxUnavailable"]
    elif kind == "HorizontalPodAutoscaler":
        changes |= {("spec", key): spec[key] for key in ("minReplicas", "maxReplicas")}
        window: KeyPath = ("behavior", "scaleDown", "stabilizationWindowSeconds")
        changes["spec", *window] = spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"]
        for index, metric in enumerate(spec.get("metrics") or ()):
            if (metric.get("resource") or {}).get("name") == "cpu":
                path: KeyPath = ("spec", "metrics", index, "resource", "target", "averageUtilization")
                changes[path] = metric["resource"]["target"]["averageUtilization"]
    else:
        for index, rule in enumerate(spec["rules"]):
            if "host" in rule:
                changes["spec", "rules", index, "host"] = rule["host"]
        changes |= {("spec", key): spec[key] for key in ("ingressClassName", "tls") if key in spec}
    return with_values(
        source.text, {path: value for path, value in changes.items() if value_at(source.text, path) != value}
    )


def _http_route(made: Mapping[str, Any], name: str) -> str:
    """The HTTPRoute of a stage, to the one Service."""
    (rule,) = made["spec"]["rules"]
    backends = [{"name": name, "port": 80}]
    metadata = {
        "name": name,
        "labels": {LABELS["winnow.deployment"]: name, LABELS["app.kubernetes.io/managed-by"]: COMPONENT},
        "annotations": {WAVE: str(WAVES["Ingress"])},
    }
    spec = {**made["spec"], "rules": [{**rule, "backendRefs": backends}]}
    return yaml_of({"apiVersion": made["apiVersion"], "kind": made["kind"], "metadata": metadata, "spec": spec})


def _server(pod: Mapping[str, Any], name: str, stage: str, *, has_key: bool, replicas: int | None = None) -> str:
    """The patch of a stage's Deployment: the settings of its replicas."""
    (server,) = (each for each in pod["containers"] if each["name"] == "server")
    (serving,) = (each for each in server["env"] if each["name"] == "WINNOW_SERVING")
    version, sha256 = (f"metadata.annotations['winnow.model.{each}']" for each in ("version", "sha256"))
    # Its own lines of the log name the version, which takes the place of a revision's number.
    settings = serving["value"].replace('"revision":1', '"revision":$(WINNOW_MODEL_VERSION)')
    needed = {"secretKeyRef": {"name": f"{name}-key", "key": "WINNOW_API_KEY", "optional": False}}
    container = {
        "name": "server",
        "env": [
            {"name": "WINNOW_MODEL_VERSION", "valueFrom": {"fieldRef": {"fieldPath": version}}},
            # An image of another version than the annotations say is never ready.
            {"name": "WINNOW_MODEL_SHA256", "valueFrom": {"fieldRef": {"fieldPath": sha256}}},
            {"name": "WINNOW_SERVING", "value": settings},
            # Without its Secret no replica starts: no model is served without a key by mistake.
            *([{"name": "WINNOW_API_KEY", "valueFrom": needed}] if has_key else []),
        ],
        "lifecycle": server["lifecycle"],
        "resources": server["resources"],
    }
    spec = {"terminationGracePeriodSeconds": pod["terminationGracePeriodSeconds"], "containers": [container]}
    patch = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}}
    head = f"# What `serving` says of a replica in {stage}. `make gitops-init FORCE=1` writes it anew.\n"
    count = {} if replicas is None else {"replicas": replicas}
    return head + yaml_of({**patch, "spec": {**count, "template": {"spec": spec}}})


def _listed(names: Any) -> str:
    return "\n".join(f"  - {name}" for name in names)
