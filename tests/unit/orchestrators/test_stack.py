"""Changes of one stack take turns."""

from __future__ import annotations

import threading
from pathlib import Path

from winnow.orchestrators.stack import alone
from winnow.platforms.docker.stack_plan import Project


def test_a_stack_is_changed_by_one_command_at_a_time(tmp_path: Path) -> None:
    project = Project("a-project", tmp_path / "compose.yaml", tmp_path / "not there yet" / ".env")
    said: list[str] = []
    is_waiting, is_in = threading.Event(), threading.Event()

    def second() -> None:
        def say(line: str) -> None:
            said.append(line)
            is_waiting.set()

        with alone(project, say):
            is_in.set()

    with alone(project, said.append):
        thread = threading.Thread(target=second)
        thread.start()
        assert is_waiting.wait(10)
        assert not is_in.is_set()
    thread.join(10)
    assert is_in.is_set()
    assert said == ["waiting for another command that is changing the stack a-project"]
    assert list(tmp_path.iterdir()) == []
