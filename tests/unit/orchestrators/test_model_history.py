"""What a driver adds to the history of models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.orchestrators.serving import lose_stack
from winnow.orchestrators.drive import Moved
from winnow.orchestrators.model_history import into_history, records_of
from winnow.routing import (
    Record,
    Rejected,
    Release,
    ReplicaSettings,
    Revision,
    Rollout,
    RolloutState,
    Route,
    Scale,
)
from winnow.tracking.history import RejectedRecord, RolloutRecord

REVISIONS = tuple(
    Revision(number, Release("wine", str(number), "d", Path("b")), ReplicaSettings(), Scale(1)) for number in (1, 2)
)
CANARY = Rollout(candidate=2, stable=1, strategy="canary")


def record(stable: int, rollout: Rollout | None = None, rejected: Sequence[Rejected] = ()) -> Record:
    candidate = 2 if rollout is not None and rollout.is_open else None
    route = Route(stable=stable, candidate=candidate)
    return Record("wine", revisions=REVISIONS, route=route, rollout=rollout, rejected=tuple(rejected))


def noted(before: Record, after: Record) -> list[tuple[str, object]]:
    return list(records_of(Moved(before, after, 0.0), "local", "ada"))


def ended(state: RolloutState, reason: str) -> Rollout:
    return Rollout(candidate=2, stable=1, strategy="canary", state=state, reason=reason)


def test_a_first_deployment_replaces_nothing() -> None:
    expected = RolloutRecord("1", "wine", "local", "", "rolling", "promoted", "ada served it")
    assert noted(Record("wine", revisions=REVISIONS), record(1)) == [("wine", expected)]


def test_a_step_of_a_rollout_is_no_record_and_its_end_is_one() -> None:
    assert noted(record(1), record(1, CANARY)) == []
    after = record(2, ended(RolloutState.PROMOTED, "All steps passed."))
    expected = RolloutRecord("2", "wine", "local", "1", "canary", "promoted", "All steps passed.")
    assert noted(record(1, CANARY), after) == [("wine", expected)]


def test_an_aborted_rollout_is_a_rejection_and_a_rollout() -> None:
    rejected = Rejected("wine", "2", "d", 5.0, "its errors")
    after = record(1, ended(RolloutState.ABORTED, "Errors."), [rejected])
    assert noted(record(1, CANARY), after) == [
        ("wine", RejectedRecord("2", "wine", "its errors")),
        ("wine", RolloutRecord("2", "wine", "local", "1", "canary", "aborted", "Errors.")),
    ]


def test_a_rollback_says_which_version_was_sent_away_and_why() -> None:
    rejected = Rejected("wine", "2", "d", 5.0, "ada rolled it back: complaints")
    reason = "version 2 was sent away: ada rolled it back: complaints"
    assert noted(record(2), record(1, rejected=[rejected])) == [
        ("wine", RejectedRecord("2", "wine", "ada rolled it back: complaints")),
        ("wine", RolloutRecord("1", "wine", "local", "2", "rolling", "promoted", reason)),
    ]


def test_a_stack_out_of_reach_is_a_warning_since_the_requests_have_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_stack(tmp_path, monkeypatch)
    said: list[str] = []
    into_history("local", said.append)(Moved(Record("wine", revisions=REVISIONS), record(1), 0.0))
    (line,) = said
    assert line.startswith(f"warning: the history of wine in the registry lacks this: kubeconfig {tmp_path}/none: ")
