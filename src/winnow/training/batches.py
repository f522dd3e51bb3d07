"""Which rows a rank runs in each step: planned once per training, before the first step.

Knowing every batch's size beforehand is what makes the weights right: a row counts 1/(rows of its optimizer step)
whatever rank it is on, so that ragged last batches, uneven shards and accumulated batches give the gradient of one
process that holds all the rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """A rank's part of one batch.

    Attributes:
        start, stop: positions in the epoch's order; never empty, since a rank without rows must still take part in the
            exchange of gradients and so runs one row that does not count.
        real: how many of the rows from `start` on count.
    """

    start: int
    stop: int
    real: int


@dataclass(frozen=True)
class Step:
    """One optimizer step: this rank's shards of its batches, and the rows of all ranks in them."""

    shards: tuple[Shard, ...]
    rows: int


def plan_steps(rows: int, batch_size: int, accumulation: int, rank: int, world_size: int) -> tuple[Step, ...]:
    """The steps of one epoch over `rows` rows, in batches of `batch_size` over all ranks.

    The last batch may have fewer rows, and the last step fewer batches than `accumulation`.
    """
    batches = [(start, min(start + batch_size, rows)) for start in range(0, rows, batch_size)]
    groups = [batches[first : first + accumulation] for first in range(0, len(batches), accumulation)]
    return tuple(
        Step(tuple(_shard(*batch, rank, world_size) for batch in group), group[-1][1] - group[0][0]) for group in groups
    )


def _shard(start: int, stop: int, rank: int, world_size: int) -> Shard:
    """An even share of a batch: sizes differ by at most one row."""
    rows = stop - start
    first, end = start + rows * rank // world_size, start + rows * (rank + 1) // world_size
    return Shard(first, end, end - first) if end > first else Shard(start, start + 1, 0)
