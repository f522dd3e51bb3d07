from __future__ import annotations

from pathlib import Path

import pytest

from winnow.platforms.docker.requirements import main

PYPROJECT = """
[project]
name = "example"
dependencies = ["mlflow>=3,<4", "mlflow-skinny", "torch"]
[project.optional-dependencies]
postgres = ["psycopg[binary]>=3.2"]
gcs = ["storage", "torch"]
"""


@pytest.fixture
def pyproject(tmp_path: Path) -> str:
    file = tmp_path / "pyproject.toml"
    file.write_text(PYPROJECT)
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--dependencies"], ["mlflow>=3,<4", "mlflow-skinny", "torch"]),
        (["--only", "mlflow", "--extras", "postgres,"], ["mlflow>=3,<4", "psycopg[binary]>=3.2"]),
        (["--dependencies", "--extras", "gcs"], ["mlflow>=3,<4", "mlflow-skinny", "torch", "storage"]),
        (["--extras", "gcs, postgres"], ["storage", "torch", "psycopg[binary]>=3.2"]),
    ],
)
def test_each_requirement_is_printed_once(
    pyproject: str, arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([pyproject, *arguments]) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extras", "azure"], "error: extra 'azure': the project has gcs, postgres\n"),
        (["--only", "numpy"], "error: dependency 'numpy': the project has mlflow, mlflow-skinny, torch\n"),
    ],
)
def test_an_unknown_name_is_an_error(
    pyproject: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([pyproject, *arguments]) == 2
    assert capsys.readouterr() == ("", message)
