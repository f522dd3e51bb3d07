"""Rendered overlays as kustomize reads them, and as an API server with Argo CD's and Argo Rollouts' kinds takes them.

No controller of these acts on them.
"""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.places import Kubectl, Place, place
from tests.kubernetes.pods import until
from tests.kubernetes.test_kserve import CRDS, lacking
from tests.unit.integrations.test_gitops_layout import ARGO_ROLLOUTS, CHANGE, PRODUCTION, SERVING, experiment
from winnow import api
from winnow.config.experiment import Experiment
from winnow.integrations.gitops import layout

pytestmark = pytest.mark.kubernetes

KINDS = ("argo-cd.applications", "argo-rollouts.rollout", "argo-rollouts.analysis-template")
ALL = """
serving:
  {replicas: 2, autoscale: {max: 4}, host: wine.example.com, ingress_class: traefik, tls_secret: tls, log: stdout,
  max_unavailable: 2, drain_s: 10, api_key: {env: KEY}}
"""


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = [Path(os.environ.get(CRDS, "/nowhere")) / f"{kind}.yaml.xz" for kind in KINDS]
    if not all(file.is_file() for file in files):
        pytest.skip(f"{CRDS} names no folder with the kinds of Argo")
    for file in files:
        kind = lzma.decompress(file.read_bytes()).decode()
        Kubectl()("apply", "--server-side", "--force-conflicts", "--filename", "-", given=kind)
        until(lambda: "Established" in Kubectl()("get", "-f", "-", "-o", "jsonpath={..status}", given=kind))  # noqa: B023
    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


def written(made: Experiment, folder: Path, namespace: str) -> Path:
    """A repository with a promoted version; the folder of the overlay."""
    files = {**layout.base_files(made), **layout.overlay_files(made, "production", namespace)}
    files[PRODUCTION] = layout.edited(files[PRODUCTION], CHANGE, PRODUCTION)
    files |= layout.argocd_files(made, ["production"], "https://git.example.com/models.git", "main")
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return (folder / PRODUCTION).parent


@pytest.mark.parametrize("more", [SERVING, ALL, ARGO_ROLLOUTS], ids=["fixed", "scaled", "argo-rollouts"])
def test_an_api_server_takes_every_field(tmp_path: Path, somewhere: Place, more: str) -> None:
    folder = written(experiment(tmp_path, more), tmp_path / "clone", somewhere.namespace)
    sent = list(yaml.safe_load_all(Kubectl()("kustomize", str(folder))))
    application = yaml.safe_load((folder.parents[1] / "argocd" / "production.yaml").read_text())
    application["metadata"]["namespace"] = somewhere.namespace
    for each in (*sent, application):
        options = ("--dry-run=server", "--filename", "-", "--output", "yaml")
        taken = yaml.safe_load(somewhere.admin("apply", *options, given=yaml.safe_dump(each)))
        assert lacking(each, taken, each["kind"]) == []


@pytest.mark.parametrize("more", [SERVING, ALL], ids=["fixed", "scaled"])
def test_kustomize_makes_what_winnow_would_send(tmp_path: Path, more: str) -> None:
    made = experiment(tmp_path, more)
    rendered = {each["kind"]: each["spec"] for each in yaml.safe_load_all(api.render_stage(made))}
    folder = written(made, tmp_path / "clone", "wine")
    found = {each["kind"]: each["spec"] for each in yaml.safe_load_all(Kubectl()("kustomize", str(folder)))}
    assert found.keys() == rendered.keys()
    assert pod_of(found["Deployment"]) == pod_of(rendered["Deployment"])
    for kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler", "Ingress"):
        assert numbers(found.get(kind)) == numbers(rendered.get(kind))
    assert found["Deployment"].get("replicas") == (None if "HorizontalPodAutoscaler" in found else 3)


def pod_of(deployment: Any) -> Any:
    """A pod without its labels, its image, and how it learns its version, its key and when it stops."""
    spec = deployment["template"]["spec"]
    (server,) = spec["containers"]
    own = ("WINNOW_MODEL_VERSION", "WINNOW_MODEL_SHA256", "WINNOW_SETTLE_S", "WINNOW_API_KEY")
    env = {each["name"]: each for each in server["env"] if each["name"] not in own}
    serving = env["WINNOW_SERVING"]["value"].replace("$(WINNOW_MODEL_VERSION)", "1")
    env["WINNOW_SERVING"] = {"name": "WINNOW_SERVING", "value": serving}
    kept = {key: value for key, value in server.items() if key not in ("image", "args", "env")}
    pod = {key: value for key, value in spec.items() if key not in ("containers", "topologySpreadConstraints")}
    return {**pod, **kept, "env": env}


def numbers(spec: Any) -> Any:
    """A spec without what has the objects' names."""
    if isinstance(spec, dict):
        named = ("selector", "scaleTargetRef", "service")
        return {key: numbers(value) for key, value in spec.items() if key not in named}
    return [numbers(each) for each in spec] if isinstance(spec, list) else spec
