"""A further node whose rank needs no torch: `python -m tests.unit.worker.scripted_node PORT FOLDER`.

Its rank waits for the one on the first node (`scripted_rank`, "meet"), says in `FOLDER/met` that it has come, and does
no more.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from winnow.training.launch import GroupFiles, Launch
from winnow.worker.node import RemoteNode
from winnow.worker.stop import Stop, StopRequestedError

RANK = """
import pathlib, socket, sys, time
from winnow.training.pdeathsig import die_with_parent
die_with_parent()
folder = pathlib.Path(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
(folder / "port").write_text(str(listener.getsockname()[1]))
(folder / "port").rename(folder / "peer")
connection, _ = listener.accept()
(folder / "met").touch()
time.sleep(60)
"""


def main(port: int, folder: Path) -> None:
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.request())
    supervisor = ("127.0.0.1", port)
    try:
        RemoteNode(1, supervisor, plan, folder, os.environ, patience_s=20.0, check_stop=stop.check).run()
    except StopRequestedError:
        return


def plan(files: GroupFiles) -> Launch:
    return Launch((sys.executable, "-c", RANK, str(files.logs)), {})


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
