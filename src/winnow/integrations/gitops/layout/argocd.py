"""What makes Argo CD, or Flux in its place, apply the overlays: one object for each stage. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from winnow.config.experiment import Experiment
from winnow.config.serving_faults import deployment_name
from winnow.integrations.gitops.layout.stages import FOLDER, overlay_folder, serving_stage
from winnow.integrations.gitops.layout.templates import template

_IGNORED = """\
  ignoreDifferences:
    # The autoscaler owns it.
    - group: apps
      kind: Deployment
      name: {name}
      jsonPointers:
        - /spec/replicas
"""


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
        is_scaled = experiment.serving.of_stage(chosen).autoscale is not None
        values = {
            "name": name,
            "stage": stage,
            "deployment": deployment,
            "namespace": deployment,
            "repository": json.dumps(repository),
            "branch": json.dumps(branch),
            "folder": overlay_folder(name, stage),
            "ignored": _IGNORED.format(name=name) if is_scaled else "",
        }
        for tool, file in (("argocd", "application.yaml"), ("flux", "flux.yaml")):
            files[f"{FOLDER}/{name}/{tool}/{stage}.yaml"] = template(file, **values)
    return files
