"""Requests to a cluster's API: credentials, retries, streams that another thread can close.

Requests use the SDK's connection pool with its settings for TLS and proxies. `client` builds the requests, and
`refusals` turns bad answers into errors.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode

from winnow.config.errors import UnreachableError
from winnow.config.version import __version__
from winnow.platforms.kubernetes import port_stream
from winnow.platforms.kubernetes.refusals import api_at, not_its_own, refusal, silence

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONNECT_S = 10.0
TIMEOUT_S = 30.0
"""Timeout of an answer."""

TRIES, TRIES_TO_CONNECT = 6, 3
"""How often a request is sent if the API asks to retry, and if the connection fails."""

_SILENT_LOG_S = 10.0
"""How often to check whether a log was closed: the API does not answer before the container's first line."""

_LONGEST_WAIT_S = 10.0
_UNAUTHORIZED, _TOO_MANY = 401, 429
_BUSY = frozenset({429, 500, 502, 503, 504})

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Request:
    """One request; `may_be_repeated` although the API may have carried it out."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    content_type: str = "application/json"
    may_be_repeated: bool = True


class Source:
    """The response that a stream reads from, and whether the stream was closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._response: Any = None
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def close(self) -> None:
        self._closed.set()
        with self._lock, contextlib.suppress(OSError, ValueError, RuntimeError):
            if self._response is not None:
                # Closing it while another thread reads is not safe; a shutdown ends that read.
                self._response.shutdown()

    @contextlib.contextmanager
    def reading(self, response: Any) -> Iterator[None]:
        with self._lock:
            self._response = response
        try:
            yield
        finally:
            with self._lock:
                self._response = None


class Stream(Generic[_Item]):
    """Items as they arrive. Any thread may close it, even while another one waits for an item.

    Args:
        read: yields the items. It has no reference to the stream, so that dropping the stream ends it.
    """

    def __init__(self, read: Callable[[Source], Generator[_Item, None, None]]) -> None:
        self._source = Source()
        self._items = read(self._source)

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        return next(self._items)

    def close(self) -> None:
        """End it; may be called again."""
        self._source.close()
        with contextlib.suppress(ValueError):  # another thread runs it, and ends by itself
            self._items.close()


class Transport:
    """Sends requests to an API. Safe to use from several threads. Raises the errors of `refusals`.

    Args:
        renew: makes a new client when credentials are refused: a file or a plugin may have newer ones.
        context: the cluster's name in kubeconfig.
    """

    def __init__(self, client: ApiClient, renew: Callable[[], ApiClient] | None = None, *, context: str = "") -> None:
        self.api = api_at(client.configuration.host, context)
        self._client = client
        self._renew = renew
        self._lock = threading.Lock()
        self.calls = 0

    def json(self, request: Request) -> dict[str, Any]:
        """Send a request, and return its whole answer."""
        with self._answer(request, TIMEOUT_S, is_whole=True) as response:
            try:
                found: dict[str, Any] = json.loads(response.data or b"{}")
                return found
            except ValueError as error:
                raise not_its_own(request.path, self.api) from error

    def port(self, path: str) -> port_stream.PortStream:
        """Open a connection to a port of a pod; `path` is the pod's `portforward`, with the port as its query."""
        has_renewed = False
        while True:
            client, headers = self._authorized()
            try:
                return port_stream.connect(client, path, headers, CONNECT_S, self.api)
            except port_stream.Refused as error:
                if error.status != _UNAUTHORIZED or has_renewed or not self._renewed(client):
                    raise refusal("GET", path.partition("?")[0], error.status, error.body) from error
                has_renewed = True

    def lines(self, request: Request, source: Source, *, read_s: float | None) -> Iterator[bytes]:
        """The lines of an answer, until it ends or the source is closed; `read_s` is the longest pause between them."""
        import urllib3.exceptions

        while not source.is_closed:
            try:
                with self._answer(request, read_s or _SILENT_LOG_S) as response:
                    if response.connection is not None and response.connection.sock is not None:
                        response.connection.sock.settimeout(read_s)
                    with source.reading(response):
                        yield from _lines(response, source)
                    return
            except _LateError:
                if read_s is not None:
                    raise
            except (urllib3.exceptions.HTTPError, OSError) as error:
                if not source.is_closed:
                    raise silence(request.path, self.api, error) from error

    def _authorized(self) -> tuple[ApiClient, dict[str, str]]:
        # With the lock, a plugin whose credentials have expired runs once and not once per thread.
        with self._lock:
            self.calls += 1
            settings = self._client.configuration.auth_settings().values()
            return self._client, {each["key"]: each["value"] for each in settings if each["in"] == "header"}

    def _renewed(self, client: ApiClient) -> bool:
        with self._lock:
            if self._renew is None:
                return False
            if self._client is client:
                self._client = self._renew()
            return True

    @contextlib.contextmanager
    def _answer(self, request: Request, read_s: float, *, is_whole: bool = False) -> Iterator[Any]:
        """A response with a good status. With `is_whole`, its content is read, and the request repeated if cut off."""
        response = self._good(request, read_s, is_whole=is_whole)
        try:
            yield response
        finally:
            # A connection with unread bytes cannot be used again.
            response.close()
            response.release_conn()

    def _good(self, request: Request, read_s: float, *, is_whole: bool) -> Any:
        import urllib3.exceptions

        has_renewed, tried = False, 0
        while True:
            tried += 1
            client, headers = self._authorized()
            try:
                response = _send(client, request, headers, read_s)
                if is_whole and response.status < 400:
                    _ = response.data
            except urllib3.exceptions.ReadTimeoutError as error:
                raise _LateError(str(silence(request.path, self.api, error))) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                is_unsent = isinstance(
                    error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
                )
                if tried >= TRIES_TO_CONNECT or not (request.may_be_repeated or is_unsent):
                    raise silence(request.path, self.api, error) from error
                time.sleep(_wait_s(tried, None))
                continue
            if response.status < 400:
                return response
            body = b""
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError):  # the status says enough
                body = response.data
            if response.status == _UNAUTHORIZED and not has_renewed and self._renewed(client):
                has_renewed = True
                continue
            later = response.headers.get("Retry-After")
            # The API sends 429 before it does anything; the others with `Retry-After` it may send afterwards.
            is_busy = response.status in _BUSY and later is not None and request.may_be_repeated
            if tried >= TRIES or not (response.status == _TOO_MANY or is_busy):
                raise refusal(request.method, request.path, response.status, body)
            time.sleep(_wait_s(tried, later))


class _LateError(UnreachableError):
    """An answer did not begin in time."""


def _send(client: ApiClient, request: Request, headers: Mapping[str, str], read_s: float) -> Any:
    import urllib3

    query = f"?{urlencode(request.query)}" if request.query else ""
    return client.rest_client.pool_manager.request(
        request.method,
        f"{client.configuration.host}{request.path}{query}",
        body=None if request.body is None else json.dumps(request.body).encode(),
        headers={
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Content-Type": request.content_type,
            "User-Agent": f"winnow/{__version__}",
            **headers,
        },
        timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
        retries=False,
        preload_content=False,
    )


def _lines(response: Any, source: Source) -> Iterator[bytes]:
    unread = b""
    # `read1` returns what has arrived; `read` would wait for a full buffer.
    while not source.is_closed and (piece := response.read1()):
        *lines, unread = (unread + piece).split(b"\n")
        yield from lines
    if unread and not source.is_closed:
        yield unread


def _wait_s(tried: int, retry_after: str | None) -> float:
    said = float(retry_after) if retry_after is not None and retry_after.isdigit() else 0.2 * 2**tried
    # Spread retries of several processes.
    return min(said, _LONGEST_WAIT_S) + random.uniform(0, 0.1)
