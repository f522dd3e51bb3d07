"""`ServingPlatform` for KServe, on the cluster of `KubernetesPlatform`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from winnow.config.settings import Settings
from winnow.platforms.deployer import Say
from winnow.platforms.images import ImageBuild, ImageRoute, Images, Show, silent
from winnow.platforms.kubernetes.kserve import VERSION, KserveDeployer
from winnow.platforms.kubernetes.platform import KubernetesPlatform
from winnow.platforms.platform import PlatformDocuments, ServingCapabilities
from winnow.platforms.rollout_driver import RolloutDriver, start_process


class KservePlatform:
    """Serves models by InferenceServices; sweeps run on the platform `kubernetes`.

    Args:
        images: builds and delivers the pods' images.
        environment: names the cluster, the namespace and the release of KServe.
    """

    name = "kserve"
    capabilities = ServingCapabilities(
        shares_files=False,
        has_ingress=True,
        is_remote=True,
        replica="pod",
        ready_within_s=300,
        gateway_conditions=(),
    )
    documents = PlatformDocuments()

    def __init__(self, settings: Settings, images: Images, environment: Mapping[str, str]) -> None:
        self._settings, self._environment = settings, environment
        self._cluster = KubernetesPlatform(settings, images, environment)

    @property
    def is_in_use(self) -> bool:
        """Whether the environment names a release of KServe."""
        return bool(self._environment.get(VERSION))

    def deployer(self, *, say: Say) -> KserveDeployer:
        return KserveDeployer(self._settings.home, cluster=lambda: self._cluster.cluster, environment=self._environment)

    def prepare_router(self, show: Show = silent) -> str:
        """See `ServingPlatform.prepare_router`: KServe's gateway splits requests."""
        return ""

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        """See `ServingPlatform.prepare_driver`: a process of this machine."""
        return lambda name: start_process(name, self.name, self._settings.home)

    def image_route(self) -> ImageRoute:
        """See `ServingPlatform.image_route`: as for pods of the same cluster."""
        return self._cluster.image_route()

    def prepare_image(self, image: ImageBuild, show: Show = silent) -> str:
        """See `ServingPlatform.prepare_image`: as for pods of the same cluster."""
        return self._cluster.prepare_image(image, show)

    def find_image(self, image: ImageBuild) -> str:
        return self._cluster.find_image(image)
