"""The tiers on which a sweep runs: an executor each, and for whoever starts groups, what planning them depends on."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_command
from winnow.config.platforms import unknown_platform
from winnow.config.settings import Settings
from winnow.orchestrators.groups import Site
from winnow.orchestrators.preflight import check_code, check_secrets_file, check_side, check_stores
from winnow.orchestrators.settings import cluster_for
from winnow.platforms.container import WORKER_HOME
from winnow.platforms.executor import Executor, GroupSpec
from winnow.platforms.local.executor import LocalExecutor, visible_gpus
from winnow.platforms.table import all_platforms, platform_for
from winnow.training.launch import is_torch_for_gpus

if TYPE_CHECKING:
    from winnow.platforms.images import ImageRoute

CONTAINER_PYTHON = "/opt/venv/bin/python"
MANIFESTS = Path("k8s/train")
"""What a worker group is on a cluster, below the project's folder."""


@dataclass(frozen=True)
class Tier:
    """One place to run groups.

    Attributes:
        executor: finds and ends them; needs no image.
        site: what their plan depends on.
        check: raises InputError where an experiment cannot run there; changes nothing.
        validate: has what runs groups look at planned ones; raises InputError where it does not take them.
        require: the executor that plans them; raises InputError where the image that they need is missing or old.
        equip: brings what groups need to where they run, once nothing speaks against it, and gives the executor that
            starts them.
    """

    executor: Executor
    site: Site
    check: Callable[[Experiment], None]
    validate: Callable[[Sequence[GroupSpec]], None]
    require: Callable[[], Executor]
    equip: Callable[[], Executor]


def tier_for(
    platform: str, settings: Settings, *, image: str | None = None, environment: Mapping[str, str] = os.environ
) -> Tier:
    """The tier of a name.

    Args:
        image: what containers are made of instead of the image that `make build-train` makes.
        environment: names the cluster and how images get to its nodes.

    Raises:
        InputError: there is no such tier, or it cannot be used: no engine, no cluster, a permission is missing, no
            stores that workers reach, no image.
    """
    if platform == "local":
        return _local(settings)
    if platform == "docker":
        return _docker(settings, image)
    if platform == "kubernetes":
        return _kubernetes(settings, image, environment)
    raise unknown_platform(platform)


def executors_for(platform: str | None, settings: Settings) -> Mapping[str, Executor]:
    """The executors to find groups with, by tier; nothing is started with them.

    Args:
        platform: the one tier that is asked for. None: all, without Docker where no engine answers and no stack on it
            is in use, for then there is nothing of ours on it.

    Raises:
        InputError: the tier that is asked for does not answer.
    """
    executors: dict[str, Executor] = {}
    for each in all_platforms(settings) if platform is None else (platform_for(platform, settings),):
        is_expected = platform is not None or each.is_in_use
        if each.capabilities.is_remote and not is_expected:
            continue
        try:
            executors[each.name] = each.executor()
        except InputError:
            if is_expected:
                raise
    return executors


def _local(settings: Settings) -> Tier:
    site = Site(
        tier="local",
        prefix="w",
        python=sys.executable,
        home=settings.home,
        storage_url=settings.storage_url,
        tracking_uri=settings.tracking_uri,
        cpus=_cpus(),
        # The ranks here use this very torch; that of an image is another one.
        gpus=visible_gpus() if is_torch_for_gpus(find_spec("torch")) else (),
        sees_files=True,
        is_left_by_interrupt=False,
        look_every_s=0.25,
    )
    executor = LocalExecutor(settings.home)
    return Tier(executor, site, lambda _experiment: None, _accept, lambda: executor, lambda: executor)


def _docker(settings: Settings, image: str | None) -> Tier:
    from winnow.platforms.docker.client import asking, connect
    from winnow.platforms.docker.executor import DockerExecutor, DockerWorkers
    from winnow.platforms.docker.train_image import check as check_image

    check_stores(settings, next_command("mlflow-init"))
    check_side(settings, platform_for("docker", settings))
    engine = connect()
    with asking("the Docker engine"):
        cpus = int(engine.info()["NCPU"])
    site = _elsewhere("docker", "c", settings, cpus=cpus, gpus=visible_gpus())

    def executor(image_id: str) -> DockerExecutor:
        return DockerExecutor(DockerWorkers(image=image_id, network=settings.network), settings.home, engine=engine)

    @functools.cache
    def require() -> Executor:
        return executor(check_image(engine, image, Path.cwd()))

    return Tier(executor(""), site, _check_image_holds_what_it_may, _accept, require, require)


def _kubernetes(settings: Settings, image: str | None, environment: Mapping[str, str]) -> Tier:
    from winnow.platforms.docker.client import connect
    from winnow.platforms.docker.delivery import deliver
    from winnow.platforms.images import TRAIN, ImageRoute
    from winnow.platforms.kubernetes import manifests, permissions
    from winnow.platforms.kubernetes.executor import PERMISSIONS, KubernetesExecutor, KubernetesWorkers

    cluster = cluster_for(settings.stack, environment)
    check_stores(settings, next_command("mlflow-init", platform="kubernetes"))
    check_side(settings, platform_for("kubernetes", settings, environment))
    objects = manifests.load(MANIFESTS)
    permissions.check(cluster, PERMISSIONS, "a sweep")
    route = ImageRoute.from_environment(environment, cluster=cluster.identity, home=settings.home)
    image_to_bring = functools.cache(lambda: _image_to_bring(image, route))

    def executor(reference: str) -> KubernetesExecutor:
        return KubernetesExecutor(cluster, KubernetesWorkers(image=reference, manifests=objects), settings.home)

    def equip() -> Executor:
        image_id = image_to_bring()
        return executor(str(image) if image_id is None else deliver(connect(), image_id, image or TRAIN, route))

    planned = executor(image or TRAIN)

    def require() -> Executor:
        image_to_bring()
        return planned

    def validate(groups: Sequence[GroupSpec]) -> None:
        # They differ in what they are called.
        planned.validate(groups[0])

    site = _elsewhere("kubernetes", "p", settings, cpus=None, gpus=None)
    return Tier(planned, site, _check_image_holds_what_it_may, validate, require, equip)


def _elsewhere(tier: str, prefix: str, settings: Settings, *, cpus: int | None, gpus: tuple[str, ...] | None) -> Site:
    """A site whose groups have the workers' image and the network, and none of this machine's files."""
    return Site(
        tier=tier,
        prefix=prefix,
        python=CONTAINER_PYTHON,
        home=Path(WORKER_HOME),
        storage_url=settings.worker_storage_url,
        tracking_uri=settings.worker_tracking_uri,
        cpus=cpus,
        gpus=gpus,
        sees_files=False,
        is_left_by_interrupt=True,
        look_every_s=1.0,
    )


def _image_to_bring(image: str | None, route: ImageRoute) -> str | None:
    """The id of the image of this machine's engine that is to be brought to a cluster's nodes.

    None where somebody has named one that they find by themselves: by its digest, without a way from here, or not here.

    Raises:
        InputError: nobody has named one, and there is none or an old one.
    """
    from winnow.platforms.docker.client import connect
    from winnow.platforms.docker.train_image import check as check_image

    if image is None:
        return check_image(connect(), None, Path.cwd())
    if "@" in image or not (route.registry or route.load):
        return None
    try:
        return check_image(connect(), image, Path.cwd())
    except InputError:
        return None


def _accept(_groups: Sequence[GroupSpec]) -> None:
    """Nothing but starting them tells."""


def _cpus() -> int:
    """CPUs that this process may use: a container's or `taskset`'s share, not the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_image_holds_what_it_may(experiment: Experiment) -> None:
    """The code that is needed, and no secret."""
    check_code(experiment, Path.cwd())
    check_secrets_file(experiment, Path.cwd())
