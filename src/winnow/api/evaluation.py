"""Evaluate registered versions on rows, compare two of them, and promote one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import connected, model_name, read_rules
from winnow.config.next_command import next_flag

if TYPE_CHECKING:
    from winnow.model_query.gates import Stage
    from winnow.orchestrators.evaluate import Comparison, Evaluation
    from winnow.orchestrators.predict import Scored
    from winnow.orchestrators.promote import Promotion


def evaluate(
    source: Path | str | None = None,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
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

    settings, registry = connected()
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
        a, b: numbers of the versions, as in `3` or `1.2.0`. The verdict says whether b is better.
        source: a file of rows with the target, or whatever `data.source` may be; by default the holdout of b's study.
        name: name of the model; by default that of the study or the file.
        metrics: by default those of b's study; the first one decides.

    Raises:
        InputError: there is no such version, they predict different things, or there are no rows for both.
    """
    model = model_name(config, study, name)
    from winnow.orchestrators import evaluate as orchestrator
    from winnow.orchestrators import evidence

    settings, registry = connected()
    first, second = (evidence.choose(registry, model, settings, number=each) for each in (a, b))
    evidence.check_same_kind(second, first)
    rows = evidence.rows_for(None if source is None else str(source), second, settings)
    wanted = orchestrator.metrics_of(evidence.experiment_of(second, settings), second.manifest, metrics)
    found = evidence.gather(rows, second, first, is_chosen=source is not None)
    return orchestrator.compare(model, found, wanted)


def predict_table(
    source: Path | str,
    output: Path | str,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    carry: Sequence[str] = (),
    force: bool = False,
) -> Scored:
    """Score the rows of a file with a registered version, in batches, with the answers that its server gives.

    Args:
        source: a CSV, Parquet or Arrow file, or a folder or pattern of them; of tensors an `.npy` or an `.npz` with X.
        output: a .parquet, .csv or .jsonl file: classes and their probabilities, or values, in the order of the rows.
        name: name of the model; by default that of the study or the file.
        carry: columns of the input to carry along.
        force: replace an existing output.

    Raises:
        InputError: there is no such version, the rows do not fit the model, or the output may not be written. An
            existing output is then unchanged.
    """
    model = model_name(config, study, name)
    from winnow.orchestrators import evidence, predict

    settings, registry = connected()
    loaded = evidence.choose(registry, model, settings, alias=alias, number=version)
    return predict.predict_table(str(source), Path(output), loaded, settings, carry=carry, is_forced=force)


def promote_model(
    stage: Stage,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    version: str | None = None,
    source: Path | str | None = None,
    rules: Path | str | None = None,
) -> Promotion:
    """Judge a version by the gates of a stage, and move the stage's alias to it where it passes them all.

    "staging" moves `@staging`, "production" moves `@champion`. Moving an alias deploys nothing. The verdicts are kept
    with the version.

    Args:
        name: name of the model; by default that of the study or the file.
        version: number of the version, as in `3` or `1.2.0`; by default that of `@candidate`.
        source: rows to judge on, as for `evaluate`; by default the holdout of the candidate's study.

    Raises:
        InputError: the stage has no gates, there is no such version, a gate names what does not exist, or the rows do
            not fit. No alias has moved then.
    """
    from winnow.config.errors import InputError
    from winnow.model_query.gates import STAGE_ALIASES

    if stage not in STAGE_ALIASES:
        raise InputError(
            next_flag("stage"),
            expected=f"one of {', '.join(STAGE_ALIASES)}",
            found=f"'{stage}'",
            remedy="Name the stage to promote to.",
        )
    model, (file, loaded) = model_name(config, study, name), read_rules(rules)
    from winnow.orchestrators import promote
    from winnow.orchestrators.select_model import store_is_needed

    settings, registry = connected()
    place, rows = str(file), None if source is None else str(source)
    with store_is_needed(settings.tracking_uri):
        return promote.promote(model, stage, loaded, registry, settings, place=place, version=version, source=rows)
