"""Amounts of memory."""

from __future__ import annotations

import pytest

from winnow.config.quantities import bytes_of


@pytest.mark.parametrize(
    ("quantity", "expected"), [("512", 512), ("1k", 1000), ("2Gi", 2**31), ("1.5Mi", 3 * 2**19), ("2G", 2 * 10**9)]
)
def test_quantities_are_those_of_kubernetes(quantity: str, expected: int) -> None:
    assert bytes_of(quantity) == expected


@pytest.mark.parametrize("text", ["", "much", "-1Gi", "1g", "1 Gi", "1Gi\n2"])
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="512Mi"):
        bytes_of(text)
