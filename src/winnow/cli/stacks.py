"""Verbs that start and remove servers: the tracking stack, what watches deployments, Airflow and Spark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from winnow import api
from winnow.cli.build import shown_steps
from winnow.cli.options import (
    PORT,
    Decorator,
    dry_run_option,
    force_option,
    in_order,
    model_options,
    option_with_default,
    platform_option,
    registry_options,
    say,
    say_unknown,
    stage_option,
)
from winnow.config.next_command import next_command

PLATFORMS = ("docker", "kubernetes")
WHICH = {
    "WINNOW_PROJECT": ("project", "Name of its Compose project. Default: winnow."),
    "WINNOW_ENV_FILE": ("env_file", "File with its secrets. Default: .env."),
}
"""The settings that select a stack if there are several: the arguments that they give a verb, and their meaning."""


def _setting_flag(name: str, text: str, argument: str = "") -> Decorator:
    """A setting as a flag, so that `make mlflow-init MLFLOW_PORT=5600` works; by default the environment's variable."""
    flag = f"--{name.lower().replace('_', '-')}"
    return click.option(flag, argument or name.lower(), metavar="VALUE", help=text)


_existing_stack = in_order(
    platform_option(PLATFORMS, "Its platform; by default that of the stack in use."),
    *(_setting_flag(name, text, argument) for name, (argument, text) in WHICH.items()),
)
_settings_as_flags = in_order(
    *(_setting_flag(name, text) for name, (_, text) in WHICH.items()),
    *(
        _setting_flag(setting.name, f"{setting.description} Default: {setting.default or 'none'}.")
        for setting in api.stack_settings()
        if setting.name not in WHICH
    ),
)
_forced = force_option("Remove it even if another home started it.")


def _timeout_option(default: int, text: str = "Seconds to wait.") -> Decorator:
    return option_with_default("--timeout", "timeout_s", type=click.FloatRange(min=1), default=default, help=text)


def _volumes_option(text: str) -> Decorator:
    return click.option("--volumes", is_flag=True, help=text)


def _logs_options(services: str) -> Decorator:
    return in_order(
        click.option("--service", metavar="NAME", help=f"Only this{services}."),
        option_with_default("--lines", type=click.IntRange(min=0), default=100, help="Last lines of each service."),
        click.option("--follow", is_flag=True, help="Keep printing new lines until Ctrl-C."),
        dry_run_option,
    )


def _print_start(
    plan: str, endpoints: Mapping[str, str], unknown: Sequence[str] = (), *, is_planned: bool, width: int = 10
) -> bool:
    """Print a plan and return False, or print the addresses of what was started."""
    if is_planned:
        click.echo(plan.rstrip("\n"))
        say_unknown(unknown)
        return False
    for name, address in endpoints.items():
        click.echo(f"{name:<{width}}{address}")
    return True


def _print_end(end: api.StackEnd, dry_run: bool) -> None:
    click.echo(end.render() if dry_run else end.outcome)


def _print_logs(printed: api.PrintedLogs, dry_run: bool) -> int:
    if dry_run:
        click.echo(printed.command)
    return printed.exit_status


def _typed(flags: Mapping[str, str | None]) -> dict[str, str]:
    """The settings given as flags, by name."""
    return {name.upper(): value for name, value in flags.items() if value is not None}


@click.command("mlflow-init")
@platform_option(PLATFORMS, "Where to start it.", "docker")
@_settings_as_flags
@registry_options()
@click.option(
    "--timeout", type=click.FloatRange(min=1), help="Seconds to wait. Default: 180, on Kubernetes 300, to pull images."
)
@dry_run_option
def mlflow_init(
    platform: str, registry: str, image_load: str, timeout: float | None, dry_run: bool, **flags: str | None
) -> None:
    """Start Postgres, MinIO and MLflow, and make every verb use them.

    The first start generates secrets and stores them with these settings: on Docker in .env, on Kubernetes in the
    Secret winnow-tracking. Running it again changes nothing.
    """
    route = {"registry": registry, "image_load": image_load}
    with shown_steps() as show:
        started = api.mlflow_init(
            platform, _typed(flags), **route, timeout_s=timeout, dry_run=dry_run, show=show, say=say
        )
    if not _print_start(started.plan, started.endpoints, started.unknown, is_planned=dry_run):
        return
    click.echo(f"Every verb uses it from now on, until `{started.ending}`.")
    for name in started.overriding:
        say(f"note: {name} is set and takes precedence over it.")


@click.command("mlflow-remove")
@_existing_stack
@_volumes_option("Also delete its data and secrets.")
@force_option("Remove the stack even if another folder or home started it.")
@dry_run_option
def mlflow_remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove the stack. Verbs use files again. Data and secrets stay unless --volumes is given."""
    _print_end(api.mlflow_remove(**options, dry_run=dry_run, say=say), dry_run)


@click.command("compose-logs")
@_existing_stack
@_logs_options(" service: mlflow, postgres, minio or bucket")
def compose_logs(dry_run: bool, **options: Any) -> int:
    """Print the logs of the stack on Docker."""
    return _print_logs(api.compose_logs(**options, dry_run=dry_run, say=say), dry_run)


@click.command("kubernetes-secrets")
@_setting_flag("MLFLOW_BACKEND_STORE_URI", "MLflow's own database, instead of the stack's Postgres.")
@_setting_flag("MLFLOW_ARTIFACTS_DESTINATION", "Where to keep artifacts, instead of the stack's MinIO.")
@dry_run_option
def kubernetes_secrets(dry_run: bool, **flags: str | None) -> None:
    """Create the Secret that `kubectl apply -k k8s/tracking` needs. Existing passwords stay.

    Credentials for your own stores come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …
    """
    made = api.kubernetes_secrets(_typed(flags), dry_run=dry_run, say=say)
    if dry_run:
        click.echo(made.plan, nl=False)
        return
    click.echo(f"{made.place}: {'written' if made.is_changed else 'unchanged'}.")


_watched_platform = platform_option(PLATFORMS, "Platform whose deployments are watched.", "docker")


def _rules_of_option(verb: str) -> Decorator:
    text = f"Experiment file whose `monitoring.rules` are {verb}."
    return click.option("--config", type=click.Path(path_type=Path), help=text)


def _port_option(service: str, default: int) -> Decorator:
    text = f"Port of this machine for {service.capitalize()}; on Kubernetes, of the command that opens it."
    return option_with_default(f"--{service}-port", type=PORT, default=default, help=text)


@click.command("monitoring-init")
@_rules_of_option("added")
@_watched_platform
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
@option_with_default(
    "--scrape-interval",
    "scrape_interval_s",
    type=click.IntRange(min=1),
    default=10,
    help="Seconds between two questions to a replica, and between two evaluations of the rules.",
)
@option_with_default("--grafana", type=click.Choice(("on", "off")), default="on", help="Start Grafana, too.")
@_port_option("prometheus", 9090)
@_port_option("alertmanager", 9093)
@_port_option("grafana", 3000)
@_timeout_option(120)
@dry_run_option
def monitoring_init(grafana: str, hooks: tuple[str, ...], dry_run: bool, **options: Any) -> None:
    """Start Prometheus, Alertmanager and Grafana, which watch the platform's deployments, also later ones.

    Prometheus has rules for all deployments and, with --config, `monitoring.rules` of that experiment for its
    deployment. Run it again with another experiment to add its rules.
    """
    ports = {service: options.pop(f"{service}_port") for service in ("prometheus", "alertmanager", "grafana")}
    started = api.monitoring_init(
        **options, hooks=hooks or None, grafana=grafana == "on", ports=ports, dry_run=dry_run, say=say
    )
    if _print_start(started.plan, started.endpoints, started.unknown, is_planned=dry_run, width=14):
        remove = next_command("monitoring-remove", platform=options["platform"])
        click.echo(f"Deployments are watched until `{remove}`.")


@click.command("monitoring-remove")
@_watched_platform
@_volumes_option("Also delete what was measured, and all rules.")
@_forced
@dry_run_option
def monitoring_remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove Prometheus, Alertmanager and Grafana. Deployments go on serving."""
    _print_end(api.monitoring_remove(**options, dry_run=dry_run, say=say), dry_run)


@click.command("monitoring-rules")
@_rules_of_option("printed, too")
@model_options
@stage_option
@click.option("--dashboard", "is_dashboard", is_flag=True, help="Print the JSON of the Grafana dashboard instead.")
def monitoring_rules(is_dashboard: bool, **options: Any) -> None:
    """Print Prometheus rules, or the Grafana dashboard, for a Prometheus and a Grafana of your own."""
    click.echo(api.monitoring_dashboard() if is_dashboard else api.monitoring_rules(**options), nl=False)


def _airflow_options(timeout_s: int) -> Decorator:
    return in_order(
        option_with_default(
            "--port", type=PORT, default=8080, help="Port of this machine for its page and its REST API."
        ),
        option_with_default(
            "--parallelism",
            type=click.IntRange(min=1),
            default=2,
            help="How many tasks run at once; deferred ones do not count.",
        ),
        _timeout_option(timeout_s, "Seconds to wait until it is healthy."),
        dry_run_option,
    )


@click.command("airflow-local")
@click.option("--dags", type=click.Path(path_type=Path), help="Folder of DAGs. Default: airflow/dags.")
@_airflow_options(120)
def airflow_local(**options: Any) -> None:
    """Run Airflow on this machine, without Docker, until Ctrl-C; all of its processes end with it.

    Only this machine reaches it. It needs `winnow install-tool --tool airflow`.
    """
    plan = api.airflow_local(**options, say=say)
    if options["dry_run"]:
        click.echo(plan, nl=False)


@click.command("airflow-init")
@option_with_default("--platform", type=click.Choice(PLATFORMS), default="docker")
@click.option("--registry", metavar="HOST/PATH", default="", help="Registry of the image, for a cluster.")
@_airflow_options(300)
def airflow_init(dry_run: bool, platform: str, **options: Any) -> None:
    """Start Airflow with Postgres in containers, from an image with this project in it.

    Run it again to bring changed experiments and DAGs into the image. On Kubernetes it prints manifests, and the
    commands that build the image and apply them.
    """
    with shown_steps() as show:
        started = api.airflow_init(platform, **options, dry_run=dry_run, show=show, say=say)
    is_planned = dry_run or not started.endpoints
    if _print_start(started.plan, started.endpoints, started.unknown, is_planned=is_planned):
        click.echo(f"It runs until `{next_command('airflow-remove')}`.")


@click.command("airflow-remove")
@_volumes_option("Also delete its database, what its tasks have made, and its secrets.")
@_forced
@dry_run_option
def airflow_remove(dry_run: bool, **options: Any) -> None:
    """Stop and remove Airflow on Docker. Its runs and secrets stay unless --volumes is given."""
    _print_end(api.airflow_remove(**options, dry_run=dry_run, say=say), dry_run)


@click.command("airflow-logs")
@_logs_options(": api-server, scheduler, dag-processor, triggerer, database")
def airflow_logs(dry_run: bool, **options: Any) -> int:
    """Print the logs of Airflow on Docker."""
    return _print_logs(api.airflow_logs(**options, dry_run=dry_run, say=say), dry_run)


@click.command("spark-init")
@option_with_default("--spark-port", "port", type=PORT, default=7077, help="Port of this machine for sessions.")
@option_with_default("--page-port", type=PORT, default=8081, help="Port of the master's page.")
@option_with_default("--cores", type=click.IntRange(min=1), default=2, help="Cores that the worker offers.")
@option_with_default("--memory", default="2g", help="Memory that it offers, as Spark writes it.")
@_timeout_option(120)
@dry_run_option
def spark_init(dry_run: bool, **options: Any) -> None:
    """Start a master and a worker of Spark in containers of this machine, from an image that is built first.

    Both listen on 127.0.0.1 alone and ask for a secret, which is made and kept in the home.
    """
    with shown_steps() as show:
        started = api.spark_init(**options, dry_run=dry_run, show=show)
    if _print_start(started.plan, started.endpoints, is_planned=dry_run, width=8):
        command = next_command("prepare", config=..., engine="spark", spark_master=started.endpoints["Master"])
        click.echo(f"Use it: `{command}`. It runs until `{next_command('spark-remove')}`.")


@click.command("spark-remove")
@_forced
@dry_run_option
def spark_remove(dry_run: bool, force: bool) -> None:
    """Stop and remove Spark's master and worker, and their secret. Prepared rows stay."""
    _print_end(api.spark_remove(force=force, dry_run=dry_run), dry_run)
