"""`ServingPlatform` for managed online endpoints of Azure ML."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.platforms.azure.deployer import AzureDeployer
from winnow.platforms.azure.online import AzureOnline
from winnow.platforms.azure.workspace import Workspace, is_named, workspace_of
from winnow.platforms.deployer import Say
from winnow.platforms.images import REGISTRY, ImageBuild, Images, Show, silent
from winnow.platforms.platform import ServingCapabilities, ServingPlatform
from winnow.platforms.rollout_driver import RolloutDriver, start_process


class AzurePlatform(ServingPlatform):
    """Serves models on Azure ML; sweeps do not run there.

    Args:
        images: builds the images, and pushes them to a registry that the workspace can pull from.
        environment: names the workspace.
        online: makes the calls on a workspace; by default by azure-ai-ml in an environment of its own.
    """

    name = "azure"
    capabilities = ServingCapabilities(
        has_ingress=True,
        is_remote=True,
        replica="instance",
        # Azure starts a machine for each, and pulls the image.
        ready_within_s=1800,
        gateway_conditions=("errors",),
    )

    def __init__(
        self,
        settings: Settings,
        images: Images,
        environment: Mapping[str, str] = os.environ,
        online: Callable[[Workspace], AzureOnline] | None = None,
    ) -> None:
        self._settings, self._images, self._environment = settings, images, environment
        self._given = online

    @property
    def is_in_use(self) -> bool:
        return is_named(self._environment)

    def deployer(self, *, say: Say) -> AzureDeployer:
        return AzureDeployer(
            self._settings.home, workspace=lambda: workspace_of(self._environment), online=self._online
        )

    def _online(self) -> AzureOnline:
        workspace = workspace_of(self._environment)
        if self._given is not None:
            return self._given(workspace)
        from winnow.platforms.azure.sdk import SdkOnline

        return SdkOnline(workspace, self._settings.home, self._environment)

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        return lambda name: start_process(name, self.name, self._settings.home)

    def prepare_image(self, image: ImageBuild, show: Show = silent) -> str:
        if not self._environment.get(REGISTRY):
            raise InputError(
                "the model's image",
                expected="a registry that the workspace pulls from, such as NAME.azurecr.io/winnow",
                found="none",
                remedy=f"Name it with {next_flag('registry')}, or {REGISTRY}; docs/azure.md says how to log in.",
            )
        return image.build(show)
