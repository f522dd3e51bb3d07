"""Start, remove and read the Airflow of a platform (`winnow.platforms.airflow_stack.AirflowStack`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from winnow.config.private import make_home
from winnow.config.settings import Settings
from winnow.platforms.airflow_stack import AirflowPlan, AirflowRequest, AirflowStack
from winnow.platforms.deployer import Say
from winnow.platforms.images import Show, silent, with_route
from winnow.platforms.stack import StackEnd, StackLogs
from winnow.platforms.table import platform_for

FOLDER = Path()


def init(
    platform: str,
    request: AirflowRequest,
    *,
    say: Say,
    timeout_s: float,
    registry: str = "",
    is_dry_run: bool = False,
    show: Show = silent,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> AirflowPlan:
    """Start Airflow beside a project. See `winnow.api.airflow_init`."""
    environment = with_route(environment, registry=registry)
    settings = Settings.from_environment(environment)
    stack = _stack(platform, say, folder, environment)
    plan = stack.plan(request, is_dry_run=is_dry_run)
    if not is_dry_run:
        make_home(settings.home)
        stack.start(plan, timeout_s, show)
    return plan


def remove(
    *,
    say: Say,
    volumes: bool = False,
    is_forced: bool = False,
    is_dry_run: bool = False,
    platform: str = "docker",
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackEnd:
    """Remove a platform's Airflow. See `winnow.api.airflow_remove`."""
    stack = _stack(platform, say, folder, environment)
    plan = stack.plan_end(volumes=volumes)
    if plan.refusal is not None:
        if not is_forced:
            raise plan.refusal
        say(f"{plan.stack} is one of {plan.owner}; removing it anyway.")
    if not is_dry_run:
        stack.end(volumes=volumes)
    return plan


def logs(
    *,
    say: Say,
    service: str | None = None,
    lines: int = 100,
    follow: bool = False,
    platform: str = "docker",
    environment: Mapping[str, str] = os.environ,
) -> StackLogs:
    """The last lines of its services. Raises InputError like `AirflowStack.logs`."""
    return _stack(platform, say, FOLDER, environment).logs(service, lines, follow=follow)


def _stack(platform: str, say: Say, folder: Path, environment: Mapping[str, str]) -> AirflowStack:
    settings = Settings.from_environment(environment)
    return platform_for(platform, settings, environment).airflow_stack(folder=folder, say=say)
