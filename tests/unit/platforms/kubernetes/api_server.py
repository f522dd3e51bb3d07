"""A Kubernetes API for tests: real HTTP, objects in memory, answers that can be scripted."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.kinds import KINDS

NAMESPACE = "place"
_PLURALS = frozenset(kind.plural for kind in KINDS)


@dataclass(frozen=True)
class Asked:
    """A request that came in."""

    method: str
    path: str
    query: dict[str, str]
    token: str
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition(f'/namespaces/{NAMESPACE}/')[2] or self.path}"


Answer = Callable[[BaseHTTPRequestHandler, Asked], None]


@dataclass
class FakeApi:
    """Objects by path, and what was asked. `script` answers the next requests, one each, before the objects do.

    Attributes:
        answers: to whatever is asked of a path, in place of the object there.
        allowed: the verbs on resources that are granted, as `get pods/log`; None: all.
    """

    url: str = ""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    allowed: set[str] | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    serial: Iterator[int] = field(default_factory=itertools.count)

    @property
    def log(self) -> list[str]:
        """What was asked, in short."""
        return [str(each) for each in self.asked]

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Keep an object as a server does, without its last one's identity being lost."""
        before = self.objects.get(path, {})
        uid = before.get("metadata", {}).get("uid") or f"uid-{next(self.serial)}"
        whole = {**body, "metadata": {**body["metadata"], "uid": uid, "resourceVersion": str(next(self.serial))}}
        self.objects[path] = whole
        return whole

    def answer(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        """Do what is asked, as far as tests need it."""
        path, found = asked.path, self.objects.get(asked.path)
        if asked.path.endswith("/selfsubjectaccessreviews"):
            wanted = asked.body["spec"]["resourceAttributes"]
            resource = "/".join(part for part in (wanted["resource"], wanted.get("subresource")) if part)
            allowed = self.allowed is None or f"{wanted['verb']} {resource}" in self.allowed
            reply(to, 201, {"status": {"allowed": allowed}})
        elif asked.method == "PATCH":
            self.change(to, asked)
        elif asked.method == "POST" and path.rpartition("/")[2] in _PLURALS:
            path = f"{path}/{asked.body['metadata']['name']}"
            if path in self.objects:
                reply(to, 409, {"message": "already exists"})
            elif asked.query.get("dryRun") == "All":
                reply(to, 201, asked.body)
            else:
                reply(to, 201, self.put(path, asked.body))
        elif found is None and asked.method == "GET" and path.rpartition("/")[2] in _PLURALS:
            items = [
                {key: value for key, value in each.items() if key not in ("kind", "apiVersion")}
                for where, each in self.objects.items()
                if where.startswith(f"{path}/") and _is_selected(each, asked.query.get("labelSelector", ""))
            ]
            reply(to, 200, {"items": items, "metadata": {"resourceVersion": "1"}})
        elif found is None:
            reply(to, 404, {"message": f'"{path.rpartition("/")[2]}" not found'})
        elif asked.method == "DELETE":
            del self.objects[path]
            reply(to, 200, {})
        else:
            reply(to, 200, found)

    def change(self, to: BaseHTTPRequestHandler, asked: Asked) -> None:
        """Apply, or merge what names no kind, unless it is meant for an older version of the object."""
        found, wanted = self.objects.get(asked.path), asked.body["metadata"].get("resourceVersion")
        if wanted is not None and (found is None or found["metadata"]["resourceVersion"] != wanted):
            reply(to, 409, {"message": "the object has been modified"})
        elif asked.query.get("dryRun") == "All":
            reply(to, 200, asked.body)
        elif "kind" in asked.body or found is None:
            reply(to, 200, self.put(asked.path, asked.body))
        else:
            data = {**found.get("data", {}), **asked.body.get("data", {})}
            left = {name: value for name, value in data.items() if value is not None}
            reply(to, 200, self.put(asked.path, {**found, "data": left}))


def _is_selected(found: dict[str, Any], selector: str) -> bool:
    """Whether an object has the labels, each as `name=value` or only a name."""
    labels = found["metadata"].get("labels", {})
    pairs = (part.partition("=") for part in selector.split(",") if part)
    return all(name in labels and (not sign or labels[name] == value) for name, sign, value in pairs)


def reply(to: BaseHTTPRequestHandler, status: int, body: Any, **headers: str) -> None:
    """A whole answer."""
    content = json.dumps(body).encode()
    to.send_response(status)
    for name, value in headers.items():
        to.send_header(name.replace("_", "-"), value)
    to.send_header("Content-Length", str(len(content)))
    to.end_headers()
    to.wfile.write(content)


def refuse(status: int, message: str = "no", about: str = "", **headers: str) -> Answer:
    """An answer that is a refusal; `about` names the kind that it is about, in the plural."""
    details = {"details": {"kind": about}} if about else {}
    return lambda to, _asked: reply(to, status, {"kind": "Status", "message": message, **details}, **headers)


def cut(to: BaseHTTPRequestHandler, _asked: Asked) -> None:
    """An answer that ends in its middle."""
    to.send_response(200)
    to.send_header("Content-Length", "1000")
    to.end_headers()
    to.wfile.write(b'{"kind"')
    to.close_connection = True


def stream(*lines: str, until: threading.Event | None = None) -> Answer:
    """An answer of lines, chunk by chunk; then nothing, until an event, and its end."""

    def answer(to: BaseHTTPRequestHandler, _asked: Asked) -> None:
        to.send_response(200)
        to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        for line in (f"{each}\n".encode() for each in lines):
            to.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        to.wfile.flush()
        if until is not None:
            until.wait(20)
        with contextlib.suppress(OSError):
            to.wfile.write(b"0\r\n\r\n")

    return answer


@contextlib.contextmanager
def running(api: FakeApi | None = None) -> Iterator[FakeApi]:
    """An API that listens."""
    api = api if api is not None else FakeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or every answer waits 40 ms for an acknowledgement of its head

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            asked = Asked(self.command, parts.path, query, self.headers.get("Authorization", ""), body)
            with api.lock:
                api.asked.append(asked)
                answer = api.script.pop(0) if api.script else api.answers.get(parts.path, api.answer)
            answer(self, asked)

        do_POST = do_PATCH = do_DELETE = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(
    file: Path, url: str, user: dict[str, Any] | None = None, *, namespace: str | None = NAMESPACE, current: bool = True
) -> Path:
    """A kubeconfig with one context, `here`."""
    whole = {
        "apiVersion": "v1",
        "kind": "Config",
        **({"current-context": "here"} if current else {}),
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": user or {"token": "t0"}}],
        "contexts": [
            {
                "name": "here",
                "context": {"cluster": "c", "user": "u", **({"namespace": namespace} if namespace else {})},
            }
        ],
    }
    file.write_text(yaml.safe_dump(whole))
    return file


def cluster_of(api: FakeApi, folder: Path) -> Cluster:
    """The API as winnow meets it."""
    return connect({"KUBECONFIG": str(kubeconfig(folder / "kubeconfig", api.url))})
