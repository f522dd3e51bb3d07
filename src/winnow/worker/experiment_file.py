"""The file from which ranks read their assignment: the study's experiment, and where this machine has the data."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from winnow.config.errors import WinnowError
from winnow.study.store import StudyStore
from winnow.tracking.data_files import DamagedFileError, DataFiles
from winnow.tracking.tracker import TrackingUnavailableError
from winnow.training.messages import Assignment

RETRY_S = 2.0

_log = logging.getLogger(__name__)


class DataFileError(WinnowError):
    """The data file cannot be fetched from the artifact store."""


def write_experiment(path: Path, store: StudyStore, data: Path | None = None) -> None:
    """Write the study's experiment, named as its model, for the ranks; `data` replaces its source if given."""
    sweep = store.header.sweep
    experiment = store.header.experiment.model_copy(update={"name": sweep.model})
    if data is not None:
        experiment = experiment.model_copy(update={"data": experiment.data.moved_to(str(data))})
    code = None if sweep.code is None else dict(sweep.code)
    as_json = msgspec.Raw(experiment.model_dump_json(by_alias=True).encode())
    path.write_bytes(msgspec.json.encode(Assignment(as_json, sweep.data_sha256, code)))


def fetch_data(named: str, folder: Path, files: DataFiles, patience_s: float, check_stop: Callable[[], None]) -> Path:
    """Fetch the data file `SHA256/NAME` into `folder`, retrying while the artifact store is away.

    Raises:
        DataFileError: the store stays away, or holds another file than was stored.
    """
    digest, _, name = named.partition("/")
    deadline = time.monotonic() + patience_s
    while True:
        check_stop()
        try:
            return files.fetch(digest, name, folder)
        except TrackingUnavailableError as error:
            if time.monotonic() > deadline:
                raise DataFileError(
                    f"data file {name}: expected it in the artifact store, which did not answer for {patience_s:g} s "
                    f"({error}). Start the store; the worker is started again with the sweep."
                ) from error
            _log.warning("data file %s waits for the artifact store: %s", name, error)
            time.sleep(RETRY_S)
        except DamagedFileError as error:
            raise DataFileError(
                f"data file in the artifact store: {error}. Remove it there, and start the sweep again to store it."
            ) from error
