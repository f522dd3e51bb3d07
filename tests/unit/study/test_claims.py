"""Of all processes that share a study database, one holds a claim."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.study.studies import url
from winnow.study.claims import ClaimLostError, claimed
from winnow.study.database import Database


def test_of_many_machines_one_holds_a_claim(tmp_path: Path) -> None:
    Database(url(tmp_path), create=True)

    def take(machine: int) -> str | None:
        with claimed(Database(url(tmp_path)), "retrain:churn", f"machine {machine}") as claim:
            time.sleep(0.5)
            return claim.other

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(take, range(8)))
    (winner,) = (machine for machine, other in enumerate(found) if other is None)
    assert found == [None if machine == winner else f"machine {winner}" for machine in range(8)]


def test_a_claim_is_free_when_its_holder_is_done_or_for_another_purpose(tmp_path: Path) -> None:
    database = Database(url(tmp_path), create=True)
    with (
        claimed(database, "retrain:churn", "a") as first,
        claimed(database, "retrain:other", "b") as second,
        claimed(database, "retrain:churn", "b") as third,
    ):
        pass
    with claimed(database, "retrain:churn", "b") as later:
        pass
    assert [each.other for each in (first, second, third, later)] == [None, None, "a", None]


def test_the_claim_of_a_dead_machine_runs_out_and_its_own_machine_takes_it_at_once(tmp_path: Path) -> None:
    database = Database(url(tmp_path), create=True)

    def left_by(owner: str, ttl_s: float) -> None:
        with database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM winnow_claims")
            expires_at = database.now(connection) + ttl_s
            connection.exec_driver_sql("INSERT INTO winnow_claims VALUES ('retrain:churn', ?, ?)", (owner, expires_at))

    def taken_by(owner: str) -> str | None:
        with claimed(database, "retrain:churn", owner) as claim:
            return claim.other

    left_by("a", 60.0)
    others = taken_by("b"), taken_by("a")
    left_by("a", -0.001)
    assert (*others, taken_by("b")) == ("a", None, None)


def test_a_claim_is_renewed_while_it_is_held(tmp_path: Path) -> None:
    database = Database(url(tmp_path), create=True)
    with claimed(database, "retrain:churn", "a", ttl_s=0.4) as claim:
        time.sleep(1.0)
        with claimed(Database(url(tmp_path)), "retrain:churn", "b", ttl_s=0.4) as other:
            assert other.other == "a"
        claim.check()


def test_a_holder_whose_claim_another_took_is_told(tmp_path: Path) -> None:
    database = Database(url(tmp_path), create=True)
    with claimed(database, "retrain:churn", "a", ttl_s=0.4) as claim:
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE winnow_claims SET owner = 'b', expires_at = expires_at + 60")
        time.sleep(0.4)
        with pytest.raises(ClaimLostError):
            claim.check()
    with claimed(database, "retrain:churn", "c") as later:
        assert later.other == "b"
