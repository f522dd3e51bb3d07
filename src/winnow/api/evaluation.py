"""Evaluate registered versions on rows, compare two of them, and promote one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import model_name

if TYPE_CHECKING:
    from winnow.orchestrators.evaluate import Comparison, Evaluation


def evaluate(
    source: Path | str | None = None,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str = "champion",
    version: str | None = None,
    by: str | None = None,
    metrics: Sequence[str] = (),
) -> Evaluation:
    """Measure a registered version on rows, with intervals.

    Rows that the version was trained on are left out.

    Args:
        source: a file of rows with the target, or whatever `data.source` may be; by default the holdout of the
            version's study.
        name: name of the model; by default that of the study or the file.
        by: a column whose values part the rows; it need not be a feature.
        metrics: by default those of the study.

    Raises:
        InputError: there is no such version, the rows cannot be read, lack the target or do not fit the model, or
            there is no such metric or column.
    """
    model = model_name(config, study, name)
    from winnow.orchestrators import evaluate as orchestrator
    from winnow.orchestrators import evidence
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    registry = Registry(settings.tracking_uri)
    loaded = evidence.choose(registry, model, settings, alias=alias, number=version)
    rows = evidence.rows_for(None if source is None else str(source), loaded, settings)
    wanted = orchestrator.metrics_of(evidence.experiment_of(loaded, settings), loaded.manifest, metrics)
    return orchestrator.evaluate(model, evidence.gather(rows, loaded, None, is_chosen=source is not None), wanted, by)


def compare_ab(
    a: str,
    b: str,
    source: Path | str | None = None,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    metrics: Sequence[str] = (),
) -> Comparison:
    """Compare two registered versions on the same rows, paired, with intervals and a verdict.

    Rows that either was trained on are left out.

    Args:
        a, b: numbers of the versions. The verdict says whether b is better.
        source: a file of rows with the target, or whatever `data.source` may be; by default the holdout of b's study.
        name: name of the model; by default that of the study or the file.
        metrics: by default those of b's study; the first one decides.

    Raises:
        InputError: there is no such version, they predict different things, or there are no rows for both.
    """
    model = model_name(config, study, name)
    from winnow.orchestrators import evaluate as orchestrator
    from winnow.orchestrators import evidence
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    registry = Registry(settings.tracking_uri)
    first, second = (evidence.choose(registry, model, settings, number=each) for each in (a, b))
    evidence.check_same_kind(second, first)
    rows = evidence.rows_for(None if source is None else str(source), second, settings)
    wanted = orchestrator.metrics_of(evidence.experiment_of(second, settings), second.manifest, metrics)
    found = evidence.gather(rows, second, first, is_chosen=source is not None)
    return orchestrator.compare(model, found, wanted)
