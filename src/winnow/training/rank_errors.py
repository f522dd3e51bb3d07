"""Record why a rank failed, in `rank-N.error.json` beside its log. The supervisor reads it, so nothing imports torch.

When one rank fails, the others soon fail in a collective. They write no record where they recognize this; the earliest
record names the rank that failed first. Without a record a rank was killed, and the job may be tried again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import msgspec

from winnow.config.atomic_write import replace_bytes


class RankError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a rank ended.

    Attributes:
        reason: one line for people; `detail` is the traceback.
        rank: which one; None where only its machine is known.
        trial, fold: the job it was at; None before the first and, for `fold`, in a refit.
        at_ns: nanoseconds since the epoch.
    """

    kind: Literal["exception", "diverged", "out_of_memory", "export_differs", "other_data", "other_code"]
    reason: str
    detail: str
    rank: int | None
    trial: int | None
    fold: int | None
    at_ns: int = msgspec.field(default_factory=time.time_ns)


def write_error(directory: Path, error: RankError) -> None:
    """Leave the record, whole or not at all."""
    replace_bytes(directory / f"rank-{error.rank}.error.json", msgspec.json.encode(error))


def guilty_rank(directory: Path) -> RankError | None:
    """The record of the rank that failed first, or None where no rank left one (it was killed, for instance)."""
    records = [msgspec.json.decode(path.read_bytes(), type=RankError) for path in directory.glob("rank-*.error.json")]
    return min(records, key=lambda record: record.at_ns, default=None)


def clear_errors(directory: Path) -> None:
    """Remove the records of an earlier world, before a new one starts in the same directory."""
    for path in directory.glob("rank-*.error.json"):
        path.unlink(missing_ok=True)
