"""What every platform's tracking stack promises where the platform itself is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import UnavailableError
from winnow.config.settings import Settings
from winnow.platforms.stack import Stack
from winnow.platforms.table import platform_for

ROOT = Path(__file__).parents[2]
GIVEN = {
    "MLFLOW_ARTIFACTS_DESTINATION": "s3://mine",
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "hidden-key",
    "MLFLOW_BACKEND_STORE_URI": "postgresql://me:hidden-password@db/mlflow",
}


@pytest.fixture(params=["docker", "kubernetes"])
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def stack(platform: str, tmp_path: Path) -> Stack:
    """A stack whose engine does not answer, or whose cluster is not configured."""
    away = {"DOCKER_HOST": "tcp://127.0.0.1:1", "KUBECONFIG": str(tmp_path / "none")}
    settings = Settings(tmp_path / "home", "", "", "", "")
    given = {**GIVEN, "WINNOW_ENV_FILE": str(tmp_path / "stack.env")}
    return platform_for(platform, settings, away).stack(given, folder=ROOT, say=lambda _line: None)


def test_a_plan_that_is_only_shown_needs_no_platform_and_says_what_it_lacks(
    stack: Stack, platform: str, tmp_path: Path
) -> None:
    plan = stack.plan(is_dry_run=True)
    assert plan.record.platform == platform
    assert {"MLflow", "Secrets"} <= plan.endpoints.keys()
    assert plan.unknown and all(fact and "\n" not in fact for fact in plan.unknown)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_shows_no_secret(stack: Stack) -> None:
    assert "hidden" not in stack.plan(is_dry_run=True).render()


def test_a_plan_to_start_needs_the_platform(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        stack.plan()
    with pytest.raises(UnavailableError):
        stack.plan_end(volumes=False)
    assert list(tmp_path.iterdir()) == []
