"""Make a project folder, the schema of its file, and the tools that it needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent
from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.tools import TOOLS, tool_folder

if TYPE_CHECKING:
    from winnow.orchestrators.new_project import NewProject


def init(folder: Path | str = Path(), *, name: str | None = None) -> NewProject:
    """Make a project folder: an experiment file, a data function, a model, a Makefile and what git ignores.

    The project works anywhere and stores everything in its own `.winnow`. Its Makefile has the targets of the clone and
    calls the winnow that runs this function.

    Args:
        folder: the folder, which is created if it is missing; by default the working directory.
        name: name of the experiment; by default like the folder's.

    Returns:
        The folder and the files in it.

    Raises:
        InputError: the folder has a file of such a name, which would be overwritten; nothing was written.
    """
    from winnow.orchestrators.new_project import make_project

    return make_project(Path(folder), name)


def schema() -> str:
    """The JSON schema of experiment files, as text, for editors that complete and check them."""
    from winnow.config.reference import experiment_schema

    return experiment_schema()


def feature_server(config: Path | str, *, host: str = "127.0.0.1", port: int = 6566) -> list[str]:
    """The command that starts Feast's feature server on the repository of `data.source: feast:REPOSITORY#SERVICE`.

    Args:
        host, port: the address to listen on.

    Raises:
        InputError: the file or its source is wrong, `feast apply` was not called, or Feast is not installed.
    """
    from winnow.config.loader import load_experiment, located

    experiment = load_experiment(Path(config))
    from winnow.config.settings import home_folder
    from winnow.orchestrators import feast_source

    with located(Path(config)):
        return feast_source.feature_server(experiment.data, home_folder(os.environ), host, port)


def install_tool(tool: str, *, say: Callable[[str], None] = silent) -> Path:
    """Install a tool that winnow calls as a process.

    Its environment is in the folder WINNOW_TOOLS, by default `tools` in WINNOW_HOME. One that is there and has what
    this version of winnow needs is left as it is; any other is made anew, by `venv` and `pip`.

    Args:
        tool: `airflow`, `audit`, `dvc`, `evidently`, `feast` or `spark`.

    Returns:
        The environment's interpreter.

    Raises:
        InputError: there is no such tool, or it cannot be installed.
    """
    if tool not in TOOLS:
        raise InputError(
            "install-tool",
            expected=f"one of {', '.join(TOOLS)}",
            found=f"'{tool}'",
            remedy=did_you_mean(tool, TOOLS) or "Name one of them.",
        )
    from winnow.config.private import make_home
    from winnow.config.settings import home_folder
    from winnow.orchestrators import install_tool as orchestrator

    home = home_folder(os.environ)
    make_home(home)
    return orchestrator.install_tool(tool_folder(tool, home), TOOLS[tool], say)
