"""`Platform` for pods in a namespace of a Kubernetes cluster."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.deployer import Say
from winnow.platforms.images import (
    PROD_BASE,
    TRAIN,
    TRAIN_BASE,
    BuildOptions,
    ImageBuild,
    ImageRoute,
    Images,
    Show,
    TrainImagesRequest,
    silent,
)
from winnow.platforms.kubernetes import driver_job, permissions
from winnow.platforms.kubernetes.airflow import KubernetesAirflow
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import CONTEXT, NAMESPACE
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.executor import KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers
from winnow.platforms.kubernetes.monitoring import KubernetesMonitoring
from winnow.platforms.kubernetes.stack import KubernetesStack
from winnow.platforms.kubernetes.stores import cluster_named, local_settings, silence
from winnow.platforms.kubernetes.sweep import KubernetesSweep
from winnow.platforms.lookup import Lookup
from winnow.platforms.platform import Capabilities, PlatformDocuments
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.platforms.stack import ChoosePort, any_port


class KubernetesPlatform:
    """Implements `Platform`.

    Args:
        images: builds and delivers the pods' images.
        environment: names the cluster and the namespace, if the stack in use does not.
    """

    name = "kubernetes"
    capabilities = Capabilities(
        shares_files=False,
        has_ingress=True,
        workers="pods",
        is_remote=True,
        replica="pod",
        ready_within_s=300,
        has_nodes=True,
        limits_resources=True,
        schedules_machines=True,
        is_left_by_interrupt=True,
        group_prefix="p",
        poll_s=1.0,
    )

    def __init__(self, settings: Settings, images: Images, environment: Mapping[str, str] = os.environ) -> None:
        self._settings, self._images, self._environment = settings, images, environment

    @property
    def is_in_use(self) -> bool:
        """Whether the stack in use is on a cluster, or the environment names one. A kubeconfig alone does not count."""
        stack = self._settings.stack
        has_stack = stack is not None and stack.platform == self.name
        return has_stack or any(self._environment.get(name) for name in (CONTEXT, NAMESPACE))

    @functools.cached_property
    def cluster(self) -> Cluster:
        """See `stores.cluster_named`."""
        return cluster_named(self._settings.stack, self._environment)

    def executor(self) -> KubernetesExecutor:
        return KubernetesExecutor(self.cluster, KubernetesWorkers(image="", manifests=()), self._settings.home)

    def sweep(self, image: str | None, lookup: Lookup) -> KubernetesSweep:
        return KubernetesSweep(self, self._settings, self._images, image, lookup)

    def deployer(self, *, say: Say) -> KubernetesDeployer:
        return KubernetesDeployer(self._settings.home, cluster=lambda: self.cluster, environment=self._environment)

    def prepare_router(self, show: Show = silent) -> str:
        """See `Platform.prepare_router`. It is delivered as a model's image is."""
        options = BuildOptions.from_environment(self._environment, base=PROD_BASE)
        return self.prepare_image(self._images.plan_router_image(Path.cwd(), options), show)

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        """See `Platform.prepare_driver`: a Job of the cluster, from the workers' image."""
        permissions.check(self.cluster, driver_job.PERMISSIONS, "a rollout that a Job drives")
        image = self._images.deliver(self._images.train_image(None, Path.cwd()), TRAIN, self.image_route())
        return lambda name: driver_job.start(self.cluster, name, image, Clock(), self._environment)

    def stack(self, given: Mapping[str, str], *, folder: Path, say: Say) -> KubernetesStack:
        return KubernetesStack(
            lambda: self.cluster,
            self._images,
            given,
            home=self._settings.home,
            in_use=self._settings.stack,
            folder=folder,
            say=say,
            environment=self._environment,
        )

    def monitoring_stack(self, *, folder: Path, say: Say) -> KubernetesMonitoring:
        return KubernetesMonitoring(lambda: self.cluster, folder, say=say, environment=self._environment)

    def airflow_stack(self, *, folder: Path, say: Say) -> KubernetesAirflow:
        options = BuildOptions.from_environment(self._environment, base=TRAIN_BASE)
        request = TrainImagesRequest(folder, options)
        return KubernetesAirflow(self._settings, lambda: self._images.plan_airflow_image(request), folder)

    def local_settings(self, choose_port: ChoosePort = any_port) -> Settings:
        """See `Platform.local_settings`: forwarded ports replace the stack's addresses in the cluster."""
        stack = self._settings.stack
        if not isinstance(stack, ClusterStackRecord):
            return self._settings
        return local_settings(self._settings, stack, self._environment, choose_port)

    def silent_stack(self) -> str | None:
        stack = self._settings.stack
        return silence(self._settings, stack, self._environment) if isinstance(stack, ClusterStackRecord) else None

    def image_route(self) -> ImageRoute:
        try:
            cluster = self.cluster.identity
        except InputError:  # a command that loads images may know a cluster nevertheless
            cluster = ""
        return ImageRoute.from_environment(self._environment, cluster=cluster, home=self._settings.home)

    def prepare_image(self, image: ImageBuild, show: Show = silent) -> str:
        route = self.image_route()
        if not route.registry and image.find() is None:
            route.check()  # before building for minutes an image that could not be delivered
        reference = image.build(show)
        return reference if route.registry else self._images.deliver(reference, image.tag, route, show)

    def find_image(self, image: ImageBuild) -> str:
        found = image.find()
        if found is None:
            return ""
        try:
            return self._images.deliver(found, image.tag, dataclasses.replace(self.image_route(), registry="", load=""))
        except InputError:  # it was never delivered
            return ""

    @property
    def documents(self) -> PlatformDocuments:
        from winnow.platforms.kubernetes.role import DOCUMENTS

        return DOCUMENTS
