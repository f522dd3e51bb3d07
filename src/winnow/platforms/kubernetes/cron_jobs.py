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
from winnow.platforms.kubernetes.kinds import CRON_JOB, VOLUME_CLAIM, Manifest, shortened
from winnow.platforms.kubernetes.verb_pod import STORES, verb_pod
from winnow.platforms.regular_calls import RegularCalls
from winnow.platforms.sweep import CONTAINER_PYTHON

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
    file, folder = PurePosixPath(calls.config), PurePosixPath(calls.folder)
    if file.is_relative_to(folder):
        file = file.relative_to(folder)
    if file.is_absolute() or ".." in file.parts:
        raise InputError(
            "config",
            expected=f"an experiment file in {calls.folder}, which is copied to the workers' image",
            found=f"'{calls.config}'",
            remedy="Move it there, and build the image again.",
        )
    if not calls.image:
        raise InputError(
            "image",
            expected="the workers' image by its digest: REPOSITORY@sha256:…",
            found="none",
            remedy="Build it with `winnow build-train --registry HOST/PATH`, which prints its digest.",
        )
    stop = "promote" if calls.stop_after == "deploy" else calls.stop_after
    monitor = ["monitor", "--config", str(file), "--platform", "kubernetes"]
    retrain = ["retrain", "--if-due", "--config", str(file), "--platform", "local", "--stop-after", stop]
    kept = _name(calls, "monitor")
    small = {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    large = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"}}
    objects = [
        VOLUME_CLAIM.manifest(
            kept,
            {WATCHES: calls.name},
            spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        ),
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
    call = f"{CONTAINER_PYTHON} -m winnow {shlex.join(arguments)}; status=$?; [ $status -ne 3 ] || exit 0; exit $status"
    volumes: dict[str, Manifest] = {
        "tmp": {"emptyDir": {"sizeLimit": "4Gi"}},
        "winnow": home,
        "shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    }
    pod = verb_pod(verb, calls.image, ["/bin/sh", "-c", call], STORES, resources, volumes)
    job = {
        "backoffLimit": 0,
        "ttlSecondsAfterFinished": 24 * 3600,
        "template": {"metadata": {"labels": own}, "spec": pod},
    }
    spec = {
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        # A call is left out while the one before still runs.
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 300,
        "jobTemplate": {"metadata": {"labels": own}, "spec": job},
    }
    return CRON_JOB.manifest(_name(calls, verb), own, spec=spec)


def _name(calls: RegularCalls, verb: str) -> str:
    return f"{shortened(f'winnow-{calls.name}', LONGEST_NAME - len(verb) - 1)}-{verb}"
