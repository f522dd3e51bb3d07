"""Watch what is served, and join what it predicted with what turned out to be true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent
from winnow.api.deployments import deployment_name_of

if TYPE_CHECKING:
    from winnow.monitoring.outcomes import JoinedOutcomes
    from winnow.monitoring.report import MonitoringReport


def monitor(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    prometheus: str | None = None,
    html: Path | str | None = None,
    output: Path | str | None = None,
    evidently: Path | str | None = None,
    say: Callable[[str], None] = silent,
) -> MonitoringReport:
    """Look at a deployment once: compare its requests since the last look with what its model was trained on.

    Alarms that begin or end are told to `monitoring.alert` and kept in the model's history. A receiver that does not
    answer is reported by `say`, and told at the next look.

    Args:
        config: the experiment file; without the model's name in it, the experiment that the study stores counts.
        name, platform: as for `rollout_status`.
        prometheus: address of a Prometheus that scrapes the replicas; by default `monitoring.prometheus`, else the
            replicas are asked.
        html: a page to write, which needs no other file.
        output: a file of gauges to write, in Prometheus' text format.
        evidently: a page of Evidently to write, of logged rows; see `install_tool`.
        say: is called with warnings.

    Raises:
        InputError: the deployment is not served, its bundle has no profile, a replica serves another model, a rule
            names what the model does not have, or the receiver of alarms cannot be told.
        UnreachableError: the platform or the Prometheus does not answer.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators import monitor as orchestrator

    request = orchestrator.MonitorRequest(
        chosen,
        platform,
        None if config is None else Path(config),
        study,
        prometheus,
        None if html is None else Path(html),
        None if output is None else Path(output),
        None if evidently is None else Path(evidently),
    )
    return orchestrator.monitor(Settings.from_environment(), request, say)


def outcomes(
    source: str | Path | Sequence[str | Path],
    *,
    metric: str = "accuracy",
    name: str | None = None,
    output: Path | str | None = None,
) -> JoinedOutcomes:
    """Join logged predictions with their outcomes, and measure each revision.

    Args:
        source: where the lines of the log are: files, folders, patterns such as `logs/*.jsonl`, or URLs such as
            `s3://bucket/cells/`.
        metric: "accuracy", "absolute_error", "squared_error", or "value" for the mean of the outcomes themselves.
        name: name of the deployment; by default all.
        output: a Parquet file to write, with a row for each prediction and its outcome.

    Raises:
        InputError: there are no files, no predictions in them, only outcomes of other requests, no such metric, or no
            values of it.
        WinnowError: a file cannot be read or written.
    """
    from winnow.config.next_command import next_flag
    from winnow.monitoring.outcomes import join_outcomes

    paths = [source] if isinstance(source, str | Path) else source
    target = None if output is None else Path(output)
    return join_outcomes(list(map(str, paths)), metric, deployment=name, output=target, place=next_flag("input"))
