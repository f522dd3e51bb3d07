"""A connection to a port of a pod, through the API server: Kubernetes' port-forward over a web socket.

Messages of the subprotocol v4.channel.k8s.io begin with a channel: 0 for data, 1 for errors. The first message of each
channel has the port. The protocol has no end of one direction.

The SDK's `PortForward` has no flow control, sends no pings, and drops answers that arrive after the local side has
finished sending. So this uses `websockets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING, Any

from winnow.platforms.kubernetes.refusals import silence

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from websockets.asyncio.client import ClientConnection

SUBPROTOCOL = "v4.channel.k8s.io"

PING_S = 30.0
"""Seconds between pings, which keep proxies from closing an idle connection. The cluster is gone if within twice that
time it neither answers a ping nor accepts data."""

LINGER_S = 5.0
"""How long a pod may still answer after the local side has finished sending."""

_CLOSE_S = 0.2
_PIECE = 1 << 16
_DATA, _ERROR = b"\x00", b"\x01"


class Refused(Exception):  # noqa: N818  (the caller turns it into an error)
    """The API server refused to open a web socket."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def connect(
    client: ApiClient, path: str, headers: dict[str, str], timeout_s: float, api: str, *, ping_s: float = PING_S
) -> PortStream:
    """Open a connection.

    Args:
        path: the pod's `portforward`, with the port as its query.
        api: the API's name in messages.

    Raises:
        Refused: the API server refuses it.
        UnreachableError: the API server does not answer.
    """
    import websockets.exceptions
    from websockets.asyncio.client import connect as open_web_socket
    from websockets.typing import Subprotocol

    configuration = client.configuration
    proxy = client.rest_client.pool_manager.proxy
    is_secure = configuration.host.startswith("https")
    runner = asyncio.Runner()

    async def opened() -> ClientConnection:
        return await open_web_socket(
            f"ws{configuration.host.removeprefix('http')}{path}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=headers,
            ssl=_tls(configuration) if is_secure else None,
            proxy=proxy.url if proxy is not None else None,
            compression=None,
            max_size=None,
            open_timeout=timeout_s,
            close_timeout=_CLOSE_S,
            ping_interval=None,
            **({"server_hostname": configuration.tls_server_name} if configuration.tls_server_name else {}),
        )

    try:
        return PortStream(runner, runner.run(opened()), ping_s)
    except BaseException as error:
        runner.close()
        if isinstance(error, websockets.exceptions.InvalidStatus):
            raise Refused(error.response.status_code, bytes(error.response.body or b"")) from error
        if isinstance(error, (websockets.exceptions.WebSocketException, OSError)):
            raise silence(path.partition("?")[0], api, error) from error
        raise


class PortStream:
    """One connection, opened by `connect`. One thread carries it, any thread may close it.

    Attributes:
        diagnosis: why the cluster's side ended it; empty unless that was an error.
    """

    def __init__(self, runner: asyncio.Runner, remote: ClientConnection, ping_s: float) -> None:
        self._runner = runner
        self._remote = remote
        self._ping_s = ping_s
        self._closed = asyncio.Event()
        self._moves = 0
        """Messages received and sent."""
        self._is_local_full = False
        self.diagnosis = ""

    def close(self) -> None:
        """End the connection; may be called again."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._runner.get_loop().call_soon_threadsafe(self._closed.set)

    def carry(self, local: socket.socket) -> None:
        """Copy bytes between the pod and a socket until one of them closes; close both."""
        with self._runner as runner, contextlib.suppress(OSError):
            runner.run(self._carry(local))

    async def _carry(self, local: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=local)
        ends = (self._send(reader), self._receive(writer), self._notice_silence(), self._closed.wait())
        tasks = [asyncio.ensure_future(end) for end in ends]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        flushed, closed = asyncio.ensure_future(writer.wait_closed()), asyncio.ensure_future(self._closed.wait())
        await asyncio.wait((flushed, closed), return_when=asyncio.FIRST_COMPLETED)
        if not flushed.done():
            writer.transport.abort()
        await asyncio.gather(flushed, return_exceptions=True)
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._remote.close()
        except TimeoutError:
            self._remote.transport.abort()

    async def _send(self, reader: asyncio.StreamReader) -> None:
        """Send the local side's bytes to the pod; return `LINGER_S` after the last byte of either side."""
        while piece := await reader.read(_PIECE):
            await self._remote.send(_DATA + piece)
            self._moves += 1
        moves = -1
        while moves != self._moves or self._is_local_full:
            moves = self._moves
            await asyncio.sleep(LINGER_S)

    async def _receive(self, writer: asyncio.StreamWriter) -> None:
        """Write the pod's bytes to the local side. A slow local reader slows the pod down."""
        opened: set[bytes] = set()
        async for message in self._remote:
            assert isinstance(message, bytes)
            self._moves += 1
            channel, content = message[:1], message[1:]
            if channel not in opened:
                opened.add(channel)
            elif channel == _ERROR:
                self.diagnosis = content.decode(errors="replace").strip()
                return
            else:
                writer.write(content)
                self._is_local_full = True
                await writer.drain()
                self._is_local_full = False

    async def _notice_silence(self) -> None:
        """Ping every `ping_s`; return when a ping is not answered.

        Other bytes may delay the ping on a slow line, and a local side that does not read delays the answer.
        """
        while True:
            await asyncio.sleep(self._ping_s)
            ping = asyncio.ensure_future(self._ping())
            moves = -1
            while moves != self._moves or self._is_local_full:
                moves = self._moves
                await asyncio.wait((ping,), timeout=2 * self._ping_s)
                if ping.done():
                    break
            else:
                self.diagnosis = f"the cluster has not answered a ping for {2 * self._ping_s:.0f} s"
                ping.cancel()
                return

    async def _ping(self) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            await (await self._remote.ping())


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not configuration.verify_ssl:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif configuration.ssl_ca_cert:
        context.load_verify_locations(configuration.ssl_ca_cert)
    else:
        context.load_default_certs()
    if configuration.assert_hostname is False:
        context.check_hostname = False
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
