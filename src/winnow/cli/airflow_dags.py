"""`winnow airflow-dags`: DAGs of Airflow for an experiment."""

from __future__ import annotations

from pathlib import Path

import click

from winnow.cli.options import config_option, rules_option, say


@click.command("airflow-dags")
@config_option
@rules_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("airflow/dags"),
    show_default=True,
    help="The folder of DAGs.",
)
@click.option("--azure", is_flag=True, help="Also the DAGs that serve on Azure ML.")
@click.option("--force", is_flag=True, help="Overwrite files that differ.")
def command(config: Path, rules: Path | None, output: Path, azure: bool, force: bool) -> None:
    """Write DAGs of Airflow that call winnow's verbs for an experiment: data, training, deployment, rollback.

    They are yours to change. Equal input gives equal files.
    """
    from winnow import integrations

    for path in integrations.airflow_dags(config, rules=rules, output=output, azure=azure, force=force):
        say(str(path))
