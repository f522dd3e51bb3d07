"""A feature server that answers as Feast's does, over HTTP/1.1 with kept connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Value = tuple[Any, str]
"""A value and its status."""


class FeatureServer:
    """Values of features by the entity `cell`, and how the server behaves.

    Attributes:
        values: by key, then by feature.
        delay: released when answers may be sent; set from the start.
        asked: the requests' bodies.
        connections: how many clients have connected.
    """

    def __init__(self, values: Mapping[Any, Mapping[str, Value]]) -> None:
        self.values = values
        self.status, self.body = 200, b""
        self.delay = threading.Event()
        self.delay.set()
        self.asked: list[dict[str, Any]] = []
        self.connections = 0
        self.url = ""

    def answer(self, asked: dict[str, Any]) -> bytes:
        (key, entities), *_ = asked["entities"].items()
        names = list(next(iter(self.values.values())))
        results = [{"values": entities, "statuses": ["PRESENT"] * len(entities), "event_timestamps": []}]
        for name in names:
            found = [self.values.get(each, {}).get(name, (None, "NOT_FOUND")) for each in entities]
            values, statuses = zip(*found, strict=True)
            results.append({"values": values, "statuses": statuses, "event_timestamps": []})
        return json.dumps({"results": results, "metadata": {"feature_names": [key, *names]}}).encode()


@contextmanager
def serving(server: FeatureServer) -> Iterator[FeatureServer]:
    """The server while it listens."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            server.connections += 1

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.asked.append({"path": self.path, **asked})
            server.delay.wait(10)
            body = server.body or server.answer(asked)
            self.send_response(server.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{listening.server_port}"
    try:
        yield server
    finally:
        server.delay.set()
        listening.shutdown()
        listening.server_close()
