"""The stack on a cluster, from what a person sets to a tracking server that every verb uses, and what ends it again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.settings import Settings, home_folder
from winnow.config.stack_record import ClusterStackRecord
from winnow.orchestrators.collect import collect
from winnow.orchestrators.settings import cluster_for
from winnow.platforms import stack_record as record
from winnow.platforms.docker import train_image
from winnow.platforms.docker.build import BuildPlan, build
from winnow.platforms.docker.client import connect
from winnow.platforms.docker.delivery import deliver
from winnow.platforms.docker.stack import check_studies
from winnow.platforms.images import TRAIN_BASE, BuildOptions, ImageRoute, Show, silent, with_route
from winnow.platforms.kubernetes import stack as kubernetes
from winnow.platforms.kubernetes import stack_owner as owner
from winnow.platforms.kubernetes.executor import KubernetesExecutor, KubernetesWorkers
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.permissions import Permission, check
from winnow.platforms.kubernetes.stack import ClusterStack
from winnow.platforms.kubernetes.stack_plan import FOLDER, ClusterStackPlan, plan_stack, secret_manifest
from winnow.platforms.kubernetes.stack_settings import Chosen, choose, given_by
from winnow.platforms.kubernetes.stores import local_settings
from winnow.tracking.store import prepare

LATEST = f"{train_image.TRACKING}:latest"
"""The image as k8s/tracking names it, where the name that the nodes know is not known yet."""


@dataclass(frozen=True)
class Start:
    """What starting a stack takes.

    Attributes:
        given: what was set this time.
        chosen: what it is started with.
        image: how the server's image is built; None where another one is named.
        route: how that gets to the cluster's nodes.
        plan: the manifests, with the name of the image that is known so far.
    """

    given: Mapping[str, str]
    chosen: Chosen
    image: BuildPlan | None
    route: ImageRoute
    plan: ClusterStackPlan

    def render(self) -> str:
        """The manifests as YAML, with what is done before as a comment."""
        before = [self.image.render(), self.route.render(LATEST)] if self.image is not None else []
        return "".join(f"# {line}\n" for line in before) + self.plan.render()


def open_stack(
    say: Callable[[str], None],
    permissions: tuple[Permission, ...],
    what: str,
    environment: Mapping[str, str] = os.environ,
) -> ClusterStack:
    """The stack of the namespace that is meant, there or not.

    Args:
        permissions: what will be done, for `what`, as a person says it.

    Raises:
        InputError: no cluster or namespace is named, or a permission is missing.
        UnreachableError: the cluster does not answer.
    """
    cluster = cluster_for(record.read_stack(home_folder(environment)), environment)
    check(cluster, permissions, what)
    return ClusterStack(cluster, say)


def prepare_start(
    given: Mapping[str, str],
    stack: ClusterStack,
    *,
    registry: str = "",
    load: str = "",
    project: Path = Path(),
    environment: Mapping[str, str] = os.environ,
) -> Start:
    """What starting a stack takes, with passwords made for those that are not set; nothing is made.

    Args:
        registry, load: how the image gets to the nodes, where not as the environment says.

    Raises:
        InputError: a setting is wrong, a manifest is missing, or the passwords of volumes that are there are gone.
    """
    given = with_overlay(given)
    chosen = choose(given, stack.secret(), _new_password)
    environment = with_route(environment, registry=registry, load=load)
    route = ImageRoute.from_environment(environment, cluster=stack.cluster.identity, home=home_folder(environment))
    image, named = _image(chosen, project, environment), chosen.settings.get("TRACKING_IMAGE", LATEST)
    return Start(given, chosen, image, route, _plan(stack, chosen, named, project))


def start(
    stack: ClusterStack,
    wanted: Start,
    timeout_s: float,
    *,
    project: Path = Path(),
    show: Show = silent,
    environment: Mapping[str, str] = os.environ,
) -> ClusterStackRecord:
    """Start a stack, wait until it answers, and have every later verb use it.

    Raises:
        InputError: the cluster refuses a manifest, or there is no way for the image to get to it.
        BuildFailedError: the image was not built or not delivered.
        StackError: a service does not come up.
    """
    stack.validate(wanted.plan)
    chosen, plan = wanted.chosen, wanted.plan
    if wanted.image is not None:
        reference = deliver(connect(environment), build(wanted.image, show), LATEST, wanted.route, show)
        # An image takes minutes, in which another first start may have made the passwords.
        chosen = choose(wanted.given, stack.secret(), _new_password)
        plan = _plan(stack, chosen, reference, project)
    stack.start(plan, chosen, timeout_s, owner=owner.home_here(home_folder(environment)))
    home, storage_url = home_folder(environment), plan.record.storage_url
    used = Settings(home, plan.record.tracking_url, storage_url, plan.record.tracking_url, storage_url)
    opened = local_settings(used, plan.record, environment)
    prepare(opened.tracking_uri)
    check_studies(opened.storage_url)
    record.keep(home_folder(environment), plan.record)
    return plan.record


def difference(
    say: Callable[[str], None], *, project: Path = Path(), environment: Mapping[str, str] = os.environ
) -> str:
    """What `mlflow-init` would change in the cluster, as a unified diff; empty where nothing.

    The image counts as the one that runs: which one would be delivered is known when it is built.

    Raises:
        InputError: a permission is missing, a setting is wrong, or the cluster refuses a manifest.
    """
    stack = open_stack(say, kubernetes.DIFFERENCE_PERMISSIONS, "comparing the stack with the cluster", environment)
    chosen = choose(with_overlay(given_by(environment)), stack.secret(), _new_password)
    named = stack.image() if _is_built(chosen) else chosen.settings["TRACKING_IMAGE"]
    return stack.difference(_plan(stack, chosen, named or LATEST, project))


def choose_secret(given: Mapping[str, str], stack: ClusterStack) -> Chosen:
    """What the Secret would hold for a stack that is applied by hand. Raises InputError as `prepare_start` does."""
    return choose(with_overlay(given), stack.secret(), _new_password)


def shown_secret(chosen: Chosen) -> Manifest:
    """The Secret as a manifest."""
    return secret_manifest(chosen.secret)


def other_owner(stack: ClusterStack, environment: Mapping[str, str] = os.environ) -> str:
    """Which other home a stack belongs to, in words; empty where it is this one's or not there."""
    home, cluster = home_folder(environment), stack.cluster
    return owner.other_home(stack.owner(), home, record.read_stack(home), cluster.context, cluster.namespace)


def remove(stack: ClusterStack, *, volumes: bool, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Remove a stack, with `volumes` its data and passwords too; verbs use files again.

    Finished sweeps are collected first, since later verbs do not know of them any more.

    Returns:
        What of workers is left in the namespace, in words.
    """
    cluster, home = stack.cluster, home_folder(environment)
    left = collect({"kubernetes": KubernetesExecutor(cluster, KubernetesWorkers(image="", manifests=()), home)}, home)
    stack.remove(volumes=volumes)
    record.forget_cluster(home, cluster.context, cluster.namespace, cluster.identity)
    return left


def with_overlay(given: Mapping[str, str]) -> dict[str, str]:
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


def _plan(stack: ClusterStack, chosen: Chosen, image: str, project: Path) -> ClusterStackPlan:
    cluster = stack.cluster
    return plan_stack(
        project / FOLDER,
        chosen,
        image=image,
        context=cluster.context,
        namespace=cluster.namespace,
        identity=cluster.identity,
    )


def _image(chosen: Chosen, project: Path, environment: Mapping[str, str]) -> BuildPlan | None:
    if not _is_built(chosen):
        return None
    options = BuildOptions.from_environment(environment, base=TRAIN_BASE)
    base = chosen.settings.get("BASE_IMAGE") or options.base_image
    # Pushing it, where that is the way to the cluster, is part of its delivery.
    own = replace(options, base_image=base, registry="")
    return train_image.plan(project, "tracking", options=own, extras=chosen.extras)


def _is_built(chosen: Chosen) -> bool:
    """The server's image is made here, and not pulled from somewhere."""
    return chosen.settings.get("TRACKING_IMAGE", train_image.TRACKING) == train_image.TRACKING


def _new_password() -> str:
    return secrets.token_urlsafe(24)
