"""A stage whose traffic Argo Rollouts moves: its objects, and checks of what API servers do not check. Pure.

The pods are those of the stage's Deployment, which kustomize knows how to change; the Rollout refers to it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import yaml

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.names import LONGEST_STUDY
from winnow.config.serving import RolloutConfig
from winnow.config.yaml_edit import KeyPath, with_scalars, with_values, yaml_of
from winnow.integrations.gitops.layout.stages import template
from winnow.rollout.plan import Step, steps_of

ARGO_ROLLOUTS = "argo-rollouts"
COUNTED = ("errors", "latency")
"""Conditions that replicas' own metrics show; a mirror takes a router."""
JUDGE_IMAGE = """\
  - name: winnow-train  # what computes the verdict: the workers' image (`make build-train`), which you set once
    newName: winnow-train
    newTag: latest
"""


class Place(NamedTuple):
    """Where a Rollout is.

    Attributes:
        name: of its objects.
        deployment: as its metrics are labelled.
        replicas: how many; None where an autoscaler says so.
    """

    name: str
    deployment: str
    namespace: str
    replicas: int | None


def rollout_files(
    experiment: Experiment, config: RolloutConfig, place: Place, service: str, files: Mapping[str, str]
) -> Mapping[str, str]:
    """The files that a stage has besides, or in place of others, by name.

    Args:
        service: the text of the Service.
        files: the stage's other files; those of its autoscaler and HTTPRoute are changed.

    Raises:
        InputError: a name is too long.
    """
    name, steps = place.name, steps_of(config, COUNTED)
    canary = with_scalars(service, lambda key, value: f"{name}-canary" if (key, value) == ("name", name) else value)
    made = {
        "service-canary.yaml": canary,
        "analysis.yaml": template(
            "analysis.yaml",
            name=name,
            deployment=place.deployment,
            prometheus=str(experiment.monitoring.prometheus),
            step=json.dumps(_judged(steps[0]), separators=(",", ":")).replace("'", "''"),
        ),
        "rollout.yaml": template(
            "rollout.yaml",
            name=name,
            namespace=place.namespace,
            replicas="" if place.replicas is None else f"  replicas: {place.replicas}\n",
            steps=textwrap.indent(yaml_of([part for step in steps for part in _parts(step, name)]), " " * 8),
        ),
    }
    for file, text in files.items():
        manifest = yaml.safe_load(text)
        if manifest["kind"] == "HorizontalPodAutoscaler":
            target: KeyPath = ("spec", "scaleTargetRef")
            values: dict[KeyPath, Any] = {(*target, "apiVersion"): "argoproj.io/v1alpha1", (*target, "kind"): "Rollout"}
            made[file] = with_values(text, values)
        elif manifest["kind"] == "HTTPRoute":
            (rule,) = manifest["spec"]["rules"]
            stable, other = ({"name": each, "port": 80, "weight": 0} for each in (name, f"{name}-canary"))
            rule["backendRefs"] = [{**stable, "weight": 100}, other]
            made[file] = yaml_of(manifest)
    check_rollout([yaml.safe_load(text) for text in made.values()], "rollout.yaml")
    return made


def _parts(step: Step, name: str) -> Iterator[Mapping[str, Any]]:
    """A step of winnow's as steps of Argo Rollouts."""
    if step.is_pause:
        yield {"pause": {}}
        return
    yield {"setWeight": round(step.weight * 100)}
    if not step.conditions:
        yield {"pause": {"duration": f"{step.least_s:g}s"}}
        return
    hashes = (("stable", "Stable"), ("candidate", "Latest"))
    args = [{"name": key, "valueFrom": {"podTemplateHashValue": value}} for key, value in hashes]
    yield {"analysis": {"templates": [{"templateName": f"{name}-verdict"}], "args": args}}


def _judged(step: Step) -> Mapping[str, Any]:
    """What the verdict on each step takes."""
    conditions = []
    for each in step.conditions:
        of = {"errors": ("margin",), "latency": ("margin", "quantile")}.get(each.type, ("url", "query", "min", "max"))
        given = {key: getattr(each, key) for key in of if getattr(each, key) not in (None, "")}
        conditions.append({"type": each.type, **given})
    return {"least_s": step.least_s, "most_s": step.most_s, "alpha": step.alpha, "conditions": conditions}


def check_rollout(manifests: list[Mapping[str, Any]], place: str) -> None:
    """Check what an API server accepts and Argo Rollouts cannot do: strategy, weights, selectors, Services, names.

    Args:
        manifests: of a stage, with its Rollout; a stage without one is right.
        place: of the files, for errors.

    Raises:
        InputError: the first fault.
    """
    for manifest in manifests:
        name = str(manifest["metadata"]["name"])
        if len(name) > LONGEST_STUDY:
            remedy = "Shorten the experiment's name."
            expected = f"names of at most {LONGEST_STUDY} characters"
            raise InputError(place, expected=expected, found=f"'{name}'", remedy=remedy)
    rollout = next((each for each in manifests if each["kind"] == "Rollout"), None)
    if rollout is None:
        return
    for expected, found in _faults(rollout, manifests):
        raise InputError(place, expected=expected, found=found, remedy="Correct it.")


def _faults(rollout: Mapping[str, Any], manifests: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    spec = rollout["spec"]
    strategies = [key for key in ("canary", "blueGreen") if spec.get("strategy", {}).get(key) is not None]
    if strategies != ["canary"]:
        yield "spec.strategy with `canary` alone", " and ".join(strategies) or "none"
        return
    canary = spec["strategy"]["canary"]
    weights = [step["setWeight"] for step in canary.get("steps") or () if "setWeight" in step]
    if not all(isinstance(each, int) and 0 <= each <= 100 for each in weights):
        yield "steps with weights from 0 to 100", str(weights)
    if any(later <= earlier for earlier, later in pairwise(weights)):
        yield "steps with rising weights", str(weights)
    selected = (spec.get("selector") or {}).get("matchLabels") or {}
    services = {each["metadata"]["name"]: each["spec"]["selector"] for each in manifests if each["kind"] == "Service"}
    for key in ("stableService", "canaryService"):
        name = canary.get(key)
        if name is None or (key == "canaryService" and name not in services):
            yield f"{key} with the name of a Service", str(name)
        elif name in services and not selected.items() >= services[name].items():
            yield f"Service {name} with a selector that the Rollout's pods match, {selected}", str(services[name])
    backends = {canary.get(key) for key in ("stableService", "canaryService")}
    for route in (each for each in manifests if each["kind"] == "HTTPRoute"):
        found = {each["name"] for rule in route["spec"]["rules"] for each in rule.get("backendRefs") or ()}
        if found != backends:
            yield f"an HTTPRoute to {' and '.join(sorted(map(str, backends)))}", ", ".join(sorted(found)) or "none"
