"""Join what deployments have predicted with what turned out to be true."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.monitoring.outcomes import JoinedOutcomes


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
