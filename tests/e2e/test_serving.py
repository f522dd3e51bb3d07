"""Real server processes, asked over HTTP while they start, run and stop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import read_manifest
from winnow.platforms.local import deployer as local
from winnow.routing import Record, Release, ReplicaSettings, Revision, Route, Scale

ROWS = {"rows": [[1, 2, 3]]}
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)
"""Every request on a connection of its own."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "first")


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "second", scale=2.0)


class Server:
    """One process of `python -m winnow.serving`, and where it answers."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def serving(bundle: Path, tmp_path: Path, *arguments: str, **environment: str) -> Iterator[Server]:
    ready = tmp_path / "ready.json"
    ready.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "winnow.serving", "--bundle", str(bundle), "--ready-file", str(ready), *arguments]
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, text=True, env={**os.environ, **environment})
    try:
        yield Server(process, _url_when_ready(process, ready, tmp_path / "server.log"))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def _url_when_ready(process: subprocess.Popen[str], ready: Path, log: Path) -> str:
    deadline = time.monotonic() + 30
    while not ready.is_file():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
    return str(json.loads(ready.read_text())["url"])


def test_a_stopping_server_loses_no_request_of_clients_that_watch_readiness(bundle: Path, tmp_path: Path) -> None:
    """As a load balancer does: look every 50 ms, and send requests until the server is seen not to be ready."""
    with serving(bundle, tmp_path, "--settle-s", "3") as server:
        is_ready, are_sending = threading.Event(), threading.Barrier(4)
        is_ready.set()

        def send_while_ready() -> list[int]:
            statuses = []
            with httpx.Client() as kept, httpx.Client(limits=NO_KEEPING) as fresh:
                are_sending.wait(30)
                while is_ready.is_set():
                    statuses += [each.post(f"{server.url}/predict", json=ROWS).status_code for each in (kept, fresh)]
            return statuses

        with concurrent.futures.ThreadPoolExecutor() as pool:
            senders = [pool.submit(send_while_ready) for _ in range(3)]
            are_sending.wait(30)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            seen_after_s = None
            stopped = time.monotonic()
            with httpx.Client(limits=NO_KEEPING) as looking:  # `httpx.get` makes a client each time, which takes longer
                while seen_after_s is None:
                    if looking.get(f"{server.url}/readyz").status_code == 503:
                        seen_after_s = time.monotonic() - stopped
                    time.sleep(0.05)
            is_ready.clear()
            statuses = [status for sender in senders for status in sender.result(30)]
        assert seen_after_s < 2.5
        assert len(statuses) > 6
        assert set(statuses) == {200}
        assert server.process.wait(30) == 0


def test_a_request_under_way_ends_before_the_server_does(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path, "--settle-s", "0") as server:
        host, _, port = server.url.removeprefix("http://").partition(":")
        body = json.dumps(ROWS).encode()
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
            connection.sendall(head.encode() + b"\r\n\r\n" + body[:5])
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[5:])
            answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        assert server.process.wait(30) == 0


def test_health_is_answered_while_a_large_body_is_worked_on(bundle: Path, tmp_path: Path) -> None:
    body = json.dumps({"rows": [[1.25, 2.5, 3.75]] * 90_000}).encode()
    headers = {"content-type": "application/json"}

    async def ask(url: str) -> tuple[int, list[float]]:
        async with httpx.AsyncClient(timeout=60) as client:
            large = asyncio.create_task(client.post(f"{url}/predict", content=body, headers=headers))
            waits = []
            while not large.done():
                started = time.monotonic()
                assert (await client.get(f"{url}/livez")).status_code == 200
                waits.append(time.monotonic() - started)
            return large.result().status_code, waits

    with serving(bundle, tmp_path) as server:
        status, waits = asyncio.run(ask(server.url))
    assert status == 200
    assert len(waits) > 3


def test_a_too_large_body_gets_its_answer(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path, WINNOW_MAX_BODY_BYTES="1000000") as server:
        headers = {"content-type": "application/json"}
        answer = httpx.post(f"{server.url}/predict", content=b" " * 3_000_000, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["title"]) == (413, "The request is too large")
        assert httpx.post(f"{server.url}/predict", json=ROWS).status_code == 200


def test_the_key_of_the_environment_guards_predictions_and_no_probe(bundle: Path, tmp_path: Path) -> None:
    with serving(bundle, tmp_path, WINNOW_API_KEY="secret") as server:
        assert httpx.post(f"{server.url}/predict", json=ROWS).status_code == 401
        assert [httpx.get(server.url + path).status_code for path in ("/livez", "/readyz", "/metrics")] == [200] * 3
        headers = {"authorization": "Bearer secret"}
        assert httpx.post(f"{server.url}/predict", json=ROWS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "settings", "status", "message"),
    [
        (["--bundle", "{bundle}/nothing"], {}, 1, "No such file"),
        (["--bundle", "{bundle}", "--port", "{taken}"], {}, 2, "expected a free port"),
        (["--bundle", "{bundle}"], {"WINNOW_SETTLE_S": "soon"}, 2, "WINNOW_SETTLE_S"),
        (["--bundle", "{bundle}"], {"WINNOW_SERVING": '{"log": {"to": "/nowhere/log"}}'}, 2, "/nowhere/log"),
    ],
)
def test_a_server_that_cannot_serve_says_why_and_ends(
    bundle: Path, arguments: list[str], settings: dict[str, str], status: int, message: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = [each.format(bundle=bundle, taken=taken.getsockname()[1]) for each in arguments]
        ended = subprocess.run(
            [sys.executable, "-m", "winnow.serving", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, **settings},
        )
    assert ended.returncode == status
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_serving_loads_neither_training_nor_tracking(bundle: Path) -> None:
    """And FastAPI only when somebody asks for the documentation."""
    code = (
        "import sys; from pathlib import Path; from winnow.serving.server import load_app; "
        "from winnow.serving.settings import ServingSettings; "
        f"app = load_app(Path({str(bundle)!r}), None, ServingSettings()); "
        "heavy = {'torch', 'mlflow', 'pandas', 'sklearn', 'optuna', 'onnx', 'fastapi', 'pydantic', 'scipy'}; "
        "print(sorted(heavy & set(sys.modules))); app.close()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == "[]"


def test_a_kept_connection_moves_to_the_revision_that_serves_after_one_more_answer(
    bundle: Path, other_bundle: Path, tmp_path: Path
) -> None:
    """One to the replica's own port, as routers have it, stays."""
    deployer = local.LocalDeployer(tmp_path)
    releases = [
        Release("cells", str(i), read_manifest(each).digest, each) for i, each in enumerate((bundle, other_bundle))
    ]
    revisions = tuple(Revision(i + 1, each, ReplicaSettings(), Scale()) for i, each in enumerate(releases))
    record = Record("cells", 1, revisions)
    try:
        deployer.write(record)
        for revision in revisions:
            deployer.start(record, revision.number, None)
        while len([each for each in deployer.observe("cells").replicas if each.is_ready]) < 2:
            time.sleep(0.02)
        deployer.route(msgspec.structs.replace(record, serial=2, route=Route(2, stable=1)))
        own = json.loads((tmp_path / "deployments" / "cells" / "run" / "1-0.ready").read_text())["url"]
        with httpx.Client(base_url=deployer.observe("cells").url) as client, httpx.Client(base_url=own) as router:
            answers = [each.post("/predict", json=ROWS) for each in (client, router)]
            deployer.route(msgspec.structs.replace(record, serial=3, route=Route(3, stable=2)))
            answers += [each.post("/predict", json=ROWS) for each in (client, router, client)]
    finally:
        deployer.remove("cells")
    assert [(each.json()["model"]["version"], each.headers.get("connection", "")) for each in answers] == [
        ("0", ""),
        ("0", ""),
        ("0", "close"),
        ("0", ""),
        ("1", ""),
    ]
