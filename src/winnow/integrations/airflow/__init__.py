"""DAGs of Airflow that call winnow's verbs."""

from __future__ import annotations

from pathlib import Path


def airflow_dags(
    config: Path | str,
    *,
    rules: Path | str | None = None,
    output: Path | str = "airflow/dags",
    azure: bool = False,
    force: bool = False,
) -> list[Path]:
    """Write DAGs for an experiment: its data, its training with the gates, its deployment, a rollback.

    They are readable files, to be kept and changed. Schedule and platform are those of `retrain`.

    Args:
        config: the experiment file, by its path in the project's folder.
        rules: the rules file with the gates; by default `retrain.rules`, else the one that winnow ships.
        output: the folder.
        azure: also two DAGs that serve on Azure ML, by hand and for each new champion.
        force: overwrite files that differ.

    Returns:
        The files.

    Raises:
        InputError: the experiment or the rules are wrong, or a file is there and differs.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(config)
    from winnow.integrations.airflow.dags import render_dags
    from winnow.integrations.rendered import write_rendered

    named = rules if rules is not None else experiment.retrain.rules
    dags = render_dags(experiment, Path(config), None if named is None else Path(named), azure=azure)
    return write_rendered(dags, Path(output), is_forced=force)
