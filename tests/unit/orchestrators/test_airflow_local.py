from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.tools import TOOLS
from winnow.orchestrators.airflow import plan
from winnow.platforms.airflow_stack import AirflowRequest

ROOT = Path(__file__).parents[3]


def project(folder: Path, *, has_tool: bool = True) -> dict[str, str]:
    """A project with a folder of DAGs, and an environment with a tool that looks installed."""
    (folder / "airflow/dags").mkdir(parents=True)
    if has_tool:
        tool = folder / "tools/airflow"
        (tool / "bin").mkdir(parents=True)
        (tool / "bin/python").touch()
        (tool / ".ready").write_text("\n".join(TOOLS["airflow"]))
    return {"WINNOW_HOME": str(folder / "home"), "WINNOW_TOOLS": str(folder / "tools"), "PATH": "/bin"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_plan_says_where_everything_is_and_makes_nothing(tmp_path: Path) -> None:
    environment, port = project(tmp_path), free_port()
    made = plan(AirflowRequest(port, 3), folder=tmp_path, environment=environment)
    home, tool = tmp_path / "home/airflow/standalone", tmp_path / "tools/airflow/bin"
    winnow = Path(sys.executable).with_name("winnow")
    assert made.variables == {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(ROOT / "airflow/config/airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "airflow/dags"),
        "PYTHONPATH": str(ROOT / "airflow/plugins"),
        "AIRFLOW__CORE__PARALLELISM": "3",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": "0",
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": "0",
        "AIRFLOW_CONN_WINNOW_DEFAULT": '{"conn_type": "generic", "extra": '
        f'{{"project": "{tmp_path}", "winnow": "{winnow}"}}}}',
        "PATH": f"{tool}:/bin",
    }
    assert made.command == (str(tool / "airflow"), "standalone")
    assert not (tmp_path / "home").exists()


def test_what_is_missing_is_one_error_with_a_remedy(tmp_path: Path) -> None:
    environment = project(tmp_path, has_tool=False)
    with pytest.raises(InputError, match="install-tool"):
        plan(AirflowRequest(free_port()), folder=tmp_path, environment=environment)
    with pytest.raises(InputError, match="expected the folder of the project's DAGs"):
        plan(AirflowRequest(free_port()), Path("elsewhere"), folder=tmp_path, environment=environment)


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    environment = project(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(InputError, match=f"Choose another: .*{port + 1}"):
            plan(AirflowRequest(port), folder=tmp_path, environment=environment)
