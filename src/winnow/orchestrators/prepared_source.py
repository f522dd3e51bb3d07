"""Resolve `source: prepared`: the files of the version that `winnow prepare` made last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from winnow.config.errors import InputError
from winnow.config.experiment import Engine, Experiment
from winnow.config.next_command import next_command, next_flag
from winnow.config.settings import Settings
from winnow.data.stage.ingested import Ingested, raw_folder
from winnow.data.stage.instructions import read_instructions
from winnow.data.stage.prepared import Prepared, prepared_folder
from winnow.data.stage.versions import current_version, described
from winnow.orchestrators.data_source import ResolvedSource

VERSION = "winnow.data.version"
"""The tag with the version of the prepared rows."""


def resolve_prepared(experiment: Experiment, settings: Settings) -> ResolvedSource:
    """The file of the current version, or its folder where the rows are split into several.

    Raises:
        InputError: nothing was prepared, or by another query or function than the file has now.
    """
    prepare = experiment.data.prepare
    if prepare is None:
        remedy = "Say how rows are made, in `data.prepare`, or name the files in `data.source`."
        raise InputError("data.source", expected="a section `data.prepare`", found="none", remedy=remedy)
    found = current_version(prepared_folder(settings.home, experiment.name), Prepared)
    command = next_command("prepare")
    if found is None:
        raise InputError(
            "data.source",
            expected="rows that have been prepared",
            found="none",
            remedy=f"Prepare them first: `{command}`.",
        )
    folder, made = found
    engine = made.inputs.engine.partition(" ")[0]
    instructions = read_instructions(prepare, cast("Engine", engine), Path.cwd())
    if instructions.digest != made.inputs.recipe:
        raise InputError(
            "data.source",
            expected="rows that were prepared as `data.prepare` says",
            found=f"version {made.version}, which was prepared before it changed",
            remedy=f"Prepare them again: `{command}`.",
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
    return ResolvedSource(
        str(folder if prepare.partition_by else folder / made.files[0]), {k: v for k, v in lineage.items() if v}
    )


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
