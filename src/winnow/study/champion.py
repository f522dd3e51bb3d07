"""The champion of a study's model in the registry."""

from __future__ import annotations

from winnow.study.view import Champion, StudyView
from winnow.tracking.connection import sqlite_path
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import TrackingUnavailableError


def champion_of(view: StudyView, tracking_uri: str) -> Champion | None:
    """The champion; None if there is none, or the store does not answer."""
    store = sqlite_path(tracking_uri)
    if store is not None and not store.is_file():
        return None
    try:
        records = Registry(tracking_uri).champions(view.sweep.model)
    except TrackingUnavailableError:
        return None
    if not records:
        return None
    version, since_ms = records[-1].version, int(records[-1].since.timestamp() * 1000)
    trial = next((trial.number for trial in view.trials if trial.run_id == version.run_id), None)
    return Champion(version.name, version.version, trial=trial, since_ms=since_ms, semantic=version.semantic)
