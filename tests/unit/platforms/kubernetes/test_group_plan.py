"""What a cluster is given, as a whole."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from winnow.config.errors import InputError
from winnow.config.exit_codes import NEVER_RETRIED, NOT_A_FAILURE
from winnow.config.experiment import KubernetesConfig
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers, object_name, plan_group, render
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.manifests import load
from winnow.platforms.kubernetes.stack_plan import SECRET_NAME
from winnow.platforms.stack_variables import SECRETS

ROOT = Path(__file__).parents[4]
IMAGE = "registry.example/winnow-train@sha256:0123"
WORKERS = KubernetesWorkers(IMAGE, load(ROOT / "k8s" / "train"))
ARGV = ("/opt/venv/bin/python", "-m", "winnow.worker.group", "--study", "a-study", "--group", "p0")
GROUP = GroupSpec(
    study="a-study",
    name="p0",
    argv=ARGV,
    env={
        "WINNOW_STORAGE": "postgresql://me:s3cret@postgres:5432/winnow",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "WINNOW_HOME": "/home/me/.winnow",
        "PROXY": "http://me:pr0xy@proxy:3128",
        "PRICE": "$(PWD) is $5",
    },
    secrets={"TOKEN": "t0ken"},
)
OWN = {"winnow.study": "a-study", "winnow.group": "p0"}
LABELS = {
    "app.kubernetes.io/name": "winnow",
    "app.kubernetes.io/component": "train",
    "app.kubernetes.io/managed-by": "winnow",
    "winnow.study": "a-study",
    "winnow.group": "p0",
}
NAME = "winnow-train-a-study-p0"


def from_secret(name: str) -> Manifest:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": NAME, "key": name}}}


def job(nodes: int = 1, **spec: Any) -> Manifest:
    """The Job of `GROUP`, as the API is sent it."""
    several = [
        {
            "name": "WINNOW_NODE",
            "valueFrom": {
                "fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
            },
        },
        {"name": "WINNOW_NODES", "value": str(nodes)},
        {"name": "WINNOW_MASTER_ADDR", "value": f"{NAME}-0.{NAME}"},
        {"name": "WINNOW_MASTER_PORT", "value": "29400"},
    ]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "completionMode": "Indexed",
            "completions": nodes,
            "parallelism": nodes,
            "successPolicy": {"rules": [{"succeededIndexes": "0"}]},
            "backoffLimit": 6,
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": "worker", "operator": "In", "values": [*NEVER_RETRIED]},
                    },
                    {
                        "action": "Ignore",
                        "onExitCodes": {"containerName": "worker", "operator": "In", "values": [*NOT_A_FAILURE]},
                    },
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": 86400,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    **({"subdomain": NAME} if nodes > 1 else {}),
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 30,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 10001,
                        "runAsGroup": 10001,
                        "fsGroup": 10001,
                        "fsGroupChangePolicy": "OnRootMismatch",
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "worker",
                            "image": IMAGE,
                            "imagePullPolicy": "IfNotPresent",
                            "command": list(ARGV),
                            "env": [
                                from_secret("WINNOW_STORAGE"),
                                from_secret("MLFLOW_TRACKING_URI"),
                                {"name": "WINNOW_HOME", "value": "/winnow"},
                                {"name": "WINNOW_RELAY_LOGS", "value": "1"},
                                *(several if nodes > 1 else []),
                                {"name": "PRICE", "value": "$$(PWD) is $$5"},
                                from_secret("PROXY"),
                                from_secret("TOKEN"),
                            ],
                            "resources": {
                                "limits": {"cpu": "1", "memory": "2Gi"},
                                "requests": {"cpu": "1", "memory": "2Gi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [
                                {"name": "tmp", "mountPath": "/tmp"},
                                {"name": "winnow", "mountPath": "/winnow"},
                                {"name": "shm", "mountPath": "/dev/shm"},
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
                        {"name": "winnow", "emptyDir": {"sizeLimit": "20Gi"}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                    ],
                },
            },
            **spec,
        },
    }


def test_a_group_of_one_pod_is_a_job_and_a_secret() -> None:
    objects = plan_group(GROUP, WORKERS)
    assert objects.job == job()
    assert objects.service is None
    assert objects.secret == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": NAME, "labels": LABELS},
        "type": "Opaque",
        "data": {
            name: base64.b64encode(value.encode()).decode()
            for name, value in {
                "MLFLOW_TRACKING_URI": GROUP.env["MLFLOW_TRACKING_URI"],
                "PROXY": GROUP.env["PROXY"],
                "TOKEN": "t0ken",
                "WINNOW_STORAGE": GROUP.env["WINNOW_STORAGE"],
            }.items()
        },
    }


def test_several_pods_have_a_service_and_know_the_first() -> None:
    objects = plan_group(replace(GROUP, nodes=2), WORKERS)
    assert objects.job == job(nodes=2)
    assert objects.service == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"winnow.study": "a-study", "winnow.group": "p0"},
            "ports": [{"name": "rendezvous", "port": 29400}, {"name": "supervisor", "port": 29401}],
        },
    }


def test_what_the_experiment_says_of_pods_is_in_the_job() -> None:
    config = KubernetesConfig(
        requests={"cpu": "250m"},
        gpu_resource="amd.com/gpu",
        node_selector={"pool": "gpu"},
        tolerations=({"key": "gpu", "operator": "Exists"},),
        priority_class="low",
        queue="team-a",
        deadline_s=3600,
        backoff_limit=2,
        ttl_s=60,
        annotations={"example.com/note": "mine"},
        pod={"imagePullSecrets": [{"name": "pull"}], "containers": [{"name": "worker", "workingDir": "/tmp"}]},
    )
    resources = GroupResources(cpus=1.5, memory_bytes=3 * 2**29, shm_bytes=64 * 2**20, gpus=("0", "1"))
    volumes = (Volume("rows", "/data"), Volume("cache", "/cache", is_read_only=False))
    found = plan_group(replace(GROUP, resources=resources, volumes=volumes, options=config), WORKERS).job

    wanted = job(suspend=True, backoffLimit=2, activeDeadlineSeconds=3600, ttlSecondsAfterFinished=60)
    wanted["metadata"]["labels"] = {**LABELS, "kueue.x-k8s.io/queue-name": "team-a"}
    wanted["spec"]["template"]["metadata"]["annotations"] = {"example.com/note": "mine"}
    pod = wanted["spec"]["template"]["spec"]
    pod |= {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "pull"}],
    }
    limits = {"cpu": "1500m", "memory": "1536Mi", "amd.com/gpu": "2"}
    pod["containers"][0] |= {
        "workingDir": "/tmp",
        "resources": {"limits": limits, "requests": {**limits, "cpu": "250m"}},
    }
    pod["containers"][0]["volumeMounts"] += [
        {"name": "volume-0", "mountPath": "/data", "readOnly": True},
        {"name": "volume-1", "mountPath": "/cache", "readOnly": False},
    ]
    pod["volumes"][2]["emptyDir"]["sizeLimit"] = "64Mi"
    pod["volumes"] += [
        {"name": "volume-0", "persistentVolumeClaim": {"claimName": "rows", "readOnly": True}},
        {"name": "volume-1", "persistentVolumeClaim": {"claimName": "cache", "readOnly": False}},
    ]
    assert found == wanted


def test_a_persons_own_variables_in_the_manifest_stay_and_those_of_others_are_not_asked_for() -> None:
    manifests = load(ROOT / "k8s" / "train")
    manifests[1]["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "MINE", "value": "1"})
    group = GroupSpec("a-study", "p0", ("run",), {"A": "1"})
    planned = plan_group(group, KubernetesWorkers("an-image", manifests)).job
    assert planned["spec"]["template"]["spec"]["containers"][0]["env"] == [
        {"name": "WINNOW_HOME", "value": "/winnow"},
        {"name": "WINNOW_RELAY_LOGS", "value": "1"},
        {"name": "MINE", "value": "1"},
        {"name": "A", "value": "1"},
    ]


def test_a_folder_is_no_volume_of_a_cluster() -> None:
    with pytest.raises(InputError, match="volume claims"):
        plan_group(replace(GROUP, volumes=(Volume("/srv/rows", "/data"),)), WORKERS)


def test_names_are_short_enough_for_host_names_and_differ() -> None:
    names = [object_name("s" * 63, group) for group in ("p0", "p1", "p10")]
    assert {len(name) for name in names} == {57}
    assert len(set(names)) == 3
    assert object_name("a-study", "p0") == NAME


def test_by_hand_a_group_finds_the_stack_beside_it_by_what_its_secret_holds() -> None:
    (applied,) = [each for each in WORKERS.manifests if each["kind"] == "Job"]
    (worker,) = applied["spec"]["template"]["spec"]["containers"]
    asked = [each["valueFrom"]["secretKeyRef"] for each in worker["env"] if "secretKeyRef" in each.get("valueFrom", {})]
    assert {each["name"] for each in asked} == {SECRET_NAME}
    assert {each["key"] for each in asked} <= set(SECRETS)
    told = {each["name"]: each["value"] for each in worker["env"] if "value" in each}
    stack = {each["metadata"]["name"]: each for each in load(ROOT / "k8s" / "tracking") if each["kind"] == "Service"}
    for address in (told["WINNOW_STORAGE"], told["MLFLOW_TRACKING_URI"]):
        host = urlsplit(address)
        assert host.port in [port["port"] for port in stack[str(host.hostname)]["spec"]["ports"]]


def test_what_belongs_to_a_job_goes_with_it() -> None:
    made = {**job(nodes=2), "metadata": {"name": NAME, "uid": "1-2-3"}}
    owned = plan_group(replace(GROUP, nodes=2), WORKERS).belonging_to(made)
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": NAME, "uid": "1-2-3"}
    assert [(each["kind"], each["metadata"]["ownerReferences"]) for each in owned] == [
        ("Secret", [owner]),
        ("Service", [owner]),
    ]


def test_a_plan_shows_no_secret() -> None:
    text = "\n".join(render([plan_group(replace(GROUP, nodes=2), WORKERS)]))
    assert text.count("\n---\n") == 2
    for hidden in ("s3cret", "t0ken", "pr0xy"):
        assert hidden not in text
        assert base64.b64encode(hidden.encode()).decode().rstrip("=")[:-1] not in text
    assert "t0ken" not in repr(plan_group(GROUP, WORKERS))
