"""What uses the versions of a data set: studies that may go on, and registered models that may have to be explained.

Retention removes none of these. It asks only where there is something to remove, since the stores may be slow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.config.errors import WinnowError
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.settings import current
from winnow.study.database import Database, NoStudiesError
from winnow.study.store import study_names
from winnow.tracking.records import LINEAGE
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion, NoStoreError, TrackingUnavailableError

VERSION = f"{LINEAGE}version"


def users_of(
    versions: Sequence[Path], model: str, home: Path, environment: Mapping[str, str] = os.environ
) -> Mapping[str, str]:
    """What uses which of the versions, by their names: `study shop-2 was made with it`.

    Args:
        versions: folders, or files, of versions.
        home: winnow's own folder, whatever `environment` says.

    Returns:
        All versions, with the reason, where a store does not answer: what is in doubt stays.
    """
    try:
        settings = current({**environment, "WINNOW_HOME": str(home)})
        found: dict[str, str] = {}
        for study in _studies(settings.storage_url):
            store = find_study(settings, study)
            if store is None:
                continue
            header = store.header
            trained = {*map(Path, header.experiment.data.sources), Path(header.sweep.lineage.get(VERSION, ""))}
            names = {part for path in trained for part in (*path.parts, path.stem)}
            found.update({each.stem: f"study {study} was made with it" for each in versions if each.stem in names})
        for version in _registered(settings.tracking_uri, model):
            name = version.lineage.get(VERSION, "")
            if name in {each.stem for each in versions} - found.keys():
                found[name] = f"{model} version {version.label} was trained on it"
    except (WinnowError, TrackingUnavailableError) as error:
        return {each.stem: f"it is not known whether it is in use: {error}" for each in versions}
    return found


def _studies(storage_url: str) -> list[str]:
    file = storage_url.removeprefix("sqlite:///")
    if file != storage_url and not Path(file).is_file():
        return []
    try:
        return study_names(Database(storage_url))
    except NoStudiesError:
        return []


def _registered(tracking_uri: str, model: str) -> list[ModelVersion]:
    try:
        return Registry(tracking_uri).versions(model)
    except NoStoreError:
        return []
