"""Stores data files in the artifact store, each once, under the sha256 of its content.

Workers in containers and pods cannot read the user's files, but they reach the tracking store. The files have an MLflow
experiment of their own; the store chooses its artifact location.
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
"""Not a valid name of a study."""


class DamagedFileError(ValueError):
    """A fetched file differs from the one that was stored."""


class DataFiles:
    """The data files of one store. Every call raises TrackingUnavailableError if the store does not answer."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def put(self, path: Path) -> str:
        """Store a file unless the store has it already; return its sha256."""
        digest = sha256_of(path)
        with transferring():
            repository = self._repository(digest)
            # MLflow writes files in place, so a marker that is written afterwards shows that the file is complete.
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
        """Fetch a file to `folder/DIGEST/NAME`, unless it is there already. Raises DamagedFileError."""
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
            # Another process created it meanwhile.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return client.get_experiment_by_name(EXPERIMENT)
