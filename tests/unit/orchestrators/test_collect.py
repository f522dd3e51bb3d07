from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.orchestrators.workers import collect, finished
from winnow.platforms.executor import GroupState, GroupStatus
from winnow.testing.executor import MemoryExecutor

OVER = GroupStatus("done", "c0", GroupState.SUCCEEDED, 0, has_remains=True)
FAILED = replace(OVER, name="c1", state=GroupState.FAILED, exit_code=1)
AT_WORK = GroupStatus("at-work", "c0", GroupState.RUNNING)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home from which the studies `done` and `at-work` were started."""
    for study in ("done", "at-work"):
        for group in ("c0", "c1"):
            (tmp_path / "studies" / study / "groups" / group).mkdir(parents=True)
    return tmp_path


class LeavingExecutor(MemoryExecutor):
    """Leaves something of every group that is over, until it is cleared; refuses to clear where that is forbidden."""

    def __init__(self, groups: list[GroupStatus], *, is_forbidden: bool = False) -> None:
        super().__init__()
        self.left = groups
        self._is_forbidden = is_forbidden

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        return tuple(each for each in self.left if study in (None, each.study))

    def clear(self, study: str) -> None:
        if self._is_forbidden:
            raise InputError("jobs", expected="permission", found="none", remedy="Ask for it.")
        self.left = [replace(each, has_remains=False) if each.study == study else each for each in self.left]


def test_a_sweep_is_finished_when_all_of_its_groups_are_over_and_something_is_left(home: Path) -> None:
    died = replace(FAILED, study="at-work")
    assert finished([OVER, FAILED, AT_WORK, died], home) == ["done"]
    assert finished([replace(OVER, has_remains=False)], home) == []


def test_a_sweep_that_another_home_has_started_is_left_to_it(tmp_path: Path) -> None:
    assert finished([OVER], tmp_path) == []


def test_finished_sweeps_are_collected_and_those_at_work_left_alone(home: Path) -> None:
    executor = LeavingExecutor([OVER, FAILED, AT_WORK])
    assert collect({"docker": executor, "local": MemoryExecutor()}, home) == []
    assert executor.left == [replace(OVER, has_remains=False), replace(FAILED, has_remains=False), AT_WORK]


def test_what_cannot_be_removed_is_told_and_stops_nothing(home: Path) -> None:
    other = LeavingExecutor([OVER])
    failures = collect({"kubernetes": LeavingExecutor([OVER], is_forbidden=True), "docker": other}, home)
    assert failures == [
        "study done: its workers are done, but what they left could not be removed: "
        "jobs: expected permission, found none. Ask for it."
    ]
    assert other.left == [replace(OVER, has_remains=False)]
