"""What a deployer on a cluster does while the API does not answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.platforms.kubernetes.passing_time import Time
from winnow.config.errors import UnreachableError
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.refusals import SILENT_S


def silent_until(time: Time, answers_at: float) -> Callable[[], str]:
    def step() -> str:
        if time.now_s < answers_at:
            raise UnreachableError("no answer")
        return "done"

    return step


def test_a_step_is_repeated_while_an_api_that_has_answered_before_is_away() -> None:
    time = Time()
    deployer = KubernetesDeployer(Path("home"), clock=time.clock())
    assert deployer.insist(silent_until(time, 0)) == "done"
    assert deployer.insist(silent_until(time, 60)) == "done"
    assert 60 <= time.now_s < 62
    with pytest.raises(UnreachableError):
        deployer.insist(silent_until(time, time.now_s + 2 * SILENT_S))


def test_an_api_that_has_never_answered_is_reported_at_once() -> None:
    time = Time()
    with pytest.raises(UnreachableError):
        KubernetesDeployer(Path("home"), clock=time.clock()).insist(silent_until(time, 60))
    assert time.now_s == 0
