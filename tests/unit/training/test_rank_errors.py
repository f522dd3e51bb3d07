"""The earliest record names the guilty rank."""

from winnow.training.rank_errors import RankError, clear_errors, guilty_rank, write_error


def _error(rank: int, at_ns: int) -> RankError:
    return RankError(kind="exception", reason=f"rank {rank}", detail="", rank=rank, trial=3, fold=1, at_ns=at_ns)


def test_the_rank_that_failed_first_is_the_guilty_one(tmp_path):
    write_error(tmp_path, _error(0, at_ns=20))
    write_error(tmp_path, _error(1, at_ns=10))
    assert guilty_rank(tmp_path) == _error(1, at_ns=10)


def test_a_killed_rank_leaves_no_record(tmp_path):
    assert guilty_rank(tmp_path) is None


def test_a_new_world_starts_without_the_records_of_the_old_one(tmp_path):
    write_error(tmp_path, _error(0, at_ns=20))
    clear_errors(tmp_path)
    assert guilty_rank(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
