"""Worker groups that are only written down: a fake for tests of what uses executors."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from winnow.platforms.diagnosis import Diagnosis
from winnow.platforms.executor import Executor, GroupSpec, GroupState, GroupStatus, UnknownGroupError

_POLL_S = 0.01


class MemoryExecutor(Executor):
    """Implements `Executor`; `finish` ends a group as its process would, `diagnosis` keeps one from starting."""

    def __init__(self) -> None:
        self.started: list[GroupSpec] = []
        self._groups: dict[tuple[str, str], GroupStatus] = {}
        self._logs: dict[tuple[str, str], list[str]] = {}

    @property
    def place(self) -> str:
        return "on this machine"

    def plan(self, groups: Sequence[GroupSpec]) -> list[str]:
        return [" ".join(group.argv) for group in groups]

    def start(self, group: GroupSpec) -> None:
        key = (group.study, group.name)
        known = self._groups.get(key)
        if known is not None and not known.state.is_over:
            return
        self.started.append(group)
        self._groups[key] = GroupStatus(group.study, group.name, GroupState.RUNNING)
        self._logs.setdefault(key, []).append(f"started {' '.join(group.argv)}")

    def finish(self, study: str, name: str, exit_code: int) -> None:
        state = GroupState.SUCCEEDED if exit_code == 0 else GroupState.FAILED
        self._groups[study, name] = replace(self.status(study, name), state=state, exit_code=exit_code)

    def diagnosis(self, study: str, name: str, diagnosis: Diagnosis | None) -> None:
        """Have something keep a group from starting, or nothing any more."""
        self._groups[study, name] = replace(self._groups[study, name], diagnosis=diagnosis)

    def groups(self, study: str | None = None) -> tuple[GroupStatus, ...]:
        return tuple(group for key, group in sorted(self._groups.items()) if study in (None, key[0]))

    def status(self, study: str, name: str) -> GroupStatus:
        try:
            return self._groups[study, name]
        except KeyError:
            raise UnknownGroupError(f"{study}/{name}") from None

    def log(self, study: str, name: str, *, follow: bool = False) -> Iterator[str]:
        """One line a start; with `follow`, what another thread adds until it ends the group."""
        shown = 0
        while True:
            is_over = self.status(study, name).state.is_over
            new = self._logs[study, name][shown:]
            yield from new
            shown += len(new)
            if is_over or not follow:
                return
            time.sleep(_POLL_S)

    def cancel(self, study: str, name: str, grace_s: float) -> None:
        if not self.status(study, name).state.is_over:
            self.finish(study, name, -15)
