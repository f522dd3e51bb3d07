"""`SweepPlatform` for pods of a cluster."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.platforms.executor import GroupSpec
from winnow.platforms.images import TRAIN, Images
from winnow.platforms.kubernetes import manifests, permissions
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.executor import PERMISSIONS, KubernetesExecutor
from winnow.platforms.kubernetes.group_plan import KubernetesWorkers, plan_group, render
from winnow.platforms.lookup import Lookup
from winnow.platforms.sweep import image_host

if TYPE_CHECKING:
    from winnow.platforms.kubernetes.platform import KubernetesPlatform

MANIFESTS = Path("k8s/train")


class KubernetesSweep:
    """Implements `SweepPlatform`.

    Args:
        image: the image that the user named; None: this project's.

    Raises:
        InputError: there is no cluster, a manifest is wrong, or a permission is missing.
        UnreachableError: the cluster does not answer.
    """

    def __init__(
        self,
        platform: KubernetesPlatform,
        settings: Settings,
        images: Images,
        image: str | None,
        lookup: Lookup,
    ) -> None:
        self._platform, self._settings, self._images = platform, settings, images
        self._image, self._lookup = image, lookup
        self._manifests = manifests.load(MANIFESTS)
        self.host = image_host(platform, settings, cpus=None, gpus=None)
        self._cluster = lookup(
            "whether the cluster permits a sweep and its namespace takes the manifests", self._permitted, None
        )

    @functools.cached_property
    def executor(self) -> KubernetesExecutor:
        return self._executor(self._reference)

    def warm_up(self, groups: int) -> None:
        """Nothing: a pod starts with its study."""

    def check_image(self) -> None:
        _ = self._image_to_deliver

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        """The manifests, as YAML, without passwords and secrets."""
        workers = self._workers(self._reference)
        return render(plan_group(group, workers) for group in groups)

    def validate(self, groups: Sequence[GroupSpec]) -> None:
        """Have the API server check the first group's Job; the others differ only in their names."""
        if self._cluster is not None:
            self.executor.validate(groups[0])

    def equip(self) -> KubernetesExecutor:
        found = self._image_to_deliver
        if found is None:
            return self.executor
        return self._executor(self._images.deliver(found, self._reference, self._platform.image_route()))

    @property
    def _reference(self) -> str:
        return self._image or TRAIN

    @functools.cached_property
    def _image_to_deliver(self) -> str | None:
        """The id of the local image to deliver to the cluster's nodes.

        None where the user named an image that the nodes pull themselves: by its digest, without a route from here, or
        unknown to this machine's engine.

        Raises:
            InputError: the user named no image, and there is none, or only one of other code.
        """
        if self._image is None:
            return self._lookup(
                f"whether there is an image {TRAIN} with the code of this folder",
                lambda: self._images.train_image(None, Path.cwd()),
                None,
            )
        route = self._platform.image_route()
        if "@" in self._image or not (route.registry or route.load):
            return None
        try:
            return self._images.train_image(self._image, Path.cwd())
        except InputError:
            return None

    def _executor(self, image: str) -> KubernetesExecutor:
        assert self._cluster is not None, "only a dry run continues without a cluster"
        return KubernetesExecutor(self._cluster, self._workers(image), self._settings.home)

    def _workers(self, image: str) -> KubernetesWorkers:
        return KubernetesWorkers(image=image, manifests=self._manifests)

    def _permitted(self) -> Cluster:
        permissions.check(self._platform.cluster, PERMISSIONS, "a sweep")
        return self._platform.cluster
