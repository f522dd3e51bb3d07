"""Start and remove what watches a platform's deployments (`winnow.platforms.monitoring_stack.MonitoringStack`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from winnow.config.errors import InputError
from winnow.config.monitoring import RuleConfig
from winnow.config.next_command import next_flag
from winnow.config.private import make_home
from winnow.config.settings import Settings
from winnow.monitoring.alertmanager import alertmanager_config
from winnow.monitoring.dashboard import dashboard
from winnow.monitoring.prometheus_rules import rule_file
from winnow.monitoring.rules import check_rules
from winnow.orchestrators.releases import profile_of, with_bundle
from winnow.orchestrators.stack import permitted
from winnow.platforms.deployer import Deployer, Say, UnknownDeploymentError, mute
from winnow.platforms.monitoring_stack import (
    CONFIGURATION,
    DASHBOARD,
    GENERAL_RULES,
    RULES,
    TOKEN_FILE,
    MonitoringRequest,
)
from winnow.platforms.stack import Plan, StackEnd
from winnow.platforms.table import platform_for


@dataclass(frozen=True)
class Watched:
    """A deployment with rules of its own.

    Attributes:
        rules: `monitoring.rules` of its experiment.
        place: the experiment file, as errors name it.
    """

    deployment: str
    rules: tuple[RuleConfig, ...]
    place: str


def files_for(
    watched: Watched | None, hooks: Sequence[str], own_configuration: Path | None = None
) -> dict[PurePosixPath, str]:
    """The files that are the same on every platform.

    Args:
        watched: None: the rules that watch all deployments alone.
        own_configuration: Alertmanager's configuration, instead of one for `hooks`.

    Raises:
        InputError: that file cannot be read.
    """
    files = {GENERAL_RULES: rule_file(), DASHBOARD: dashboard_text()}
    if watched is not None:
        files[RULES / f"{watched.deployment}.yaml"] = rule_file(watched.deployment, watched.rules)
    files[CONFIGURATION] = (
        alertmanager_config(hooks, TOKEN_FILE) if own_configuration is None else _text(own_configuration)
    )
    return files


def default_hook(platform: str) -> str:
    """Where the platform's Alertmanager reaches `serve-hooks` by default."""
    return platform_for(platform, Settings.from_environment()).monitoring_stack(folder=Path(), say=mute).hook


def dashboard_text() -> str:
    """The dashboard's JSON model, as a file for Grafana."""
    return json.dumps(dashboard(), indent=1) + "\n"


def init(
    platform: str,
    request: MonitoringRequest,
    watched: Watched | None = None,
    *,
    say: Say,
    timeout_s: float,
    is_dry_run: bool = False,
) -> Plan:
    """Start what watches a platform's deployments. See `winnow.api.monitoring_init`."""
    settings = Settings.from_environment()
    chosen = platform_for(platform, settings)
    stack = chosen.monitoring_stack(folder=Path(), say=say)
    plan = stack.plan(request, is_dry_run=is_dry_run)
    if not is_dry_run:
        if watched is not None:
            _check_rules(watched, chosen.deployer(say=say), settings, say)
        make_home(settings.home)
        stack.start(plan, timeout_s)
    return plan


def remove(
    platform: str, *, say: Say, volumes: bool = False, is_forced: bool = False, is_dry_run: bool = False
) -> StackEnd:
    """Remove what watches a platform's deployments. See `winnow.api.monitoring_remove`."""
    stack = platform_for(platform, Settings.from_environment()).monitoring_stack(folder=Path(), say=say)
    plan = permitted(stack.plan_end(volumes=volumes), say, is_forced=is_forced, owns="watches")
    if not is_dry_run:
        stack.end(volumes=volumes)
    return plan


def _check_rules(watched: Watched, deployer: Deployer, settings: Settings, say: Say) -> None:
    """Refuse rules on columns and classes that the served model does not have: in Prometheus they would never fire."""
    if not any(rule.column or rule.of_class for rule in watched.rules):
        return
    try:
        serving = deployer.observe(watched.deployment).record.serving
    except UnknownDeploymentError:
        serving = None
    if serving is None:
        say(f"note: '{watched.deployment}' is not served yet: the columns that its rules name are not checked.")
        return
    check_rules(watched.rules, profile_of(with_bundle(serving.release, settings)), watched.place)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            next_flag("alertmanager-config"),
            expected="a configuration file of Alertmanager's",
            found=f"{path}: {getattr(error, 'strerror', None) or error}",
            remedy="Name one, or leave it out for a configuration that calls `serve-hooks`.",
        ) from error
