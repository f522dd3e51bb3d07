"""The server's ASGI application: it answers predictions and probes itself, and leaves everything else to FastAPI.

A prediction takes tens of microseconds; routing, validating and encoding it through a web framework takes hundreds. So
the frequent routes are looked up in a dictionary and answered here. The documentation and the model's card are left to
the application in `admin`, which is imported at the first request for it.

Small bodies are answered on the event loop's thread: passing them to another one costs more than a small model does.
What would delay health checks (see `predictor.inline_limit`) goes to a single worker thread, where ONNX Runtime
releases the interpreter's lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from winnow.config.version import __version__
from winnow.serving import inference_codec, problems, request
from winnow.serving.codec import Codec
from winnow.serving.features import FeatureLookup, with_fallback
from winnow.serving.feedback import Feedback
from winnow.serving.inference_codec import InferenceCodec
from winnow.serving.invocations_codec import InvocationsCodec
from winnow.serving.live_counts import LiveCounts
from winnow.serving.metrics import CONTENT_TYPE, Metrics
from winnow.serving.predict_codec import PredictCodec
from winnow.serving.prediction_log import PredictionLog
from winnow.serving.predictor import Predictor
from winnow.serving.problems import ProblemError
from winnow.serving.request import (
    ASGIApp,
    ByteBudget,
    ClientGoneError,
    Head,
    Headers,
    Receive,
    Reply,
    Reservation,
    Scope,
    Send,
)
from winnow.serving.settings import ServingSettings
from winnow.serving.signature import MODEL_HEADER

log = logging.getLogger("winnow.serving")
access_log = logging.getLogger("winnow.serving.access")

_T = TypeVar("_T")

JSON = b"application/json"
CLIENT_GONE = 499
"""nginx's status for a client that left: counted, never sent."""


class App:
    """The application for one loaded model.

    Args:
        make_admin: makes the application for every address that is not answered here; called in a thread, and again
            after a failure.

    Raises SettingError where what is to be logged cannot be.
    """

    def __init__(self, predictor: Predictor, settings: ServingSettings, make_admin: Callable[[], ASGIApp]) -> None:
        signature = predictor.signature
        self.metrics = Metrics(signature)
        self.metrics.is_ready.set(1)
        self.budget = ByteBudget(settings.max_inflight_bytes)
        self._predictor = predictor
        self._settings = settings
        self._make_admin = make_admin
        self._admin: asyncio.Future[ASGIApp] | None = None
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="predict")
        self._is_draining = False
        model = f"{signature.name}/{signature.version} sha256:{signature.digest}"
        self._further: Headers = ((MODEL_HEADER.encode(), model.encode("latin-1")),)
        v2 = f"/v2/models/{signature.name}"
        version = f"{v2}/versions/{signature.version}"
        self._inference = InferenceCodec(signature)
        self._log = None if settings.log is None else PredictionLog(signature, settings.log, self.metrics)
        self._counts = None if predictor.profile is None else LiveCounts(signature, predictor.profile)
        counted = bytes if self._counts is None else self._counts.exposition
        self._feedback = Feedback(signature, self._log)
        features = settings.features
        self._lookup = None if features is None else FeatureLookup(signature, features, self.metrics.registry)
        self._predict = PredictCodec(signature)
        # For each address its label in metrics, and its protocol.
        self._posted: dict[str, tuple[str, Codec | Feedback]] = {
            "/predict": ("/predict", self._predict),
            "/invocations": ("/invocations", InvocationsCodec(signature)),
            f"{v2}/infer": ("/v2/infer", self._inference),
            f"{version}/infer": ("/v2/infer", self._inference),
            "/feedback": ("/feedback", self._feedback),
        }
        metadata = {
            "name": signature.name,
            "versions": [signature.version],
            "platform": "onnx_onnxv1",
            "inputs": inference_codec.input_tensors(signature),
            "outputs": inference_codec.output_tensors(signature),
        }
        self._reading: dict[str, Callable[[], Reply]] = {
            "/metrics": lambda: Reply(200, CONTENT_TYPE, self.metrics.exposition() + counted()),
            "/v2": lambda: _json({"name": "winnow", "version": __version__, "extensions": []}),
            **dict.fromkeys((v2, version), lambda: _json(metadata)),
            **dict.fromkeys(("/livez", "/v2/health/live"), lambda: _json({"live": True})),
            **dict.fromkeys(("/readyz", "/ping", "/health", "/v2/health/ready"), lambda: self._ready({})),
            **dict.fromkeys((f"{v2}/ready", f"{version}/ready"), lambda: self._ready({"name": signature.name})),
        }

    def start_draining(self) -> None:
        """Stop being ready, and ask every client to close its connection after the next answer."""
        self._is_draining = True
        self.metrics.is_ready.set(0)
        self._further = (*self._further, (b"connection", b"close"))

    def close(self) -> None:
        """Release the worker thread, and write the last lines of the log."""
        self._worker.shutdown(wait=False)
        if self._lookup is not None:
            self._lookup.close()
        if self._log is not None:
            self._log.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI). It raises nothing: unforeseen errors are answered as problems, too."""
        if scope["type"] != "http":
            return
        route = self._posted.get(scope["path"])
        try:
            if route is not None:
                await self._post(*route, scope, receive, send)
            else:
                await self._other(scope, receive, send)
        except Exception:
            request_id = request.own_id()
            log.exception("request %s failed", request_id)
            head = request.head_of({**scope, "headers": [(b"x-request-id", request_id.encode())]})
            # If the answer has begun already, uvicorn refuses a second one and closes the connection.
            with contextlib.suppress(RuntimeError):
                reply = self._problem(problems.server_failed(), request_id)
                await request.reply_with(reply, head, send, ((b"connection", b"close"),))

    async def answer_health_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request beyond the most connections (ASGI): health, metrics and metadata, the rest with 429."""
        if scope["path"] in self._reading:
            await self(scope, receive, send)
            return
        started = time.perf_counter()
        head = request.head_of(scope)
        busy = problems.too_busy("Expected a free connection, found every one in use: send the request again.")
        await request.reply_with(self._problem(busy, head.request_id), head, send, self._further)
        self._record("other", busy.status, time.perf_counter() - started, 0, head)

    def refusal(self, problem: ProblemError, *, is_counted: bool) -> bytes:
        """A whole HTTP response to a request that was not received whole.

        Args:
            is_counted: count it in the metrics, since no call of this application does.
        """
        if is_counted:
            self.metrics.answered("other", problem.status, 0.0, 0)
        return request.raw_refusal(problem, self._further)

    async def _post(self, label: str, codec: Codec | Feedback, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        self.metrics.in_flight.inc()
        head = request.head_of(scope)
        rows = 0
        status = CLIENT_GONE
        reserved = Reservation(self.budget)
        try:
            try:
                body, rows = await self._answer(codec, head, receive, reserved)
                reply = Reply(202 if codec is self._feedback else 200, JSON, body)
            except ProblemError as problem:
                reply = self._problem(problem, head.request_id, codec)
            except ClientGoneError:
                status = scope.get("state", {}).get("status", CLIENT_GONE)
                return
            except Exception:
                log.exception("request %s failed", head.request_id)
                reply = self._problem(problems.server_failed(), head.request_id, codec)
            status = reply.status
            await request.reply_with(reply, head, send, self._further)
        finally:
            reserved.release()
            self.metrics.in_flight.dec()
            self._record(label, status, time.perf_counter() - started, rows, head)

    async def _answer(
        self, codec: Codec | Feedback, head: Head, receive: Receive, reserved: Reservation
    ) -> tuple[bytes, int]:
        """The body of the answer, and how many rows it predicts."""
        if head.method != "POST":
            raise ProblemError("method-not-allowed", "Expected POST.", headers=[(b"allow", b"POST")])
        if self._settings.api_key is not None:
            _check_key(head, self._settings.api_key)
        media_type = request.media_type_of(head, codec.media_types)
        body = await request.body_of(head, receive, self._settings.max_body_bytes, reserved)
        lookup = self._lookup
        if lookup is not None and codec is self._predict and lookup.is_asked(body):
            return await self._looked_up(lookup, body, media_type, head)
        return await self._in_place(len(body), self._work, codec, body, media_type, head)

    async def _looked_up(self, lookup: FeatureLookup, body: bytes, media_type: str, head: Head) -> tuple[bytes, int]:
        """The same for rows that have keys in place of features."""
        asked, told = await self._in_place(len(body), lookup.read, body), b""
        if asked is not None:
            found = await lookup.ask(asked)
            body, told = await self._in_place(len(body) + len(found), lookup.fill, asked, found)
        answer, rows = await self._in_place(len(body), self._work, self._predict, body, media_type, head)
        return with_fallback(answer, told), rows

    async def _in_place(self, size: int, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do it here if the bytes are few, else on the worker thread."""
        if size <= self._predictor.inline_bytes:
            return work(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._worker, work, *arguments)

    def _work(self, codec: Codec | Feedback, body: bytes, media_type: str, head: Head) -> tuple[bytes, int]:
        if isinstance(codec, Feedback):
            return codec.take(body, head.request_id), 0
        inference = codec.decode(body, media_type)
        outputs = self._predictor.outputs(inference.matrix)
        answer = codec.encode(inference, outputs, head.request_id)
        if self._counts is not None:
            self._counts.add(inference.matrix, outputs)
        if self._log is not None:
            self._log.predicted(head.request_id, head.route, inference.matrix, outputs)
        return answer, len(outputs)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        head = request.head_of(scope)
        read = self._reading.get(head.path)
        if read is None and not head.path.startswith("/v2/"):
            status = await self._by_admin(head, scope, receive, send)
            self._record("other", status, time.perf_counter() - started, 0, head)
            return
        if read is None:
            signature = self._predictor.signature
            detail = f'This server has the model "{signature.name}" in version "{signature.version}".'
            reply = self._problem(ProblemError("not-found", detail), head.request_id, self._inference)
        elif head.method not in ("GET", "HEAD"):
            allowed = ProblemError("method-not-allowed", "Expected GET.", headers=[(b"allow", b"GET, HEAD")])
            reply = self._problem(allowed, head.request_id)
        else:
            reply = read()
        await request.reply_with(reply, head, send, self._further)
        self._record("other" if read is None else head.path, reply.status, time.perf_counter() - started, 0, head)

    async def _by_admin(self, head: Head, scope: Scope, receive: Receive, send: Send) -> int:
        """Have FastAPI answer, with this server's own headers; return the status."""
        if self._admin is None:
            self._admin = asyncio.ensure_future(asyncio.to_thread(self._make_admin))
        starting = self._admin
        try:
            admin = await asyncio.shield(starting)
        except Exception as error:
            # The next request tries again.
            if self._admin is starting:
                self._admin = None
            log.exception("request %s failed", head.request_id)
            # Without a free file descriptor its modules cannot be imported.
            busy = problems.too_busy("Expected room to load this page, found none: send the request again.")
            problem = busy if isinstance(error, OSError) else problems.server_failed()
            await request.reply_with(self._problem(problem, head.request_id), head, send, self._further)
            return problem.status
        status = 500
        scope.setdefault("state", {})["request_id"] = head.request_id

        async def send_with_headers(message: request.Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                further = [(b"x-request-id", head.request_id.encode()), *self._further]
                message = {**message, "headers": [*message.get("headers", ()), *further]}
            await send(message)

        try:
            await admin(scope, receive, send_with_headers)
        except Exception:  # FastAPI has answered with a problem and raises again, for the server to log
            log.exception("request %s failed", head.request_id)
        return status

    def _problem(self, problem: ProblemError, request_id: str, codec: Codec | Feedback | None = None) -> Reply:
        if problem.status >= 500 and problem.__cause__ is not None:
            log.error("request %s: %s", request_id, problem.detail, exc_info=problem.__cause__)
        return request.problem_reply(problem, request_id, dict if codec is None else codec.problem_members)

    def _record(self, route: str, status: int, seconds: float, rows: int, head: Head) -> None:
        self.metrics.answered(route, status, seconds, rows)
        if self._settings.is_access_logged:
            line = {
                "time": time.time(),
                "method": head.method,
                "path": head.path,
                "status": status,
                "seconds": round(seconds, 6),
                "rows": rows,
                "request_id": head.request_id,
                "traceparent": head.traceparent.decode("latin-1"),
            }
            access_log.info(msgspec.json.encode(line).decode())

    def _ready(self, members: dict[str, object]) -> Reply:
        return _json({**members, "ready": not self._is_draining}, 503 if self._is_draining else 200)


def _json(content: object, status: int = 200) -> Reply:
    return Reply(status, JSON, msgspec.json.encode(content))


def _check_key(head: Head, expected: bytes) -> None:
    scheme, _, token = head.authorization.partition(b" ")
    given = token.strip() if scheme.lower() == b"bearer" else head.api_key
    if not hmac.compare_digest(given, expected):
        detail = 'Expected the header "authorization: Bearer KEY" (or "x-api-key: KEY") with this server\'s key.'
        raise ProblemError("key-required", detail, headers=[(b"www-authenticate", b"Bearer")])
