"""Where `winnow monitor` keeps what it knows of a deployment: a state file, and a line for each look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from winnow.config.atomic_write import replace_bytes
from winnow.config.errors import InputError
from winnow.config.file_lock import locked
from winnow.finding import Result
from winnow.monitoring.report import MonitoringReport
from winnow.monitoring.state import MonitoringState

FOLDER = "monitoring"


class MonitoringStore:
    """The files of one deployment: `HOME/monitoring/PLATFORM/NAME.json` and `.jsonl`."""

    def __init__(self, home: Path, platform: str, name: str) -> None:
        folder = home / FOLDER / platform
        self.state_file, self.lines_file = folder / f"{name}.json", folder / f"{name}.jsonl"

    @contextmanager
    def held(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Let one process look at a time; wait for another one."""
        with locked(self.state_file.with_suffix(".lock"), on_wait=on_wait):
            yield

    def read(self) -> MonitoringState:
        """The state; an empty one before the first look.

        Raises InputError if another version of winnow has written it, or it is damaged.
        """
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=MonitoringState)
        except FileNotFoundError:
            return MonitoringState()
        except (msgspec.DecodeError, ValueError) as error:
            raise InputError(
                str(self.state_file),
                expected="the state that `winnow monitor` has written",
                found=str(error),
                remedy="Remove the file: the next window then begins with the replicas. Alarms that hold begin again.",
            ) from error

    def write(self, state: MonitoringState) -> None:
        """Replace the state."""
        replace_bytes(self.state_file, msgspec.json.encode(state))

    def append(self, report: MonitoringReport) -> None:
        """Add the line of a look."""
        line = {
            "checked_at": report.checked_at,
            "version": report.version,
            "result": report.result,
            "since": report.since,
            "until": report.until,
            "rows": report.rows,
            "source": report.source,
            "drift": [each.name for each in report.drift if each.result is Result.FAIL],
            "alarms": [[each.name, each.subject] for each in report.alarms],
        }
        with self.lines_file.open("ab") as stream:
            stream.write(msgspec.json.encode(line) + b"\n")
