"""Optuna's dashboard on the studies, on this machine only, and read-only.

It shows the study database beside a running sweep. Its buttons that write (delete, rename, add a note) are refused:
winnow's tables in the same database would not follow.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from winnow.config.addresses import without_password
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.orchestrators.pages import HOST, free_port
from winnow.study.database import Database
from winnow.study.store import study_names

USUAL_PORT = 8080

_App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


@dataclass(frozen=True)
class Dashboard:
    """Optuna's dashboard, ready to serve.

    Attributes:
        address: URL of the pages.
        storage: the study database's URL for Optuna, without a password.
        studies: the names of the studies, oldest first.
    """

    address: str
    storage: str
    studies: tuple[str, ...]
    server: Any = field(repr=False)

    def serve(self) -> None:
        """Answer requests until the process is interrupted."""
        with self.server:
            self.server.serve_forever()


class Server(ThreadingMixIn, WSGIServer):
    """Answers several requests at once; a browser opens more than one connection."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Log nothing: the pages ask for news every few seconds."""


def open_dashboard(settings: Settings, port: int | None = None) -> Dashboard:
    """Listen on a port for Optuna's dashboard. See `winnow.api.dashboard`."""
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise InputError(
            "optuna-dashboard",
            expected="the package with Optuna's pages",
            found="none",
            remedy=f"Install it: {sys.executable} -m pip install optuna-dashboard",
        ) from error
    database = Database(settings.storage_url)
    names = study_names(database)
    if not names:
        raise InputError(
            without_password(settings.storage_url),
            expected="a study",
            found="none",
            remedy=f"Run `{next_command('train', config=...)}` first.",
        )
    app = read_only(wsgi(database.for_optuna()))
    server = make_server(HOST, free_port(port, USUAL_PORT), app, server_class=Server, handler_class=_Quiet)
    return Dashboard(
        f"http://{HOST}:{server.server_port}/dashboard", without_password(database.url), tuple(names), server
    )


def read_only(app: _App) -> _App:
    """A WSGI application that refuses every request that could change something."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "The dashboard of winnow is read-only. Use `winnow` to change studies."}']

    return answer
