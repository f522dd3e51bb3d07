"""List the experiments in the storage, and put their studies side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_command
from winnow.config.private import share
from winnow.config.settings import Settings
from winnow.orchestrators.report import write_html
from winnow.orchestrators.select_model import store_is_needed
from winnow.study.catalog import summaries
from winnow.study.database import Database, NoStudiesError
from winnow.study.experiments import (
    ChampionChange,
    ExperimentStudy,
    ExperimentVersion,
    TrackedExperiment,
    TrackedExperiments,
    compare_studies,
    study_of,
)
from winnow.study.store import StudyStore
from winnow.tracking.connection import sqlite_path
from winnow.tracking.registry import Registry

ALIASES = ("candidate", "staging", "champion")


def track_experiments(
    settings: Settings, studies: Sequence[str] = (), name: str | None = None, page: Path | None = None
) -> TrackedExperiments:
    """All experiments, or the one called `name`, or those of some studies; the latter two with their studies compared.

    Raises InputError if there is no such experiment or study, a store does not answer, or the page cannot be written.
    """
    found = _by_experiment(settings)
    if name is not None:
        _check("experiment", [name], list(found))
        found = {name: found[name]}
    members = {each.name: each for of_model in found.values() for each in of_model}
    _check("study", studies, list(members))
    chosen = [members[each] for each in dict.fromkeys(studies)] or list(members.values())
    kept = {model: tuple(each for each in of_model if each in chosen) for model, of_model in found.items()}
    # Reading a file that does not exist would create it.
    file = sqlite_path(settings.tracking_uri)
    registry = None if file is not None and not file.is_file() else Registry(settings.tracking_uri)
    with store_is_needed(settings.tracking_uri):
        experiments = tuple(_tracked(model, of_model, registry) for model, of_model in kept.items() if of_model)
    is_compared = (bool(studies) or name is not None) and len(chosen) > 1
    tracked = TrackedExperiments(experiments, compare_studies(chosen) if is_compared else None)
    if page is not None:
        from winnow.report.sheets import render_sheets

        write_html(render_sheets("Experiments", tracked.sheets(), "There is no study yet."), page)
        share(page)
    return tracked


def _by_experiment(settings: Settings) -> dict[str, tuple[ExperimentStudy, ...]]:
    """Every study in the storage, by its experiment."""
    try:
        database = Database(settings.storage_url)
        listed = summaries(database)
    except NoStudiesError:
        return {}
    found: dict[str, tuple[ExperimentStudy, ...]] = {}
    for summary in listed:
        store = StudyStore(database, summary.name)
        winner = None if summary.best_trial is None else store.trial(summary.best_trial)
        versions = [each.version for each in store.refits() if each.version is not None]
        sweep = store.header.sweep
        found[sweep.model] = (*found.get(sweep.model, ()), study_of(summary, sweep, winner, versions))
    return found


def _tracked(model: str, studies: tuple[ExperimentStudy, ...], registry: Registry | None) -> TrackedExperiment:
    if registry is None:
        return TrackedExperiment(model, studies)
    holders = {alias: registry.champion(model, alias) for alias in ALIASES}
    versions = tuple(
        ExperimentVersion(
            each.version,
            tuple(alias for alias, holder in holders.items() if holder is not None and holder.version == each.version),
            {stage: str(msgspec.json.decode(text)["reason"]) for stage, text in registry.verdicts(each).items()},
            each.semantic,
        )
        for each in registry.versions(model)
    )
    champions = tuple(
        ChampionChange(
            each.version.version, each.since.isoformat(timespec="seconds"), each.reason, each.version.semantic
        )
        for each in registry.champions(model)
    )
    return TrackedExperiment(model, studies, versions, champions)


def _check(kind: str, asked: Sequence[str], known: Sequence[str]) -> None:
    """Raise InputError for the first name that is not known."""
    for name in asked:
        if name not in known:
            raise InputError(
                f"{kind} {name!r}",
                expected=f"{'an' if kind == 'experiment' else 'a'} {kind} in the storage",
                found=f"none with that name among {len(known)}",
                remedy=f"{did_you_mean(name, known)} `{next_command('track-experiments')}` lists all.".strip(),
            )
