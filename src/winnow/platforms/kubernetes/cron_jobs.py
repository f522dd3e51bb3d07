"""CronJobs that call `winnow monitor` and `winnow retrain --if-due` from the workers' image. Pure.

They have the account of `k8s/driver.yaml` and the stores of the stack in the namespace. The looks keep their state on a
volume; a retraining keeps its own in the study database and the registry.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from winnow.config.errors import InputError
from winnow.config.yaml_edit import yaml_of
from winnow.platforms.kubernetes.driver_job import ACCOUNT
from winnow.platforms.kubernetes.kinds import Manifest, shortened
from winnow.platforms.regular_calls import RegularCalls

MINUTES = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)
HOURS = (1, 2, 3, 4, 6, 8, 12)
WATCHES, CALL = "winnow.watches", "winnow.call"
"""Labels of the objects: the experiment's name, and the verb. They are none of a deployment's objects."""
LONGEST_NAME = 52
"""Of a CronJob, whose Jobs' names are longer."""
_HEAD = """\
# They run with the account of k8s/driver.yaml and the stores that `winnow mlflow-init --platform kubernetes` made.
# A retraining trains in its own pod: raise its resources to what a sweep takes, and mount or name data that pods reach.
"""
_NO_ENGINE = """\
# It ends with the gates (`--stop-after promote`), because no pod has an engine to build the new version's image with:
# `winnow prod --platform kubernetes` on a machine with Docker, in CI or a pipeline, serves the new champion.
"""


def cron_jobs(calls: RegularCalls) -> str:
    """A volume and two CronJobs as YAML.

    Raises:
        InputError: cron cannot express how often, the experiment file is not below the working directory, or there is
            no image.
    """
    schedule = cron_expression(calls.every_s)
    file = calls.config if not calls.config.is_absolute() else _within(calls)
    if ".." in file.parts:
        raise _outside(calls)
    if not calls.image:
        raise InputError(
            "image",
            expected="the workers' image by its digest: REPOSITORY@sha256:…",
            found="none",
            remedy="Build it with `winnow build-train --registry HOST/PATH`, which prints its digest.",
        )
    config = str(PurePosixPath(*file.parts))
    stop = "promote" if calls.stop_after == "deploy" else calls.stop_after
    monitor = ["monitor", "--config", config, "--platform", "kubernetes"]
    retrain = ["retrain", "--if-due", "--config", config, "--platform", "local", "--stop-after", stop]
    kept = _name(calls, "monitor")
    small = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    large = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
    objects = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": kept, "labels": {WATCHES: calls.name}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        },
        _cron_job(calls, "monitor", monitor, schedule, small, {"persistentVolumeClaim": {"claimName": kept}}),
        _cron_job(calls, "retrain", retrain, schedule, large, {"emptyDir": {"sizeLimit": "8Gi"}}),
    ]
    note = _NO_ENGINE if calls.stop_after == "deploy" else ""
    return _HEAD + note + "---\n".join(map(yaml_of, objects))


def cron_expression(every_s: float) -> str:
    """How often, in cron's notation. Raises InputError for what cron cannot express."""
    minutes, hours = every_s / 60, every_s / 3600
    if minutes in MINUTES:
        return "* * * * *" if minutes == 1 else f"*/{minutes:.0f} * * * *"
    if hours in HOURS:
        return "0 * * * *" if hours == 1 else f"0 */{hours:.0f} * * *"
    if hours == 24:
        return "0 0 * * *"
    raise InputError(
        "monitoring.every",
        expected=f"what a CronJob can do: {', '.join(f'{each}m' for each in MINUTES)}, "
        f"{', '.join(f'{each}h' for each in HOURS)} or 1d",
        found=f"{every_s:.0f} s",
        remedy="Choose one of these, or call it in another way.",
    )


def _cron_job(
    calls: RegularCalls, verb: str, arguments: Sequence[str], schedule: str, resources: Manifest, home: Manifest
) -> Manifest:
    own = {WATCHES: calls.name, CALL: verb}
    # Status 3, an alarm or a version that did not pass, is a verdict, and no failure of the Job.
    call = (
        f"/opt/venv/bin/python -m winnow {shlex.join(arguments)}; status=$?; [ $status -ne 3 ] || exit 0; exit $status"
    )
    container = {
        "name": verb,
        "image": calls.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", call],
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "WINNOW_HOME", "value": "/winnow"},
            {
                "name": "WINNOW_DB_PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": "winnow-tracking", "key": "WINNOW_DB_PASSWORD"}},
            },
            {
                "name": "WINNOW_STORAGE",
                "value": "postgresql://winnow:$(WINNOW_DB_PASSWORD)@winnow-postgres:5432/winnow",
            },
            {"name": "MLFLOW_TRACKING_URI", "value": "http://winnow-mlflow:5000"},
        ],
        "resources": resources,
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
    pod = {
        "serviceAccountName": ACCOUNT,
        "restartPolicy": "Never",
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}},
            {"name": "winnow", **home},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        ],
    }
    job = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 24 * 3600,
        "template": {"metadata": {"labels": own}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": _name(calls, verb), "labels": own},
        "spec": {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            # A call is left out while the one before still runs.
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "jobTemplate": {"metadata": {"labels": own}, "spec": job},
        },
    }


def _name(calls: RegularCalls, verb: str) -> str:
    return f"{shortened(f'winnow-{calls.name}', LONGEST_NAME - len(verb) - 1)}-{verb}"


def _within(calls: RegularCalls) -> PurePosixPath:
    try:
        return PurePosixPath(calls.config.relative_to(calls.folder))
    except ValueError as error:
        raise _outside(calls) from error


def _outside(calls: RegularCalls) -> InputError:
    return InputError(
        "config",
        expected=f"an experiment file in {calls.folder}, which is copied to the workers' image",
        found=f"'{calls.config}'",
        remedy="Move it there, and build the image again.",
    )
