"""Opens MLflow's client, and tells a store that is unavailable from a request that is wrong.

MLflow is imported at the first request, because that takes a second. Its timeouts are shortened: every caller either
retries later or has a user waiting.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
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
    # MLflow 3.17 would ask the server for signed addresses and access S3 directly, which workers cannot reach.
    "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
    "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
}

TRANSFER_TIMEOUT_S = 300
"""Timeout of uploads: a server answers only when its own artifact store has the whole file."""

# Errors with which the clients of cloud storage report an outage, by module.
_CLOUD_ERRORS = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "boto3.exceptions": ("Boto3Error",),
    "azure.core.exceptions": ("AzureError",),
    "google.api_core.exceptions": ("GoogleAPIError",),
    "google.auth.exceptions": ("TransportError",),
}

# Error codes of wrong requests; a request with any other error may succeed later.
OUR_FAULT = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}
)


def apply_settings() -> None:
    """Set MLflow's environment variables, except those that are set already."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # MLflow logs each database error with a traceback before it raises it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def open_client(uri: str) -> Any:
    """Return an `MlflowClient` for `uri`.

    Raises:
        NoStoreError: the store is an SQLite file that does not exist. MLflow would create it here; two processes that
            do so at once corrupt the file (see `store.prepare`).
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
            from sqlalchemy import event

            engine = client._tracking_client.store.engine
            if not event.contains(engine, "connect", _set_synchronous):
                event.listen(engine, "connect", _set_synchronous)
                engine.dispose()
        return client


def _set_synchronous(connection: Any, _record: object) -> None:
    """Let commits not wait for the disk: they survive the process, and only a power cut can lose them."""
    connection.execute("PRAGMA synchronous=NORMAL")


def every_page(search: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[Any]:
    """All results of one of MLflow's paged searches."""
    token = None
    while token != "":
        with failures_as_unavailable():
            page = search(*args, page_token=token, **kwargs)
        yield from page
        token = page.token or ""


def sqlite_path(uri: str) -> Path | None:
    """The database file of `sqlite:///PATH`, else None."""
    parts = urlsplit(uri)
    if parts.scheme.partition("+")[0] != "sqlite":
        return None
    return Path(parts.path.removeprefix("/"))


@contextmanager
def failures_as_unavailable() -> Iterator[None]:
    """Raise TrackingUnavailableError for every kind of outage; pass the errors of wrong requests on."""
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
    """Counts concurrent transfers: the first one lengthens MLflow's timeout, the last one restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._usual: str | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._count == 0:
                self._usual = os.environ.get(_TIMEOUT)
                os.environ[_TIMEOUT] = str(max(TRANSFER_TIMEOUT_S, int(self._usual or 0)))
            self._count += 1

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._count -= 1
            if self._count == 0 and self._usual is not None:
                os.environ[_TIMEOUT] = self._usual


_transfers = _Transfers()


@contextmanager
def transferring() -> Iterator[None]:
    """Like `failures_as_unavailable`, with a timeout that is long enough for files.

    MLflow reads its timeout from an environment variable only, so requests of other threads get the long timeout too.
    """
    with _transfers, failures_as_unavailable():
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
