"""Plan to serve a registered version on a platform, with its image if the platform runs images.

`releases` chooses the version and fetches its bundle; `deployments` covers what is already served.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from winnow.config.errors import InputError, UnavailableError, UnreachableError, WinnowError
from winnow.config.settings import Settings
from winnow.orchestrators.deployments import Access, access_to, ask_deployers, find_deployment
from winnow.orchestrators.releases import ModelRegistry, as_kept, choose_version, fetch_release, shown_release
from winnow.platforms.images import PROD_BASE, BuildOptions, ImageBuild, ModelImageRequest, Show, silent, with_route
from winnow.platforms.platform import Platform
from winnow.platforms.release_deployer import (
    Action,
    AnyPlan,
    Deployer,
    Deployment,
    DeploymentRequest,
    Say,
    UnknownDeploymentError,
    mute,
)
from winnow.platforms.table import images, platform_for
from winnow.routing import Release
from winnow.tracking.tracker import ModelVersion


@dataclass(frozen=True)
class ServeRequest:
    """How to serve a study's model. None keeps the current value, or leaves it to the platform.

    Attributes:
        name: the study's name, which is also the model's and the deployment's.
        alias: registry alias of the version to serve.
        version: number of the version, instead of the alias.
        replicas: number of servers; None keeps as many as run now, or starts one.
        port: None keeps the one in use, or finds a free one.
        host: the address to listen on; on a cluster the host of the Ingress, unless it is an IP address.
        image_registry, image_load: how the image reaches a cluster; by default as the environment says.

    Raises:
        InputError: `replicas` is below 1.
    """

    name: str
    alias: str = "champion"
    version: str | None = None
    replicas: int | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    image_registry: str = ""
    image_load: str = ""

    def __post_init__(self) -> None:
        if self.replicas is not None and self.replicas < 1:
            raise InputError(
                "replicas",
                expected="1 or more",
                found=str(self.replicas),
                remedy="To stop serving, remove the deployment.",
            )

    @property
    def environment(self) -> dict[str, str]:
        """The environment, with the request's registry and load command."""
        return with_route(os.environ, registry=self.image_registry, load=self.image_load)

    def on(self, platform: Platform, release: Release) -> DeploymentRequest:
        """The request to a platform's deployer."""
        ready_within_s = platform.capabilities.ready_within_s
        return DeploymentRequest(self.name, release, self.replicas, self.host, self.port, ready_within_s=ready_within_s)


@dataclass(frozen=True)
class ServePlan:
    """A planned deployment.

    Attributes:
        platform: the platform that will serve it.
        note: says that the plan undoes a rollback; empty if it does not.
    """

    deployer: Deployer[Any] = field(repr=False)
    plan: AnyPlan = field(repr=False)
    platform: str
    note: str = ""

    @property
    def changes_nothing(self) -> bool:
        """Whether the model is already being served."""
        return self.plan.action is Action.NOTHING

    def render(self) -> str:
        """The commands or manifests, as text."""
        return self.plan.render()

    def deploy(self) -> Deployment:
        """Serve it. Raises DeploymentFailedError if new replicas do not become ready; the old ones still serve."""
        return self.deployer.deploy(self.plan)

    def access(self, deployment: Deployment) -> Access:
        """How to use the deployment from this machine."""
        return access_to(self.deployer, deployment)


@dataclass(frozen=True)
class ServePreview:
    """A plan that is only shown.

    Attributes:
        note: says that the plan undoes a rollback; empty if it does not.
        unknown: facts that could not be looked up.
        absences: why they could not.
    """

    plan: AnyPlan = field(repr=False)
    note: str
    unknown: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()

    def render(self) -> str:
        """The commands or manifests, as text."""
        return self.plan.render()


def plan_serving(
    platform: str,
    settings: Settings,
    registry: ModelRegistry,
    request: ServeRequest,
    *,
    show: Show = silent,
    say: Say = mute,
) -> ServePlan:
    """Fetch the version, build and deliver its image if the platform runs images, and plan to serve it.

    See `winnow.api.plan_serving`.
    """
    chosen = platform_for(platform, settings, request.environment)
    deployer = checked_deployer(chosen, say=say)
    version = _version(settings, registry, request)
    release = fetch_release(registry, version, settings.home, store=settings.tracking_uri)
    if not chosen.capabilities.shares_files:
        deployer.plan(request.on(chosen, release))  # refuses a taken name or port before anything is built
        release = replace(release, image=chosen.prepare_image(_image(request, release, version), show))
    plan = deployer.plan(request.on(chosen, release))
    return ServePlan(deployer, plan, platform, rolls_forward(deployer, plan, request))


def plan_rollback(settings: Settings, name: str | None, platform: str | None, *, say: Say = mute) -> ServePlan:
    """Plan to serve the release before the current one. See `winnow.api.plan_rollback`."""
    deployers, _ = ask_deployers(settings, platform, say)
    found_on, chosen = find_deployment(deployers, name)
    return ServePlan(deployers[found_on], deployers[found_on].plan_rollback(chosen), found_on)


def preview_serving(platform: str, settings: Settings, registry: ModelRegistry, request: ServeRequest) -> ServePreview:
    """Plan to serve a version without keeping a file or building an image, even if engine or cluster are away."""
    chosen = platform_for(platform, settings, request.environment)
    deployer: Deployer[Any] | None = None
    absences: list[WinnowError] = []
    no_engine: list[WinnowError] = []
    try:
        deployer = checked_deployer(chosen, is_read_only=True)
    except (UnavailableError, UnreachableError) as error:
        absences.append(error)
    wanted = shown_request(chosen, settings, registry, request, on_no_engine=no_engine.append)
    of_image = ("whether the image is there, and its id",) if no_engine else ()
    reasons = tuple(dict.fromkeys(map(str, (*absences, *no_engine))))
    if deployer is None:
        offline = chosen.plan_offline(wanted)
        return ServePreview(offline.plan, "", (*offline.unknown, *of_image), reasons)
    plan = deployer.plan(wanted)
    return ServePreview(plan, rolls_forward(deployer, plan, request), of_image, reasons)


def checked_deployer(platform: Platform, *, say: Say = mute, is_read_only: bool = False) -> Deployer[Any]:
    """The platform's deployer, once the platform answers and permits serving; `is_read_only` for a plan to show.

    Raises:
        InputError: the platform is not there, or a permission is missing.
        UnreachableError: it does not answer.
    """
    deployer = platform.deployer(say=say)
    deployer.check(is_read_only=is_read_only)
    deployer.names()
    return deployer


def shown_request(
    platform: Platform,
    settings: Settings,
    registry: ModelRegistry,
    request: ServeRequest,
    *,
    on_no_engine: Callable[[WinnowError], object] | None = None,
) -> DeploymentRequest:
    """The request to the deployer for a plan that is only shown. It names the image if there is one.

    Args:
        on_no_engine: is called if no engine answers that could have the image; None raises the error.

    Raises:
        InputError: the version or its bundle cannot be used.
    """
    version = _version(settings, registry, request)
    with shown_release(registry, version, settings.home, store=settings.tracking_uri) as shown:
        release = as_kept(shown, settings.home)
        if not platform.capabilities.shares_files:
            try:
                release = replace(release, image=platform.find_image(_image(request, shown, version)))
            except (UnavailableError, UnreachableError) as error:
                if on_no_engine is None:
                    raise
                on_no_engine(error)
    return request.on(platform, release)


def rolls_forward(deployer: Deployer[Any], plan: AnyPlan, request: ServeRequest) -> str:
    """A sentence that the plan undoes a rollback; empty if it does not.

    A deployment remembers the release before the current one. If that is the one to serve now, it was rolled back, or
    another version was selected in between.
    """
    wanted = plan.request.release
    if plan.action is not Action.REPLACE:
        return ""
    try:
        found = deployer.status(plan.request.name)
    except UnknownDeploymentError:
        return ""
    current, previous = found.release, found.previous
    if previous is None or (previous.version, previous.digest) != (wanted.version, wanted.digest):
        return ""
    alias = f"is @{request.alias} and " if request.version is None else ""
    return f"Rolling forward to version {wanted.version}, which {alias}was served before version {current.version}."


def _version(settings: Settings, registry: ModelRegistry, request: ServeRequest) -> ModelVersion:
    store = settings.tracking_uri
    return choose_version(registry, request.name, store=store, alias=request.alias, number=request.version)


def _image(request: ServeRequest, release: Release, version: ModelVersion) -> ImageBuild:
    """The image that serves a release, built from the working directory."""
    options = BuildOptions.from_environment(request.environment, base=PROD_BASE)
    wanted = ModelImageRequest(release.bundle, release.version, Path(), options, version.run_id)
    return images(request.environment).plan_model_image(wanted)
