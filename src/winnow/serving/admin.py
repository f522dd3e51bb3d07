"""Everything that is not called all the time: documentation, OpenAPI, the model's card, and what is not found.

Imported at the first such request, so a server that only predicts never pays for FastAPI (about a quarter of a second
and 30 MiB). Nothing here comes from another host: pages work without a network.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from winnow.bundle.manifest import Manifest
from winnow.serving import docs_page, problems
from winnow.serving.examples import Example
from winnow.serving.openapi import openapi_of
from winnow.serving.problems import ProblemError
from winnow.serving.request import ASGIApp
from winnow.serving.signature import Signature

ASSETS = {"docs.css": "text/css", "docs.js": "text/javascript"}
CONTENT_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:"


def make_admin(
    manifest: Manifest, signature: Signature, example: bytes, examples: tuple[Example, ...], *, needs_key: bool
) -> ASGIApp:
    """The FastAPI application for one model.

    Args:
        example: the bundle's own input example, a body of `/predict`.
    """
    app = FastAPI(title=signature.name, version=signature.version, openapi_url=None, docs_url=None, redoc_url=None)
    document = msgspec.json.encode(openapi_of(signature, examples, needs_key=needs_key))
    card = msgspec.json.encode(_card(manifest, signature, example))

    @app.get("/")
    def root() -> Response:
        return RedirectResponse("/docs")

    @app.get("/openapi.json")
    def openapi() -> Response:
        return Response(document, media_type="application/json")

    @app.get("/model")
    def model() -> Response:
        return Response(card, media_type="application/json")

    @app.get("/docs")
    def docs(request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        page = docs_page.render(manifest, signature, examples, url, needs_key=needs_key)
        headers = {"content-security-policy": CONTENT_POLICY, "x-content-type-options": "nosniff"}
        return Response(page, media_type="text/html", headers=headers)

    @app.get("/docs/{name}")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        content = resources.files("winnow.serving").joinpath("assets", name).read_bytes()
        return Response(content, media_type=ASSETS[name], headers={"cache-control": "max-age=300"})

    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, _server_problem)
    return app


def _card(manifest: Manifest, signature: Signature, example: bytes) -> dict[str, Any]:
    """The model's card: the manifest, the version it is served under, and a request that works."""
    facts: dict[str, Any] = msgspec.to_builtins(manifest)
    served = {"version": signature.version, "digest": signature.digest}
    return {**facts, **served, "input_example": msgspec.Raw(example)}


def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = problems.status_kind(error.status_code)
    if kind == "not-found":
        detail = (
            "This server answers /predict, /invocations, /v2, /model, /openapi.json, /livez, /readyz and /metrics; "
        )
        detail += "/docs describes them."
    else:
        detail = "Expected one of the methods in the header allow." if error.status_code == 405 else error.detail
    return _response(request, ProblemError(kind, detail), dict(error.headers or {}))


def _server_problem(request: Request, _error: Exception) -> Response:
    detail = "The server's log has the error, by this request's id."
    return _response(request, ProblemError("server-failed", detail), {})


def _response(request: Request, problem: ProblemError, headers: dict[str, str]) -> Response:
    members = problems.members_of(problem, str(getattr(request.state, "request_id", "")))
    media_type = problems.MEDIA_TYPE.decode()
    return Response(problems.encode(members), status_code=problem.status, media_type=media_type, headers=headers)
