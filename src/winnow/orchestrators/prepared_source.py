"""Resolve a source of Prepared."""

from __future__ import annotations

from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.orchestrators.data_source import ResolvedSource


def resolve_prepared(experiment: Experiment, settings: Settings) -> ResolvedSource:
    """The files of the source, and their lineage. Raises InputError."""
    raise NotImplementedError
