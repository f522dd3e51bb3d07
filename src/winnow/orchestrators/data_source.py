"""Resolve sources that are no files yet: what was prepared, what DVC keeps, and what Feast joins.

A study keeps the rows that it was made with: its stored experiment names the files of one version, and its lineage says
where they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.experiment import DataConfig, Experiment, ReadConfig
from winnow.config.functions import DVC, FEAST, PREPARED
from winnow.config.settings import Settings
from winnow.orchestrators.opened_study import find_study
from winnow.tracking.projection import DATA_SOURCE


@dataclass(frozen=True)
class ResolvedSource:
    """The files of a source, and where they come from.

    Attributes:
        source: a file, or a folder of files, as `data.source` names it.
        lineage: tags, such as `winnow.data.version`.
    """

    source: str
    lineage: Mapping[str, str]


Resolver = Callable[[Experiment, Settings], ResolvedSource]


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
            from winnow.orchestrators.prepared_source import check_kept

            check_kept(str(kept), existing.header.sweep.lineage)
        elif data.shown_source.startswith(DVC):
            from winnow.orchestrators.dvc_source import restore

            restore(data, Path(str(kept)), existing.header.sweep.lineage, settings.home)
        return _moved(experiment, kept), existing.header.sweep.lineage
    found = resolver(experiment, settings)
    return _moved(experiment, found.source), {DATA_SOURCE: written(data), **found.lineage}


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
    source = data.source
    if source == PREPARED:
        from winnow.orchestrators.prepared_source import resolve_prepared

        return resolve_prepared
    if isinstance(source, str) and source.startswith(DVC):
        from winnow.orchestrators.dvc_source import resolve_dvc

        return resolve_dvc
    if isinstance(source, str) and source.startswith(FEAST):
        from winnow.orchestrators.feast_source import resolve_feast

        return resolve_feast
    return None
