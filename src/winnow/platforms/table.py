"""The platforms by name. Each is imported when it is asked for: Docker's and Kubernetes' clients are heavy.

A new platform is a folder that passes the contract suites, a name in `winnow.config.platforms`, and a line here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from winnow.config.platforms import PLATFORMS, SERVING_PLATFORMS, unknown_platform
from winnow.config.settings import Settings
from winnow.platforms.images import Images
from winnow.platforms.platform import Platform, ServingPlatform
from winnow.platforms.regular_calls import RegularCalls

if TYPE_CHECKING:
    from winnow.platforms.docker.spark import DockerSpark

CallKind = Literal["timer", "cronjob"]
_Factory: TypeAlias = Callable[[Settings, Mapping[str, str]], Platform]


def platform_for(name: str, settings: Settings, environment: Mapping[str, str] = os.environ) -> Platform:
    """The platform of a name, which runs sweeps; nothing is contacted. Raises InputError where there is none."""
    factory = _TABLE.get(name)
    if factory is None:
        raise unknown_platform(name)
    return factory(settings, environment)


def serving_platform_for(name: str, settings: Settings, environment: Mapping[str, str] = os.environ) -> ServingPlatform:
    """The platform of a name, which may be one that only serves; else as `platform_for`."""
    factory = _SERVING_ONLY.get(name)
    return platform_for(name, settings, environment) if factory is None else factory(settings, environment)


def all_serving_platforms(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> tuple[ServingPlatform, ...]:
    """Every platform that serves, in the order in which messages list them."""
    return tuple(serving_platform_for(name, settings, environment) for name in SERVING_PLATFORMS)


def all_platforms(settings: Settings, environment: Mapping[str, str] = os.environ) -> tuple[Platform, ...]:
    """Every platform that runs sweeps, in the order in which messages list them."""
    return tuple(platform_for(name, settings, environment) for name in PLATFORMS)


def images(environment: Mapping[str, str] = os.environ) -> Images:
    """The images of this machine's engine, which the environment names; nothing is contacted."""
    from winnow.platforms.docker.images import DockerImages

    return DockerImages(environment)


def spark_cluster(settings: Settings, folder: Path, environment: Mapping[str, str] = os.environ) -> DockerSpark:
    """The standalone Spark on this machine's engine; nothing is contacted.

    Raises InputError where a file of winnow's is missing.
    """
    from winnow.platforms.docker.platform import stack_project
    from winnow.platforms.docker.spark import DockerSpark

    project = stack_project(settings, environment)
    return DockerSpark(settings.home, project=project, folder=folder, environment=environment)


def regular_calls(kind: CallKind, calls: RegularCalls, settings: Settings) -> str:
    """What calls `winnow monitor` and `winnow retrain` again and again: systemd units, or CronJobs as YAML.

    Raises InputError where a CronJob cannot make these calls.
    """
    if kind == "timer":
        from winnow.platforms.systemd import units

        return units(calls, settings.home)
    from winnow.platforms.kubernetes.cron_jobs import cron_jobs

    return cron_jobs(calls)


def _local(settings: Settings, _environment: Mapping[str, str]) -> Platform:
    from winnow.platforms.local.platform import LocalPlatform

    return LocalPlatform(settings)


def _docker(settings: Settings, environment: Mapping[str, str]) -> Platform:
    from winnow.platforms.docker.images import DockerImages
    from winnow.platforms.docker.platform import DockerPlatform

    return DockerPlatform(settings, DockerImages(environment), environment)


def _kubernetes(settings: Settings, environment: Mapping[str, str]) -> Platform:
    from winnow.platforms.kubernetes.platform import KubernetesPlatform

    return KubernetesPlatform(settings, images(environment), environment)


def _azure(settings: Settings, environment: Mapping[str, str]) -> ServingPlatform:
    from winnow.platforms.azure.platform import AzurePlatform

    return AzurePlatform(settings, images(environment), environment)


def _kserve(settings: Settings, environment: Mapping[str, str]) -> ServingPlatform:
    from winnow.platforms.kubernetes.kserve_platform import KservePlatform

    return KservePlatform(settings, images(environment), environment)


_TABLE: Mapping[str, _Factory] = {"local": _local, "docker": _docker, "kubernetes": _kubernetes}
_SERVING_ONLY: Mapping[str, Callable[..., ServingPlatform]] = {"azure": _azure, "kserve": _kserve}
