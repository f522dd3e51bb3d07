"""Make a project folder, and print the schema of its experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
