"""Bytes to a pod and back over a web socket, with the cluster's side played here."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from winnow.config.errors import UnreachableError
from winnow.platforms.kubernetes.port_stream import PING_S, SUBPROTOCOL, PortStream, Refused, connect

MIB = 2**20


@dataclass
class Pod:
    """The cluster's end of a web socket. It answers nothing by itself."""

    socket: socket.socket
    protocol: ServerProtocol = field(default_factory=lambda: ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)]))

    def heard(self, count: int) -> list[tuple[Opcode, bytes]]:
        """The next messages, at least so many; the bytes of several in a row are one message."""
        found: list[Any] = []
        self.socket.settimeout(5)
        while len(found) < count:
            self.protocol.receive_data(self.socket.recv(1 << 16))
            found += self.protocol.events_received()
        return [(each.opcode, bytes(each.data)) for each in found if isinstance(each, Frame)]

    def open(self) -> None:
        """Accept the connection. The first message of each channel holds the port."""
        self.socket.settimeout(5)
        while not (found := self.protocol.events_received()):
            self.protocol.receive_data(self.socket.recv(1 << 16))
        (request,) = found
        assert isinstance(request, Request)
        self.protocol.send_response(self.protocol.accept(request))
        self.say(b"\x00\x40\x1f", b"\x01\x40\x1f")

    def say(self, *messages: bytes) -> None:
        for message in messages:
            self.protocol.send_binary(message)
        self.flush()

    def flush(self) -> None:
        for piece in self.protocol.data_to_send():
            self.socket.sendall(piece)

    def close(self) -> None:
        """End the connection, as a server does."""
        self.protocol.send_close(1000)
        self.flush()
        self.socket.shutdown(socket.SHUT_WR)


@dataclass
class Ends:
    """A stream that is carried: `local` is the program's end."""

    stream: PortStream
    local: socket.socket
    pod: Pod
    thread: threading.Thread


def client_of(address: str) -> Any:
    """As much of the SDK's client as opening a web socket takes."""
    configuration = SimpleNamespace(host=f"http://{address}", tls_server_name=None)
    return SimpleNamespace(
        configuration=configuration, rest_client=SimpleNamespace(pool_manager=SimpleNamespace(proxy=None))
    )


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    pods: list[Pod] = []

    def accept() -> None:
        pods.append(Pod(listener.accept()[0]))
        pods[0].open()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept)
        accepting.start()
        client = client_of(f"127.0.0.1:{listener.getsockname()[1]}")
        stream = connect(client, "/portforward?ports=80", {}, 5, "it", ping_s=getattr(request, "param", PING_S))
        accepting.join(5)
    there, local = socket.socketpair()
    local.settimeout(5)
    thread = threading.Thread(target=stream.carry, args=(there,))
    thread.start()
    yield Ends(stream, local, pods[0], thread)
    stream.close()
    thread.join(5)
    assert not thread.is_alive()
    for end in (local, pods[0].socket):
        end.close()


def read(end: socket.socket) -> bytes:
    """All that comes until the end."""
    whole = bytearray()
    while piece := end.recv(1 << 16):
        whole += piece
    return bytes(whole)


def test_bytes_go_there_and_back(ends: Ends) -> None:
    ends.local.sendall(b"question")
    assert ends.pod.heard(1) == [(Opcode.BINARY, b"\x00question")]
    ends.pod.say(b"\x00answer")
    assert ends.local.recv(100) == b"answer"


def test_all_that_the_pod_said_arrives_before_the_end(ends: Ends) -> None:
    ends.pod.say(*[b"\x00" + b"z" * 50_000] * 20)
    ends.pod.close()
    assert read(ends.local) == b"z" * 1_000_000


def test_an_error_of_the_cluster_ends_it_and_is_kept(ends: Ends) -> None:
    ends.pod.say(b"\x01connection refused\n")
    assert read(ends.local) == b""
    ends.thread.join(5)
    assert ends.stream.diagnosis == "connection refused"


def test_a_pod_that_is_gone_ends_it(ends: Ends) -> None:
    ends.pod.socket.close()
    assert read(ends.local) == b""


def test_a_pod_may_answer_after_the_last_question(ends: Ends) -> None:
    ends.local.sendall(b"question")
    ends.local.shutdown(socket.SHUT_WR)
    assert ends.pod.heard(1) == [(Opcode.BINARY, b"\x00question")]
    time.sleep(0.2)
    ends.pod.say(b"\x00answer")
    ends.pod.close()
    assert read(ends.local) == b"answer"


def test_a_reader_that_is_slow_slows_the_writer_down(ends: Ends) -> None:
    sent, piece = 0, b"\x00" + b"z" * 60_000
    ends.pod.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while sent < 100 * MIB:
            ends.pod.say(piece)
            sent += len(piece)
    assert sent < 10 * MIB


def test_closing_it_from_elsewhere_ends_it_at_once(ends: Ends) -> None:
    began = time.monotonic()
    ends.stream.close()
    assert read(ends.local) == b""
    ends.thread.join(5)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("ends", [0.1], indirect=True)
@pytest.mark.parametrize("question", [b"question", b"z" * 64 * MIB], ids=["all-taken", "not-all-taken"])
def test_a_cluster_that_answers_nothing_is_gone(ends: Ends, question: bytes) -> None:
    with suppress(ConnectionError):
        ends.local.sendall(question)
    ends.thread.join(5)
    assert not ends.thread.is_alive()
    assert "has not answered a ping" in ends.stream.diagnosis


@pytest.mark.parametrize("ends", [0.1], indirect=True)
def test_a_cluster_that_answers_pings_may_be_silent_otherwise(ends: Ends) -> None:
    ends.local.sendall(b"question")
    assert ends.pod.heard(1) == [(Opcode.BINARY, b"\x00question")]
    for _ in range(5):
        ((opcode, _payload),) = ends.pod.heard(1)
        assert opcode == Opcode.PING
        ends.pod.flush()
    ends.pod.say(b"\x00answer")
    assert ends.local.recv(100) == b"answer"


@pytest.mark.parametrize("ends", [0.1], indirect=True)
def test_a_cluster_whose_bytes_are_not_read_owes_no_answer(ends: Ends) -> None:
    sender = threading.Thread(target=ends.pod.say, args=[b"\x00" + b"z" * 2**16] * 256)
    sender.start()
    sender.join(0.8)
    assert sender.is_alive() and ends.thread.is_alive()
    left = 16 * MIB
    while left:
        left -= len(ends.local.recv(left))
    sender.join(5)


def test_a_refusal_is_told_from_silence() -> None:
    def refuse() -> None:
        end = listener.accept()[0]
        with end:
            end.recv(1 << 16)
            end.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = client_of(f"127.0.0.1:{listener.getsockname()[1]}")
        threading.Thread(target=refuse).start()
        with pytest.raises(Refused) as refused:
            connect(client, "/portforward?ports=80", {}, 5, "it")
    assert (refused.value.status, refused.value.body) == (404, b"no")
    with pytest.raises(UnreachableError):
        connect(client, "/portforward?ports=80", {}, 5, "it")
