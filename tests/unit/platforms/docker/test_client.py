"""What becomes of an engine's refusals and failures: one error for a person, whatever the SDK makes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import docker
import pytest

from winnow.config.errors import InputError, UnreachableError
from winnow.platforms.docker.client import EngineError, asking


@contextmanager
def engine_that_answers(status: int, message: str = "") -> Iterator[docker.DockerClient]:
    """A server that says the same to whatever it is asked; with status 0 it hangs up."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if status:
                body = json.dumps({"message": message}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = docker.DockerClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41")
        try:
            yield client
        finally:
            client.close()
            server.shutdown()


def test_what_an_engine_refuses_is_the_caller_s_to_change() -> None:
    with (
        engine_that_answers(400, "no such device\nand more") as engine,
        pytest.raises(InputError, match=r"worker c0: .*found no such device. Ask"),
        asking("worker c0"),
    ):
        engine.info()


def test_what_an_engine_cannot_do_is_its_failure() -> None:
    with (
        engine_that_answers(500, "no space left") as engine,
        pytest.raises(EngineError, match=r"worker c0: .*'no space left'"),
        asking("worker c0"),
    ):
        engine.info()


def test_an_engine_that_goes_away_is_told_from_one_that_fails() -> None:
    with (
        engine_that_answers(0) as engine,
        pytest.raises(UnreachableError, match=r"worker c0: .*`docker info`"),
        asking("worker c0"),
    ):
        engine.info()
