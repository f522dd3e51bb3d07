"""The answers that are not requested all the time: documentation, OpenAPI, the model's card, and unknown addresses.

Imported at the first such request, so a server that only predicts never pays for FastAPI (about a quarter of a second
and 30 MiB). The pages load nothing from other hosts, so they work without a network.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from winnow.bundle.manifest import REGISTERED, VERDICTS, sha256_of
from winnow.serving import codec, docs_page, problems
from winnow.serving.examples import examples_of
from winnow.serving.openapi import openapi_of
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.predictor import Predictor
from winnow.serving.problems import ProblemError
from winnow.serving.request import ASGIApp
from winnow.serving.settings import ServingSettings

SBOM = "sbom.cdx.json"
"""The list of software that Dockerfile.prod writes beside the packages."""
ASSETS = {"docs.css": "text/css", "docs.js": "text/javascript"}
CONTENT_POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:"
ADDRESSES = "/predict, /invocations, /v2, /feedback, /model, /openapi.json, /livez, /readyz and /metrics"


def make_admin(predictor: Predictor, settings: ServingSettings, environment: Path = Path(sys.prefix)) -> ASGIApp:
    """The FastAPI application for one model.

    Everything is read from disk here: requests must not need file descriptors.

    Args:
        environment: the folder beside whose packages an image carries the list of its software.
    """
    manifest, signature, needs_key = predictor.manifest, predictor.signature, settings.api_key is not None
    row = PredictCodec(signature).decode(predictor.example, codec.JSON).matrix
    examples = examples_of(signature, row)
    kept = (predictor.directory / name for name in (REGISTERED, VERDICTS))
    registered, verdicts = (file.read_bytes() if file.is_file() else b"{}" for file in kept)
    sbom = environment / SBOM
    app = FastAPI(title=signature.name, version=signature.version, openapi_url=None, docs_url=None, redoc_url=None)
    document = msgspec.json.encode(
        openapi_of(signature, examples, needs_key=needs_key, has_log=settings.log is not None)
    )
    served = {
        "version": signature.version,
        "semantic_version": None,
        "lineage": {},
        **msgspec.json.decode(registered),
        "digest": signature.digest,
        "sbom_sha256": sha256_of(sbom) if sbom.is_file() else None,
        "input_example": msgspec.Raw(predictor.example),
        "gates": msgspec.Raw(verdicts),
    }
    card = msgspec.json.encode({**msgspec.to_builtins(manifest), **served})
    folder = resources.files("winnow.serving").joinpath("assets")
    assets = {name: folder.joinpath(name).read_bytes() for name in ASSETS}
    template = folder.joinpath("docs.html").read_text(encoding="utf-8")

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
        page = docs_page.render(template, manifest, signature, examples, url, needs_key=needs_key)
        headers = {"content-security-policy": CONTENT_POLICY, "x-content-type-options": "nosniff"}
        return Response(page, media_type="text/html", headers=headers)

    @app.get("/docs/{name}")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return Response(assets[name], media_type=ASSETS[name], headers={"cache-control": "max-age=300"})

    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(Exception, lambda request, _error: _response(request, problems.server_failed(), {}))
    return app


def _http_problem(request: Request, error: Exception) -> Response:
    """The problem for an error of the router: an unknown address, or a method that it does not take."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem = ProblemError("method-not-allowed", "Expected one of the methods in the header allow.")
    else:
        problem = ProblemError("not-found", f"This server answers {ADDRESSES}; /docs describes them.")
    return _response(request, problem, dict(error.headers or {}))


def _response(request: Request, problem: ProblemError, headers: dict[str, str]) -> Response:
    members = problems.members_of(problem, str(getattr(request.state, "request_id", "")))
    media_type = problems.MEDIA_TYPE.decode()
    return Response(msgspec.json.encode(members), status_code=problem.status, media_type=media_type, headers=headers)
