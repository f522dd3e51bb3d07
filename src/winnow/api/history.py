"""Where a registered version comes from, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import connected, model_name
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag

if TYPE_CHECKING:
    from winnow.study.story import ModelStory
    from winnow.tracking.history import ModelRecord


def why(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    run: str | None = None,
    request: str | None = None,
    inputs: Sequence[str] = (),
    html: Path | str | None = None,
) -> ModelStory:
    """Say where a model version comes from and what became of it, from records that are only ever added to.

    Data, code, study, trial, parameters and metrics; verdicts of gates; when and why it got its aliases; rollouts,
    rollbacks, alerts and retrainings. Give a version, an alias, a run or a request; by default it is the champion.

    Args:
        name: name of the model; by default that of the study or the file.
        run: id of the run that registered the version.
        request: the `x-request-id` of an answer; the prediction log says which version gave it.
        inputs: files of the prediction log; by default those of `monitoring.quality.outcomes`.
        html: a page to write, which needs no other file.

    Raises:
        InputError: there is no such version, run or request, a store does not answer, or the page cannot be written.
    """
    asked = {"version": version, "alias": alias, "run": run, "request": request}
    given = [flag for flag, value in asked.items() if value is not None]
    if len(given) > 1:
        raise InputError(
            " and ".join(next_flag(each) for each in given),
            expected="one of them",
            found=f"{len(given)}",
            remedy="Ask about one version at a time.",
        )
    model = model_name(config, study, name) if run is None and request is None else ""
    paths, place = _logs(config, inputs) if request is not None else ((), "")
    from winnow.orchestrators import why as orchestrator

    settings, registry = connected()
    if run is not None:
        found = orchestrator.why_run(run, registry, settings)
    elif request is not None:
        found = orchestrator.why_request(request, paths, registry, settings, place=place)
    else:
        found = orchestrator.why_version(model, registry, settings, alias=alias, number=version)
    if html is not None:
        orchestrator.write_story(found, Path(html))
    return found


def note(name: str, record: ModelRecord) -> None:
    """Add a record to a model's history.

    Raises:
        InputError: the store does not answer.
    """
    from winnow.orchestrators.select_model import store_is_needed

    settings, registry = connected()
    with store_is_needed(settings.tracking_uri):
        registry.note(name, record, datetime.now(UTC))


def _logs(config: Path | str | None, inputs: Sequence[str]) -> tuple[Sequence[str], str]:
    """The files of the prediction log, and what errors about them name."""
    if inputs or config is None:
        return inputs, next_flag("input")
    from winnow.config.loader import load_experiment

    return load_experiment(config).monitoring.quality.outcomes, f"{config}: monitoring.quality.outcomes"
