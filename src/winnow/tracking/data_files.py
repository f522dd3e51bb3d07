"""Data files in the artifact store, each once, under the sha256 of its content.

A worker in a container or a pod has not the files of the terminal that started it, but it reaches the tracking store,
so that is where it fetches them from. They lie beside the runs, in an experiment of their own whose artifact location
the store itself has chosen. What is in a file is none of this module's business.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from winnow.bundle.manifest import sha256_of
from winnow.tracking.connection import open_client, transferring
from winnow.tracking.store import artifact_root_beside

EXPERIMENT = "winnow.data"
"""No study can be called so."""


class DamagedFileError(ValueError):
    """What came out of the store is not what was put into it."""


class DataFiles:
    """The data files of one store. Every call raises TrackingUnavailableError where the store is away."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def put(self, path: Path) -> str:
        """Store a file unless the store holds it already; return its sha256."""
        digest = sha256_of(path)
        with transferring():
            repository = self._repository(digest)
            # MLflow's repositories write a file in place: a marker that comes after it says that this one is whole.
            whole = f".{path.name}.whole"
            held = {Path(found.path).name for found in repository.list_artifacts()}
            if not {path.name, whole} <= held:
                repository.log_artifact(str(path))
                with tempfile.TemporaryDirectory() as folder:
                    marker = Path(folder) / whole
                    marker.write_text(f"{path.name}\n", encoding="utf-8")
                    repository.log_artifact(str(marker))
        return digest

    def fetch(self, digest: str, name: str, folder: Path) -> Path:
        """The file, as `folder/DIGEST/NAME`, taken from there where it was fetched before.

        Raises:
            DamagedFileError: it is not the one that was stored.
        """
        place = folder / digest / name
        if place.is_file() and sha256_of(place) == digest:
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            with transferring():
                fetched = Path(self._repository(digest).download_artifacts(name, dst_path=scratch))
            if sha256_of(fetched) != digest:
                raise DamagedFileError(f"{name}: expected sha256 {digest}, found {sha256_of(fetched)}")
            shutil.move(fetched, place)
        return place

    def _repository(self, digest: str) -> Any:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        location = self._experiment().artifact_location.rstrip("/")
        return get_artifact_repository(f"{location}/{digest}", tracking_uri=self._uri)

    def _experiment(self) -> Any:
        from mlflow.exceptions import MlflowException

        client = open_client(self._uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return found
        try:
            root = artifact_root_beside(self._uri)
            location = None if root is None else f"{root}/{EXPERIMENT}"
            return client.get_experiment(client.create_experiment(EXPERIMENT, location))
        except MlflowException as error:
            # Two terminals at once: the other one has made it.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return client.get_experiment_by_name(EXPERIMENT)
