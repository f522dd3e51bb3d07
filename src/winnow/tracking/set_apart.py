"""Marks a deleted study's runs in MLflow, so that a new study of the same name makes runs of its own.

The tag `winnow.kind` identifies runs. Those of a deleted study get another kind and keep everything else: registered
models still lead to their runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from winnow.tracking.connection import every_page, failures_as_unavailable, open_client
from winnow.tracking.projection import KIND, STUDY

DELETED_AT = "winnow.study.deleted_at"


def runs_of(uri: str, study: str) -> int:
    """How many unmarked runs of a study the store holds. Raises TrackingUnavailableError."""
    with _runs(open_client(uri), study) as runs:
        return len(runs)


def set_apart(uri: str, study: str, at_ms: int) -> int:
    """Mark every run of a study as deleted, and end those that are running; return how many runs were marked.

    An interrupted call can be repeated.

    Args:
        at_ms: when the study was deleted, in milliseconds since the epoch.

    Raises:
        TrackingUnavailableError: the store does not answer; some runs may be marked.
    """
    from mlflow.entities import RunTag

    client, at = open_client(uri), datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    with _runs(client, study) as runs:
        for run in runs:
            if run.info.status in ("RUNNING", "SCHEDULED"):
                client.set_terminated(run.info.run_id, "KILLED", at_ms)
            tags = {KIND: f"deleted-{run.data.tags[KIND]}", DELETED_AT: at}
            client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    return len(runs)


@contextmanager
def _runs(client: Any, study: str) -> Iterator[list[Any]]:
    """The unmarked runs of a study. An MLflow experiment that was deleted is restored meanwhile.

    The next study of that name would restore it, and its runs with it.
    """
    with failures_as_unavailable():
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            yield []
            return
        is_deleted = experiment.lifecycle_stage == "deleted"
        if is_deleted:
            client.restore_experiment(experiment.experiment_id)
        try:
            yield [
                run
                for kind in ("sweep", "trial")
                for run in every_page(
                    client.search_runs,
                    [experiment.experiment_id],
                    f"tags.`{KIND}` = '{kind}' and tags.`{STUDY}` = '{study}'",
                    max_results=1000,
                )
            ]
        finally:
            if is_deleted:
                client.delete_experiment(experiment.experiment_id)
