"""The command line's client against a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.serving.asgi import call
from tests.unit.serving.bundles import TABLE_ROW
from tests.unit.serving.test_images import saved
from winnow.config.settings import Settings
from winnow.orchestrators.inference import infer_once
from winnow.serving.client import NoAnswerError, card
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings


def _served(app: Any) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            self._answer(call(app, "POST", self.path, body, {"content-type": self.headers["content-type"]}))

        def do_GET(self) -> None:
            self._answer(call(app, "GET", self.path))

        def _answer(self, response: Any) -> None:
            self.send_response(response.status)
            self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(params=["mixed", "images"])
def url(bundle_folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    server = _served(load_app(bundle_folder / request.param, "3", ServingSettings()))
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _ask(url: str, source: Path | None) -> Any:
    return infer_once(Settings.from_environment({}), None, None, url=url, source=source, say=print)


def test_an_address_that_is_not_of_http_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model").write_text('{"input_example": {}}')
    with pytest.raises(NoAnswerError, match="begins with http:// or https://"):
        card(tmp_path.as_uri())


@pytest.mark.parametrize("url", ["mixed"], indirect=True)
def test_a_raw_row_is_sent_from_a_file_or_as_the_models_example(url: str, tmp_path: Path) -> None:
    source = tmp_path / "row.json"
    source.write_bytes(msgspec.json.encode(TABLE_ROW))
    own, given = (_ask(url, each).answer["probabilities"] for each in (None, source))
    assert own == given


@pytest.mark.parametrize("url", ["images"], indirect=True)
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_an_image_is_sent_as_it_is(url: str, tmp_path: Path, kind: str) -> None:
    source = tmp_path / f"photo.{kind}"
    source.write_bytes(saved(kind.upper()))
    found = _ask(url, source)
    assert found.answer["predictions"][0] in ("cat", "dog")
    assert found.curl == f"curl -s {url}/predict \\\n  -H 'content-type: image/{kind}' \\\n  --data-binary '@{source}'"
