"""What clients and drivers see of a router, whatever its replicas do."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
import uvloop

from tests.unit.serving.router.stubs import BIG, Replica, Site, routed
from winnow.routing import Comparisons
from winnow.serving.router import app as router_app
from winnow.serving.settings import ServingSettings


def run(test: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(test, 30))  # the loop of real routers


async def _eventually(site: Site, compared: int) -> Comparisons:
    for _ in range(200):
        found = site.app.report().comparisons
        if found.compared + found.errors + found.dropped >= compared:
            break
        await asyncio.sleep(0.01)
    return found


def test_the_weight_divides_predictions_and_answers_name_the_revision() -> None:
    async def test() -> None:
        async with routed([Replica("old")], [Replica("new")], weight=0.3) as site:
            answers = [await site.predict() for _ in range(100)]
            found = [(each.headers["x-winnow-revision"], each.json()["predictions"]) for each in answers]
            assert found.count(("2", ["new"])) == 30
            assert found.count(("1", ["old"])) == 70
            report = site.app.report()
            assert (report.stable.requests, report.candidate.requests, report.misses) == (70, 30, 0)
            assert (report.stable.errors, report.candidate.errors) == (0, 0)
            assert (sum(report.stable.latency), sum(report.candidate.latency)) == (70, 30)

    run(test())


@pytest.mark.parametrize("behaviour", ["error", "busy", "reset", "half", "half-big", "nonsense", "hang"])
def test_a_candidate_that_fails_costs_no_request(behaviour: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with routed([Replica("old")], [Replica("new", behaviour)], weight=0.5) as site:
            for _ in range(40):
                site.app._times.add(100, 0.001)  # so that the limit is the least one
            answers = [await site.predict() for _ in range(40)]
            assert {(each.status_code, each.headers["x-winnow-revision"]) for each in answers} == {(200, "1")}
            report = site.app.report()
            assert (report.candidate.requests, report.candidate.errors, report.misses) == (20, 20, 20)
            assert report.is_open
            assert report.stable.requests == 20

    if behaviour == "half-big":
        monkeypatch.setattr("winnow.serving.router.upstream.MOST_HELD_BYTES", 2 * BIG)
    run(test())


def test_a_candidate_that_is_killed_costs_no_request() -> None:
    async def test() -> None:
        candidate = Replica("new")
        async with routed([Replica("old")], [candidate], weight=0.5) as site:
            before = [await site.predict() for _ in range(10)]
            candidate.stop()
            after = [await site.predict() for _ in range(20)]
            assert {each.status_code for each in before + after} == {200}
            assert {each.headers["x-winnow-revision"] for each in after} == {"1"}

    run(test())


def test_the_breaker_closes_when_the_candidate_answers_again() -> None:
    async def test() -> None:
        now = [0.0]
        candidate = Replica("new", "error")
        async with routed([Replica("old")], [candidate], weight=1.0, clock=lambda: now[0]) as site:
            for _ in range(10):
                await site.predict()
            assert len(candidate.seen) == 5
            candidate.behaviour = "answer"
            now[0] = 0.5
            assert {(await site.predict()).headers["x-winnow-revision"] for _ in range(5)} == {"2"}
            assert not site.app.report().is_open

    run(test())


def test_requests_beyond_those_in_flight_at_the_candidate_go_to_stable_at_once() -> None:
    async def test() -> None:
        candidate = Replica("new")
        async with routed([Replica("old")], [candidate], weight=1.0) as site:
            site.app._in_flight = router_app.MOST_IN_FLIGHT
            assert (await site.predict()).headers["x-winnow-revision"] == "1"
            report = site.app.report()
            assert (candidate.seen, report.misses, report.candidate.errors) == ([], 1, 1)
            assert not report.is_open

    run(test())


@pytest.mark.parametrize("behaviour", ["reset", "half"])
def test_a_dying_replica_of_stable_costs_no_request_while_there_is_another(behaviour: str) -> None:
    async def test() -> None:
        stable = [Replica("old"), Replica("old", behaviour)]
        async with routed(stable, [Replica("new")], weight=0.0) as site:
            assert {(await site.predict()).status_code for _ in range(20)} == {200}
            stable[1].stop()
            assert {(await site.predict()).status_code for _ in range(20)} == {200}

    run(test())


def test_a_connection_that_a_replica_closed_while_it_was_idle_costs_no_request() -> None:
    async def test() -> None:
        async with routed([Replica("old", "leave")], [Replica("new", "leave")], weight=0.5) as site:
            assert {(await site.predict()).status_code for _ in range(50)} == {200}
            assert site.app.report().misses == 0

    run(test())


def test_a_stable_revision_that_is_gone_is_a_problem() -> None:
    async def test() -> None:
        stable = Replica("old")
        async with routed([stable], [Replica("new")], weight=0.0) as site:
            ready = await site.client.get("/readyz")
            assert (ready.json(), ready.headers["x-winnow-model"]) == ({"ready": True}, "cells/3 sha256:0")
            stable.stop()
            answer = await site.predict()
            assert (answer.status_code, answer.json()["type"]) == (503, "/docs#unavailable")
            assert answer.headers["content-type"] == "application/problem+json"
            assert (await site.client.get("/readyz")).status_code == 503
            assert (await site.client.get("/livez")).status_code == 200
            report = site.app.report()
            assert (report.stable.requests, report.stable.errors) == (1, 1)

    run(test())


def test_a_stable_revision_that_is_not_ready_makes_the_router_not_ready() -> None:
    async def test() -> None:
        async with routed([Replica("old", "deaf")], [Replica("new")]) as site:
            assert (await site.client.get("/v2/health/ready")).status_code == 503

    run(test())


def test_everything_goes_to_stable_when_the_lease_has_run_out_and_back_when_it_is_renewed() -> None:
    async def test() -> None:
        now = [0.0]
        candidate = Replica("new")
        route = {"weight": 1.0, "lease_s": 30.0, "mirror": 1.0}
        async with routed([Replica("old")], [candidate], clock=lambda: now[0], **route) as site:
            now[0] = 30.0
            assert (await site.predict()).headers["x-winnow-revision"] == "2"
            now[0] = 30.1
            assert (await site.predict()).headers["x-winnow-revision"] == "1"
            assert site.app.renew().is_expired
            assert len(candidate.seen) == 1
            now[0] = 60.0
            assert (await site.predict()).headers["x-winnow-revision"] == "2"
            assert not site.app.report().is_expired

    run(test())


def test_mirrored_requests_are_compared_and_clients_see_stable_alone() -> None:
    async def test() -> None:
        candidate = Replica("old")
        async with routed([Replica("old")], [candidate], weight=0.0, mirror=1.0) as site:
            for _ in range(4):
                assert (await site.predict()).headers["x-winnow-revision"] == "1"
            assert await _eventually(site, 4) == Comparisons(compared=4, agreed=4)
            candidate.label = "new"
            await site.predict()
            assert await _eventually(site, 5) == Comparisons(compared=5, agreed=4, flips=1)
            candidate.behaviour = "error"
            await site.predict()
            assert await _eventually(site, 6) == Comparisons(compared=5, agreed=4, flips=1, errors=1)
            report = site.app.report()
            assert (report.candidate.requests, report.mirrored.requests, report.mirrored.errors) == (0, 6, 1)

    run(test())


def test_a_mirror_whose_candidate_hangs_drops_copies_and_delays_nothing() -> None:
    async def test() -> None:
        async with routed([Replica("old")], [Replica("new", "hang")], weight=0.0, mirror=1.0) as site:
            assert {(await site.predict()).status_code for _ in range(100)} == {200}
            assert site.app.report().comparisons.dropped >= 10

    run(test())


def test_a_share_of_requests_is_mirrored() -> None:
    async def test() -> None:
        candidate = Replica("old")
        async with routed([Replica("old")], [candidate], weight=0.0, mirror=0.1) as site:
            for _ in range(100):
                await site.predict()
            assert (await _eventually(site, 10)).compared == 10
            assert len(candidate.seen) == 10

    run(test())


@pytest.mark.parametrize("behaviour", ["chunked", "until-close", "interim", "answer"])
def test_every_way_to_frame_an_answer_is_passed_on(behaviour: str) -> None:
    async def test() -> None:
        stable = Replica("old", behaviour)
        async with routed([stable], [Replica("new")], weight=0.0) as site:
            for _ in range(3):
                answer = await site.predict()
                assert (answer.status_code, answer.content) == (200, stable.body(answer.request.content))

    run(test())


def test_a_large_answer_is_passed_on_as_it_comes() -> None:
    async def test() -> None:
        async with routed([Replica("old", "big")], [Replica("new", "big")], weight=0.5) as site:
            assert {len((await site.predict()).content) for _ in range(4)} == {BIG}

    run(test())


def test_a_large_answer_that_breaks_off_closes_the_connection() -> None:
    async def test() -> None:
        async with routed([Replica("old", "half-big")], [Replica("new")], weight=0.0) as site:
            with pytest.raises(httpx.RemoteProtocolError):
                await site.predict()

    run(test())


def test_requests_arrive_as_they_were_sent_but_for_the_connection() -> None:
    async def test() -> None:
        stable = Replica("old")
        async with routed([stable], [Replica("new")], weight=0.0) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(
                b"POST /a%20b?c=%25 HTTP/1.1\r\nHost: there\r\nX-Twice: 1\r\nX-Twice: 2\r\nTE: trailers\r\n"
                b"Connection: keep-alive, x-gone\r\nX-Gone: 1\r\nExpect: 100-continue\r\nX-Request-Id: mine\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
            writer.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            assert stable.seen == [
                b"POST /a%20b?c=%25 HTTP/1.1\r\nhost: there\r\nx-twice: 1\r\nx-twice: 2\r\nx-request-id: mine\r\n"
                b"content-length: 5\r\n\r\nabcde"
            ]

    run(test())


def test_head_pipelining_and_half_closed_clients_are_answered() -> None:
    async def test() -> None:
        stable = Replica("old")
        async with routed([stable], [Replica("new")], weight=0.0) as site:
            head = await site.client.head("/model")
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == str(len(stable.body()))
            reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
            writer.write(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n")
            writer.write_eof()
            whole = await reader.read()
            assert whole.count(b"HTTP/1.1 200 ") == 2
            assert [each.split(b" ")[1] for each in stable.seen[1:]] == [b"/a", b"/b"]
            writer.close()

    run(test())


def test_an_old_connection_is_asked_to_end() -> None:
    async def test() -> None:
        async with routed([Replica("old")], [Replica("new")], longest_s=0.1) as site:
            assert "connection" not in (await site.predict()).headers
            await asyncio.sleep(0.15)
            assert (await site.predict()).headers["connection"] == "close"

    run(test())


def test_a_draining_router_is_not_ready_and_ends_connections() -> None:
    async def test() -> None:
        async with routed([Replica("old")], [Replica("new")]) as site:
            site.app.start_draining()
            assert (await site.client.get("/readyz")).status_code == 503
            answer = await site.predict()
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")

    run(test())


def test_the_limits_are_the_servers() -> None:
    async def test() -> None:
        limits = ServingSettings(max_body_bytes=1_000, max_header_bytes=1_024)
        stable = Replica("old")
        async with routed([stable], [Replica("new")], limits) as site:
            large = await site.client.post("/predict", content=b"x" * 1_001)
            assert (large.status_code, large.json()["type"]) == (413, "/docs#too-large")
            long = await site.client.get("/", headers={"x-long": "x" * 2_000})
            assert (long.status_code, long.json()["type"]) == (431, "/docs#head-too-large")
            assert stable.seen == []

    run(test())


def _marks(replica: Replica) -> list[str]:
    """What replicas are told of each request."""
    lines = [line for seen in replica.seen for line in seen.decode().split("\r\n")]
    return [line.partition(": ")[2] for line in lines if line.startswith("x-winnow-route")]


def test_replicas_are_told_which_revision_the_route_chose_and_what_clients_say_of_it_is_dropped() -> None:
    async def test() -> None:
        stable, candidate = Replica("old"), Replica("new")
        async with routed([stable], [candidate], weight=0.5, mirror=1.0) as site:
            for _ in range(2):
                await site.predict(**{"x-winnow-route": "9 9 assigned"})
            await _eventually(site, 1)
        assert _marks(stable) == ["7 1 assigned"]
        assert sorted(_marks(candidate)) == ["7 2 assigned", "7 2 mirrored"]

    run(test())


def test_a_fallback_is_told_the_revision_that_it_answers_for_unless_the_lease_has_expired() -> None:
    async def test() -> None:
        stable = Replica("old")
        async with routed([stable], [Replica("new", "error")], weight=1.0) as site:
            await site.predict()
        assert _marks(stable) == ["7 2 fallback"]
        now = [0.0]
        late = Replica("old")
        async with routed([late], [Replica("new")], weight=1.0, lease_s=1.0, clock=lambda: now[0]) as site:
            now[0] = 5.0
            await site.predict()
        assert _marks(late) == []

    run(test())


def test_a_revision_that_the_client_chose_is_told_so() -> None:
    async def test() -> None:
        candidate = Replica("new")
        async with routed([Replica("old")], [candidate], weight=0.0, may_choose=True) as site:
            await site.predict(**{"x-winnow-revision": "2"})
        assert _marks(candidate) == ["7 2 chosen"]

    run(test())


def test_both_revisions_log_the_id_that_the_client_sees() -> None:
    async def test() -> None:
        stable, candidate = Replica("old"), Replica("new")
        async with routed([stable], [candidate], weight=0.0, mirror=1.0) as site:
            await site.predict(**{"x-request-id": "not a good id"})
            await _eventually(site, 1)
        ids = [
            [line for line in each.seen[0].decode().split("\r\n") if line.startswith("x-request-id")]
            for each in (stable, candidate)
        ]
        assert ids[0] == ids[1]
        assert len(ids[0]) == 1
        assert "not a good id" not in ids[0][0]

    run(test())
