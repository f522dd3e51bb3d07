"""Whose a stack on Docker is, decided from what the engine and this folder say."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_owner import check_start, other_folder, refusal_to_end, ways_to_stop
from winnow.platforms.docker.stack_plan import Project
from winnow.platforms.stack_variables import SECRETS

OPENS = EnvFile(block=dict.fromkeys(SECRETS, "a-password"))
VOLUMES = ["winnow_minio", "winnow_postgres"]


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The environment file of the folder that made the stack."""
    (tmp_path / "first").mkdir()
    file = tmp_path / "first" / ".env"
    file.touch()
    return file


def _project(folder: Path) -> Project:
    return Project("winnow", folder / "compose.yaml", folder / ".env")


def test_a_stack_belongs_to_the_folder_whose_environment_file_opens_it(first: Path, tmp_path: Path) -> None:
    second = _project(tmp_path / "second")
    assert other_folder(_project(first.parent), first, VOLUMES, OPENS) == ""
    # Also where that file was lost: its containers still name it.
    assert other_folder(_project(first.parent), first, VOLUMES, None) == ""
    for file in (None, OPENS):  # a copy of the folder has the secrets, too
        assert other_folder(second, first, VOLUMES, file) == f"{first.parent}, which opens it with its .env"


def test_a_folder_that_was_moved_keeps_its_stack(tmp_path: Path) -> None:
    moved = _project(tmp_path / "moved")
    gone = tmp_path / "before" / ".env"
    assert other_folder(moved, gone, VOLUMES, OPENS) == ""
    assert other_folder(moved, gone, VOLUMES, None) == f"{gone.parent}, which opens it with its .env"


def test_volumes_without_containers_belong_to_the_folder_that_has_their_secrets(tmp_path: Path) -> None:
    project = _project(tmp_path)
    assert (other_folder(project, None, VOLUMES, OPENS), other_folder(project, None, [], None)) == ("", "")
    assert other_folder(project, None, VOLUMES, None) == (
        f"another folder, or a lost environment file: {tmp_path}/.env does not open winnow_minio, winnow_postgres"
    )


def test_a_second_folder_is_told_whose_a_stack_is_and_how_to_have_its_own(first: Path, tmp_path: Path) -> None:
    second = _project(tmp_path / "Second try")
    with pytest.raises(InputError) as refused:
        check_start(second, first, VOLUMES, None)
    assert str(refused.value) == (
        f"the stack 'winnow': expected none of that name, or one that {second.env_file} opens, found one of "
        f"{first.parent}, which opens it with its .env. Choose another name and free ports for a stack of this folder: "
        "`make mlflow-init WINNOW_PROJECT=winnow-second-try MLFLOW_PORT=5501 POSTGRES_PORT=5533`."
    )
    with pytest.raises(InputError, match=r"WINNOW_PROJECT=winnow-second-try WINNOW_ENV_FILE=\.env\.winnow-second-try "):
        check_start(second, first, VOLUMES, OPENS)
    check_start(_project(first.parent), first, VOLUMES, OPENS)


def test_removing_a_stack_of_another_folder_is_refused(first: Path, tmp_path: Path) -> None:
    second = _project(tmp_path / "second")
    refusal = str(refusal_to_end(second, other_folder(second, first, VOLUMES, None)))
    assert f"found one of {first.parent}, which opens it with its .env. " in refusal and "FORCE=1" in refusal
    assert refusal_to_end(second, "") is None


def test_what_uses_a_stack_is_stopped_by_the_verb_of_its_kind() -> None:
    airflow, monitoring = {"winnow.airflow": "/home/me"}, {"winnow.monitoring": "/home/me/deployments"}
    study, served = {"winnow.study": "shop-2"}, {"winnow.deployment": "shop"}
    assert ways_to_stop([airflow, airflow, monitoring, study, served, {}]) == [
        "`make airflow-remove`",
        "`make monitoring-remove`",
        "`make cancel STUDY=shop-2`",
        "`make prod-remove NAME=shop`",
        "`docker stop` for those that winnow has not started",
    ]
