"""A rank without torch: a program that speaks the ranks' protocol and does what a trial's parameters say.

`do`: "score" answers with the score `score`; "export" too, and says that its refit is exported; "raise" answers that
the trial failed; "diverge" writes to its log and answers that the loss is not finite; "die" is killed by SIGKILL, "die
in fold 2" as it begins that fold; "leave" leaves an error record and exits, as one rank of several does; "wait" never
answers; "meet" trains with the rank of `scripted_node`, and breaks as that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import msgspec

from winnow.config.exit_codes import RankExit
from winnow.training.launch import CHANNEL, LOG_DIR
from winnow.training.messages import (
    Failed,
    FoldFailed,
    FoldJob,
    FoldScored,
    FoldsTrained,
    FromRank,
    Progress,
    Ready,
    Refit,
    Refitted,
    Stop,
    ToRank,
    TrainFolds,
)
from winnow.training.rank_errors import RankError, write_error

PEER = Path("node", "peer")
"""Below the ranks' logs: the port of the other node's rank, once it listens."""


def main() -> None:
    if os.environ.get("SCRIPTED_RANK_HAS_OTHER_ROWS"):
        reason = "its rows have sha256 bbbbbbbbbbbb"
        error = RankError(kind="other_data", reason=reason, detail="", rank=1, trial=None, fold=None)
        write_error(Path(os.environ[LOG_DIR]), error)
        os._exit(RankExit.RECORDED)
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(os.environ[CHANNEL])
    say(channel, Ready(world_size=1, device="cpu", folds=3, startup_s=0.0))
    for line in channel.makefile("rb"):
        job = msgspec.json.decode(line, type=ToRank)
        if isinstance(job, Stop):
            return
        say(channel, Progress(epoch=1, epochs=2))
        for answer in answers_to(job):
            say(channel, answer)


def answers_to(job: TrainFolds | Refit) -> Iterator[FromRank]:
    if isinstance(job, TrainFolds):
        failed: dict[int, Failed] = {}
        for member in job.members:
            known = failed.get(member.trial)
            result = train(member) if known is None else FoldFailed(member.trial, member.fold, known)
            if isinstance(result, FoldFailed):
                failed[member.trial] = result.failure
            yield FoldsTrained((result,))
    elif job.params["do"] == "export":
        yield Refitted(job.trial, job.directory, metrics={}, parity=0.0, train_s=0.0)
    else:
        yield Failed("exception", "this rank exports nothing", "")


def train(job: FoldJob) -> FoldScored | FoldFailed:
    match job.params["do"]:
        case "die" if not once():
            os.kill(os.getpid(), signal.SIGKILL)
        case "die in fold 2" if job.fold == 1 and not once():
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave":
            logs = Path(os.environ[LOG_DIR])
            (logs / "rank-1.log").write_text("the guilty rank's last words\n")
            error = RankError(kind="exception", reason="boom", detail="", rank=1, trial=job.trial, fold=job.fold)
            write_error(logs, error)
            os._exit(RankExit.RECORDED)
        case "raise":
            failure = Failed("exception", "ValueError: no such layer", "Traceback\nValueError: no such layer")
            return FoldFailed(job.trial, job.fold, failure)
        case "diverge":
            with (Path(os.environ[LOG_DIR]) / "rank-0.log").open("a") as log:
                log.write(f"words of trial {job.trial}\n")
            return FoldFailed(job.trial, job.fold, Failed("diverged", "the loss is nan", ""))
        case "wait":
            time.sleep(60)
        case "meet":
            meet(Path(os.environ[LOG_DIR]) / PEER)
    return FoldScored(
        trial=job.trial,
        fold=job.fold,
        metrics={"f1": job.params.get("score", 0.5), "loss": 1.0},
        epochs=2,
        first_step_s=0.0,
        train_s=0.01,
        score_s=0.0,
        not_packed="this rank trains one fold at a time",
    )


def meet(address: Path) -> NoReturn:
    """As a collective does: it waits for the other side, and fails where that is gone."""
    while not address.exists():
        time.sleep(0.02)
    with socket.create_connection(("127.0.0.1", int(address.read_text()))) as peer, contextlib.suppress(OSError):
        peer.recv(1)
    os._exit(1)


def once() -> bool:
    """Whether this has happened before in this group."""
    marker = Path(os.environ[LOG_DIR]) / "happened"
    happened = marker.exists()
    marker.touch()
    return happened and os.environ.get("SCRIPTED_RANK_DIES_ONCE") == "1"


def say(channel: socket.socket, message: FromRank) -> None:
    channel.sendall(msgspec.json.encode(message) + b"\n")


if __name__ == "__main__":
    main()
