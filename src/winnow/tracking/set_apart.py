"""Sets the runs of a deleted study apart in MLflow, so that a new study of the same name makes runs of its own.

Runs are found by their tag `winnow.kind`. Those of a deleted study get another kind and keep everything else, so that
registered models still lead to their run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from winnow.tracking.connection import failures_as_unavailable, open_client
from winnow.tracking.projection import KIND, STUDY

DELETED_AT = "winnow.study.deleted_at"
_KINDS = ("sweep", "trial")
_PAGE = 1000


def runs_of(uri: str, study: str) -> int:
    """How many runs of a study the store holds that are not set apart.

    Raises:
        TrackingUnavailableError: the store does not answer.
    """
    client = open_client(uri)
    with failures_as_unavailable(), _experiment(client, study) as experiment_id:
        return sum(1 for _ in _found(client, experiment_id, study))


def set_apart(uri: str, study: str, at_ms: int) -> int:
    """Mark every run of a study as one of a deleted study, and end those that are shown as running.

    A second call goes on where the first was interrupted.

    Args:
        at_ms: when the study is deleted, in milliseconds since the epoch.

    Returns:
        How many runs were marked.

    Raises:
        TrackingUnavailableError: the store does not answer; some runs may be marked.
    """
    from mlflow.entities import RunTag

    client, at = open_client(uri), datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
    with failures_as_unavailable(), _experiment(client, study) as experiment_id:
        runs = list(_found(client, experiment_id, study))
        for run in runs:
            if run.info.status in ("RUNNING", "SCHEDULED"):
                client.set_terminated(run.info.run_id, "KILLED", at_ms)
            tags = {KIND: f"deleted-{run.data.tags[KIND]}", DELETED_AT: at}
            client.log_batch(run.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    return len(runs)


@contextmanager
def _experiment(client: Any, study: str) -> Iterator[str | None]:
    """The id of a study's MLflow experiment; one that was deleted there is restored meanwhile.

    The next study of that name would restore it, and its runs with it.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None or experiment.lifecycle_stage != "deleted":
        yield None if experiment is None else str(experiment.experiment_id)
        return
    client.restore_experiment(experiment.experiment_id)
    try:
        yield str(experiment.experiment_id)
    finally:
        client.delete_experiment(experiment.experiment_id)


def _found(client: Any, experiment_id: str | None, study: str) -> Iterator[Any]:
    if experiment_id is None:
        return
    for kind in _KINDS:
        token = None
        while True:
            page = client.search_runs(
                [experiment_id],
                f"tags.`{KIND}` = '{kind}' and tags.`{STUDY}` = '{study}'",
                max_results=_PAGE,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                break
