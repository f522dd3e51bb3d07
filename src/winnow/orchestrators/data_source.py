"""Resolve sources that are no files yet: what was prepared, what DVC keeps, and what Feast joins.

A study keeps the rows that it was made with: its stored experiment names the files of one version, and its lineage says
where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from winnow.config.errors import InputError
from winnow.config.experiment import DataConfig, Engine, Experiment, ReadConfig
from winnow.config.functions import DVC, FEAST, PREPARED
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.data.stage.instructions import read_instructions
from winnow.data.stage.versions import Ingested, Prepared, current_version, described, prepared_folder, raw_folder
from winnow.orchestrators.dvc import resolve_dvc, restore
from winnow.orchestrators.opened_study import find_study
from winnow.tracking.projection import DATA_SOURCE

Resolver = Callable[[Experiment, Settings], tuple[str, Mapping[str, str]]]
"""Gives a file or a folder of files, as `data.source` names it, and tags that say where it comes from."""


def resolve_source(
    experiment: Experiment, settings: Settings, study: str | None = None
) -> tuple[Experiment, Mapping[str, str]]:
    """The experiment with the files of its source, and their lineage; unchanged where it names files itself.

    Args:
        study: a study that keeps its version if it has one of the same source.

    Raises:
        InputError: there is no version, its tool is not installed or does not answer, or the source is wrong.
    """
    data = experiment.data
    resolver = _resolver(data)
    if resolver is None:
        return experiment, {}
    existing = None if study is None else find_study(settings, study)
    if existing is not None and existing.header.sweep.lineage.get(DATA_SOURCE) == written(data):
        kept = existing.header.experiment.data.source
        if data.source == PREPARED:
            check_kept(str(kept), existing.header.sweep.lineage)
        elif data.shown_source.startswith(DVC):
            restore(data, Path(str(kept)), existing.header.sweep.lineage, settings.home)
        return _moved(experiment, kept), existing.header.sweep.lineage
    source, lineage = resolver(experiment, settings)
    return _moved(experiment, source), {DATA_SOURCE: written(data), **lineage}


def written(data: DataConfig) -> str:
    """A source that is to be resolved, with all that says which rows it is, as one text."""
    parts = [data.shown_source, *(f"{key}={value}" for key in ("rev", "entities") if (value := getattr(data, key)))]
    return " ".join(parts)


def _moved(experiment: Experiment, source: object) -> Experiment:
    changes: dict[str, object] = {"source": source}
    if experiment.data.shown_source.startswith(FEAST):  # it says how `entities` are read
        changes["read"] = ReadConfig()
    return experiment.model_copy(update={"data": experiment.data.model_copy(update=changes)})


def _resolver(data: DataConfig) -> Resolver | None:
    """What resolves the source; None where it names files itself."""
    if data.source == PREPARED:
        return resolve_prepared
    if not isinstance(data.source, str) or not data.source.startswith((DVC, FEAST)):
        return None
    if data.source.startswith(DVC):
        return resolve_dvc
    # It imports pandas.
    from winnow.orchestrators.feast_source import resolve_feast

    return resolve_feast


VERSION = "winnow.data.version"
"""The tag with the version of the prepared rows."""


def resolve_prepared(experiment: Experiment, settings: Settings) -> tuple[str, Mapping[str, str]]:
    """The file of the current version, or its folder where the rows are split into several.

    Raises InputError if nothing was prepared, or by another query or function than the file has now.
    """
    prepare = experiment.data.prepare
    if prepare is None:
        remedy = "Say how rows are made, in `data.prepare`, or name the files in `data.source`."
        raise InputError("data.source", expected="a section `data.prepare`", found="none", remedy=remedy)
    found = current_version(prepared_folder(settings.home, experiment.name), Prepared)
    if found is None:
        remedy = f"Prepare them first: `{next_command('prepare')}`."
        raise InputError("data.source", expected="rows that have been prepared", found="none", remedy=remedy)
    folder, made = found
    engine = made.inputs.engine.partition(" ")[0]
    instructions = read_instructions(prepare, cast("Engine", engine), Path.cwd())
    if instructions.digest != made.inputs.recipe:
        raise InputError(
            "data.source",
            expected="rows that were prepared as `data.prepare` says",
            found=f"version {made.version}, which was prepared before it changed",
            remedy=f"Prepare them again: `{next_command('prepare')}`.",
        )
    lineage = {
        VERSION: made.version,
        "winnow.data.raw": made.inputs.raw,
        "winnow.data.engine": made.inputs.engine,
        "winnow.data.recipe": instructions.code[:12],
    }
    raw = described(raw_folder(settings.home, experiment.name) / made.inputs.raw, Ingested)
    if raw is not None:
        lineage.update(raw.lineage)
        lineage["winnow.data.ingested_by"] = raw.made_by
    lineage["winnow.data.prepared_by"] = made.made_by
    source = folder if prepare.partition_by else folder / made.files[0]
    return str(source), {name: value for name, value in lineage.items() if value}


def check_kept(source: str, lineage: Mapping[str, str]) -> None:
    """Raises InputError where the version that a study was made with has been removed for newer ones."""
    if not Path(source).exists():
        raise InputError(
            "data.source",
            expected=f"version {lineage[VERSION]} of the prepared rows, which the study was made with",
            found="it removed for newer ones",
            remedy=f"Start another study on the current version ({next_flag('study')}).",
        )


def newer_version(study: str, experiment: Experiment, lineage: Mapping[str, str], home: Path) -> str | None:
    """A line about prepared rows that are newer than those that a study keeps; None if there are none."""
    current = current_version(prepared_folder(home, experiment.name), Prepared)
    kept = lineage.get(VERSION)
    if kept is None or current is None or current[1].version == kept:
        return None
    newer = f"version {current[1].version} is newer: another study trains on it ({next_flag('study')})"
    return f"study {study}: keeps version {kept} of the prepared rows; {newer}"
