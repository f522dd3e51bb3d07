"""A Job that drives a deployment's rollout, so that it goes on without the machine that began it.

Its pod runs `winnow rollout-resume` from the workers' image, with the permissions of a ServiceAccount that the
namespace's owner has made (`k8s/driver.yaml`). Winnow's own Role includes neither accounts nor bindings.
"""

from __future__ import annotations

from collections.abc import Mapping

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.exit_codes import CommandExit
from winnow.platforms import labels
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import EVENT, JOB, POD, SERVICE, Manifest, name_of, owned
from winnow.platforms.kubernetes.permissions import verbs
from winnow.platforms.kubernetes.revision_plan import labels_of, object_name
from winnow.platforms.kubernetes.verb_pod import ACCOUNT, verb_pod
from winnow.platforms.rollout_driver import RolloutDriver, arguments
from winnow.platforms.sweep import CONTAINER_PYTHON
from winnow.tracking.run_context import RUN_CONTEXT

PLATFORM = "kubernetes"
DRIVER = "driver"
PERMISSIONS = (*verbs("get create delete", JOB), *verbs("list", POD, EVENT))
RESTARTS = 10
KEPT_S = 24 * 3600
STARTS_WITHIN_S = 120.0
POLL_S = 0.5


def plan(name: str, image: str, owner: Manifest, variables: Mapping[str, str]) -> Manifest:
    """The Job. `owner`: the Service of the deployment's entry, with which the cluster deletes it.

    `variables`: of the process that begins the rollout; those who it says calls it are the Job's, too.

    A pod that is evicted or killed is replaced, and the next one goes on. Exit status 1 and 2, an aborted rollout and
    one that another process drives, end the Job.
    """
    own = {**labels_of(name), labels.ROLE: DRIVER}
    given = [{"name": RUN_CONTEXT, "value": variables[RUN_CONTEXT]}] if variables.get(RUN_CONTEXT) else []
    command = [CONTAINER_PYTHON, "-m", "winnow", *arguments(name, PLATFORM), "--replaced"]
    resources = {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    volumes = {each: {"emptyDir": {"sizeLimit": "512Mi"}} for each in ("tmp", "winnow")}
    pod = verb_pod(DRIVER, image, command, given, resources, volumes)

    def at_exit(action: str, *codes: int) -> Manifest:
        return {"action": action, "onExitCodes": {"containerName": DRIVER, "operator": "In", "values": [*codes]}}

    drained = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    interrupted = at_exit("Ignore", int(CommandExit.INTERRUPTED))
    spec = {
        "backoffLimit": RESTARTS,
        "podFailurePolicy": {"rules": [at_exit("FailJob", 1, 2), interrupted, drained]},
        "ttlSecondsAfterFinished": KEPT_S,
        "template": {"metadata": {"labels": own}, "spec": pod},
    }
    return owned(JOB.manifest(object_name(name, DRIVER), own, spec=spec), owner)


def start(cluster: Cluster, name: str, image: str, clock: Clock, variables: Mapping[str, str]) -> RolloutDriver:
    """Replace the Job of an earlier rollout, and wait until the new one's pod runs.

    Raises:
        InputError: the ServiceAccount is missing, or the pod does not start.
    """
    owner = cluster.get(SERVICE, object_name(name))
    if owner is None:
        raise ValueError(f"deployment '{name}' has no entry")
    job = plan(name, image, owner, variables)
    deadline = clock.now() + STARTS_WITHIN_S
    cluster.delete(JOB, name_of(job))
    while cluster.get(JOB, name_of(job)) is not None and clock.now() < deadline:
        clock.sleep(POLL_S)
    made = cluster.create(job)
    while not _has_started(cluster, made):
        said = [str(each.get("message", "")) for each in cluster.events(made) if each.get("reason") == "FailedCreate"]
        if said or clock.now() > deadline:
            cluster.delete(JOB, name_of(job))
            apply = f"kubectl --namespace {cluster.namespace} apply -f k8s/role.yaml -f k8s/driver.yaml"
            raise InputError(
                f"the Job that drives the rollout of '{name}'",
                expected=f"a pod with the ServiceAccount {ACCOUNT}",
                found=said[-1] if said else f"none that runs within {STARTS_WITHIN_S:.0f} s",
                remedy=f"Ask the owner of the namespace for `{apply}`. The rollout waits at its first step until "
                "`winnow rollout-resume` goes on with it.",
            )
        clock.sleep(POLL_S)
    return RolloutDriver(f"Job {name_of(job)}", log_command(cluster, name), PLATFORM)


def log_command(cluster: Cluster, name: str) -> str:
    """The command that shows the log of a deployment's Job."""
    return f"kubectl --namespace {cluster.namespace} logs --follow job/{object_name(name, DRIVER)}"


def _has_started(cluster: Cluster, job: Manifest) -> bool:
    pods = cluster.find(POD, {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}).items
    return any(each.get("status", {}).get("phase") in ("Running", "Succeeded", "Failed") for each in pods)
