"""Start and remove a standalone Spark on this machine's Docker engine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from winnow.config.private import make_home
from winnow.config.settings import Settings
from winnow.data.stage.engines.spark_engine import version
from winnow.platforms.images import Show, silent
from winnow.platforms.spark import SparkRequest
from winnow.platforms.stack import Plan, StackEnd
from winnow.platforms.table import spark_cluster


def init(
    *,
    port: int,
    page_port: int,
    cores: int,
    memory: str,
    timeout_s: float,
    is_dry_run: bool = False,
    show: Show = silent,
) -> Plan:
    """Start it. See `winnow.api.spark_init`."""
    settings = Settings.from_environment()
    cluster = spark_cluster(settings, Path(), os.environ)
    # Jobs are started by this Python, or by a tool environment that it made.
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    request = SparkRequest(version(settings.home, os.environ), python, port, page_port, cores, memory)
    plan = cluster.plan(request, is_dry_run=is_dry_run)
    if not is_dry_run:
        make_home(settings.home)
        cluster.start(plan, timeout_s, show)
    return plan


def remove(*, is_forced: bool = False, is_dry_run: bool = False) -> StackEnd:
    """Remove it. See `winnow.api.spark_remove`."""
    cluster = spark_cluster(Settings.from_environment(), Path(), os.environ)
    plan = cluster.plan_end()
    if plan.refusal is not None and not is_forced:
        raise plan.refusal
    if not is_dry_run:
        cluster.end()
    return plan
