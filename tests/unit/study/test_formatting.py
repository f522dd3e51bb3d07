"""Numbers and durations as a person reads them."""

import math

import pytest

from winnow.study.formatting import duration, estimate, one_line, printable, score, setting, spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.97123, "0.9712"),
        (0.0, "0.0000"),
        (-0.5, "-0.5000"),
        (53.207, "53.21"),
        (3021.6, "3022"),
        (0.00012345, "0.000123"),
        (1.5e9, "1.5e+09"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
    ],
)
def test_a_score_shows_what_matters(value: float | None, text: str) -> None:
    assert score(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (8040, "2 h 14 min"),
        (86_399, "1 d 0 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_has_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0, "5 s"),
        (31, "35 s"),
        (56, "60 s"),
        (89, "90 s"),
        (116, "2 min"),
        (179, "3 min"),
        (3590, "60 min"),
        (7800, "2 h 10 min"),
    ],
)
def test_an_estimate_is_no_finer_than_it_deserves(seconds: float | None, text: str) -> None:
    assert estimate(seconds) == text


def test_the_spread_is_that_of_a_sample() -> None:
    assert spread([1.0, 2.0, 3.0]) == 1.0
    assert spread([1.0]) is None
    assert spread([1.0, math.nan]) is None


def test_settings_are_short_and_lists_are_json() -> None:
    assert [setting(value) for value in (0.00176612, 64, "sgd", [64, 32], True, None)] == [
        "0.001766",
        "64",
        "sgd",
        "[64, 32]",
        "true",
        "null",
    ]


def test_text_from_a_log_cannot_move_the_cursor() -> None:
    assert printable("\x1b[31mred\x1b[0m\x07\x1b]0;title\x07 10%\r 90%\r100%\r\nnext\tcolumn") == "100%\nnext\tcolumn"
    assert one_line("a\nb\x1b[2J  c") == "a b c"
