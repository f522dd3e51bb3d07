"""The router's ASGI application: it sends each request to a revision, and the candidate's failures never to a client.

A request is received whole before it is sent on, within the server's own limits, and kept until it is answered. So what
the candidate does not answer well and in time, stable answers.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable

import msgspec

from winnow.routing import RouterReport, RouterSettings
from winnow.serving import problems, request
from winnow.serving.problems import ProblemError
from winnow.serving.request import (
    ByteBudget,
    ClientGoneError,
    Head,
    Headers,
    Receive,
    Reply,
    Reservation,
    Scope,
    Send,
    problem_reply,
)
from winnow.serving.router.counters import Counter
from winnow.serving.router.fail_open import AnswerTimes, Breaker
from winnow.serving.router.mirror import Mirror
from winnow.serving.router.split import REVISION_HEADER, Choice, Share, Split
from winnow.serving.router.upstream import HOP_BY_HOP, Answer, Request, Upstream, UpstreamError
from winnow.serving.settings import ServingSettings
from winnow.serving.signature import MODEL_HEADER

log = logging.getLogger("winnow.serving")

JSON = b"application/json"
READY = frozenset(("/readyz", "/ping", "/health", "/v2/health/ready"))
LIVE = frozenset(("/livez", "/v2/health/live"))
READY_REQUEST = Request(b"GET /readyz HTTP/1.1\r\nhost: router\r\n\r\n")
READY_S = 2.0
ANSWER_S = 120.0
"""How long stable may take for an answer, and then for each further piece of a large one."""
MOST_IN_FLIGHT = 128
"""Requests that the candidate may have at a time; further ones go to stable at once."""

_DROPPED = HOP_BY_HOP | {b"content-length", b"expect", b"x-request-id", request.ROUTE_NAME}


class RouterApp:
    """The application for one route.

    Args:
        clock: seconds that never go back.
    """

    def __init__(
        self, router: RouterSettings, settings: ServingSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget = ByteBudget(settings.max_inflight_bytes)
        self._router, self._route = router, router.route
        self._largest = settings.max_body_bytes
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._started = self._renewed = clock()
        self._split = Split(router, random.random)
        self._stable, self._candidate = Upstream(router.stable), Upstream(router.candidate)
        self._breaker, self._times = Breaker(), AnswerTimes()
        self._in_flight = self._misses = 0
        self._stable_counter, self._candidate_counter = Counter(), Counter()
        copied = Share(self._route.mirror, random.random)
        self._mirror = Mirror(self._candidate, copied, is_classifier=router.is_classifier, clock=clock)
        self._is_draining = False
        self._further: Headers = ()

    def start_draining(self) -> None:
        """Stop being ready, and ask every client to close its connection after the next answer."""
        self._is_draining = True
        self._further = ((b"connection", b"close"),)

    def close(self) -> None:
        """Close connections to the replicas."""
        self._stable.close()
        self._candidate.close()

    def renew(self) -> RouterReport:
        """Renew the lease of the route; what was counted so far."""
        report = self.report()
        self._renewed = self._clock()
        return report

    def report(self) -> RouterReport:
        """What was counted so far."""
        return RouterReport(
            router=self._name,
            serial=self._route.serial,
            uptime_s=self._clock() - self._started,
            stable=self._stable_counter.counts,
            candidate=self._candidate_counter.counts,
            mirrored=self._mirror.counter.counts,
            comparisons=self._mirror.comparisons,
            misses=self._misses,
            is_expired=self.is_expired,
            is_open=self._breaker.is_open,
        )

    @property
    def is_expired(self) -> bool:
        """Whether no driver has renewed the route for too long."""
        lease_s = self._route.lease_s
        return lease_s is not None and self._clock() - self._renewed > lease_s

    async def is_ready(self) -> bool:
        """Whether it takes requests: it is not stopping, and stable answers that it is ready."""
        return await self._ready_answer() is not None

    async def _ready_answer(self) -> Answer | None:
        """Stable's answer that it is ready; None where it is not, or where this router is stopping."""
        if self._is_draining:
            return None
        try:
            answer = await self._stable.ask(READY_REQUEST, READY_S)
        except UpstreamError:
            return None
        return answer if answer.status == 200 else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        head = request.head_of(scope)
        if head.path in READY or head.path in LIVE:
            await self._answer_health(head, send)
            return
        reserved = Reservation(self.budget)
        try:
            body = await request.body_of(head, receive, self._largest, reserved)
            await self._route_one(head, scope, request_of(scope, head, body), send)
        except ProblemError as problem:
            await request.reply_with(_problem(problem, head.request_id), head, send, self._further)
        except ClientGoneError:
            pass
        except Exception:
            log.exception("request %s failed", head.request_id)
            with contextlib.suppress(RuntimeError):  # the answer has begun: the connection is closed
                reply = _problem(problems.server_failed(), head.request_id)
                await request.reply_with(reply, head, send, ((b"connection", b"close"),))
        finally:
            reserved.release()

    async def answer_health_alone(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request beyond the most connections (ASGI): health, the rest with 429."""
        head = request.head_of(scope)
        if head.path in READY or head.path in LIVE:
            await self._answer_health(head, send)
            return
        busy = problems.too_busy("Expected a free connection, found every one in use: send the request again.")
        await request.reply_with(_problem(busy, head.request_id), head, send, self._further)

    def refusal(self, problem: ProblemError, *, is_counted: bool) -> bytes:
        """A whole HTTP response to a request that was not received whole."""
        return request.raw_refusal(problem, self._further)

    async def _answer_health(self, head: Head, send: Send) -> None:
        if head.method not in ("GET", "HEAD"):
            allowed = ProblemError("method-not-allowed", "Expected GET.", headers=[(b"allow", b"GET, HEAD")])
            reply = _problem(allowed, head.request_id)
        elif head.path in LIVE:
            reply = Reply(200, JSON, b'{"live":true}')
        else:
            ready = await self._ready_answer()
            # A client that asks which model serves gets stable's.
            named = () if ready is None else tuple(each for each in ready.headers if each[0] == MODEL_HEADER.encode())
            body = msgspec.json.encode({"ready": ready is not None})
            reply = Reply(503 if ready is None else 200, JSON, body, named)
        await request.reply_with(reply, head, send, self._further)

    async def _route_one(self, head: Head, scope: Scope, whole: Request, send: Send) -> None:
        """Have one of the revisions answer a request, and the other one compared where the route says so."""
        choice = self._split.choose(head.method, head.path, scope["headers"])
        route, is_head = self._route, head.method == "HEAD"
        if choice.is_candidate and route.candidate is not None and not self.is_expired:
            marked = self._marked(whole, choice, route.candidate)
            answer = await self._ask_candidate(choice, marked, is_head=is_head)
            if answer is not None:
                await self._pass_on(route.candidate, answer, head, send)
                return
            marked = self._marked(whole, choice, route.candidate, b"fallback")
            choice = Choice(is_candidate=False, is_routed=False)
        else:
            marked = self._marked(whole, choice, route.stable)
        answer = await self._ask_stable(choice, marked, is_head=is_head)
        await self._pass_on(route.stable, answer, head, send)
        if choice.is_routed and answer.status == 200 and route.candidate is not None and not self.is_expired:
            self._mirror.offer(head.path, self._marked(whole, choice, route.candidate, b"mirrored"), answer)

    def _marked(self, whole: Request, choice: Choice, number: int, kind: bytes = b"assigned") -> Request:
        """The request with what the replica's log says of it: route, revision that the route chose, and its way."""
        if self.is_expired or not (choice.is_routed or self._route.may_choose):
            return whole  # the shares are not the route's, or it is no prediction
        kind = kind if choice.is_routed else b"chosen"
        mark = b"%s: %d %d %s\r\n\r\n" % (request.ROUTE_NAME, self._route.serial, number, kind)
        return Request(whole.head[:-2] + mark, whole.body)

    async def _ask_candidate(self, choice: Choice, whole: Request, *, is_head: bool) -> Answer | None:
        """The candidate's answer; None where it has none that a client should see."""
        started = self._clock()
        answer: Answer | None = None
        seconds: float | None = None
        failure = "interrupted"
        # Room first: a request that the breaker admits must have an outcome.
        if self._in_flight < MOST_IN_FLIGHT and self._breaker.admits(started):
            self._in_flight += 1
            try:
                found = await self._candidate.ask(whole, self._times.limit_s(whole.size), is_head=is_head)
                seconds = self._clock() - started
                if found.status >= 500 or found.status == 429:  # an error, or no room
                    _drop(found)
                    failure, seconds = f"status {found.status}", None
                else:
                    answer = found
            except UpstreamError as error:
                failure = str(error)
                seconds = self._clock() - started if error.is_late else None
            finally:
                self._in_flight -= 1
                was_open = self._breaker.is_open
                if answer is None:
                    self._breaker.miss(started, self._clock())
                else:
                    self._breaker.hit(started)
                if self._breaker.is_open and not was_open:
                    log.warning("revision %s is not tried for now: %s", self._route.candidate, failure)
        self._misses += answer is None
        if choice.is_routed:
            self._candidate_counter.add(seconds, is_error=answer is None)
        return answer

    async def _ask_stable(self, choice: Choice, whole: Request, *, is_head: bool) -> Answer:
        started = self._clock()
        try:
            answer = await self._stable.ask(whole, ANSWER_S, is_head=is_head)
        except UpstreamError as error:
            if choice.is_routed:
                self._stable_counter.add(self._clock() - started if error.is_late else None, is_error=True)
            if error.is_late:
                raise ProblemError("answer-timeout", "Expected the model's answer, which did not come.") from error
            raise ProblemError("unavailable", "Expected a replica that answers, found none.") from error
        if choice.is_routed:
            seconds = self._clock() - started
            is_error = answer.status >= 500
            if not is_error:
                # The same limit as the candidate's, or equal revisions would not have equal shares of errors.
                is_error = seconds > self._times.limit_s(whole.size)
                self._times.add(whole.size, seconds)
            self._stable_counter.add(seconds, is_error=is_error)
        return answer

    async def _pass_on(self, number: int, answer: Answer, head: Head, send: Send) -> None:
        headers = [*answer.headers, (REVISION_HEADER.encode(), b"%d" % number), *self._further]
        rest = answer.rest
        if rest is None and head.method != "HEAD" and answer.status not in (204, 304):
            headers = [each for each in headers if each[0] != b"content-length"]
            headers.append((b"content-length", b"%d" % len(answer.body)))
        try:
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body, "more_body": rest is not None})
            while rest is not None:
                piece = await rest.next_piece(ANSWER_S)
                await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
                if not piece:
                    return
        finally:
            _drop(answer)


def request_of(scope: Scope, head: Head, body: bytes) -> Request:
    """The request for a replica, without what concerns the client's connection alone."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    dropped = _DROPPED | named
    query = scope["query_string"]
    lines = [b"%s %s%s HTTP/1.1" % (head.method.encode(), scope["raw_path"], b"?" + query if query else b"")]
    lines += [b"%s: %s" % each for each in headers if each[0] not in dropped]
    names = {name for name, _ in headers}
    if b"host" not in names:
        lines.append(b"host: router")
    lines.append(b"x-request-id: %s" % head.request_id.encode())  # both revisions log the same one
    if body or names & {b"content-length", b"transfer-encoding"}:
        lines.append(b"content-length: %d" % len(body))
    return Request(b"\r\n".join([*lines, b"", b""]), body)


def _drop(answer: Answer) -> None:
    if answer.rest is not None:
        answer.rest.close()


def _problem(problem: ProblemError, request_id: str) -> Reply:
    if problem.status >= 500:
        log.error("request %s: %s", request_id, problem.detail)
    return problem_reply(problem, request_id)
