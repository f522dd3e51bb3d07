"""What of a value people see."""

from __future__ import annotations

import pytest

from winnow.executors.masking import shown


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ("plain", "plain"),
        ("a b", "'a b'"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("postgresql://me:s3cret@db:5432/studies", "'postgresql://me:***@db:5432/studies'"),
        ("postgresql://me:s3/c@r@et@db/studies", "'postgresql://me:***@db/studies'"),
        ("one=http://a:b@c two=http://d:e@f", "'one=http://a:***@c two=http://d:***@f'"),
    ],
)
def test_a_value_is_quoted_and_has_no_password(value: str, seen: str) -> None:
    assert shown(value) == seen
