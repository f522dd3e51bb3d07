"""A connection to a port of a pod, through the API server: Kubernetes' port-forward over one web socket.

Frames of the subprotocol v4.channel.k8s.io begin with a channel: 0 carries bytes, 1 what went wrong; the first frame of
each holds the port. One thread moves both directions and never holds more than a window of either, so that a slow
reader slows the writer down instead of filling memory. The protocol cannot say that one side has no more to send.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from winnow.platforms.kubernetes.refusals import silence

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

SUBPROTOCOL = "v4.channel.k8s.io"
WINDOW = 1 << 20
"""Most bytes of one direction that are buffered here."""

PING_S = 30.0
"""Seconds between pings on an idle connection, which keep proxies from closing it. A cluster that has not answered
after twice as long is gone."""

LINGER_S = 5.0
"""How long a pod may still answer after the local side has finished sending."""

_BLIND_S = 0.5
_PIECE = 1 << 16
_DATA, _ERROR = 0, 1
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_WANTS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Refused(Exception):  # noqa: N818  (an answer, not a fault: the caller decides what it means)
    """The API server answered with something else than a web socket."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def connect(client: ApiClient, path: str, headers: dict[str, str], timeout_s: float, api: str) -> PortStream:
    """Open one.

    Args:
        path: the pod's `portforward`, with the port as its query.
        api: which API it is, for people.

    Raises:
        Refused: the API server refuses it.
        UnreachableError: the API server does not answer.
    """
    import websocket

    configuration = client.configuration
    scheme, _, rest = configuration.host.partition("://")
    url = f"{'wss' if scheme == 'https' else 'ws'}://{rest}{path}"
    try:
        opened = websocket.create_connection(
            url,
            timeout=timeout_s,
            subprotocols=[SUBPROTOCOL],
            header=[f"{name}: {value}" for name, value in headers.items()],
            sslopt=_tls(configuration),
            suppress_origin=True,
            **_proxy(configuration),
        )
    except websocket.WebSocketBadStatusException as error:
        raise Refused(error.status_code, error.resp_body or b"") from error
    except (websocket.WebSocketException, OSError) as error:
        raise silence(path.partition("?")[0], api, error) from error
    assert opened.sock is not None
    return PortStream(opened.sock)


class PortStream:
    """One connection, opened by `connect`.

    Args:
        ping_s: as `PING_S`.

    Attributes:
        diagnosis: what the cluster said went wrong; empty where nothing did.
        has_answered: the pod has sent something.
    """

    def __init__(self, remote: socket.socket, *, ping_s: float = PING_S) -> None:
        self._remote = remote
        self._ping_s = ping_s
        self._frames = Frames()
        self._to_pod = bytearray()
        self._to_local = bytearray()
        self._is_closed = False
        self._is_over = False
        """The pod, or a proxy on the way, sends no more."""
        self._opened: set[int] = set()
        self.diagnosis = ""
        self.has_answered = False

    def close(self) -> None:
        """End it, from any thread; harmless when it is over."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            # The socket below TLS: another thread may still read from the TLS layer.
            socket.socket.shutdown(self._remote, socket.SHUT_RDWR)

    def carry(self, local: socket.socket) -> None:
        """Move bytes between the pod and a socket until one of them ends it; closes both."""
        with contextlib.closing(self._remote), contextlib.closing(local), selectors.DefaultSelector() as selector:
            local.setblocking(False)
            self._remote.setblocking(False)
            with contextlib.suppress(OSError):
                self._move(local, selector)
            with contextlib.suppress(OSError):
                self._remote.send(frame(_CLOSE, b""))

    def _move(self, local: socket.socket, selector: selectors.BaseSelector) -> None:
        is_local_done = False
        heard_at = sent_at = asked_at = time.monotonic()
        while not self._is_closed:
            is_listening = not self._is_over and len(self._to_local) < WINDOW
            # Read without asking first: what TLS has decrypted already makes no socket readable.
            if is_listening and self._receive():
                heard_at = time.monotonic()
            if not is_local_done and len(self._to_pod) < WINDOW:
                is_local_done = self._take(local)
            if self._flush(self._to_pod, self._remote):
                sent_at = time.monotonic()
            self._flush(self._to_local, local)
            if self._is_over and not self._to_local:
                return
            now = time.monotonic()
            if is_local_done and not self._to_pod and now - max(heard_at, sent_at) > LINGER_S:
                return
            is_owed = is_listening and asked_at > heard_at
            # On a slow line a ping queues behind other bytes: while bytes leave, its answer may still come.
            if is_owed and now - max(asked_at, sent_at) > 2 * self._ping_s:
                self.diagnosis = (
                    f"nothing has come from the cluster for {now - heard_at:.0f} s, and no ping is answered"
                )
                return
            if not is_owed and now - max(asked_at, min(heard_at, sent_at)) > self._ping_s:
                self._to_pod += frame(_PING, b"")
                asked_at = now
            self._wait(local, selector, is_local_done=is_local_done)

    def _wait(self, local: socket.socket, selector: selectors.BaseSelector, *, is_local_done: bool) -> None:
        """Wait until something can be moved."""
        has_room, may_take = len(self._to_local) < WINDOW, len(self._to_pod) < WINDOW
        _listen(selector, self._remote, reads=has_room and not self._is_over, writes=bool(self._to_pod))
        _listen(selector, local, reads=may_take and not is_local_done, writes=bool(self._to_local))
        # A socket that is not selected cannot wake this thread when the stream is closed.
        selector.select(self._ping_s if has_room and not is_local_done else _BLIND_S)

    def _receive(self) -> bool:
        """Read what the cluster has sent, and return whether there was anything."""
        has_come = False
        while len(self._to_local) < WINDOW:
            try:
                piece = self._remote.recv(_PIECE)
            except _WANTS:
                break
            if not piece:
                self._is_over = True
                break
            has_come = True
            for opcode, payload in self._frames.feed(piece):
                self._understand(opcode, payload)
        return has_come

    def _understand(self, opcode: int, payload: bytes) -> None:
        if opcode == _CLOSE:
            self._is_over = True
        elif opcode == _PING:
            self._to_pod += frame(_PONG, payload)
        elif opcode == _BINARY and payload:
            channel, content = payload[0], payload[1:]
            if channel not in self._opened:
                self._opened.add(channel)
            elif channel == _ERROR:
                self.diagnosis = content.decode(errors="replace").strip()
                self._is_over = True
            else:
                self.has_answered = True
                self._to_local += content

    def _take(self, local: socket.socket) -> bool:
        """Read what there is to send, and return whether that was the last."""
        while len(self._to_pod) < WINDOW:
            try:
                piece = local.recv(_PIECE)
            except _WANTS:
                return False
            if not piece:
                return True
            self._to_pod += frame(_BINARY, bytes((_DATA,)) + piece)
        return False

    @staticmethod
    def _flush(unsent: bytearray, sink: socket.socket) -> bool:
        """Send what can be sent, and return whether there was anything."""
        has_sent = False
        while unsent:
            try:
                # TLS wants to be given the same bytes again where it could not send them.
                count = sink.send(bytes(unsent[:_PIECE]))
            except _WANTS:
                break
            del unsent[:count]
            has_sent = True
        return has_sent


class Frames:
    """Web socket frames (RFC 6455, 5.2) out of bytes as they come; those of one message put together."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._begun: tuple[int, bytes] | None = None

    def feed(self, piece: bytes) -> Iterator[tuple[int, bytes]]:
        """The messages that end in this piece: opcode and payload."""
        self._unread += piece
        while (found := self._next()) is not None:
            is_last, opcode, payload = found
            if opcode >= _CLOSE:
                # Control frames may stand between the parts of a message.
                yield opcode, payload
                continue
            first, before = self._begun if opcode == _CONTINUATION and self._begun is not None else (opcode, b"")
            self._begun = None if is_last else (first, before + payload)
            if is_last:
                yield first, before + payload

    def _next(self) -> tuple[bool, int, bytes] | None:
        """The first whole frame; servers do not mask theirs."""
        if len(self._unread) < 2:
            return None
        length, begin = self._unread[1] & 0x7F, 2
        if length >= 126:
            form, begin = ("!H", 4) if length == 126 else ("!Q", 10)
            if len(self._unread) < begin:
                return None
            (length,) = struct.unpack(form, self._unread[2:begin])
        if len(self._unread) < begin + length:
            return None
        first, payload = self._unread[0], bytes(self._unread[begin : begin + length])
        del self._unread[: begin + length]
        return bool(first & 0x80), first & 0x0F, payload


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message as a client sends it: masked."""
    mask = os.urandom(4)
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 1 << 16:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    pattern = (mask * (length // 4 + 1))[:length]
    # As two great numbers, since byte by byte Python would be the bottleneck.
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(pattern, "little")
    return head + mask + masked.to_bytes(length, "little")


def _listen(selector: selectors.BaseSelector, end: socket.socket, *, reads: bool, writes: bool) -> None:
    wanted = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if writes else 0)
    known = selector.get_map().get(end)
    if known is not None and not wanted:
        selector.unregister(end)
    elif known is None and wanted:
        selector.register(end, wanted)
    elif known is not None and known.events != wanted:
        selector.modify(end, wanted)


def _tls(configuration: Any) -> dict[str, Any]:
    """The SDK's settings as websocket-client names them, as the SDK itself passes them on."""
    if not configuration.verify_ssl:
        settings: dict[str, Any] = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    else:
        settings = {"cert_reqs": ssl.CERT_REQUIRED}
        if configuration.ssl_ca_cert:
            settings["ca_certs"] = configuration.ssl_ca_cert
        if configuration.assert_hostname is not None:
            settings["check_hostname"] = configuration.assert_hostname
    own = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return {**settings, **{name: value for name, value in own.items() if value}}


def _proxy(configuration: Any) -> dict[str, Any]:
    if not configuration.proxy:
        return {}
    from urllib3.util import parse_url

    proxy = parse_url(configuration.proxy)
    credentials = tuple(proxy.auth.split(":", 1)) if proxy.auth else None
    return {
        "http_proxy_host": proxy.host,
        "http_proxy_port": proxy.port,
        "proxy_type": "http",
        **({"http_proxy_auth": credentials} if credentials else {}),
        **({"http_no_proxy": configuration.no_proxy.split(",")} if configuration.no_proxy else {}),
    }
