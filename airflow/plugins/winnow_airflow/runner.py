"""Run a command in a process of its own, which outlives the task that started it.

`python runner.py FOLDER COMMAND…` holds a lock on `FOLDER/lock` while the command runs, and writes its exit status to
`FOLDER/status` at its end. It needs the standard library alone: any interpreter runs it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

OUT, LOG, PID, STATUS, LOCK = "out", "log", "pid", "status", "lock"


def main(folder: Path, command: list[str]) -> int:
    """Run the command; return 0 where it ended, with whatever status, and 1 where another runner holds the folder."""
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 1
        (folder / PID).write_text(str(os.getpid()), encoding="utf-8")
        # The command gets the signals of the group; this process stays to write how it ended.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: None)
        with (folder / OUT).open("wb") as out, (folder / LOG).open("ab") as log:
            try:
                code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, check=False).returncode
            except OSError as error:
                log.write(f"{command[0]}: {error.strerror}\n".encode())
                code = 127
        draft = folder / f"{STATUS}.draft"
        draft.write_text(str(code), encoding="utf-8")
        draft.replace(folder / STATUS)
        return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
