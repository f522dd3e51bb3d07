"""The router's own address: a driver renews the lease there, Prometheus and the platform ask there."""

from __future__ import annotations

import hmac

import msgspec

from winnow.routing import Route, to_json
from winnow.serving import request
from winnow.serving.problems import ProblemError
from winnow.serving.request import ByteBudget, Head, Receive, Reply, Scope, Send
from winnow.serving.router.app import RouterApp
from winnow.serving.router.counters import exposition

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
MOST_BODY_BYTES = 65_536


class ControlApp:
    """The application (ASGI) for the control address.

    Args:
        token: of those who may renew the lease (`POST /renew`), or read the counts without that (`POST /report`).
    """

    def __init__(self, router: RouterApp, route: Route, token: bytes) -> None:
        self.budget = ByteBudget(MOST_BODY_BYTES)
        self._router = router
        self._route = route
        self._token = token

    def start_draining(self) -> None:
        """A stopping router is asked for its last counts."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        head = request.head_of(scope)
        try:
            reply = await self._reply(head)
        except ProblemError as problem:
            reply = request.problem_reply(problem, head.request_id)
        await request.reply_with(reply, head, send, ())

    async def answer_health_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request beyond the most connections (ASGI)."""
        await self(scope, receive, send)

    def refusal(self, problem: ProblemError, *, is_counted: bool) -> bytes:
        """A whole HTTP response to a request that was not received whole."""
        return request.raw_refusal(problem, ())

    async def _reply(self, head: Head) -> Reply:
        if head.path in ("/renew", "/report"):
            if head.method != "POST":
                raise ProblemError("method-not-allowed", "Expected POST.", headers=[(b"allow", b"POST")])
            scheme, _, given = head.authorization.partition(b" ")
            if scheme.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self._token):
                wanted = [(b"www-authenticate", b"Bearer")]
                raise ProblemError("key-required", 'Expected the header "authorization: Bearer TOKEN".', headers=wanted)
            report = self._router.renew() if head.path == "/renew" else self._router.report()
            return Reply(200, b"application/json", to_json(report).encode())
        if head.path == "/readyz":
            is_ready = await self._router.is_ready()
            body = msgspec.json.encode({"ready": is_ready})
            return Reply(200 if is_ready else 503, b"application/json", body)
        if head.path == "/metrics":
            return Reply(200, METRICS_TYPE, exposition(self._router.report(), self._route))
        raise ProblemError("not-found", "Here are /renew, /report, /readyz and /metrics.")
