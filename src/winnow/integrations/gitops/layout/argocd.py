"""What makes Argo CD, or Flux in its place, apply the overlays: one object for each stage. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.config.experiment import Experiment
from winnow.config.serving import StageConfig
from winnow.config.serving_faults import deployment_name
from winnow.config.yaml_edit import yaml_of
from winnow.integrations.gitops.layout.rollout import ARGO_ROLLOUTS
from winnow.integrations.gitops.layout.stages import FOLDER, overlay_folder, serving_stage
from winnow.integrations.gitops.layout.templates import template


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
        config = experiment.serving.of_stage(chosen)
        values = {
            "name": name,
            "stage": stage,
            "deployment": deployment,
            "namespace": deployment,
            "repository": json.dumps(repository),
            "branch": json.dumps(branch),
            "folder": overlay_folder(name, stage),
            "ignored": _ignored(config),
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
