"""What is read from the containers of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from winnow.platforms.docker.engine_deployment import end_of_log


@dataclass
class Container:
    said: str

    def logs(self, tail: int) -> bytes:
        return "".join(f"{self.said} {number}\n" for number in range(9 - tail, 9)).encode()


def test_the_error_of_an_entry_that_fails_beside_the_former_one_shows_the_logs_of_both() -> None:
    shown = end_of_log(cast("Any", [Container("former"), Container("new")]), 2)
    lines = ["The end of its log:", "    former 7", "    former 8", "    new 7", "    new 8"]
    assert shown.splitlines() == lines
