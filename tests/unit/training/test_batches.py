"""Steps are planned so that every row counts once, whatever the number of ranks."""

from hypothesis import given
from hypothesis import strategies as st

from winnow.training.loop import Shard, Step, plan_steps

sizes = {
    "rows": st.integers(1, 300),
    "batch_size": st.integers(1, 70),
    "accumulation": st.integers(1, 4),
    "world_size": st.integers(1, 5),
}


@given(**sizes)
def test_every_row_counts_once_over_all_ranks(rows, batch_size, accumulation, world_size):
    ranks = [plan_steps(rows, batch_size, accumulation, rank, world_size) for rank in range(world_size)]
    counted = [
        position
        for steps in ranks
        for step in steps
        for shard in step.shards
        for position in range(shard.start, shard.start + shard.real)
    ]
    assert sorted(counted) == list(range(rows))


@given(**sizes)
def test_all_ranks_take_the_same_steps(rows, batch_size, accumulation, world_size):
    ranks = [plan_steps(rows, batch_size, accumulation, rank, world_size) for rank in range(world_size)]
    shapes = [[(step.rows, len(step.shards)) for step in steps] for steps in ranks]
    assert all(shape == shapes[0] for shape in shapes)
    for together in zip(*ranks, strict=True):
        assert sum(shard.real for step in together for shard in step.shards) == together[0].rows


@given(**sizes)
def test_no_shard_is_empty_and_batches_are_dealt_evenly(rows, batch_size, accumulation, world_size):
    ranks = [plan_steps(rows, batch_size, accumulation, rank, world_size) for rank in range(world_size)]
    for steps in zip(*ranks, strict=True):
        for shards in zip(*(step.shards for step in steps), strict=True):
            assert all(0 <= shard.start < shard.stop <= rows for shard in shards)
            assert max(shard.real for shard in shards) - min(shard.real for shard in shards) <= 1


def test_a_rank_without_rows_runs_one_that_does_not_count():
    assert plan_steps(65, 64, 1, rank=0, world_size=3) == (
        Step((Shard(0, 21, 21),), rows=64),
        Step((Shard(64, 65, 0),), rows=1),
    )
    assert plan_steps(65, 64, 1, rank=2, world_size=3)[1] == Step((Shard(64, 65, 1),), rows=1)


def test_the_last_step_may_hold_fewer_batches():
    steps = plan_steps(10, 2, accumulation=2, rank=0, world_size=1)
    assert [(step.rows, len(step.shards)) for step in steps] == [(4, 2), (4, 2), (2, 1)]
