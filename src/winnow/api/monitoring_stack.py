"""Prometheus, Alertmanager and Grafana, which watch deployments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent
from winnow.api.deployments import deployment_name_of

if TYPE_CHECKING:
    from winnow.orchestrators.monitoring_stack import Watched
    from winnow.platforms.stack import StackEnd


@dataclass(frozen=True)
class MonitoringStart:
    """A start of the monitoring stack, planned or done.

    Attributes:
        plan: the files, commands or manifests, without secrets.
        unknown: facts missing from the plan because the platform did not answer, one sentence each.
        endpoints: address of each service by its name, the address on which `serve_hooks` is expected ("Hooks"), and
            the file with its token ("Token").
    """

    plan: str
    unknown: tuple[str, ...]
    endpoints: Mapping[str, str]


def monitoring_init(
    config: Path | str | None = None,
    *,
    platform: str = "docker",
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    hooks: Sequence[str] | None = None,
    alertmanager_config: Path | None = None,
    scrape_interval_s: int = 10,
    grafana: bool = True,
    ports: Mapping[str, int] = {},
    timeout_s: float = 120,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> MonitoringStart:
    """Start Prometheus, Alertmanager and Grafana, and have them watch the platform's deployments, also later ones.

    Prometheus gets the rules that watch all deployments, and those of `monitoring.rules` of the experiment for its
    deployment. Calling it again with another experiment adds that one's rules; running services are not interrupted.

    Args:
        platform: "docker" or "kubernetes".
        hooks: addresses of `serve_hooks`, to which Alertmanager posts alerts that call for a rollback; by default port
            9119 of this machine, on Kubernetes of the Service winnow-hooks.
        alertmanager_config: a configuration file of Alertmanager's to use instead.
        scrape_interval_s: how often replicas are asked and rules evaluated, in seconds.
        grafana: start Grafana, too.
        ports: ports of this machine by service ("prometheus", "alertmanager", "grafana").
        timeout_s: seconds to wait for the services.
        dry_run: plan only, and change nothing; the platform need not answer.

    Raises:
        InputError: the file is wrong, a port is taken, the stack is another home's, or the platform refuses.
        StackError: a service does not become ready, or refuses its configuration.
    """
    watched = _watched(config, study, name, stage)
    from winnow.orchestrators import monitoring_stack as stack
    from winnow.platforms.monitoring_stack import PORTS, MonitoringRequest

    addresses = (stack.default_hook(platform),) if hooks is None else tuple(hooks)
    files = stack.files_for(watched, addresses, alertmanager_config)
    request = MonitoringRequest(files, scrape_interval_s, grafana, {**PORTS, **ports})
    plan = stack.init(platform, request, watched, say=say, timeout_s=timeout_s, is_dry_run=dry_run)
    return MonitoringStart(plan.render(), plan.unknown, plan.endpoints)


def monitoring_remove(
    *,
    platform: str = "docker",
    volumes: bool = False,
    force: bool = False,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> StackEnd:
    """Remove what `monitoring_init` started. Deployments go on serving.

    Args:
        volumes: delete what was measured and all rules, too.
        force: remove it even if another home started it.

    Raises:
        InputError: another home started it, or the platform refuses.
        StackError: it could not be removed.
    """
    from winnow.orchestrators import monitoring_stack as stack

    return stack.remove(platform, say=say, volumes=volumes, is_forced=force, is_dry_run=dry_run)


def monitoring_rules(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
) -> str:
    """Return Prometheus rules for a Prometheus of your own: those of all deployments, and the experiment's.

    Replicas are scraped with the labels `deployment`, `revision` and `replica`.

    Raises:
        InputError: the file is wrong.
    """
    watched = _watched(config, study, name, stage)
    from winnow.monitoring.prometheus_rules import rule_file

    return rule_file() if watched is None else rule_file(watched.deployment, watched.rules, with_general=True)


def monitoring_dashboard() -> str:
    """Return the JSON model of the Grafana dashboard, for a Grafana of your own."""
    from winnow.orchestrators.monitoring_stack import dashboard_text

    return dashboard_text()


def _watched(config: Path | str | None, study: str | None, name: str | None, stage: str | None) -> Watched | None:
    if config is None:
        return None
    from winnow.config.loader import load_experiment

    deployment = deployment_name_of(config, study, name, stage)
    assert deployment is not None
    rules = load_experiment(Path(config)).monitoring.rules
    # Late, so that a wrong file is answered before NumPy is loaded.
    from winnow.orchestrators.monitoring_stack import Watched

    return Watched(deployment, rules, str(config))
