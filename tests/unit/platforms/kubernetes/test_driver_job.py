"""The Job that drives a rollout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.platforms.kubernetes import driver_job
from winnow.platforms.kubernetes.client import Listing
from winnow.platforms.kubernetes.kinds import JOB, SERVICE, Kind, Manifest, name_of
from winnow.platforms.rollout_driver import RolloutDriver

ENTRY = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "winnow-prod-cells", "uid": "7"}}

VARIABLES = {"MLFLOW_RUN_CONTEXT": '{"airflow.dag": "deployment"}', "HOME": "/home/ada"}


@dataclass
class Jobs:
    """The part of a cluster that runs Jobs. `phase`: of their pods; empty where none can be made."""

    phase: str
    jobs: dict[str, Manifest] = field(default_factory=dict)
    namespace: str = "models"
    removed: int = 0

    def get(self, kind: Kind, name: str) -> Manifest | None:
        return ENTRY if kind == SERVICE else self.jobs.get(name)

    def create(self, manifest: Manifest) -> Manifest:
        assert name_of(manifest) not in self.jobs
        made = {**manifest, "metadata": {**manifest["metadata"], "uid": "8"}}
        return self.jobs.setdefault(name_of(manifest), made)

    def delete(self, kind: Kind, name: str) -> bool:
        self.removed += name in self.jobs
        return self.jobs.pop(name, None) is not None

    def find(self, kind: Kind, labels: dict[str, str]) -> Listing:
        return Listing([{"status": {"phase": self.phase}}] if self.phase else [], "1")

    def events(self, about: Manifest) -> list[Manifest]:
        return [] if self.phase else [{"reason": "FailedCreate", "message": 'serviceaccount "winnow-driver" not found'}]


def started(cluster: Any) -> RolloutDriver:
    return driver_job.start(cluster, "cells", "winnow-train@sha256:1", Clock(sleep=lambda _seconds: None), VARIABLES)


def test_a_job_goes_on_with_the_rollout_as_an_account_of_its_own() -> None:
    cluster = Jobs("Running")
    assert started(cluster) == RolloutDriver(
        "Job winnow-prod-cells-driver",
        "kubectl --namespace models logs --follow job/winnow-prod-cells-driver",
        "kubernetes",
    )
    job = cluster.jobs["winnow-prod-cells-driver"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Service", "name": "winnow-prod-cells", "uid": "7"}
    ]
    assert container["command"][3:] == [
        *("rollout-resume", "--name", "cells", "--platform", "kubernetes"),
        *("--as-driver", "--replaced"),
    ]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "WINNOW_HOME": "/winnow",
        "HOME": "/tmp",
        "MLFLOW_RUN_CONTEXT": '{"airflow.dag": "deployment"}',
    }
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [(each["action"], each.get("onExitCodes", {}).get("values")) for each in rules] == [
        *(("FailJob", [1, 2]), ("Ignore", [130])),
        ("Ignore", None),
    ]
    # Not every node reports its disk; a Job that asks for some would never start there.
    assert "ephemeral-storage" not in str(container["resources"])
    assert pod["serviceAccountName"] == "winnow-driver"
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]


def test_the_job_of_an_earlier_rollout_is_replaced() -> None:
    cluster = Jobs("Running")
    started(cluster)
    started(cluster)
    assert cluster.removed == 1


def test_a_missing_account_is_one_error_and_leaves_no_job() -> None:
    cluster = Jobs("")
    with pytest.raises(InputError) as caught:
        started(cluster)
    assert 'serviceaccount "winnow-driver" not found' in str(caught.value)
    assert "apply -f k8s/role.yaml -f k8s/driver.yaml" in str(caught.value)
    assert cluster.get(JOB, "winnow-prod-cells-driver") is None
