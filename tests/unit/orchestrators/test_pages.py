"""MLflow's own pages: which command shows them, and on which port."""

import socket
import sys
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.pages import HOST, free_port, plan


def test_the_pages_show_the_settings_store_on_this_machine_only(tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    (tmp_path / "mlflow.db").touch()
    assert plan(settings, 5001) == [
        *(sys.executable, "-P", "-m", "mlflow", "ui"),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"),
        *("--default-artifact-root", f"{tmp_path}/artifacts"),
        *("--host", "127.0.0.1", "--workers", "1", "--port", "5001"),
    ]


def test_pages_without_a_database_are_refused_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        plan(Settings.from_environment({"WINNOW_HOME": str(tmp_path)}), 5001)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_refused_where_it_was_asked_for() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with pytest.raises(InputError):
            free_port(taken.getsockname()[1])


def test_without_a_wish_some_port_is_found() -> None:
    assert 0 < free_port(None) < 65536
