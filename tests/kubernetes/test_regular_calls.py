"""The CronJobs that `winnow render` prints, called at once: one trains a champion, one looks at what serves it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.docker.champions import ROOT
from tests.kubernetes.places import Place
from tests.kubernetes.pods import until
from tests.kubernetes.serving import SERVING, Site
from tests.winnow_command import winnow
from winnow.platforms.docker.client import connect
from winnow.platforms.kubernetes.manifests import APPEND, FieldPath, changed

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(600)]

POD: FieldPath = ("spec", "jobTemplate", "spec", "template", "spec")


@dataclass(frozen=True)
class Calls:
    """The CronJobs of one experiment."""

    place: Place
    name: str
    config: Path

    def winnow(self, *arguments: str, cwd: Path = ROOT) -> str:
        done = winnow(*arguments, env=Site(self.place, self.name).environment(), cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, verb: str) -> tuple[bool, str]:
        """Have a CronJob call its verb now; returns whether the Job succeeded, and what it said."""
        admin, job = self.place.admin, f"{self.name}-{verb}-{secrets.token_hex(3)}"
        admin("create", "job", job, f"--from=cronjob/winnow-{self.name}-{verb}")

        def ended() -> set[str]:
            conditions = admin.json("get", "job", job)["status"].get("conditions", [])
            return {each["type"] for each in conditions} & {"Complete", "Failed"}

        return until(ended, 240) == {"Complete"}, admin("logs", f"job/{job}")


@pytest.fixture
def calls(stack: Place, train_image: str, tmp_path: Path) -> Iterator[Calls]:
    made = Calls(stack, f"t{secrets.token_hex(4)}", tmp_path / "experiment.yaml")
    experiment = {
        "name": made.name,
        "data": {"source": "sklearn:iris", "holdout": 0.2},
        "model": {"factory": "winnow.models:mlp"},
        "search": {"space": {"lr": {"float": [0.01, 0.1]}}, "trials": 1, "metric": {"name": "f1"}},
        "cross_validation": {"folds": 2},
        "training": {"epochs": 2},
        "serving": SERVING,
    }
    made.config.write_text(json.dumps(experiment))
    for name in ("role", "driver"):
        stack.admin("apply", "--filename", str(ROOT / "k8s" / f"{name}.yaml"))
    text = made.winnow(
        "render", "--kind", "cronjob", "--config", made.config.name, "--image", train_image, cwd=tmp_path
    )
    stack.admin("create", "configmap", made.name, f"--from-file={made.config}")
    stack.admin("apply", "--filename", "-", given=yaml.safe_dump_all(map(made_small, yaml.safe_load_all(text))))
    yield made
    Site(stack, made.name).close()
    stack.admin("delete", "cronjobs,jobs,pvc", f"--selector=winnow.watches={made.name}", "--wait=false")
    for image in connect().images.list(filters={"label": f"winnow.model.name={made.name}"}):
        connect().images.remove(str(image.id), force=True)


def made_small(manifest: dict[str, object]) -> dict[str, object]:
    """The object with requests for a small node, and the experiment file, which the tests' image does not hold."""
    if manifest["kind"] != "CronJob":
        return manifest
    name = manifest["metadata"]["labels"]["winnow.watches"]  # type: ignore[index]
    mount = {"name": "experiment", "mountPath": "/workspace/experiment.yaml", "subPath": "experiment.yaml"}
    return changed(
        manifest,
        {
            (*POD, "volumes", APPEND): {"name": "experiment", "configMap": {"name": name}},
            (*POD, "containers", 0, "volumeMounts", APPEND): mount,
            (*POD, "containers", 0, "resources", "requests"): {"cpu": "100m", "memory": "256Mi"},
        },
    )


def test_they_train_the_first_champion_and_look_at_what_serves_it(calls: Calls) -> None:
    is_done, said = calls.call("retrain")
    assert is_done, said
    assert f"{calls.name}: version 1 (1.0.0) is @champion" in said
    is_done, said = calls.call("retrain")
    assert is_done, said
    assert f"{calls.name}: nothing is due: the data are those of version 1" in said
    is_done, said = calls.call("monitor")
    assert not is_done
    assert said.startswith(f"error: deployment '{calls.name}': expected the name of something that is being served")
    calls.winnow("prod", "--platform", "kubernetes", "--config", str(calls.config), "--replicas", "1")
    is_done, said = calls.call("monitor")
    assert is_done, said
    assert f"{calls.name}: {calls.name} version 1 (1.0.0), 0 rows" in said
    assert "No alarm" in said
