from __future__ import annotations

import pytest

from tests.unit.platforms.kubernetes.api_server import Answer, FakeApi, reply, running
from winnow.platforms.readiness import NoModelError, ServedModel, ask_own, ask_ready, is_known, model_at, model_of

DIGEST = "ab" * 32
HEADER = f"cells/3 sha256:{DIGEST}"


def answer(status: int, **headers: str) -> Answer:
    return lambda to, _asked: reply(to, status, {}, **headers)


def test_the_model_is_told_by_its_header() -> None:
    assert model_of(HEADER) == ServedModel("cells", "3", DIGEST)
    assert str(model_of(HEADER)) == "cells version 3 (sha256 abababababab)"
    assert model_of("") is None
    with running(FakeApi(answers={"/readyz": answer(200, x_winnow_model=HEADER)})) as api:
        port = api.url.rpartition(":")[2]
        assert model_at(api.url) == model_at(f"http://cells.localhost:{port}") == ServedModel("cells", "3", DIGEST)


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (answer(404), "status 404 without a model"),
        (answer(503, x_winnow_model=HEADER), "status 503 of cells version 3"),
        (answer(200), "an answer that names no model"),
    ],
)
def test_what_is_there_in_place_of_a_model_is_said(answered: Answer, message: str) -> None:
    with running(FakeApi(answers={"/readyz": answered})) as api, pytest.raises(NoModelError, match=message):
        model_at(api.url)


def test_a_closed_port_is_no_model_and_not_ready() -> None:
    with running(FakeApi()) as api:
        url = api.url
    with pytest.raises(NoModelError, match="refused"):
        model_at(url)
    assert ask_own(url) is None


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_is_not_ready_has_no_ready_answer(status: int) -> None:
    with running(FakeApi(answers={"/readyz": answer(status)})) as api:
        assert ask_own(api.url) is None
        assert ask_ready(api.url).status == status


def test_a_ready_answer_has_the_headers_that_a_proxy_adds() -> None:
    with running(FakeApi(answers={"/readyz": answer(200, x_winnow_serial="7")})) as api:
        found = ask_own(api.url)
    assert found is not None
    assert (found.headers.get("x-winnow-serial"), found.model) == ("7", None)


def test_a_name_that_only_a_cluster_knows_is_not_known_here() -> None:
    assert is_known("http://cells.localhost:8080")
    assert not is_known("http://winnow-prod-cells.nowhere.invalid")
