"""Where winnow keeps things."""

from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.settings import Settings


def test_everything_lies_below_the_working_directory_by_default() -> None:
    home = Path.cwd() / ".winnow"
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
        ("WINNOW_STORAGE", "nonsense://db"),
    ],
)
def test_a_place_that_no_url_can_hold_is_refused(variable: str, value: str) -> None:
    with pytest.raises(InputError) as refused:
        Settings.from_environment({variable: value})
    assert refused.value.place == variable


def test_making_settings_creates_nothing(tmp_path: Path) -> None:
    Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})
    assert list(tmp_path.iterdir()) == []
