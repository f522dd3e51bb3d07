"""The monitoring stack of a platform: Prometheus, Alertmanager and Grafana, which watch its deployments.

`MonitoringStack` is what a platform offers for it. `winnow.orchestrators.monitoring_stack` makes the rules, the
dashboard and Alertmanager's configuration, which are the same on every platform, and composes its methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol

from winnow.platforms.stack import Plan, StackEnd

PROMETHEUS, ALERTMANAGER, GRAFANA = "prometheus", "alertmanager", "grafana"
"""Names of its services."""
RULES, CONFIGURATION, DASHBOARD = (
    PurePosixPath("prometheus/rules"),
    PurePosixPath("alertmanager/alertmanager.yml"),
    PurePosixPath("grafana/dashboards/winnow.json"),
)
"""Paths of `MonitoringRequest.files`: the folder of rule files, and two files."""
GENERAL_RULES = RULES / "all_deployments.yaml"
"""The rules that watch all deployments: no deployment's name has an underscore."""
TOKEN_FILE = "/etc/winnow/hooks.token"
"""Where Alertmanager finds the bearer token of `serve-hooks`, on every platform."""
HOOKS_PORT = 9119
"""Where `serve-hooks` listens by default."""
PORTS: Mapping[str, int] = {PROMETHEUS: 9090, ALERTMANAGER: 9093, GRAFANA: 3000}


@dataclass(frozen=True)
class MonitoringRequest:
    """What is to run.

    Attributes:
        files: contents by path; the platform adds how Prometheus finds its replicas.
        scrape_interval_s: how often replicas are asked and rules evaluated, in seconds.
        has_grafana: whether Grafana runs, too.
        ports: by service, instead of `PORTS`.
    """

    files: Mapping[PurePosixPath, str]
    scrape_interval_s: int = 10
    has_grafana: bool = True
    ports: Mapping[str, int] = field(default_factory=lambda: PORTS)


class MonitoringStack(Protocol):
    """The monitoring stack of one platform, started or not. Making one contacts nothing.

    Every method raises InputError where the platform refuses or is not there, and UnreachableError where it stops
    answering.

    Attributes:
        hook: where Alertmanager reaches `serve-hooks` by default.
    """

    hook: str

    def plan(self, request: MonitoringRequest, *, is_dry_run: bool = False) -> Plan:
        """Plan a start as `Stack.plan` does."""

    def start(self, plan: Any, timeout_s: float) -> None:
        """Start it, wait until its services are ready and have read their configuration. Running ones read it anew.

        Raises StackError where a service does not become ready, or refuses its configuration.
        """

    def plan_end(self, *, volumes: bool) -> StackEnd:
        """Plan a removal, with `volumes` also of what was measured and of all rules; nothing is changed."""

    def end(self, *, volumes: bool) -> None:
        """Remove it. Raises StackError where that fails."""
