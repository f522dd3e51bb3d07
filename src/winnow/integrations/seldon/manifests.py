"""Manifests of Seldon Core 2 (`mlops.seldon.io/v1alpha1`): pure functions.

Seldon loads a model's files from an object store into a server that its requirements match: MLServer with its MLflow
runtime and winnow's wheel, which holds the column codec. Each version is a Model of its own; an Experiment splits or
mirrors requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from winnow.config.errors import InputError
from winnow.config.quantities import bytes_of, whole_percent
from winnow.config.serving import RolloutConfig, StageConfig

API = "mlops.seldon.io/v1alpha1"
STORES = ("s3://", "gs://", "wasbs://", "abfss://")
"""Addresses that rclone, which Seldon loads models with, and MLflow both know."""
REQUIREMENT = "mlflow"


@dataclass(frozen=True)
class StoredVersion:
    """A version of a model, and where its MLflow model lies.

    Attributes:
        number: in the registry.
        run: the MLflow run that it is from.
    """

    number: str
    run: str
    uri: str


def manifests(
    name: str, config: StageConfig, serving: StoredVersion, candidate: StoredVersion | None, replicas: int | None = None
) -> str:
    """A Model of each version as YAML, and the Experiment of the first step where there is a candidate.

    Args:
        name: the deployment's.
        serving: the version that answers.
        candidate: the version that is tried.
        replicas: instead of the section's.

    Raises:
        InputError: a version does not lie in an object store.
    """
    versions = [serving] if candidate is None else [serving, candidate]
    made = [_model(name, config, each, replicas) for each in versions]
    if candidate is not None and config.rollout.strategy != "rolling":
        made.append(_experiment(name, config.rollout, serving, candidate))
    return "---\n".join(yaml.safe_dump(each, sort_keys=False) for each in made)


def model_name(name: str, version: StoredVersion) -> str:
    """The name of a version's Model."""
    return f"{name.replace('_', '-').replace('.', '-').lower()}-v{version.number}"


def _model(name: str, config: StageConfig, version: StoredVersion, replicas: int | None) -> dict[str, Any]:
    if not version.uri.startswith(STORES):
        raise InputError(
            f"version {version.number}",
            expected=f"a model in an object store that Seldon reads: {', '.join(STORES)}",
            found=f"'{version.uri}'",
            remedy="Keep artifacts in one (docs/training.md), or copy the MLflow model there and name its folder with "
            "`--storage`.",
        )
    count = config.replicas if replicas is None else replicas
    scale = {}
    if config.autoscale is not None:
        scale = {"minReplicas": count, "maxReplicas": config.autoscale.max or 2 * config.replicas}
    return {
        "apiVersion": API,
        "kind": "Model",
        "metadata": {
            "name": model_name(name, version),
            "labels": {"app.kubernetes.io/managed-by": "winnow", "winnow.deployment": name},
            "annotations": {"winnow.model.version": version.number, "winnow.run": version.run},
        },
        "spec": {
            "storageUri": version.uri,
            "requirements": [REQUIREMENT],
            "memory": str(bytes_of(config.resources.memory_request)),
            "replicas": count,
            **scale,
        },
    }


def _experiment(name: str, rollout: RolloutConfig, serving: StoredVersion, candidate: StoredVersion) -> dict[str, Any]:
    stable, tried = model_name(name, serving), model_name(name, candidate)
    spec: dict[str, Any] = {"default": stable}
    if rollout.strategy == "shadow":
        spec["candidates"] = [{"name": stable, "weight": 100}]
        spec["mirror"] = {"name": tried, "percent": whole_percent(rollout.mirror, "serving.rollout: mirror", "Seldon")}
    else:
        weight = rollout.initial_weight if rollout.strategy == "canary" else rollout.weights[1]
        share = whole_percent(weight, "serving.rollout: a weight", "Seldon")
        spec["candidates"] = [{"name": stable, "weight": 100 - share}, {"name": tried, "weight": share}]
    return {"apiVersion": API, "kind": "Experiment", "metadata": {"name": stable.rpartition("-v")[0]}, "spec": spec}
