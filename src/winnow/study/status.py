"""A sweep's progress, and the lines that show it: pure functions from values to text.

Every line is plain text of at most `width` columns. If there is no room, the least important parts are left out.
`winnow.orchestrators.progress` writes the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from winnow.config.errors import InputError
from winnow.study.formatting import duration, estimate, one_line, printable, score, setting, spread
from winnow.tracking.records import TrialRecord

WorkerState = Literal["starting", "training", "refitting", "waiting", "stopped"]

TAIL_LINES = 15
"""How many lines of the failed rank's log are shown."""


@dataclass(frozen=True)
class WorkerStatus:
    """What one worker group does now.

    Attributes:
        fold: the fold in training, 1-based, of `folds`.
        epoch: finished epochs of this fold, of `epochs`.
        since_ms: when the present state or fold began.
        waits_for: the tracking store's error, while the group waits to register its model.
    """

    worker: str
    state: WorkerState
    trial: int | None
    fold: int | None
    folds: int
    epoch: int | None
    epochs: int | None
    since_ms: int
    waits_for: str | None = None


@dataclass(frozen=True)
class StudyStatus:
    """A sweep's progress.

    Attributes:
        trials_done: ended trials: complete, pruned or failed.
        of_other_code: trials that were trained with other code than the study's present one.
        best, best_trial: the best mean so far and its trial; None before the first complete trial.
        folds_done: folds finished since `started_at_ms`, for the pace.
        folds_total: the same at the end of the sweep, if no trial is pruned or fails.
        started_at_ms, now_ms: milliseconds since the epoch.
        training_since_ms: when this sweep's first fold began; the pace excludes the start-up before it.
        is_done: the report was written; refits may be left.
        is_stopped: a user stopped the groups, and the study was not resumed since.
        refusal: why a worker cannot train the study.
        owners: for each group, its lives that hold a lease.
    """

    study: str
    trials_done: int
    trials_total: int
    failed: int
    pruned: int
    best: float | None
    best_trial: int | None
    goal: Literal["maximize", "minimize"]
    workers: tuple[WorkerStatus, ...]
    started_at_ms: int
    now_ms: int
    folds_done: int
    folds_total: int
    training_since_ms: int | None = None
    of_other_code: int = 0
    is_done: bool = False
    is_stopped: bool = False
    refusal: InputError | None = None
    owners: Mapping[str, frozenset[str]] = field(default_factory=dict)


def seconds_per_fold(status: StudyStatus) -> float | None:
    """Wall time per fold, over all workers; None before the first fold is done.

    Finished epochs of unfinished folds count, too.
    """
    if status.folds_done == 0:
        return None
    since_ms = status.training_since_ms if status.training_since_ms is not None else status.started_at_ms
    finished = status.folds_done + sum(map(_part_of_fold, status.workers))
    return max((status.now_ms - since_ms) / 1000, 1e-3) / finished


def seconds_left(status: StudyStatus) -> float | None:
    """How long the remaining folds will take at the present pace; None before there is one.

    The longest remaining trial is a lower bound, because its folds run one after another on one worker.
    """
    pace = seconds_per_fold(status)
    if pace is None:
        return None
    remaining = status.folds_total - status.folds_done - sum(map(_part_of_fold, status.workers))
    longest = max((left for worker in status.workers if (left := trial_seconds_left(worker, status))), default=0.0)
    return max(remaining * pace, longest, 0.0)


def trial_seconds_left(worker: WorkerStatus, status: StudyStatus) -> float | None:
    """How long a worker will need for the rest of its trial; None before there is a pace."""
    pace = seconds_per_fold(status)
    if pace is None or worker.state != "training" or worker.fold is None:
        return None
    alone = pace * max(sum(each.state == "training" for each in status.workers), 1)
    return alone * max(worker.folds - (worker.fold - 1) - _part_of_fold(worker), 0.0)


def status_lines(status: StudyStatus, *, width: int = 80, height: int = 24) -> tuple[str, ...]:
    """A line for each worker and one for the study, at most `height` lines."""
    shown = status.workers if len(status.workers) < height else status.workers[: max(height - 2, 0)]
    column = max((len(one_line(worker.worker)) for worker in shown), default=0)
    lines = [worker_line(worker, status, width=width, name_width=min(column, max(width // 3, 4))) for worker in shown]
    if len(shown) < len(status.workers):
        lines.append(_fit([f"… and {len(status.workers) - len(shown)} workers more"], width))
    return (*lines, summary_line(status, width=width))


def worker_line(worker: WorkerStatus, status: StudyStatus, *, width: int = 80, name_width: int = 0) -> str:
    """One worker's trial, fold, epoch, and remaining time."""
    name = _cut(one_line(worker.worker), name_width or width).ljust(name_width)
    running_s = (status.now_ms - worker.since_ms) / 1000
    if worker.state != "training":
        trial = f"trial {worker.trial}" if worker.trial is not None else ""
        waits = "waiting for MLflow" if worker.waits_for is not None else ""
        return _fit([name, worker.state, trial, waits, f"for {duration(running_s)}"], width)
    digits = len(str(max(status.trials_total - 1, 0)))
    fold = f"fold {_of(worker.fold, worker.folds)}"
    epoch = f"epoch {_of(worker.epoch, worker.epochs)}"
    left = f"{estimate(trial_seconds_left(worker, status)):>6} left"
    number = "–" if worker.trial is None else str(worker.trial)
    return _fit([name, f"trial {number:>{digits}}", fold, epoch, left, _bar(worker)], width, dispensable=(5, 4))


def waiting_lines(workers: Iterable[WorkerStatus]) -> dict[tuple[str, int | None], str]:
    """A line for each model that waits for the tracking store, by worker and trial; print each once."""
    return {
        (worker.worker, worker.trial): f"worker {one_line(worker.worker)}: the model of trial {worker.trial} waits for "
        f"MLflow and its artifact store: {one_line(worker.waits_for)}"
        for worker in workers
        if worker.waits_for is not None
    }


def summary_line(status: StudyStatus, *, width: int = 80) -> str:
    """The study's trials, best value, failures, remaining and elapsed time."""
    trials = f"{status.trials_done}/{status.trials_total} trials"
    best = f"best {score(status.best)}"
    holder = "" if status.best_trial is None else f" (trial {status.best_trial})"
    left_s = seconds_left(status)
    left = "" if left_s is None else f"{estimate(left_s)} left"
    left = left if status.trials_done < status.trials_total else "done"
    elapsed = f"{duration((status.now_ms - status.started_at_ms) / 1000)} elapsed"
    parts = [one_line(status.study), trials, best + holder, left, *_endings(status), elapsed]
    after_left = tuple(range(len(parts) - 1, 3, -1))
    line = _fit(parts, width, dispensable=(*after_left, 0), separator=" · ")
    return _fit([trials, best, left], width, separator=" · ") if line.endswith("…") else line


def heartbeat_line(status: StudyStatus) -> str:
    """The study and all workers on one line of any length, for logs."""
    busy = [f"{one_line(worker.worker)} {_where(worker)}" for worker in status.workers]
    return " · ".join([summary_line(status, width=10_000), *busy])


def trial_line(record: TrialRecord, *, best: bool, metric: str | None = None, width: int = 10_000) -> str:
    """How a trial ended. `best`: no earlier trial is better. `metric`: show its spread over the folds."""
    seconds = sum(fold.train_s for fold in record.folds)
    between = spread([fold.metrics[metric] for fold in record.folds if metric in fold.metrics]) if metric else None
    result = score(record.value) + (f" ± {score(between)}" if between is not None else "")
    params = "  ".join(f"{one_line(name)}={one_line(setting(value))}" for name, value in record.params.items())
    head = f"trial {record.number}"
    if record.state != "complete":
        reason = one_line(record.reason or "")
        told = f"after {_folds(len(record.folds))}" if record.state == "pruned" and not reason else reason
        return _with_room([head, record.state, told], params, width)
    return _with_room([head, f"{result}{' best so far' if best else ''}", duration(seconds)], params, width)


def failure_lines(trial: int | None, reason: str, log_path: str | None, tail: Sequence[str]) -> tuple[str, ...]:
    """Which trial failed and why, the end of the failed rank's log, and the path of the whole log."""
    told = "a worker" if trial is None else f"trial {trial}"
    lines = [line for text in tail for line in printable(text).rstrip("\n").split("\n")]
    log = [f"  │ {line.rstrip().expandtabs(4)}" for line in lines[-TAIL_LINES:]]
    where = [f"  whole log: {log_path}"] if log_path else []
    return (f"{told} failed: {one_line(reason)}", *log, *where)


def _part_of_fold(worker: WorkerStatus) -> float:
    if worker.state != "training" or not worker.epochs or worker.epoch is None:
        return 0.0
    return min(worker.epoch / worker.epochs, 1.0)


def _of(done: int | None, total: int | None) -> str:
    wide = len(str(total)) if total is not None else 1
    return f"{'–' if done is None else done:>{wide}}/{'–' if total is None else total}"


def _bar(worker: WorkerStatus, cells: int = 20) -> str:
    done = ((worker.fold or 1) - 1 + _part_of_fold(worker)) / max(worker.folds, 1)
    full = min(int(done * cells), cells)
    return "━" * full + "╌" * (cells - full)


def _where(worker: WorkerStatus) -> str:
    if worker.state != "training":
        waits = " (waiting for MLflow)" if worker.waits_for is not None else ""
        return worker.state if worker.trial is None else f"{worker.state} trial {worker.trial}{waits}"
    return f"trial {worker.trial} fold {worker.fold}/{worker.folds}"


def _folds(count: int) -> str:
    return "1 fold" if count == 1 else f"{count} folds"


def _endings(status: StudyStatus) -> Iterable[str]:
    if status.failed:
        yield f"{status.failed} failed"
    if status.pruned:
        yield f"{status.pruned} pruned"
    if status.of_other_code:
        yield f"{status.of_other_code} of other code"


def _fit(parts: Sequence[str], width: int, *, dispensable: Sequence[int] = (), separator: str = "  ") -> str:
    """Join the non-empty parts; while the line is too wide, leave out dispensable parts, in their order."""
    left_out: set[int] = set()
    for index in (None, *dispensable):
        if index is not None:
            left_out.add(index)
        line = separator.join(part for place, part in enumerate(parts) if part and place not in left_out)
        if len(line) <= width:
            return line.rstrip()
    return _cut(line, width)


def _with_room(parts: Sequence[str], rest: str, width: int) -> str:
    """The parts, and as much of the rest as fits, unless that is too little."""
    line = _fit(parts, width)
    room = width - len(line) - 2
    return f"{line}  {_cut(rest, room)}" if rest and room >= min(len(rest), 16) else line


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"
