"""How winnow opens an MLflow store, and what counts as the store being away.

MLflow is imported here at the first request, never at the import of this module: it takes a second. Its patience is
made short, because whoever writes to a tracking store here either tries again later by itself or has a person waiting.
What MLflow does when asked is left to the modules that ask.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from winnow.config.addresses import with_driver
from winnow.tracking.moved import correct_locations
from winnow.tracking.tracker import NoStoreError, TrackingUnavailableError

_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"

# MLflow's own defaults are 120 s a request and 7 retries: a dead server would be noticed after minutes.
_SETTINGS = {
    _TIMEOUT: "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Else (3.17) a client that meets a server with S3 behind it asks for signed addresses and goes to S3 itself, which
    # workers cannot reach: that the server stands between is the point of it.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}

TRANSFER_TIMEOUT_S = 300
"""How long a file may take: a server answers an upload when its own store has it, a gigabyte later."""

# What clients of cloud storage raise for a store that is away, by module; each is looked at only where it is loaded.
_CLOUD_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "boto3.exceptions": ("Boto3Error",),
    "azure.core.exceptions": ("AzureError",),
    "google.api_core.exceptions": ("GoogleAPIError",),
    "google.auth.exceptions": ("TransportError",),
}

# Codes with which a store says that the request itself is wrong; everything else may be right a minute later.
OUR_FAULT = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
)


def apply_settings() -> None:
    """Give MLflow its settings for this process, where the environment does not set them already."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # It logs each database error with a traceback before raising it; the raised one says the same.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def open_client(uri: str) -> Any:
    """An `MlflowClient` for `uri`.

    Raises:
        NoStoreError: the store is an SQLite file that does not exist yet. (MLflow would make it here, and two
            processes that do so at once break the file for good: see `store.prepare`.)
        TrackingUnavailableError: the store does not answer.
    """
    apply_settings()
    uri = with_driver(uri)
    database = sqlite_path(uri)
    if database is not None and not database.is_file():
        raise NoStoreError(f"{database}: expected the tracking store's database file, found none")
    if database is not None:
        correct_locations(database)
    with failures_as_unavailable():
        import mlflow.tracking

        client = mlflow.tracking.MlflowClient(tracking_uri=uri, registry_uri=uri)
        if database is not None:
            _relax(client._tracking_client.store.engine)
        return client


def _relax(engine: Any) -> None:
    """Let commits of an embedded store survive the process, and not wait for the disk: only a power cut loses any."""
    from sqlalchemy import event

    if not event.contains(engine, "connect", _set_synchronous):
        event.listen(engine, "connect", _set_synchronous)
        engine.dispose()


def _set_synchronous(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def sqlite_path(uri: str) -> Path | None:
    """The database file of an `sqlite:///PATH` address, else None."""
    parts = urlsplit(uri)
    if parts.scheme.partition("+")[0] != "sqlite":
        return None
    return Path(parts.path.removeprefix("/"))


def is_server(uri: str) -> bool:
    """Whether `uri` is a tracking server rather than a database of our own."""
    return urlsplit(uri).scheme in ("http", "https")


@contextmanager
def failures_as_unavailable() -> Iterator[None]:
    """Turn every way in which a store can be away into TrackingUnavailableError; let faults in the request through."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in OUR_FAULT:
            raise
        raise TrackingUnavailableError(_first_line(error)) from error
    except _outages() as error:
        raise TrackingUnavailableError(_first_line(error)) from error


class _Transfers:
    """Counts the transfers at work in this process: the first one changes the timeout, the last one puts it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = 0
        self._usual: str | None = None

    @contextmanager
    def one_more(self) -> Iterator[None]:
        with self._lock:
            if self._at_work == 0:
                self._usual = os.environ.get(_TIMEOUT)
                os.environ[_TIMEOUT] = str(max(TRANSFER_TIMEOUT_S, int(self._usual or 0)))
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1
                if self._at_work == 0 and self._usual is not None:
                    os.environ[_TIMEOUT] = self._usual


_transfers = _Transfers()


@contextmanager
def transferring() -> Iterator[None]:
    """Turn failures as `failures_as_unavailable` does, and be as patient as files need.

    MLflow takes its timeout from an environment variable alone. Requests of other threads are as patient meanwhile,
    which only delays that they notice a store that hangs.
    """
    with _transfers.one_more(), failures_as_unavailable():
        yield


def _outages() -> tuple[type[Exception], ...]:
    import requests
    import sqlalchemy.exc

    loaded = ((sys.modules[module], names) for module, names in _CLOUD_ERRORS.items() if module in sys.modules)
    clouds = [getattr(module, name) for module, names in loaded for name in names]
    return requests.RequestException, sqlalchemy.exc.OperationalError, OSError, *clouds


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
