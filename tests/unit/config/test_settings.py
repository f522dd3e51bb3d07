"""Where winnow keeps things."""

import contextlib
import json
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord, StackRecord, read_stack, render


def test_everything_lies_below_the_working_directory_by_default(tmp_path: Path) -> None:
    home = tmp_path / ".winnow"
    with contextlib.chdir(tmp_path):
        settings = Settings.from_environment({})
    runs, studies = f"sqlite:///{home}/mlflow.db", f"sqlite:///{home}/studies.db"
    assert settings == Settings(home, runs, studies, worker_tracking_uri=runs, worker_storage_url=studies)
    assert settings.artifact_root == home / "artifacts"


def test_an_empty_variable_counts_as_unset() -> None:
    empty = {"WINNOW_HOME": "", "MLFLOW_TRACKING_URI": "", "WINNOW_STORAGE": ""}
    assert Settings.from_environment(empty) == Settings.from_environment({})


def test_the_environment_names_places_and_addresses() -> None:
    settings = Settings.from_environment(
        {
            "WINNOW_HOME": "/srv/w",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "WINNOW_STORAGE": "postgresql://db/studies",
        }
    )
    assert settings == Settings(
        Path("/srv/w"),
        "http://mlflow:5000",
        "postgresql://db/studies",
        worker_tracking_uri="http://mlflow:5000",
        worker_storage_url="postgresql://db/studies",
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WINNOW_HOME", "/srv/what?"),
        ("WINNOW_HOME", "/srv/a#b"),
        ("WINNOW_STORAGE", "studies.db"),
        ("WINNOW_STORAGE", "nonsense://me:hidden@db"),
    ],
)
def test_a_place_that_no_url_can_hold_is_refused(variable: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        Settings.from_environment({variable: value})
    assert refused.value.place == variable
    assert "hidden" not in str(refused.value)


def test_making_settings_creates_nothing(tmp_path: Path) -> None:
    Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})
    assert list(tmp_path.iterdir()) == []


def stack_in(folder: Path, **changes: str | None) -> StackRecord:
    """A stack that is in use by the home `folder`, with its secrets beside it."""
    record = StackRecord(
        **{
            "project": "winnow",
            "network": "winnow_inside",
            "compose_file": "/srv/compose.yaml",
            "env_file": str(folder / ".env"),
            "tracking_url": "http://127.0.0.1:5500",
            "worker_tracking_url": "http://mlflow:5000",
            "storage_url": "postgresql+psycopg://winnow@127.0.0.1:5532/winnow",
            "worker_storage_url": "postgresql+psycopg://winnow@postgres:5432/winnow",
            **changes,
        }
    )
    (folder / "stack.json").write_text(render(record))
    (folder / ".env").write_text("WINNOW_DB_PASSWORD=hidden-one\nWINNOW_STORAGE=postgresql://me:hidden-two@db/own\n")
    return record


STUDIES, INSIDE = (
    "postgresql+psycopg://winnow:hidden-one@127.0.0.1:5532/winnow",
    "postgresql+psycopg://winnow:hidden-one@postgres:5432/winnow",
)


def test_a_stack_is_used_by_terminal_and_workers_at_their_own_addresses(tmp_path: Path) -> None:
    record = stack_in(tmp_path)
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert settings == Settings(
        tmp_path, "http://127.0.0.1:5500", STUDIES, "http://mlflow:5000", INSIDE, "winnow_inside", record
    )
    assert settings.store == "the stack at http://127.0.0.1:5500 (`make mlflow-remove` ends it)"


def test_a_database_of_one_s_own_is_taken_from_the_environment_file(tmp_path: Path) -> None:
    stack_in(tmp_path, storage_url=None, worker_storage_url=None)
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert settings.storage_url == settings.worker_storage_url == "postgresql://me:hidden-two@db/own"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (
            {"MLFLOW_TRACKING_URI": "http://mine:1"},
            ("http://mine:1", "http://mine:1", STUDIES, INSIDE),
        ),
        (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5500/"},
            ("http://127.0.0.1:5500", "http://mlflow:5000", STUDIES, INSIDE),
        ),
        (
            {"WINNOW_STORAGE": "postgresql://me@db/w"},
            ("http://127.0.0.1:5500", "http://mlflow:5000", "postgresql://me@db/w", "postgresql://me@db/w"),
        ),
        (
            {"WINNOW_WORKER_TRACKING_URI": "http://proxy:1", "WINNOW_WORKER_STORAGE": "postgresql://proxy/w"},
            ("http://127.0.0.1:5500", "http://proxy:1", STUDIES, "postgresql://proxy/w"),
        ),
    ],
)
def test_what_is_set_wins_over_the_stack_and_the_rest_is_the_stack_s(
    tmp_path: Path, given: dict[str, str], used: tuple[str, ...]
) -> None:
    stack_in(tmp_path)
    found = Settings.from_environment({"WINNOW_HOME": str(tmp_path), **given})
    assert (found.tracking_uri, found.worker_tracking_uri, found.storage_url, found.worker_storage_url) == used
    assert found.store is not None


def test_a_store_that_is_only_half_the_stack_s_is_said_without_its_password(tmp_path: Path) -> None:
    stack_in(tmp_path)
    settings = Settings.from_environment(
        {"WINNOW_HOME": str(tmp_path), "WINNOW_STORAGE": "postgresql://me:hidden@db/w"}
    )
    assert settings.store == "runs in the stack at http://127.0.0.1:5500, studies in postgresql://me:***@db/w"


def test_a_stack_whose_secrets_are_gone_is_one_error_unless_they_are_not_needed(tmp_path: Path) -> None:
    stack_in(tmp_path)
    (tmp_path / ".env").unlink()
    with pytest.raises(InputError, match="mlflow-remove") as refused:
        Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert refused.value.place == str(tmp_path / ".env")
    Settings.from_environment({"WINNOW_HOME": str(tmp_path), "WINNOW_STORAGE": "sqlite:////srv/s.db"})


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"project": "winnow"})])
def test_a_record_that_is_none_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(InputError, match="mlflow-init"):
        Settings.from_environment({"WINNOW_HOME": str(tmp_path)})


def test_settings_are_shown_without_passwords(tmp_path: Path) -> None:
    stack_in(tmp_path)
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert "hidden" not in repr(settings)
    assert "postgresql+psycopg://winnow:***@127.0.0.1:5532/winnow" in repr(settings)


IN_CLUSTER = ClusterStackRecord(
    context="a-cluster",
    namespace="ml",
    tracking_url="http://winnow-mlflow.ml.svc:5000",
    storage_url="postgresql+psycopg://winnow@winnow-postgres.ml.svc:5432/winnow",
)


def test_the_addresses_of_a_stack_on_a_cluster_are_those_inside(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(render(IN_CLUSTER))
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    inside = IN_CLUSTER.tracking_url, IN_CLUSTER.storage_url
    assert settings == Settings(tmp_path, *inside, *inside, None, IN_CLUSTER)
    assert settings.store == (
        "the stack in namespace ml of the cluster a-cluster (`make mlflow-remove PLATFORM=kubernetes` ends it)"
    )


def test_what_is_set_wins_over_a_stack_on_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text(render(IN_CLUSTER))
    given = {"MLFLOW_TRACKING_URI": "http://mine:1", "WINNOW_WORKER_STORAGE": "postgresql://elsewhere/w"}
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path), **given})
    assert (settings.tracking_uri, settings.worker_tracking_uri) == ("http://mine:1", "http://mine:1")
    assert (settings.storage_url, settings.worker_storage_url) == (IN_CLUSTER.storage_url, "postgresql://elsewhere/w")


def test_a_record_s_kind_tells_a_stack_on_a_cluster_from_one_on_docker(tmp_path: Path) -> None:
    assert read_stack(tmp_path) is None
    for record in (IN_CLUSTER, stack_in(tmp_path)):
        (tmp_path / "stack.json").write_text(render(record))
        assert read_stack(tmp_path) == record
