"""Exit codes that one process returns and another reads."""

from __future__ import annotations

import pytest

from winnow.config.exit_codes import group_exit_of_container


@pytest.mark.parametrize(
    ("container", "group"), [(None, None), (0, 0), (1, 1), (127, 127), (128, 128), (137, -9), (139, -11), (255, 255)]
)
def test_a_container_that_a_signal_ended_has_a_negative_exit_code(container: int | None, group: int | None) -> None:
    assert group_exit_of_container(container) == group


def test_a_supervisor_that_was_asked_to_stop_ended_by_itself() -> None:
    assert group_exit_of_container(143) == 143
