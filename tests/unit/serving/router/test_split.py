"""Which revision answers."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.routing import Route, RouterSettings
from winnow.serving.router.split import Choice, Share, Split, place_of

SHARES = st.floats(0, 1)
STABLE, CANDIDATE = Choice(is_candidate=False, is_routed=True), Choice(is_candidate=True, is_routed=True)


def _split(**route: object) -> Split:
    settings = RouterSettings("cells", Route(stable=1, candidate=2, **route), ("a:1",), ("b:1",))  # type: ignore[arg-type]
    return Split(settings, random.Random(0).random)


@given(SHARES, st.integers(0, 2**32), st.integers(1, 400))
def test_a_share_is_exact_at_every_request(share: float, seed: int, requests: int) -> None:
    taken, chosen = 0, Share(share, random.Random(seed).random)
    for seen in range(1, requests + 1):
        taken += chosen.take()
        assert abs(taken - seen * share) < 1 + 1e-9


def test_a_share_of_half_does_not_meet_every_second_request() -> None:
    chosen = Share(0.5, random.Random(0).random)
    taken = [chosen.take() for _ in range(4_000)]
    assert 900 < sum(taken[::2]) < 1_100


@pytest.mark.parametrize(("weight", "expected"), [(0.0, STABLE), (1.0, CANDIDATE)])
@pytest.mark.parametrize("path", ["/predict", "/invocations", "/v2/models/cells/infer"])
def test_predictions_follow_the_weight(weight: float, expected: Choice, path: str) -> None:
    assert {_split(weight=weight).choose("POST", path, []) for _ in range(100)} == {expected}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/docs"), ("GET", "/model"), ("GET", "/predict"), ("POST", "/v2/models/cells/versions/3/infer")],
)
def test_stable_answers_what_is_no_prediction_or_names_a_version(method: str, path: str) -> None:
    assert _split(weight=1.0).choose(method, path, []) == Choice(is_candidate=False, is_routed=False)


@given(st.binary(max_size=40), st.lists(SHARES, min_size=2).map(sorted))
def test_a_user_on_the_candidate_stays_there_while_its_weight_grows(user: bytes, weights: list[float]) -> None:
    splits = [_split(weight=weight, unit="x-user-id") for weight in weights]
    chosen = [each.choose("POST", "/predict", [(b"x-user-id", user)]).is_candidate for each in splits]
    assert chosen == sorted(chosen)
    assert chosen == [place_of(b"cells/2/", user) < weight for weight in weights]


def test_users_are_divided_by_the_weight() -> None:
    split = _split(weight=0.25, unit="X-User-Id")
    users = [split.choose("POST", "/predict", [(b"x-user-id", b"%d" % user)]).is_candidate for user in range(4_000)]
    assert 900 < sum(users) < 1_100


def test_a_client_may_choose_only_where_the_route_allows_it() -> None:
    def chosen(value: bytes, *, may_choose: bool, path: str = "/predict") -> Choice:
        return _split(weight=0.0, may_choose=may_choose).choose("POST", path, [(b"x-winnow-revision", value)])

    assert chosen(b"2", may_choose=True) == Choice(is_candidate=True, is_routed=False)
    assert chosen(b"2", may_choose=True, path="/model") == Choice(is_candidate=True, is_routed=False)
    assert chosen(b"1", may_choose=True) == Choice(is_candidate=False, is_routed=False)
    assert chosen(b"3", may_choose=True) == STABLE
    assert chosen(b"2", may_choose=False) == STABLE
