"""Facts that are looked up, and what is done where nothing answers."""

from __future__ import annotations

import pytest

from winnow.config.errors import InputError, UnavailableError, UnreachableError
from winnow.platforms.lookup import Lookup

AWAY = UnavailableError("the engine", expected="one that answers", found="none", remedy="Start it.")


def raising(error: Exception) -> int:
    raise error


def test_an_optional_fact_that_nothing_answers_has_a_placeholder_and_is_named() -> None:
    lookup = Lookup(is_optional=True)
    assert [lookup("the CPUs", lambda: 4, 1), lookup("the image", lambda: raising(AWAY), 2)] == [4, 2]
    assert lookup("the pods", lambda: raising(UnreachableError("no answer within 5 s")), 3) == 3
    assert lookup.unknown == ["the image (the engine: found none)", "the pods (no answer within 5 s)"]


def test_other_errors_are_raised_though_the_fact_is_optional() -> None:
    wrong = InputError("WINNOW_CONTEXT", expected="a context", found="'x'", remedy="Correct it.")
    with pytest.raises(InputError, match="WINNOW_CONTEXT"):
        Lookup(is_optional=True)("the cluster", lambda: raising(wrong), 0)


def test_a_fact_that_is_needed_is_not_replaced() -> None:
    with pytest.raises(UnavailableError):
        Lookup()("the CPUs", lambda: raising(AWAY), 1)
