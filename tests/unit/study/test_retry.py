"""What is waited for, and what is not."""

from __future__ import annotations

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError

from winnow.study.database import Database
from winnow.study.retry import Retry, StudyUnreachableError

AWAY = OperationalError("SELECT 1", {}, Exception("the server closed the connection"))
LOST = PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
REFUSED = IntegrityError("INSERT", {}, Exception("there already"))


class Study:
    """Answers once `errors` are used up."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0

    def answer(self, value: int) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return value


def as_optuna_raises(error: Exception) -> StorageInternalError:
    raised = StorageInternalError("an exception is raised")
    raised.__cause__ = error
    return raised


def test_a_study_that_is_away_is_asked_again() -> None:
    study = Study(AWAY, as_optuna_raises(AWAY), as_optuna_raises(LOST))
    assert Retry(10.0)(study.answer, 7) == 7
    assert study.calls == 4


def test_a_database_that_has_yet_to_come_up_is_waited_for() -> None:
    with pytest.raises(StudyUnreachableError, match="port 1 failed: Connection refused"):
        Retry(0.1)(Database, "postgresql://me:s3cret@127.0.0.1:1/studies")


def test_a_study_that_stays_away_is_one_error_for_a_person() -> None:
    with pytest.raises(StudyUnreachableError, match="the server closed the connection"):
        Retry(0.1)(Study(AWAY, AWAY, AWAY).answer, 7)


@pytest.mark.parametrize("error", [REFUSED, as_optuna_raises(REFUSED), ValueError("no")])
def test_what_the_study_refuses_is_not_tried_again(error: Exception) -> None:
    study = Study(error)
    with pytest.raises(type(error)):
        Retry(10.0)(study.answer, 7)
    assert study.calls == 1


def test_a_wait_can_be_ended() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Retry(10.0, stop)(Study(AWAY).answer, 7)
