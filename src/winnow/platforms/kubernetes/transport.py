"""Requests to a cluster's API: credentials, retries, streams that another thread can end.

The SDK finds the cluster and keeps the credentials. Requests go through its pool of connections, so that its settings
for TLS and proxies apply. `client` decides what is requested, and `refusals` what an error means.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode

from winnow.config.errors import UnreachableError, WinnowError
from winnow.config.version import __version__
from winnow.platforms.kubernetes import port_stream
from winnow.platforms.kubernetes.refusals import ClusterError, api_at, not_its_own, refusal, silence

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_S = 10.0
TIMEOUT_S = 30.0
"""How long one answer may take."""

TRIES, TRIES_TO_CONNECT = 6, 3
"""How often a request is sent where the API says to retry, and where no connection is made or it breaks."""

_SILENT_LOG_S = 10.0
"""How often to check whether a log is still wanted: the API does not answer before the container's first line."""

_LONGEST_WAIT_S = 10.0
_UNAUTHORIZED, _TOO_MANY = 401, 429
_BUSY = frozenset({429, 500, 502, 503, 504})

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: below the API's address.
        is_repeatable: it is idempotent; None: as its method says, every one but POST.
        refusals: errors for statuses that mean something special here.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = "application/json"
    is_repeatable: bool | None = None
    refusals: Mapping[int, type[ClusterError]] = field(default_factory=dict)

    @property
    def may_be_repeated(self) -> bool:
        """It may be sent again without knowing whether it was carried out."""
        return self.method != "POST" if self.is_repeatable is None else self.is_repeatable

    def refusal(self, status: int, body: bytes) -> WinnowError:
        """The error for a status above 400."""
        made = refusal(self.method, self.path, status, body)
        return self.refusals[status](str(made)) if status in self.refusals else made


class Source:
    """Where a stream's items come from, and whether the stream was closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: Any = None
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """No more items are wanted."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the stream; a thread that waits for an item sees its end."""
        self._closed.set()
        with self._lock:
            if self._response is not None:
                # Closing it while another thread reads from it is not safe; a shutdown ends that read.
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    self._response.shutdown()

    @contextmanager
    def reading(self, response: Any) -> Iterator[None]:
        """While inside, closing ends reads from this response."""
        with self._lock:
            self._response = response
        try:
            yield
        finally:
            with self._lock:
                self._response = None


class Stream(Generic[_Item]):
    """Items as they arrive. Any thread may close it, also while another waits for the next item and then sees the end.

    Args:
        items: reads the items; without a reference to the stream, so that dropping the stream ends it at once.
    """

    def __init__(self, items: Generator[_Item, None, None], source: Source) -> None:
        self._items = items
        self._source = source

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        return next(self._items)

    def close(self) -> None:
        """End it; harmless when it is over."""
        self._source.close()
        # A thread that is inside ends by itself.
        with contextlib.suppress(ValueError):
            self._items.close()


class Transport:
    """Sends requests to an API. Safe to use from several threads. Raises what `refusals` makes.

    Args:
        client: the SDK's connection.
        renew: makes the connection anew where its credentials are refused: a file or a plugin may give newer ones.
        context: what kubeconfig calls the cluster, for people.
    """

    def __init__(self, client: ApiClient, renew: Callable[[], ApiClient] | None = None, *, context: str = "") -> None:
        self.api = api_at(client.configuration.host, context)
        """Which API it is, for people."""
        self._client = client
        self._renew = renew
        self._lock = threading.Lock()
        self.calls = 0
        """Requests so far, repeated ones included."""

    def json(self, request: Request) -> dict[str, Any]:
        """The whole answer."""
        import urllib3.exceptions

        for tried in range(1, TRIES_TO_CONNECT + 1):
            with self._answer(request, TIMEOUT_S) as response:
                try:
                    found: dict[str, Any] = json.loads(response.read() or b"{}")
                    return found
                except ValueError as error:
                    raise not_its_own(request.path, self.api) from error
                except (urllib3.exceptions.HTTPError, OSError) as error:
                    # Cut off on the way.
                    if tried == TRIES_TO_CONNECT or not request.may_be_repeated:
                        raise silence(request.path, self.api, error) from error
        raise AssertionError("the last try returns or raises")

    def port(self, path: str) -> port_stream.PortStream:
        """A connection to a port of a pod; `path` is the pod's `portforward`, with the port as its query."""
        for is_last in (False, True):
            client, headers = self.authorized()
            try:
                return port_stream.connect(client, path, headers, CONNECT_S, self.api)
            except port_stream.Refused as error:
                if error.status == _UNAUTHORIZED and not is_last and self.renewed(client):
                    continue
                raise refusal("GET", path.partition("?")[0], error.status, error.body) from error
        raise AssertionError("the last try returns or raises")

    def lines(self, request: Request, source: Source, *, read_s: float | None) -> Iterator[bytes]:
        """The lines of an answer as they arrive, until it ends or the source is closed.

        Args:
            read_s: longest pause between lines; None: no limit.
        """
        import urllib3.exceptions

        while not source.is_closed:
            try:
                with self._answer(request, read_s or _SILENT_LOG_S) as response:
                    _set_timeout(response, read_s)
                    with source.reading(response):
                        yield from _lines(response, source)
                    return
            except _LateError:
                if read_s is not None:
                    raise
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if not source.is_closed:
                    raise silence(request.path, self.api, error) from error

    def authorized(self) -> tuple[ApiClient, dict[str, str]]:
        """The connection as it is now, and the header with the credentials; no header where a certificate is used."""
        # The lock runs a plugin whose credentials have expired once, and not once per thread.
        with self._lock:
            self.calls += 1
            settings = self._client.configuration.auth_settings().values()
            return self._client, {each["key"]: each["value"] for each in settings if each["in"] == "header"}

    def renewed(self, client: ApiClient) -> bool:
        """Whether newer credentials than that client's may exist now."""
        with self._lock:
            if self._renew is None:
                return False
            if self._client is client:
                self._client = self._renew()
            return True

    @contextmanager
    def _answer(self, request: Request, read_s: float) -> Iterator[Any]:
        """The response, once its status is known to be good.

        Raises:
            _LateError: nothing came within `read_s`.
        """
        response = self._good(request, read_s)
        try:
            yield response
        finally:
            # A connection whose response was not read to its end cannot be used again.
            response.close()
            response.release_conn()

    def _good(self, request: Request, read_s: float) -> Any:
        import urllib3.exceptions

        has_renewed = False
        for tried in range(1, TRIES + 1):
            client, headers = self.authorized()
            try:
                response = _send(client, request, headers, read_s)
            except urllib3.exceptions.ReadTimeoutError as error:
                raise _LateError(str(silence(request.path, self.api, error))) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if tried >= TRIES_TO_CONNECT or not (request.may_be_repeated or _is_unsent(error)):
                    raise silence(request.path, self.api, error) from error
                time.sleep(_wait_s(tried, None))
                continue
            if response.status < 400:
                return response
            body = _read_refusal(response)
            if response.status == _UNAUTHORIZED and not has_renewed and self.renewed(client):
                has_renewed = True
                continue
            later = response.headers.get("Retry-After")
            if tried == TRIES or not _is_to_be_repeated(request, response.status, later):
                raise request.refusal(response.status, body)
            time.sleep(_wait_s(tried, later))
        raise AssertionError("the last try returns or raises")


class _LateError(UnreachableError):
    """An answer did not begin in time."""


def _send(client: ApiClient, request: Request, headers: Mapping[str, str], read_s: float) -> Any:
    import urllib3

    query = f"?{urlencode(request.query)}" if request.query else ""
    sent = {
        "Accept": "application/json",
        # An API server compresses long answers.
        "Accept-Encoding": "gzip",
        "Content-Type": request.content_type,
        "User-Agent": f"winnow/{__version__}",
        **headers,
    }
    return client.rest_client.pool_manager.request(
        request.method,
        f"{client.configuration.host}{request.path}{query}",
        body=None if request.body is None else json.dumps(request.body).encode(),
        headers=sent,
        timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
        retries=False,
        preload_content=False,
    )


def _read_refusal(response: Any) -> bytes:
    """The body of a refusal; empty where it is cut off, since the status says the most."""
    import urllib3.exceptions

    with contextlib.closing(response):
        try:
            body: bytes = response.read()
            return body
        except (urllib3.exceptions.HTTPError, OSError):
            return b""


def _set_timeout(response: Any, read_s: float | None) -> None:
    """Set the longest pause between reads from now on."""
    connection = response.connection
    if connection is not None and connection.sock is not None:
        connection.sock.settimeout(read_s)


def _lines(response: Any, source: Source) -> Iterator[bytes]:
    unread = b""
    # Pieces as they arrive: a read of a fixed size would wait until it is full.
    while not source.is_closed and (piece := response.read1()):
        *lines, unread = (unread + piece).split(b"\n")
        yield from lines
    if unread and not source.is_closed:
        yield unread


def _is_unsent(error: Exception) -> bool:
    """No connection was made, so nothing was done."""
    import urllib3.exceptions

    return isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)


def _is_to_be_repeated(request: Request, status: int, retry_after: str | None) -> bool:
    """The API asks for a retry: with 429 before it does anything, with `Retry-After` possibly after it has."""
    if status == _TOO_MANY:
        return True
    return status in _BUSY and retry_after is not None and request.may_be_repeated


def _wait_s(tried: int, retry_after: str | None) -> float:
    """Seconds until the next try: what the API says, else twice as long each time, up to `_LONGEST_WAIT_S`."""
    said = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.2 * 2**tried
    # Spread retries of several processes.
    return min(said, _LONGEST_WAIT_S) + random.uniform(0, 0.1)
