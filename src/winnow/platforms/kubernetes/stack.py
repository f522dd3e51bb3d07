"""The stack in a namespace of a cluster: plans it, applies the plan, waits until it is ready, and removes it.

Everything that can be refused is refused before anything is created. Data is in volumes and passwords are in the
Secret; both stay when the rest is removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from winnow.config.clock import Clock
from winnow.config.errors import InputError, UnavailableError, UnreachableError
from winnow.config.next_command import next_command
from winnow.config.stack_record import AnyStack, ClusterStackRecord, forget_stack
from winnow.platforms.deployer import Say
from winnow.platforms.images import TRACKING, TRAIN_BASE, BuildOptions, ImageBuild, ImageRoute, Images, Show, silent
from winnow.platforms.kubernetes import forward, kinds, services, stack_plan, stack_settings
from winnow.platforms.kubernetes import stack_owner as owner
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import CONTEXT, NAMESPACE
from winnow.platforms.kubernetes.cron_jobs import WATCHES
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.kinds import Kind, Manifest, annotations_on, has_condition, kind_of, labels_on, name_of
from winnow.platforms.kubernetes.manifests import secret_values, to_yaml
from winnow.platforms.kubernetes.permissions import Permission, check, verbs
from winnow.platforms.kubernetes.pods import is_over
from winnow.platforms.kubernetes.prune import apply_all, check_ours, orphans
from winnow.platforms.kubernetes.refusals import ConflictError
from winnow.platforms.kubernetes.services import Service, Services, ServicesError
from winnow.platforms.kubernetes.stack_plan import (
    KINDS,
    LABELS,
    SECRET_NAME,
    ClusterStackPlan,
    Place,
    labels_of,
    plan_stack,
    secret_manifest,
)
from winnow.platforms.kubernetes.stack_settings import Chosen, choose
from winnow.platforms.labels import AIRFLOW, STUDY
from winnow.platforms.stack import MLFLOW, StackEnd, StackError, redacted
from winnow.platforms.stack_variables import SECRETS, missing_secrets, new_password, secrets_lost

START_TIMEOUT_S = 300.0
LATEST = f"{TRACKING}:latest"
"""The image as k8s/tracking names it, while the name that the nodes know is unknown."""

_PERMISSIONS = "whether starting the stack is permitted there"
_WORKLOADS: Mapping[bool, Kind] = {True: kinds.DEPLOYMENT, False: kinds.STATEFUL_SET}

STORE_PERMISSIONS = (*verbs("get", kinds.SECRET), *forward.PERMISSIONS)
"""For verbs that work on the stack's runs and studies from a terminal."""
READ_PERMISSIONS = (*verbs("get", kinds.SECRET), *verbs("list", kinds.VOLUME_CLAIM))
SECRETS_PERMISSIONS = (*READ_PERMISSIONS, *verbs("create patch", kinds.SECRET))
REMOVE_PERMISSIONS = (
    *verbs("get", kinds.SECRET),
    *verbs("list delete", *KINDS),
    *verbs("list", kinds.POD, kinds.JOB, kinds.CRON_JOB),
)
VOLUMES_PERMISSIONS = (*verbs("list delete", kinds.VOLUME_CLAIM), *verbs("get delete", kinds.SECRET))
DIFFERENCE_PERMISSIONS = (*SECRETS_PERMISSIONS, *verbs("get list create patch", *KINDS))
INIT_PERMISSIONS = (*DIFFERENCE_PERMISSIONS, *REMOVE_PERMISSIONS, *services.PERMISSIONS, *forward.PERMISSIONS)
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
        return sorted(name_of(each) for each in self.cluster.find(kinds.VOLUME_CLAIM, LABELS).items)

    def owner(self) -> str | None:
        """The home that the Secret names as its maker: empty where it names none, None without a Secret."""
        live = self.cluster.get(kinds.SECRET, SECRET_NAME)
        return None if live is None else annotations_on(live).get(stack_plan.OWNER, "")

    def keep_secret(self, chosen: Chosen, owner: str = "") -> bool:
        """Store the chosen settings and secrets in the Secret; return whether anything changed.

        Args:
            owner: the home to note as its maker where it is created.

        Raises:
            InputError: another command changed its passwords since they were read, and volumes may open with those;
                or a Secret of that name is not the stack's.
        """
        try:
            live = self.cluster.get(kinds.SECRET, SECRET_NAME)
            if live is None:
                # Created and not applied: of two first starts at once, only one may choose the passwords. Later
                # applies do not name the owner; they keep the annotation, since no apply has set it.
                self.cluster.create(secret_manifest(chosen.secret, owner))
                return True
            manifest = secret_manifest(chosen.secret)
            self._check_ours(live)
            found = secret_values(live)
            if found == chosen.secret:
                return False
            if any(found.get(name) not in (None, "", chosen.secret[name]) for name in SECRETS):
                raise self._chosen_twice()
            gone = {name: None for name in found if name not in chosen.secret}
            if gone:
                patch = {"metadata": _version(live), "data": gone}
                live = self.cluster.merge(kinds.SECRET, SECRET_NAME, patch) or live
            self.cluster.apply({**manifest, "metadata": {**manifest["metadata"], **_version(live)}})
        except ConflictError as error:
            raise self._chosen_twice() from error
        return True

    def validate(self, plan: ClusterStackPlan) -> None:
        """Have the cluster check every manifest in a dry run. Raises InputError where one is refused or another's."""
        self._check_free(plan)
        for manifest in plan.manifests:
            self.cluster.apply(manifest, is_dry_run=True)

    def start(self, plan: ClusterStackPlan, timeout_s: float = START_TIMEOUT_S, *, owner: str = "") -> None:
        """Apply, prune and wait; harmless where everything runs already. Raises the errors of `Stack.start`."""
        self._check_free(plan)
        self.keep_secret(plan.chosen, owner)
        apply_all(self.cluster, plan.manifests, LABELS, KINDS)
        try:
            self._services(plan.services).wait(timeout_s)
        except ServicesError as error:
            raise self._failure(error) from error

    def difference(self, plan: ClusterStackPlan) -> str:
        """What starting a plan would change, as a unified diff; empty where nothing."""
        return difference(self.cluster, plan.manifests, LABELS, KINDS)

    def image(self) -> str | None:
        """The image that MLflow's server runs; None where there is no server."""
        found = self.cluster.get(kinds.DEPLOYMENT, "winnow-mlflow")
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
        secret = self.cluster.get(kinds.SECRET, SECRET_NAME) if volumes else None
        if secret is not None:
            self._check_ours(secret)
        for each in orphans(self.cluster, (), LABELS, KINDS):
            self.cluster.delete(kind_of(each), name_of(each))
        self._services(()).wait_gone(timeout_s)
        if volumes:
            for name in self.claims():
                self.cluster.delete(kinds.VOLUME_CLAIM, name)
        if secret is not None:
            self.cluster.delete(kinds.SECRET, SECRET_NAME, uid=secret["metadata"]["uid"])

    def _check_free(self, plan: ClusterStackPlan) -> None:
        """Raises InputError where an existing object is not the stack's: applying would take it over."""
        for manifest in plan.manifests:
            live = self.cluster.get(kind_of(manifest), name_of(manifest))
            if live is not None:
                self._check_ours(live)

    def _check_ours(self, live: Manifest) -> None:
        wanted = ",".join(f"{name}={value}" for name, value in LABELS.items())
        remedy = (
            "Take another namespace (WINNOW_NAMESPACE), rename that one, or hand it over: kubectl label "
            f"--namespace {self.cluster.namespace} {live['kind'].lower()} {name_of(live)} {wanted}."
        )
        check_ours(live, LABELS, owner=self.described, remedy=remedy)

    def _chosen_twice(self) -> InputError:
        return InputError(
            f"the Secret {SECRET_NAME} in namespace {self.cluster.namespace}",
            expected="the Secret that this command has read, since only its passwords open the volumes",
            found="one that another command has changed since",
            remedy="Run the command again; it takes what is there now.",
        )

    def _check_unused(self) -> None:
        pods = [pod for pod in self.cluster.find(kinds.POD, STUDY).items if not is_over(pod)]
        # A Job that a queue has suspended has no pod yet.
        jobs = [
            job for job in self.cluster.find(kinds.JOB, STUDY).items if not has_condition(job, "Complete", "Failed")
        ]
        busy = sorted({labels_on(each)[STUDY] for each in (*pods, *jobs)})
        if busy:
            raise InputError(
                self.described,
                expected="no workers that use it",
                found=f"some of {', '.join(busy)}",
                remedy=f"Stop those first: `{next_command('cancel', study=busy[0])}`.",
            )
        for each in self.cluster.find(kinds.DEPLOYMENT, AIRFLOW).items:
            containers = each["spec"]["template"]["spec"]["containers"]
            if any(SECRET_NAME in str(variable) for one in containers for variable in one.get("env", ())):
                raise InputError(
                    f"the stack in namespace {self.cluster.namespace}",
                    expected="no Airflow that keeps studies and runs in it",
                    found=f"the Deployment {name_of(each)}",
                    remedy=f"Remove that first: `{next_command('airflow-remove', platform='kubernetes')}`.",
                )
        calls = self.cluster.find(kinds.CRON_JOB, WATCHES).items
        if calls:
            selector = f"{WATCHES}={labels_on(calls[0])[WATCHES]}"
            raise InputError(
                self.described,
                expected="no regular calls that use it",
                found=f"the CronJob {name_of(calls[0])}",
                remedy="Delete those first: "
                f"`kubectl --namespace {self.cluster.namespace} delete cronjob --selector {selector}`.",
            )

    def _failure(self, error: ServicesError) -> StackError:
        secret = read_secret(self.cluster) or {}
        # No log may show the others.
        shown = (stack_settings.KEPT, "MINIO_ROOT_USER", "AWS_ACCESS_KEY_ID")
        hidden = [text for name, text in secret.items() if name not in shown]
        return StackError(
            f"{self.described}: {', '.join(error.names)} {error.why}. "
            f"`{next_command('mlflow-init', platform='kubernetes')}` tries again, "
            f"`{next_command('mlflow-remove', platform='kubernetes')}` removes the stack.\n"
            f"{redacted(error.said, hidden)}".rstrip()
        )

    @property
    def described(self) -> str:
        """The stack as messages name it."""
        return f"the stack in namespace {self.cluster.namespace}"

    @property
    def location(self) -> Place:
        """Its namespace."""
        return Place(self.cluster.context, self.cluster.namespace, self.cluster.identity)

    def _services(self, names: Iterable[str]) -> Services:
        known = {each: Service(_WORKLOADS[each == MLFLOW], f"winnow-{each}", labels_of(each)) for each in names}
        return Services(self.cluster, known, LABELS, self._say, self._clock)


def read_secret(cluster: Cluster) -> dict[str, str] | None:
    """The stack's secrets by name; None without a Secret. Raises what `Cluster` raises."""
    found = cluster.get(kinds.SECRET, SECRET_NAME)
    return None if found is None else secret_values(found)


def _version(live: Manifest) -> dict[str, str]:
    """Metadata with which the API server refuses a change to an object that has changed since it was read."""
    return {"resourceVersion": live["metadata"]["resourceVersion"]}


@dataclass(frozen=True)
class KubernetesStackPlan:
    """A stack to start in a namespace; implements `winnow.platforms.stack.StackPlan`.

    Attributes:
        image: how the server's image is built; None where another one is named.
        route: how the image gets to the cluster's nodes.
        objects: the manifests, with the name of the image that is known so far.
    """

    image: ImageBuild | None
    route: ImageRoute
    objects: ClusterStackPlan
    unknown: tuple[str, ...] = ()

    @property
    def record(self) -> ClusterStackRecord:
        return self.objects.record

    @property
    def endpoints(self) -> Mapping[str, str]:
        made = self.record
        return {
            "MLflow": f"{made.tracking_url}, for workers; `{next_command('ui')}` opens it here",
            **({"Studies": "WINNOW_STORAGE"} if made.is_own_storage else {"Postgres": made.storage_url}),
            "Secrets": f"the Secret {SECRET_NAME} in namespace {made.namespace} of the cluster {made.context}",
        }

    def render(self) -> str:
        """The manifests as YAML, every secret starred; what is done before them as a comment."""
        before = [self.image.render(), self.route.render(LATEST)] if self.image is not None else []
        return "".join(f"# {line.removeprefix('# ')}\n" for line in before) + self.objects.render()


@dataclass(frozen=True)
class StackSecret:
    """The Secret of a stack that is applied by hand; implements `winnow.platforms.stack.StackSecrets`."""

    chosen: Chosen
    live: ClusterStack

    @property
    def place(self) -> str:
        return f"the Secret {SECRET_NAME} in namespace {self.live.cluster.namespace}"

    def render(self) -> str:
        return to_yaml([secret_manifest(self.chosen.secret)])

    def store(self) -> bool:
        return self.live.keep_secret(self.chosen)


class KubernetesStack:
    """Implements `winnow.platforms.stack.Stack`: the stack of the namespace that is meant.

    Args:
        connect: gives the cluster and its namespace. Raises UnavailableError where there is none.
        images: builds and delivers the server's image.
        given: settings by name; an empty one means the default again.
        in_use: the stack in use.
        folder: the project's, with k8s/tracking.
        environment: names the route of images, and how they are built.

    Raises:
        InputError: the overlay is no file.
    """

    def __init__(
        self,
        connect: Callable[[], Cluster],
        images: Images,
        given: Mapping[str, str],
        *,
        home: Path,
        in_use: AnyStack | None,
        folder: Path,
        say: Say,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._connect, self._images, self._given = connect, images, _with_overlay(given)
        self._home, self._in_use, self._folder = home, in_use, folder
        self._say, self._environment = say, environment

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """See `Stack.lock`. The cluster itself lets one of two first starts make the Secret."""
        return contextlib.nullcontext()

    def plan(self, *, is_dry_run: bool = False) -> KubernetesStackPlan:
        if is_dry_run:
            return self._shown_plan()
        live = self._permitted(INIT_PERMISSIONS, "starting the stack")
        return self._planned(live.location, live.secret())

    def start(self, plan: KubernetesStackPlan, timeout_s: float | None, show: Show = silent) -> None:
        live = ClusterStack(self._connect(), self._say)
        live.validate(plan.objects)
        objects = plan.objects
        if plan.image is not None:
            reference = self._images.deliver(plan.image.build(show), LATEST, plan.route, show)
            # Building takes minutes, in which another first start may have made the passwords.
            chosen = choose(self._given, live.secret(), new_password)
            objects = plan_stack(self._folder / stack_plan.FOLDER, chosen, reference, live.location)
        live.start(objects, timeout_s or START_TIMEOUT_S, owner=owner.home_here(self._home))

    def plan_end(self, *, volumes: bool) -> StackEnd:
        permissions = (*REMOVE_PERMISSIONS, *(VOLUMES_PERMISSIONS if volumes else ()))
        live = self._permitted(permissions, "removing the stack")
        context, namespace = live.cluster.context, live.cluster.namespace
        other = owner.other_home(live.owner(), self._home, self._in_use, context, namespace)
        steps = [f"delete all of the stack in namespace {namespace} but its volumes and its Secret"]
        if volumes:
            claims = ", ".join(live.claims()) or "(there are none)"
            steps.append(f"delete the volumes {claims} and the Secret {SECRET_NAME}")
        rest = "its data with it" if volumes else "its volumes and its Secret stay"
        return StackEnd(
            stack=f"the stack in namespace {namespace}",
            steps=tuple(steps),
            outcome=f"The stack in namespace {namespace} is removed, {rest}. Verbs no longer use it.",
            owner=other,
            refusal=owner.refusal_to_end(namespace, other),
        )

    def end(self, *, volumes: bool) -> list[str]:
        cluster = self._connect()
        ClusterStack(cluster, self._say).remove(volumes=volumes)
        forget_stack(self._home, lambda used: owner.is_of(used, cluster.context, cluster.namespace, cluster.identity))
        return []

    def difference(self) -> str:
        """See `Stack.difference`. The image counts as the one that runs."""
        live = self._permitted(DIFFERENCE_PERMISSIONS, "comparing the stack with the cluster")
        chosen = choose(self._given, live.secret(), new_password)
        named = live.image() if _is_built(chosen) else chosen.settings["TRACKING_IMAGE"]
        return live.difference(plan_stack(self._folder / stack_plan.FOLDER, chosen, named or LATEST, live.location))

    def logs(self, service: str | None, lines: int, *, follow: bool) -> NoReturn:
        """Raises InputError, which names the kubectl command that prints them."""
        cluster = self._connect()
        meant = f"winnow.stack=tracking,winnow.role={service}" if service else "winnow.stack=tracking"
        raise InputError(
            "compose-logs",
            expected="the stack on Docker, whose logs Compose has",
            found=f"the one in namespace {cluster.namespace} of the cluster {cluster.context}",
            remedy=f"Ask kubectl: kubectl logs --namespace {cluster.namespace} --selector {meant} --prefix --tail 100.",
        )

    def secrets(self) -> StackSecret:
        live = self._permitted(SECRETS_PERMISSIONS, "making secrets")
        return StackSecret(choose(self._given, live.secret(), new_password), live)

    def _permitted(self, permissions: tuple[Permission, ...], what: str) -> ClusterStack:
        """The stack on its cluster. Raises InputError where a permission for `what` is missing."""
        cluster = self._connect()
        check(cluster, permissions, what)
        return ClusterStack(cluster, self._say)

    def _shown_plan(self) -> KubernetesStackPlan:
        """A plan that is only shown, also without a cluster."""
        secret = f"the Secret {SECRET_NAME}, with the passwords and settings of a stack that exists"
        try:
            live = ClusterStack(self._connect(), self._say)
        except UnavailableError as error:
            place = Place(self._environment.get(CONTEXT, ""), self._environment.get(NAMESPACE, ""))
            unknown = (f"the cluster and its namespace: {error.place}: {error.found}", secret, _PERMISSIONS)
            return replace(self._planned(place, None), unknown=unknown)
        try:
            check(live.cluster, READ_PERMISSIONS, "starting the stack")
            return self._planned(live.location, live.secret())
        except UnreachableError:
            return replace(
                self._planned(live.location, None), unknown=(f"{secret}: the cluster does not answer", _PERMISSIONS)
            )

    def _planned(self, place: Place, secret: Mapping[str, str] | None) -> KubernetesStackPlan:
        chosen = choose(self._given, secret, new_password)
        if chosen.unused:
            self._say(f"not used: {chosen.unused}")
        route = ImageRoute.from_environment(self._environment, cluster=place.identity, home=self._home)
        image = None
        if _is_built(chosen):
            options = BuildOptions.from_environment(self._environment, base=TRAIN_BASE)
            options = replace(options, base_image=chosen.settings.get("BASE_IMAGE") or options.base_image)
            image = self._images.plan_tracking_image(self._folder, options, chosen.extras)
        named = chosen.settings.get("TRACKING_IMAGE", LATEST)
        return KubernetesStackPlan(image, route, plan_stack(self._folder / stack_plan.FOLDER, chosen, named, place))


def _is_built(chosen: Chosen) -> bool:
    """The server's image is built on this machine, and not pulled from somewhere."""
    return chosen.settings.get("TRACKING_IMAGE", TRACKING) == TRACKING


def _with_overlay(given: Mapping[str, str]) -> dict[str, str]:
    """The settings with the overlay's text in place of its path. Raises InputError where there is no such file."""
    path = given.get("TRACKING_OVERLAY")
    if not path:
        return dict(given)
    try:
        return {**given, "TRACKING_OVERLAY": Path(path).expanduser().read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "TRACKING_OVERLAY",
            expected="a YAML file that can be read",
            found=f"'{path}': {error}",
            remedy="Correct the path, which counts from the working directory.",
        ) from error
