"""Reports of errors, as a Sentry receives them from real processes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest

from tests.e2e.test_serving import serving
from tests.unit.serving import bundles

IMPORTS = "import sys; from winnow.config.error_reports import start; start({}, {}); print('sentry_sdk' in sys.modules)"
FAILING_VERB = """
import os, sys, click
from winnow import cli

@click.command()
def verb():
    row = "Ann Smith"
    raise KeyError(row)

cli.report_errors(os.environ)
sys.exit(cli.run([], verb))
"""


class Ingest:
    """Keeps the envelopes that are posted to it, as Sentry's ingest takes them."""

    def __init__(self) -> None:
        self.envelopes: Queue[str] = Queue()
        kept = self.envelopes

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                is_packed = self.headers.get("content-encoding") == "gzip"
                kept.put((gzip.decompress(body) if is_packed else body).decode())
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server.server_port}/1"


@pytest.fixture
def ingest() -> Iterator[Ingest]:
    made = Ingest()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def _event(envelope: str) -> dict[str, Any]:
    return dict(json.loads(envelope.splitlines()[2]))


def test_a_replicas_error_is_reported_without_the_values_of_the_request(ingest: Ingest, tmp_path: Path) -> None:
    bundle = bundles.crashing(tmp_path / "bundle")
    with serving(bundle, tmp_path, "--model-version", "7", SENTRY_DSN=ingest.dsn) as server:
        answer = httpx.post(f"{server.url}/predict?who=smith", json={"rows": [[123456, 2, 3]]})
        envelope = ingest.envelopes.get(timeout=20)
        server.stop()
    event = _event(envelope)
    (raised,) = [each["type"] for each in event["exception"]["values"]][-1:]
    assert (answer.status_code, event["level"], event["tags"]) == (500, "error", {"part": "replica", "version": "7"})
    assert "Error" in raised or "Exception" in raised or "Argument" in raised
    assert answer.json()["request_id"] in json.dumps(event["logentry"])
    assert "123456" in (tmp_path / "server.log").read_text()
    assert not [each for each in ("123456", "smith", "mean radius") if each in envelope]


def test_a_verbs_bug_is_reported_without_its_message_and_its_variables(ingest: Ingest) -> None:
    environment = {**os.environ, "SENTRY_DSN": ingest.dsn}
    ended = subprocess.run([sys.executable, "-c", FAILING_VERB], env=environment, capture_output=True, text=True)
    envelope = ingest.envelopes.get(timeout=20)
    event = _event(envelope)
    frames = [frame["function"] for each in event["exception"]["values"] for frame in each["stacktrace"]["frames"]]
    assert (ended.returncode, event["exception"]["values"][-1]["type"], frames[-1]) == (1, "KeyError", "verb")
    assert "Ann Smith" in ended.stderr
    assert "Ann Smith" not in envelope


def test_without_an_address_the_package_is_not_imported() -> None:
    found = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_a_wrong_address_is_one_warning_and_the_replica_serves(tmp_path: Path) -> None:
    with serving(bundles.classification(tmp_path / "bundle"), tmp_path, SENTRY_DSN="nonsense") as server:
        assert httpx.get(f"{server.url}/readyz").status_code == 200
    log = (tmp_path / "server.log").read_text()
    assert log.count("SENTRY_DSN is no address of a Sentry project") == 1
