"""The stack in a namespace of a cluster: applies what is planned, waits until it is ready, and removes it.

Everything that can be refused is refused before anything is created. Data is in volumes and passwords are in the
Secret; both stay when the rest is removed.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.platforms.kubernetes import forward, services
from winnow.platforms.kubernetes import stack_settings as settings
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.difference import difference as cluster_difference
from winnow.platforms.kubernetes.kinds import (
    DEPLOYMENT,
    JOB,
    POD,
    SECRET,
    STATEFUL_SET,
    VOLUME_CLAIM,
    Kind,
    Manifest,
    kind_of,
    name_of,
)
from winnow.platforms.kubernetes.ownership import check_ours
from winnow.platforms.kubernetes.permissions import Permission, applying, verbs
from winnow.platforms.kubernetes.pods import is_over
from winnow.platforms.kubernetes.prune import apply_all, orphans
from winnow.platforms.kubernetes.refusals import ConflictError
from winnow.platforms.kubernetes.services import Service, Services, ServicesError
from winnow.platforms.kubernetes.stack_plan import (
    KINDS,
    LABELS,
    OWNER,
    SECRET_NAME,
    ClusterStackPlan,
    labels_of,
    secret_manifest,
)
from winnow.platforms.kubernetes.stack_settings import Chosen
from winnow.platforms.labels import STUDY
from winnow.platforms.stack import MLFLOW, StackError, redacted
from winnow.platforms.stack_variables import SECRETS, missing_secrets, secrets_lost

START_TIMEOUT_S = 300.0
_WORKLOADS: Mapping[bool, Kind] = {True: DEPLOYMENT, False: STATEFUL_SET}

STORE_PERMISSIONS: tuple[Permission, ...] = (*verbs(SECRET, "get"), *forward.PERMISSIONS)
"""For verbs that work on the stack's runs and studies from a terminal."""

READ_PERMISSIONS: tuple[Permission, ...] = (*verbs(SECRET, "get"), *verbs(VOLUME_CLAIM, "list"))
SECRETS_PERMISSIONS: tuple[Permission, ...] = (*READ_PERMISSIONS, *verbs(SECRET, "create", "patch"))
REMOVE_PERMISSIONS: tuple[Permission, ...] = (
    *verbs(SECRET, "get"),
    *(permission for kind in KINDS for permission in verbs(kind, "list", "delete")),
    *verbs(POD, "list"),
    *verbs(JOB, "list"),
)
VOLUMES_PERMISSIONS: tuple[Permission, ...] = (*verbs(VOLUME_CLAIM, "list", "delete"), *verbs(SECRET, "get", "delete"))
DIFFERENCE_PERMISSIONS: tuple[Permission, ...] = (
    *READ_PERMISSIONS,
    *applying(SECRET, *KINDS),
    *(permission for kind in KINDS for permission in verbs(kind, "get", "list")),
)
INIT_PERMISSIONS: tuple[Permission, ...] = (
    *SECRETS_PERMISSIONS,
    *DIFFERENCE_PERMISSIONS,
    *REMOVE_PERMISSIONS,
    *services.PERMISSIONS,
    *forward.PERMISSIONS,
)
PERMISSIONS = tuple(dict.fromkeys((*INIT_PERMISSIONS, *VOLUMES_PERMISSIONS)))
"""Every permission that the stack uses."""


class ClusterStack:
    """The stack of one namespace, started or not. Every method raises what `Cluster` raises.

    Args:
        say: receives what is being done, a line each.
    """

    def __init__(self, cluster: Cluster, say: Callable[[str], None], clock: Clock | None = None) -> None:
        self.cluster = cluster
        self._say = say
        self._clock = clock or Clock()

    def secret(self) -> dict[str, str] | None:
        """The Secret's values by key.

        Raises:
            InputError: it is missing or lacks a password, and the volumes that it opens exist.
        """
        found = read_secret(self.cluster)
        missing = missing_secrets(found)
        if missing and (claims := self.claims()):
            place = f"the Secret {SECRET_NAME} in namespace {self.cluster.namespace}"
            lacking = "none" if found is None else f"one without {', '.join(missing)}"
            raise secrets_lost(place, claims, lacking, platform="kubernetes")
        return found

    def claims(self) -> list[str]:
        """Names of the volume claims that exist."""
        return sorted(name_of(each) for each in self.cluster.find(VOLUME_CLAIM, LABELS).items)

    def owner(self) -> str | None:
        """The home that the Secret names as its maker: empty where it names none, None without a Secret."""
        live = self.cluster.get(SECRET, SECRET_NAME)
        return None if live is None else _owner_of(live)

    def keep_secret(self, chosen: Chosen, owner: str = "") -> bool:
        """Store the chosen settings and secrets in the Secret; return whether anything changed.

        Args:
            owner: the home to note as its maker where it is created.

        Raises:
            InputError: another command changed its passwords since they were read, and volumes may open with those;
                or a Secret of that name is not the stack's.
        """
        try:
            live = self.cluster.get(SECRET, SECRET_NAME)
            if live is None:
                # Created and not applied: of two first starts at once, only one may choose the passwords. Later
                # applies do not name the owner; they keep the annotation, since no apply has set it.
                self.cluster.create(secret_manifest(chosen.secret, owner))
                return True
            manifest = secret_manifest(chosen.secret)
            _check_ours(self.cluster, live)
            found = _values(live)
            if found == chosen.secret:
                return False
            if any(found.get(name) not in (None, "", chosen.secret[name]) for name in SECRETS):
                raise self._chosen_twice()
            gone = {name: None for name in found if name not in chosen.secret}
            if gone:
                patch = {"metadata": _version(live), "data": gone}
                live = self.cluster.merge(SECRET, SECRET_NAME, patch) or live
            self.cluster.apply({**manifest, "metadata": {**manifest["metadata"], **_version(live)}})
        except ConflictError as error:
            raise self._chosen_twice() from error
        return True

    def validate(self, plan: ClusterStackPlan) -> None:
        """Have the cluster check every manifest in a dry run.

        Raises:
            InputError: it would refuse one, or an object of that name is not the stack's.
        """
        self._check_names(plan)
        for manifest in plan.manifests:
            self.cluster.apply(manifest, is_dry_run=True)

    def start(self, plan: ClusterStackPlan, timeout_s: float = START_TIMEOUT_S, *, owner: str = "") -> None:
        """Apply, prune and wait; harmless where everything runs already.

        Args:
            owner: as for `keep_secret`.

        Raises:
            InputError: another command chose other passwords meanwhile, or an object of that name is not the stack's.
            StackError: a service failed, or was not ready within `timeout_s` seconds; shows events and logs.
        """
        self._check_names(plan)
        self.keep_secret(plan.chosen, owner)
        apply_all(self.cluster, plan.manifests, LABELS, KINDS)
        try:
            self._services(plan.services).wait(timeout_s)
        except ServicesError as error:
            raise self._failure(error) from error

    def difference(self, plan: ClusterStackPlan) -> str:
        """What starting a plan would change, as a unified diff; empty where nothing."""
        return cluster_difference(self.cluster, plan.manifests, LABELS, KINDS)

    def image(self) -> str | None:
        """The image that MLflow's server runs; None where there is no server."""
        found = self.cluster.get(DEPLOYMENT, "winnow-mlflow")
        if found is None:
            return None
        containers = found["spec"]["template"]["spec"]["containers"]
        return next((str(each["image"]) for each in containers if each["name"] == MLFLOW), None)

    def remove(self, *, volumes: bool, timeout_s: float = 120.0) -> None:
        """Remove everything but volumes and Secret, and on request those too; return once its pods are gone.

        Raises:
            InputError: workers of a study run in the namespace, or the Secret to delete is not the stack's.
            ConflictError: that Secret was created anew meanwhile; it stays.
            StackError: pods did not end in time.
        """
        self._check_unused()
        secret = self.cluster.get(SECRET, SECRET_NAME) if volumes else None
        if secret is not None:
            _check_ours(self.cluster, secret)
        for each in orphans(self.cluster, (), LABELS, KINDS):
            self.cluster.delete(kind_of(each), name_of(each))
        self._services(()).wait_gone(timeout_s)
        if volumes:
            for name in self.claims():
                self.cluster.delete(VOLUME_CLAIM, name)
        if secret is not None:
            self.cluster.delete(SECRET, SECRET_NAME, uid=secret["metadata"]["uid"])

    def _check_names(self, plan: ClusterStackPlan) -> None:
        """Raises InputError where an existing object is not the stack's: applying would take it over."""
        for manifest in plan.manifests:
            live = self.cluster.get(kind_of(manifest), name_of(manifest))
            if live is not None:
                _check_ours(self.cluster, live)

    def _chosen_twice(self) -> InputError:
        return InputError(
            f"the Secret {SECRET_NAME} in namespace {self.cluster.namespace}",
            expected="the Secret that this command has read, since only its passwords open the volumes",
            found="one that another command has changed since",
            remedy="Run the command again; it takes what is there now.",
        )

    def _check_unused(self) -> None:
        pods = [pod for pod in self.cluster.find(POD, STUDY).items if not is_over(pod)]
        # A Job that a queue has suspended has no pod yet.
        jobs = [job for job in self.cluster.find(JOB, STUDY).items if not _has_ended(job)]
        busy = sorted({each["metadata"]["labels"][STUDY] for each in (*pods, *jobs)})
        if busy:
            raise InputError(
                f"the stack in namespace {self.cluster.namespace}",
                expected="no workers that use it",
                found=f"some of {', '.join(busy)}",
                remedy=f"Stop those first: `{next_command('cancel', study=busy[0])}`.",
            )

    def _failure(self, error: ServicesError) -> StackError:
        secret = read_secret(self.cluster) or {}
        return StackError(
            f"{self.described}: {', '.join(error.names)} {error.why}. "
            f"`{next_command('mlflow-init', platform='kubernetes')}` tries again, "
            f"`{next_command('mlflow-remove', platform='kubernetes')}` removes the stack.\n"
            f"{redacted(error.said, _hidden(secret))}".rstrip()
        )

    @property
    def described(self) -> str:
        """The stack as messages name it."""
        return f"the stack in namespace {self.cluster.namespace}"

    def _services(self, names: Iterable[str]) -> Services:
        known = {each: Service(_WORKLOADS[each == MLFLOW], f"winnow-{each}", labels_of(each)) for each in names}
        return Services(self.cluster, known, LABELS, self._say, self._clock)


def read_secret(cluster: Cluster) -> dict[str, str] | None:
    """The stack's secrets by name; None without a Secret. Raises what `Cluster` raises."""
    found = cluster.get(SECRET, SECRET_NAME)
    return None if found is None else _values(found)


def _values(secret: Manifest) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in (secret.get("data") or {}).items()}


def _version(live: Manifest) -> dict[str, str]:
    """Metadata with which the API server refuses a change to an object that has changed since it was read."""
    return {"resourceVersion": live["metadata"]["resourceVersion"]}


def _check_ours(cluster: Cluster, live: Manifest) -> None:
    named = f"{live['kind'].lower()} {name_of(live)}"
    wanted = ",".join(f"{name}={value}" for name, value in LABELS.items())
    remedy = (
        "Take another namespace (WINNOW_NAMESPACE), rename that one, or hand it over: "
        f"kubectl label --namespace {cluster.namespace} {named} {wanted}."
    )
    check_ours(live, LABELS, owner=f"the stack in namespace {cluster.namespace}", remedy=remedy)


def _owner_of(secret: Manifest) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(OWNER, ""))


def _has_ended(job: Manifest) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)


def _hidden(secret: Mapping[str, str]) -> list[str]:
    """The secrets of a stack, which no log may show."""
    shown = (settings.KEPT, "MINIO_ROOT_USER", "AWS_ACCESS_KEY_ID")
    return [text for name, text in secret.items() if name not in shown]
