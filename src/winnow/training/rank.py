"""One rank of a worker group: forked by a fork server, or `python -m winnow.training.rank`, alone or under torchrun.

It loads the data once, says that it is ready, and then does one job after another: folds and refits. It knows neither
the study nor the tracking store; what to do comes from the group's supervisor, over a socket that rank 0 holds, and
from rank 0 to the others. See `launch` for the environment it expects.

A failed job leaves the rank running where every rank knows of the failure: always with one rank, and with several
where they agreed on it (a loss that diverged). Otherwise the failing rank writes its record (`rank_errors`) and exits,
and what started the ranks ends the others, which may be in the middle of a collective that can no longer complete.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from winnow.config.exit_codes import RankExit
from winnow.config.streams import write_utf8
from winnow.training.launch import CHANNEL, EXPERIMENT, LOG_DIR, THREADS
from winnow.training.pdeathsig import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from winnow.config.experiment import Experiment
    from winnow.training.channel import Channel
    from winnow.training.jobs import Jobs
    from winnow.training.messages import (
        EpochScored,
        Failed,
        FoldJob,
        FoldScored,
        FoldStopped,
        FromRank,
        Refit,
        Refitted,
        TrainFolds,
    )
    from winnow.training.preparation import Prepared
    from winnow.training.world import World

    _Asked = TypeVar("_Asked", FoldJob, Refit)
    _Result = TypeVar("_Result", FoldScored | FoldStopped, Refitted)


def main() -> None:
    """Work until the supervisor says stop, in a process of its own."""
    work(time.monotonic(), lambda _experiment: None)


def work(began: float, prepared: Callable[[Experiment], Prepared | None]) -> None:
    """Work until the supervisor says stop.

    Args:
        began: when this rank started, by the monotonic clock.
        prepared: what a fork server has prepared for an experiment; None: it is prepared here.
    """
    # Before torch is imported, which takes seconds in which the parent may die too.
    die_with_parent()
    logs = Path(os.environ[LOG_DIR])
    rank = int(os.environ["RANK"])
    _tell_the_kernel(rank)
    _log_into(logs / f"rank-{rank}.log")
    write_utf8()
    try:
        _work(began, prepared)
    except Exception as error:  # noqa: BLE001 - every failure of a rank is recorded before it ends
        _record(error, logs, rank, job=None)


def _work(began: float, shared: Callable[[Experiment], Prepared | None]) -> None:
    import msgspec

    from winnow.config.experiment import Experiment
    from winnow.training.channel import Channel
    from winnow.training.jobs import Jobs
    from winnow.training.messages import Assignment, Ready
    from winnow.training.preparation import prepare
    from winnow.training.world import World, settle, wants_cpu

    assignment = msgspec.json.decode(Path(os.environ[EXPERIMENT]).read_bytes(), type=Assignment)
    experiment = Experiment.model_validate_json(bytes(assignment.experiment))
    settle(int(os.environ[THREADS]), experiment.training)
    world = World(experiment.training.precision, on_cpu=wants_cpu(experiment.execution.device))
    _check_code(experiment, assignment.code)
    prepared = shared(experiment) or prepare(experiment)
    _check_rows(prepared.data.sha256, assignment.data_sha256)
    try:
        # Rank 0 must not ask for a job while another rank can still find that it has no use for one.
        world.meet()
    except Exception as error:  # noqa: BLE001 - only a peer that has ended makes this fail
        _end(error, world, job=None)
    channel = Channel.connect(Path(os.environ[CHANNEL])) if world.is_first else None
    jobs = Jobs(prepared, world, send=lambda _message: None)
    if channel is not None:
        jobs = Jobs(prepared, world, channel.send, functools.partial(_ask, channel))
        startup_s = time.monotonic() - began
        channel.send(Ready(world.size, world.device.type, len(prepared.folds), startup_s))
    try:
        _serve(jobs, world, channel)
    except Exception as error:  # noqa: BLE001 - between jobs only a peer or the supervisor can fail
        _end(error, world, job=None)
    world.leave()


def _ask(channel: Channel, scored: EpochScored) -> bool:
    """Whether the supervisor stops a fold after an epoch; it sends nothing else while one is trained."""
    import msgspec

    from winnow.training.messages import EpochVerdict

    channel.send(scored)
    return msgspec.json.decode(channel.receive(), type=EpochVerdict).is_stopped


def _check_code(experiment: Experiment, expected: Mapping[str, str] | None) -> None:
    """Compare the files of user code here with those of the study. Raises OtherCodeError."""
    from winnow.config.user_code import changed_files, code_of
    from winnow.training.failures import OtherCodeError

    changed = changed_files(expected, code_of(experiment, Path.cwd())) if expected is not None else []
    if changed:
        raise OtherCodeError(f"{', '.join(changed[:3])} differ{'s' if len(changed) == 1 else ''}")


def _check_rows(found: str, expected: str) -> None:
    """Compare the digest of this rank's rows with that of its study. Raises OtherDataError."""
    from winnow.training.failures import OtherDataError

    if found != expected:
        raise OtherDataError(f"its rows have sha256 {found[:12]}")


def _serve(jobs: Jobs, world: World, channel: Channel | None) -> None:
    import msgspec

    from winnow.training.messages import EpochVerdict, Stop, ToRank

    decoder: msgspec.json.Decoder[ToRank] = msgspec.json.Decoder(ToRank)
    is_warm = False
    while True:
        job = decoder.decode(world.next_job(channel.receive() if channel is not None else None))
        if isinstance(job, Stop):
            return
        assert not isinstance(job, EpochVerdict), "a verdict answers a question"
        for answer in _answers(jobs, job, world):
            world.free_memory()
            if not is_warm:
                # Only now, because torch imports a good part of itself in the first training.
                world.freeze_garbage()
                is_warm = True
            if channel is not None:
                channel.send(answer)


def _answers(jobs: Jobs, job: TrainFolds | Refit, world: World) -> Iterator[FromRank]:
    """What comes of a job, as it comes."""
    import msgspec

    from winnow.training.messages import Failed, FoldFailed, FoldStopped, FoldsTrained, Refit
    from winnow.training.packs import Packed

    if isinstance(job, Refit):
        yield _do(jobs.refit, job, world)
        return
    ended: dict[int, Failed | FoldStopped] = {}
    for part in jobs.packs(job.members):
        if isinstance(part, Packed):
            yield FoldsTrained(part.results)
            continue
        member = part.job
        # The trial has ended, so its other folds no longer count.
        answer = ended.get(member.trial) or _do(jobs.train_fold, member, world)
        if isinstance(answer, Failed):
            ended[member.trial] = answer
            yield FoldsTrained((FoldFailed(member.trial, member.fold, answer),))
        elif isinstance(answer, FoldStopped):
            ended[member.trial] = answer
            yield FoldsTrained((msgspec.structs.replace(answer, fold=member.fold),))
        else:
            yield FoldsTrained((msgspec.structs.replace(answer, not_packed=part.reason),))


def _do(act: Callable[[_Asked], _Result], job: _Asked, world: World) -> _Result | Failed:
    """The job's result; a failure that the other ranks do not know of ends this one."""
    from winnow.training.failures import failure_of, is_shared

    try:
        return act(job)
    except Exception as error:  # noqa: BLE001 - whatever user code raises is the job's result
        if world.size == 1 or is_shared(error):
            print(f"trial {job.trial} failed", flush=True)
            failure = failure_of(error)
            print(failure.detail or failure.reason, file=sys.stderr, flush=True)
            return failure
        _end(error, world, job)


def _end(error: Exception, world: World, job: FoldJob | Refit | None) -> NoReturn:
    """End this rank: with a record if the fault is its own."""
    from winnow.training.failures import may_be_a_peers

    if may_be_a_peers(error) and world.has_lost_a_peer(within_s=1.0):
        traceback.print_exception(error)
        os._exit(RankExit.LOST_PEER)
    _record(error, Path(os.environ[LOG_DIR]), world.rank, job)


def _record(error: Exception, logs: Path, rank: int, job: FoldJob | Refit | None) -> NoReturn:
    from winnow.training.failures import failure_of
    from winnow.training.messages import FoldJob
    from winnow.training.rank_errors import RankError, write_error

    failure = failure_of(error)
    write_error(
        logs,
        RankError(
            kind=failure.kind,
            reason=failure.reason,
            detail=failure.detail,
            rank=rank,
            trial=job.trial if job is not None else None,
            fold=job.fold if isinstance(job, FoldJob) else None,
        ),
    )
    print(failure.detail or failure.reason, file=sys.stderr, flush=True)
    # Not sys.exit: tearing down a process group whose peers are stuck in a collective can itself hang.
    os._exit(RankExit.RECORDED)


def _tell_the_kernel(rank: int) -> None:
    """Be killed at a memory limit before the supervisor, which reports what happened; and have a name of its own.

    A forked rank would otherwise be listed as the fork server.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
        Path("/proc/self/comm").write_text(f"winnow-rank-{rank}")


def _log_into(path: Path) -> None:
    """Send what this process and its libraries write to the rank's log, below Python's own streams."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    faulthandler.enable()


if __name__ == "__main__":
    main()
