"""What this machine keeps of worker groups that their platform forgets: their logs, and how they ended.

<home>/studies/<study>/groups/<name>/<stem>.log    the logs of the group so far, one container or pod after another
                                     <stem>.json   how its last life ended
                                     start.lock    held by the process that changes the group
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.file_lock import locked
from winnow.platforms.executor import GroupState, GroupStatus, UnknownGroupError


class Archive:
    """The kept logs and ends of one platform's groups.

    Args:
        home: winnow's folder.
        stem: of the files' names, so that no platform takes another's groups for its own.
    """

    def __init__(self, home: Path, stem: str) -> None:
        self._studies = home / "studies"
        self._stem = stem

    def begin(self, study: str, name: str) -> None:
        """Note that a group has been started, and forget how its last life ended."""
        folder = self._folder(study, name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self._stem}.log").touch()
        (folder / f"{self._stem}.json").unlink(missing_ok=True)

    def save(self, study: str, name: str, lines: Iterable[str], title: str) -> None:
        """Append the log of one container or pod. `title`: which it was and how it ended, for the line after it."""
        folder = self._folder(study, name)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{self._stem}.log").open("a", encoding="utf-8") as log:
            log.writelines(f"{line}\n" for line in lines)
            log.write(f"----- {title} -----\n")

    def end(self, status: GroupStatus) -> None:
        """Keep how a group ended. One that was removed while it ran has ended in an unknown way."""
        state = status.state if status.state.is_over else GroupState.ENDED
        kept = {"state": state.value, "exit_code": status.exit_code, "started_at_ms": status.started_at_ms}
        replace_text(self._folder(status.study, status.name) / f"{self._stem}.json", json.dumps(kept))

    def status(self, study: str, name: str) -> GroupStatus:
        """How a group ended. Raises UnknownGroupError."""
        folder = self._folder(study, name)
        if not (folder / f"{self._stem}.log").is_file():
            raise UnknownGroupError(f"{study}/{name}")
        try:
            kept = json.loads((folder / f"{self._stem}.json").read_text())
        except FileNotFoundError:
            return GroupStatus(study, name, GroupState.ENDED)
        return GroupStatus(study, name, GroupState(kept["state"]), kept["exit_code"], kept["started_at_ms"])

    def statuses(self, study: str | None) -> Iterator[GroupStatus]:
        """Those of a study, or of all."""
        for log in self._studies.glob(f"{study or '*'}/groups/*/{self._stem}.log"):
            yield self.status(log.parents[2].name, log.parent.name)

    def lines(self, study: str, name: str) -> Iterator[str]:
        """The lines of the kept logs, if any."""
        path = self._folder(study, name) / f"{self._stem}.log"
        if path.is_file():
            with path.open(encoding="utf-8", errors="replace") as kept:
                yield from (line.rstrip("\n") for line in kept)

    def locked(self, study: str, name: str) -> contextlib.AbstractContextManager[None]:
        """Lock a group among the processes of this home, so that no log is kept twice."""
        return locked(self._folder(study, name) / "start.lock")

    def _folder(self, study: str, name: str) -> Path:
        return self._studies / study / "groups" / name
