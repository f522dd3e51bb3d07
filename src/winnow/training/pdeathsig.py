"""End a process with its parent, so that no process outlives its sweep.

A killed parent cannot clean up, so the kernel has to: Linux signals a child whose parent is gone where the child has
asked for that (`prctl(PR_SET_PDEATHSIG)`). Other systems have no such request. There, rank 0 ends when it finds its
channel to the supervisor closed, and torchrun ends the other ranks.

As a program (`python -m winnow.training.pdeathsig COMMAND …`) it asks for the signal and then becomes the command, for
commands such as torchrun that do not ask for it themselves. The kernel watches the parent's *thread* that made the
child: start children from a thread that lives as long as they do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from winnow.config.exit_codes import RankExit

PARENT = "WINNOW_PARENT_PID"
_PR_SET_PDEATHSIG = 1


def die_with_parent(system: str = sys.platform) -> None:
    """Have the kernel kill this process as soon as its parent is gone, where the kernel can.

    Exits at once where the parent died before this call: its process id is in the environment's WINNOW_PARENT_PID, and
    is not that of this process's parent any more. Raises OSError if Linux refused the request.
    """
    if system.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    expected = os.environ.get(PARENT)
    if expected is not None and os.getppid() != int(expected):
        sys.exit(RankExit.LOST_PEER)


def main() -> None:
    """Become the given command, which dies with its parent; its children see its process id as their parent."""
    die_with_parent()
    command = sys.argv[1:]
    # exec keeps both the process id and the request for the signal.
    os.execvpe(command[0], command, {**os.environ, PARENT: str(os.getpid())})


if __name__ == "__main__":
    main()
