"""A platform: where models are served, and mostly sweeps run, too. Making one contacts nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from winnow.config.settings import Settings
from winnow.platforms.airflow_stack import AirflowStack
from winnow.platforms.deployer import Deployer, Say
from winnow.platforms.executor import Executor
from winnow.platforms.images import ImageBuild, ImageRoute, Show, silent
from winnow.platforms.lookup import Lookup
from winnow.platforms.monitoring_stack import MonitoringStack
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.platforms.stack import ChoosePort, Stack, any_port

if TYPE_CHECKING:
    from winnow.platforms.sweep import SweepPlatform


@dataclass(frozen=True, kw_only=True)
class ServingCapabilities:
    """What a platform that serves models has; code above asks for these facts instead of comparing names.

    Defaults are those of containers on this machine.

    Attributes:
        shares_files: replicas and workers see this machine's files and run this installation of winnow. Elsewhere
            they run an image, and need stores that answer over the network.
        has_ingress: a deployment is reached by a host name, at an Ingress or a Gateway, instead of an address of this
            machine.
        is_remote: it is another system than this machine. A verb that names no platform asks it only where it is in
            use.
        replica: what one replica is: a process, a container or a pod.
        ready_within_s: how long new replicas may take to become ready. Longer where nodes pull the image first.
        gateway_conditions: the conditions of a rollout that its own gateway can be judged by, where that gateway
            splits all requests and routers are never needed; None where it has none.
    """

    shares_files: bool = False
    has_ingress: bool = False
    is_remote: bool = False
    replica: str
    ready_within_s: float
    gateway_conditions: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Capabilities(ServingCapabilities):
    """What a platform that also runs sweeps has.

    Attributes:
        workers: what messages call the workers.
        has_nodes: worker groups may have several nodes.
        limits_resources: it holds groups to the CPUs and the memory that they are given.
        schedules_machines: a scheduler finds a machine for each group, and gives it GPUs of its own.
        is_left_by_interrupt: Ctrl-C leaves groups at work.
        group_prefix: of groups' names, so that groups of two platforms that work on one study differ.
        poll_s: how often groups are asked whether they run.
    """

    workers: str
    has_nodes: bool = True
    limits_resources: bool = True
    schedules_machines: bool = False
    is_left_by_interrupt: bool = True
    group_prefix: str
    poll_s: float = 1.0


class ServingPlatform(Protocol):
    """Serves models. Every method raises InputError where the platform is not there.

    Implementations inherit the answers of a platform whose routers and images need nothing beside this machine.
    """

    @property
    def name(self) -> str:
        """What `--platform` calls it."""

    @property
    def capabilities(self) -> ServingCapabilities:
        """What it has."""

    @property
    def is_in_use(self) -> bool:
        """Whether the stack in use runs on it, or the environment names it: its absence is then an error."""

    def deployer(self, *, say: Say) -> Deployer:
        """The deployer; making it contacts nothing. `say` receives lines about a change while the change lasts."""

    def prepare_router(self, show: Show = silent) -> str:
        """Build the image of the routers between two revisions unless it exists, and return its name there.

        Empty where routers need none of their own: they run this installation, or the platform's gateway splits
        requests.

        Raises:
            InputError: no engine answers, or no route leads to the nodes.
            BuildFailedError: the build or the delivery failed.
        """
        return ""

    def prepare_driver(self) -> Callable[[str], RolloutDriver]:
        """Check and deliver what it takes to go on with a rollout without this process.

        Returns:
            What starts the driver of the deployment of a name, which this process no longer holds.

        Raises:
            InputError: it cannot start there, or may not. What is returned raises it, too.
        """

    def image_route(self) -> ImageRoute | None:
        """How images of this machine's engine reach the nodes; None where the platform needs no delivery."""
        return None

    def prepare_image(self, image: ImageBuild, show: Show = silent) -> str:
        """Build a model's image unless it exists, deliver it, and return the name by which replicas run it.

        A platform that shares this machine's files runs no image and returns "".

        Raises:
            InputError: no engine answers, or no route leads to the nodes.
            BuildFailedError: the build or the delivery failed.
        """
        return "" if self.capabilities.shares_files else image.build(show)

    def find_image(self, image: ImageBuild) -> str:
        """The name by which replicas run an image that was built and delivered before; empty where there is none."""
        return "" if self.capabilities.shares_files else image.find() or ""

    @property
    def documents(self) -> PlatformDocuments:
        """What the documents say about the platform, as the code declares it."""
        return PlatformDocuments()


class Platform(ServingPlatform, Protocol):
    """Runs worker groups, and serves models. Every method raises InputError where the platform is not there."""

    @property
    def capabilities(self) -> Capabilities:
        """What it has."""

    def executor(self) -> Executor:
        """The executor that finds and ends groups; it starts none, since no image is named."""

    def sweep(self, image: str | None, lookup: Lookup) -> SweepPlatform:
        """Plans and starts the groups of a sweep.

        Args:
            image: the image that groups run, instead of the one of this project.
            lookup: looks up facts; a plan that is only shown continues without those of a platform that is not there.

        Raises:
            InputError: the platform is not there, or a permission is missing.
            UnreachableError: it does not answer.
        """

    def stack(self, given: Mapping[str, str], *, folder: Path, say: Say) -> Stack:
        """The platform's tracking stack, started or not; nothing is contacted.

        Args:
            given: settings by name (`winnow.platforms.stack_variables`); an empty one restores the default.
            folder: the project's, with compose files and k8s/. It is the same for the stacks below.

        Raises:
            InputError: the platform has no stack, or a file of it is missing. So do the next two.
        """

    def monitoring_stack(self, *, folder: Path, say: Say) -> MonitoringStack:
        """What watches the platform's deployments, started or not; nothing is contacted."""

    def airflow_stack(self, *, folder: Path, say: Say) -> AirflowStack:
        """Airflow on the platform, started or not; nothing is contacted."""

    def local_settings(self, choose_port: ChoosePort = any_port) -> Settings:
        """The settings, with addresses of the platform's stack in use that answer on this machine.

        Args:
            choose_port: the port on which MLflow answers here where the stack's own address does not.

        Raises:
            InputError: the stack cannot be reached: its cluster is another one, a permission is missing, or its
                secrets are gone.
            UnreachableError: its cluster does not answer.
        """

    def silent_stack(self) -> str | None:
        """What to do about the platform's stack in use where it takes no connections; None where it does."""
        return None


@dataclass(frozen=True)
class PlatformDocuments:
    """What is generated from a platform's code: parts of documents by their name, whole files by their path."""

    parts: Mapping[str, Callable[[], str]] = field(default_factory=dict)
    files: Mapping[str, Callable[[], str]] = field(default_factory=dict)
