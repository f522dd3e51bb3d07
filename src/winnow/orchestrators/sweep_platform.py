"""The platform that a sweep runs on, once everything that it would refuse has been checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.orchestrators.preflight import check_code, check_secrets_file, check_side, checked_stores
from winnow.orchestrators.sweep_request import SweepRequest
from winnow.platforms.images import with_route
from winnow.platforms.lookup import Lookup
from winnow.platforms.sweep import SweepPlatform
from winnow.platforms.table import platform_for

STUDIES, RUNS = "postgresql://STUDIES-DATABASE", "http://MLFLOW"
"""Placeholders for the addresses of stores that do not exist yet."""


def sweep_platform(
    request: SweepRequest, settings: Settings, lookup: Lookup, environment: Mapping[str, str] = os.environ
) -> SweepPlatform:
    """The object that plans and starts a sweep's groups.

    Args:
        lookup: looks up facts; a plan that is only shown may lack those of an absent platform.
        environment: names the engine or the cluster, and how images reach the cluster's nodes.

    Raises:
        InputError: there is no such platform, it is absent, a permission is missing, or its workers could not reach
            the stores, the code or the secrets.
        UnreachableError: it does not answer.
    """
    experiment, project = request.experiment, Path.cwd()
    environment = with_route(environment, registry=request.registry, load=request.image_load)
    platform = platform_for(request.platform, settings, environment)
    if not platform.capabilities.shares_files:
        check_side(settings, platform)
        stores = lookup(
            "the addresses of MLflow and of the studies' database",
            lambda: checked_stores(settings, next_command("mlflow-init", platform=platform.name)),
            replace(settings, worker_storage_url=STUDIES, worker_tracking_uri=RUNS),
        )
        check_code(experiment, project)
        check_secrets_file(experiment, project)
        platform = platform_for(request.platform, stores, environment)
    return platform.sweep(request.image, lookup)
