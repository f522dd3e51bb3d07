"""The stack on Docker: changes of one stack take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from winnow.platforms.docker.stack import DockerStack

ROOT = Path(__file__).parents[4]


def docker_stack(home: Path, say: Callable[[str], None] = print, **given: str) -> DockerStack:
    return DockerStack(given, home=home, in_use=None, folder=ROOT, say=say)


def test_a_stack_is_changed_by_one_command_at_a_time(tmp_path: Path) -> None:
    given = {"WINNOW_PROJECT": "a-project", "WINNOW_ENV_FILE": str(tmp_path / "not there yet" / ".env")}
    said: list[str] = []
    is_waiting, is_in = threading.Event(), threading.Event()

    def second() -> None:
        def say(line: str) -> None:
            said.append(line)
            is_waiting.set()

        with docker_stack(tmp_path, say, **given).lock():
            is_in.set()

    with docker_stack(tmp_path, said.append, **given).lock():
        thread = threading.Thread(target=second)
        thread.start()
        assert is_waiting.wait(10)
        assert not is_in.is_set()
    thread.join(10)
    assert is_in.is_set()
    assert said == ["waiting for another command that is changing the stack a-project"]
    assert list(tmp_path.iterdir()) == []
