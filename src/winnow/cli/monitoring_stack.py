"""`winnow monitoring-init`, `-remove` and `-rules`: Prometheus, Alertmanager and Grafana."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from winnow import api
from winnow.cli.options import dry_run_option, model_options, say, stage_option
from winnow.config.next_command import next_command

_platform_option = click.option(
    "--platform",
    type=click.Choice(("docker", "kubernetes")),
    default="docker",
    show_default=True,
    help="Platform whose deployments are watched.",
)


def _port_option(service: str, default: int) -> Callable[[Any], Any]:
    return click.option(
        f"--{service}-port",
        type=click.IntRange(1, 65535),
        default=default,
        show_default=True,
        help=f"Port of this machine for {service.capitalize()}; on Kubernetes, of the command that opens it.",
    )


@click.command("monitoring-init")
@click.option("--config", type=click.Path(path_type=Path), help="Experiment file whose `monitoring.rules` are added.")
@_platform_option
@model_options
@stage_option
@click.option(
    "--hooks",
    metavar="URL",
    multiple=True,
    help="Where `serve-hooks` listens; may be repeated. By default port 9119 of this machine, on Kubernetes of the "
    "Service winnow-hooks (k8s/hooks.yaml).",
)
@click.option(
    "--alertmanager-config",
    type=click.Path(path_type=Path),
    help="Configuration of Alertmanager, with receivers of your own, instead of the one for `serve-hooks`.",
)
@click.option(
    "--scrape-interval",
    "scrape_interval_s",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Seconds between two questions to a replica, and between two evaluations of the rules.",
)
@click.option(
    "--grafana", type=click.Choice(("on", "off")), default="on", show_default=True, help="Start Grafana, too."
)
@_port_option("prometheus", 9090)
@_port_option("alertmanager", 9093)
@_port_option("grafana", 3000)
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds to wait."
)
@dry_run_option
def init(
    grafana: str,
    hooks: tuple[str, ...],
    prometheus_port: int,
    alertmanager_port: int,
    grafana_port: int,
    dry_run: bool,
    **options: Any,
) -> None:
    """Start Prometheus, Alertmanager and Grafana, which watch the platform's deployments, also later ones.

    Prometheus has rules for all deployments and, with --config, `monitoring.rules` of that experiment for its
    deployment. Run it again with another experiment to add its rules.
    """
    started = api.monitoring_init(
        **options,
        hooks=hooks or None,
        grafana=grafana == "on",
        ports={"prometheus": prometheus_port, "alertmanager": alertmanager_port, "grafana": grafana_port},
        dry_run=dry_run,
        say=say,
    )
    if dry_run:
        click.echo(started.plan.rstrip("\n"))
        for fact in started.unknown:
            say(f"not looked up: {fact}")
        return
    for name, address in started.endpoints.items():
        click.echo(f"{name:<14}{address}")
    click.echo(f"Deployments are watched until `{next_command('monitoring-remove', platform=options['platform'])}`.")


@click.command("monitoring-remove")
@_platform_option
@click.option("--volumes", is_flag=True, help="Also delete what was measured, and all rules.")
@click.option("--force", is_flag=True, help="Remove it even if another home started it.")
@dry_run_option
def remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove Prometheus, Alertmanager and Grafana. Deployments go on serving."""
    end = api.monitoring_remove(**options, dry_run=dry_run, say=say)
    click.echo(end.render() if dry_run else end.outcome)


@click.command("monitoring-rules")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Experiment file whose `monitoring.rules` are printed, too."
)
@model_options
@stage_option
@click.option("--dashboard", "is_dashboard", is_flag=True, help="Print the JSON of the Grafana dashboard instead.")
def rules(is_dashboard: bool, **options: Any) -> None:
    """Print Prometheus rules, or the Grafana dashboard, for a Prometheus and a Grafana of your own."""
    click.echo(api.monitoring_dashboard() if is_dashboard else api.monitoring_rules(**options), nl=False)
