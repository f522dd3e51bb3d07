"""As much of S3 as lists, describes and gives objects, from a folder."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class _Bucket(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file():
            self.send_header("ETag", hashlib.sha256(path.read_bytes()).hexdigest())
        super().end_headers()

    def do_GET(self) -> None:
        if "list-type=2" not in self.path:
            super().do_GET()
            return
        folder = Path(self.translate_path(self.path))
        keys = "".join(f"<Contents><Key>{each.relative_to(folder)}</Key></Contents>" for each in folder.rglob("*.*"))
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def s3_bucket(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of s3://NAME below the root, while the context is open; boto3's variables name the server."""
    pytest.importorskip("boto3")
    (root / name).mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Bucket, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for variable, value in {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "me",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            monkeypatch.setenv(variable, value)
        try:
            yield root / name
        finally:
            server.shutdown()
            thread.join()
