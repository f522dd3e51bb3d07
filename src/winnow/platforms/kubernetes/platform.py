"""A Kubernetes cluster as a platform: pods in one namespace."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping

from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.deployer import Say
from winnow.platforms.images import Images
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import CONTEXT, NAMESPACE
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.executor import KubernetesExecutor, KubernetesWorkers
from winnow.platforms.kubernetes.stores import cluster_named, local_settings, silence
from winnow.platforms.platform import Capabilities
from winnow.platforms.stack import ChoosePort, any_port


class KubernetesPlatform:
    """`Platform` of pods in one namespace of one cluster.

    Args:
        images: builds and delivers what pods run.
        environment: names the cluster and its namespace where the stack in use does not.
    """

    name = "kubernetes"
    capabilities = Capabilities(shares_files=False, workers="pods", is_remote=True)

    def __init__(self, settings: Settings, images: Images, environment: Mapping[str, str] = os.environ) -> None:
        self._settings, self._images, self._environment = settings, images, environment

    @property
    def is_in_use(self) -> bool:
        """Whether the stack in use is on a cluster, or the environment names one. A kubeconfig alone says nothing."""
        stack = self._settings.stack
        has_stack = stack is not None and stack.platform == self.name
        return has_stack or any(self._environment.get(name) for name in (CONTEXT, NAMESPACE))

    @property
    def has_deployments(self) -> bool:
        """Whether the home has records of deployments on a cluster."""
        return (self._settings.home / "deployments" / self.name).is_dir()

    @functools.cached_property
    def cluster(self) -> Cluster:
        """The cluster and namespace that are named, else those of the stack in use, else kubeconfig's.

        Raises:
            InputError: no namespace is named, or there is no such cluster.
        """
        return cluster_named(self._settings.stack, self._environment)

    def executor(self) -> KubernetesExecutor:
        """The executor that finds groups by their labels. Raises InputError."""
        return KubernetesExecutor(self.cluster, KubernetesWorkers(image="", manifests=()), self._settings.home)

    def deployer(self, *, say: Say) -> KubernetesDeployer:
        """The deployer. Raises InputError."""
        return KubernetesDeployer(self._settings.home, cluster=self.cluster, say=say)

    def local_settings(self, choose_port: ChoosePort = any_port) -> Settings:
        """The settings with forwarded ports of this machine in place of the stack's addresses in the cluster."""
        stack = self._settings.stack
        if not isinstance(stack, ClusterStackRecord):
            return self._settings
        return local_settings(self._settings, stack, self._environment, choose_port)

    def silent_stack(self) -> str | None:
        """What to do about a stack that takes no connections."""
        stack = self._settings.stack
        return silence(self._settings, stack, self._environment) if isinstance(stack, ClusterStackRecord) else None
