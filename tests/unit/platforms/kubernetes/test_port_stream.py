"""Bytes to a pod and back, in web socket frames, with the cluster's side played here."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from winnow.platforms.kubernetes.port_stream import PING_S, WINDOW, Frames, PortStream, frame

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def sent_by_server(opcode: int, payload: bytes, *, is_last: bool = True) -> bytes:
    """A frame without a mask."""
    first = (0x80 if is_last else 0) | opcode
    if len(payload) < 126:
        return struct.pack("!BB", first, len(payload)) + payload
    if len(payload) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


def unmasked(whole: bytes) -> bytes:
    """Frames of a client as a server would have sent them."""
    result, place = b"", 0
    while place < len(whole):
        length, begin = whole[place + 1] & 0x7F, 2
        if length >= 126:
            form, begin = ("!H", 4) if length == 126 else ("!Q", 10)
            (length,) = struct.unpack(form, whole[place + 2 : place + begin])
        mask = whole[place + begin : place + begin + 4]
        payload = whole[place + begin + 4 : place + begin + 4 + length]
        result += sent_by_server(whole[place] & 0xF, bytes(each ^ mask[i % 4] for i, each in enumerate(payload)))
        place += begin + 4 + length
    return result


@dataclass
class Ends:
    """A stream that is carried: `local` is the program's end, `pod` the cluster's."""

    stream: PortStream
    local: socket.socket
    pod: socket.socket
    thread: threading.Thread
    frames: Frames = field(default_factory=Frames)

    def heard(self, count: int) -> list[tuple[int, bytes]]:
        """The next messages at the cluster's end, at least so many."""
        messages: list[tuple[int, bytes]] = []
        self.pod.settimeout(5)
        while len(messages) < count:
            piece = self.pod.recv(1 << 16)
            assert piece, messages
            messages += self.frames.feed(unmasked(piece))
        return messages

    def say(self, opcode: int, payload: bytes) -> None:
        self.pod.sendall(sent_by_server(opcode, payload))


@pytest.fixture
def ends(request: pytest.FixtureRequest) -> Iterator[Ends]:
    remote, pod = socket.socketpair()
    there, local = socket.socketpair()
    stream = PortStream(remote, ping_s=getattr(request, "param", PING_S))
    thread = threading.Thread(target=stream.carry, args=(there,))
    thread.start()
    local.settimeout(5)
    # The first frame of each channel holds the port.
    pod.sendall(sent_by_server(BINARY, b"\x00\x40\x1f") + sent_by_server(BINARY, b"\x01\x40\x1f"))
    yield Ends(stream, local, pod, thread)
    stream.close()
    thread.join(5)
    assert not thread.is_alive()
    for end in (local, pod):
        end.close()


def read(end: socket.socket) -> bytes:
    """All that comes until the end."""
    whole = bytearray()
    while piece := end.recv(1 << 16):
        whole += piece
    return bytes(whole)


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_a_frame_of_any_length_is_read_as_it_was_written(length: int) -> None:
    payload = random.Random(length).randbytes(length)
    assert list(Frames().feed(unmasked(frame(BINARY, payload)))) == [(BINARY, payload)]


def test_frames_are_read_however_they_are_cut() -> None:
    whole = (
        sent_by_server(BINARY, b"ab", is_last=False)
        + sent_by_server(PING, b"!")
        + sent_by_server(0, b"cd")
        + sent_by_server(BINARY, b"x" * 300)
    )
    frames = Frames()
    found = [each for byte in whole for each in frames.feed(bytes((byte,)))]
    assert found == [(PING, b"!"), (BINARY, b"abcd"), (BINARY, b"x" * 300)]


def test_bytes_go_there_and_back(ends: Ends) -> None:
    ends.local.sendall(b"question")
    assert ends.heard(1) == [(BINARY, b"\x00question")]
    ends.say(BINARY, b"\x00answer")
    assert ends.local.recv(100) == b"answer"
    assert ends.stream.has_answered


def test_all_that_the_pod_said_arrives_before_the_end(ends: Ends) -> None:
    for _ in range(20):
        ends.say(BINARY, b"\x00" + b"z" * 50_000)
    ends.say(CLOSE, b"")
    assert read(ends.local) == b"z" * 1_000_000


def test_an_error_of_the_cluster_ends_it_and_is_kept(ends: Ends) -> None:
    ends.say(BINARY, b"\x01connection refused\n")
    assert read(ends.local) == b""
    ends.thread.join(5)
    assert ends.stream.diagnosis == "connection refused"
    assert not ends.stream.has_answered


def test_a_ping_is_answered(ends: Ends) -> None:
    ends.say(PING, b"are you there")
    assert ends.heard(1) == [(PONG, b"are you there")]


def test_a_pod_that_is_gone_ends_it(ends: Ends) -> None:
    ends.pod.close()
    assert read(ends.local) == b""


def test_a_pod_may_answer_after_the_last_question(ends: Ends) -> None:
    ends.local.sendall(b"question")
    ends.local.shutdown(socket.SHUT_WR)
    assert ends.heard(1) == [(BINARY, b"\x00question")]
    time.sleep(0.2)
    ends.say(BINARY, b"\x00answer")
    ends.say(CLOSE, b"")
    assert read(ends.local) == b"answer"


def test_a_reader_that_is_slow_slows_the_writer_down(ends: Ends) -> None:
    ends.pod.settimeout(0.5)
    sent, piece = 0, sent_by_server(BINARY, b"\x00" + b"z" * 60_000)
    with pytest.raises(TimeoutError):
        while sent < 100 * WINDOW:
            sent += ends.pod.send(piece)
    assert sent < 3 * WINDOW


def test_closing_it_from_elsewhere_ends_it_at_once(ends: Ends) -> None:
    began = time.monotonic()
    ends.stream.close()
    assert read(ends.local) == b""
    ends.thread.join(5)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("ends", [0.1], indirect=True)
@pytest.mark.parametrize("question", [b"question", b"z" * 8 * WINDOW], ids=["all-taken", "not-all-taken"])
def test_who_takes_bytes_and_answers_nothing_is_gone(ends: Ends, question: bytes) -> None:
    with suppress(ConnectionError):
        ends.local.sendall(question)
    ends.thread.join(5)
    assert not ends.thread.is_alive()
    assert "no ping is answered" in ends.stream.diagnosis


@pytest.mark.parametrize("ends", [0.1], indirect=True)
def test_who_answers_pings_may_have_nothing_else_to_say(ends: Ends) -> None:
    ends.local.sendall(b"question")
    assert ends.heard(1) == [(BINARY, b"\x00question")]
    for _ in range(5):
        assert ends.heard(1) == [(PING, b"")]
        ends.say(PONG, b"")
    ends.say(BINARY, b"\x00answer")
    assert ends.local.recv(100) == b"answer"


@pytest.mark.parametrize("ends", [0.1], indirect=True)
def test_a_side_that_is_not_read_owes_no_answer(ends: Ends) -> None:
    answers = sent_by_server(BINARY, b"\x00" + b"z" * (1 << 16)) * 64
    sender = threading.Thread(target=ends.pod.sendall, args=(answers,))
    sender.start()
    sender.join(0.8)
    assert sender.is_alive() and ends.thread.is_alive()
    left = 64 << 16
    while left:
        left -= len(ends.local.recv(left))
    sender.join(5)
