"""Plans, starts and removes the stack in a namespace of a cluster."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from winnow.config.errors import InputError, UnavailableError, UnreachableError
from winnow.config.next_command import next_command
from winnow.config.stack_record import AnyStack, ClusterStackRecord, forget_stack
from winnow.platforms.deployer import Say
from winnow.platforms.images import (
    TRACKING,
    TRAIN_BASE,
    BuildOptions,
    ImageBuild,
    ImageRoute,
    Images,
    Show,
    silent,
)
from winnow.platforms.kubernetes import stack_owner as owner
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import CONTEXT, NAMESPACE
from winnow.platforms.kubernetes.manifests import to_yaml
from winnow.platforms.kubernetes.permissions import Permission, check
from winnow.platforms.kubernetes.stack import (
    DIFFERENCE_PERMISSIONS,
    INIT_PERMISSIONS,
    READ_PERMISSIONS,
    REMOVE_PERMISSIONS,
    SECRETS_PERMISSIONS,
    START_TIMEOUT_S,
    VOLUMES_PERMISSIONS,
    ClusterStack,
)
from winnow.platforms.kubernetes.stack_plan import (
    FOLDER,
    SECRET_NAME,
    ClusterStackPlan,
    Place,
    plan_stack,
    secret_manifest,
)
from winnow.platforms.kubernetes.stack_settings import Chosen, choose
from winnow.platforms.stack import StackEnd
from winnow.platforms.stack_variables import new_password

LATEST = f"{TRACKING}:latest"
"""The image as k8s/tracking names it, while the name that the nodes know is unknown."""

_PERMISSIONS = "whether starting the stack is permitted there"


def _place_of(cluster: Cluster) -> Place:
    return Place(cluster.context, cluster.namespace, cluster.identity)


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
        return self._planned(_place_of(live.cluster), live.secret())

    def start(self, plan: KubernetesStackPlan, timeout_s: float | None, show: Show = silent) -> None:
        live = ClusterStack(self._connect(), self._say)
        live.validate(plan.objects)
        objects = plan.objects
        if plan.image is not None:
            reference = self._images.deliver(plan.image.build(show), LATEST, plan.route, show)
            # Building takes minutes, in which another first start may have made the passwords.
            chosen = choose(self._given, live.secret(), new_password)
            objects = plan_stack(self._folder / FOLDER, chosen, reference, _place_of(live.cluster))
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
        return live.difference(plan_stack(self._folder / FOLDER, chosen, named or LATEST, _place_of(live.cluster)))

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
            cluster = self._connect()
        except UnavailableError as error:
            place = Place(self._environment.get(CONTEXT, ""), self._environment.get(NAMESPACE, ""))
            unknown = (f"the cluster and its namespace: {error.place}: {error.found}", secret, _PERMISSIONS)
            return replace(self._planned(place, None), unknown=unknown)
        try:
            kept = self._permitted(READ_PERMISSIONS, "starting the stack").secret()
        except UnreachableError:
            plan = self._planned(_place_of(cluster), None)
            return replace(plan, unknown=(f"{secret}: the cluster does not answer", _PERMISSIONS))
        return self._planned(_place_of(cluster), kept)

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
        return KubernetesStackPlan(image, route, plan_stack(self._folder / FOLDER, chosen, named, place))


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
