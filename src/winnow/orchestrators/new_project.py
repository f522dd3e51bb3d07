"""Make a project folder outside the clone: stubs of an experiment, and a Makefile that calls this winnow.

The files are those in `starter/`, with the name of the study and the address of this winnow put in. The Makefile's
targets are `starter/targets.mk`, which the clone's Makefile includes.
"""

from __future__ import annotations

import re
import shlex
import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.names import LONGEST_STUDY, check_study_name
from winnow.config.private import share
from winnow.config.reference import SCHEMA_FILE, experiment_schema

STARTER = Path(__file__).parent / "starter"


@dataclass(frozen=True)
class NewProject:
    """A project folder that was made.

    Attributes:
        folder: its absolute path.
        name: the name of its experiment.
        files: paths of the files in it, relative to the folder.
    """

    folder: Path
    name: str
    files: tuple[Path, ...]


def make_project(folder: Path, name: str | None = None) -> NewProject:
    """Write the files of a new project. See `winnow.api.init`."""
    folder = folder.expanduser().absolute()
    chosen = name_of(folder) if name is None else check_study_name(name, "--name")
    files = project_files(chosen, this_winnow())
    taken = [file for file in files if (folder / file).exists() or (folder / file).is_symlink()]
    if taken:
        raise InputError(
            str(folder),
            expected="a folder without the files that a new project gets",
            found=", ".join(taken),
            remedy="Name another folder, or move these away. Nothing was written.",
        )
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
        share(folder / file)
    if is_new:
        share(folder)
    return NewProject(folder, chosen, tuple(map(Path, files)))


def project_files(name: str, winnow: str) -> Mapping[str, str]:
    """The texts of a project's files, by their names.

    Args:
        name: the experiment's name.
        winnow: the command that the Makefile calls, as a shell takes it.
    """
    texts = {file.name: file.read_text(encoding="utf-8") for file in STARTER.iterdir() if file.is_file()}
    return {
        "experiment.yaml": re.sub(r"^name: NAME +", f"name: {name}  ", texts["experiment.yaml"], flags=re.MULTILINE),
        "data.py": texts["data.py"],
        "model.py": texts["model.py"],
        "Makefile": texts["Makefile"].replace("@WINNOW@", _in_make(winnow)) + texts["targets.mk"],
        ".gitignore": texts["gitignore"],
        ".dockerignore": texts["dockerignore"],
        SCHEMA_FILE: experiment_schema(),
    }


def name_of(folder: Path) -> str:
    """A study's name that is like a folder's."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", folder.name) if not unicodedata.combining(each))
    name = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:LONGEST_STUDY].strip("-")
    return name or "my-project"


def this_winnow() -> str:
    """The command of the winnow that runs, as a shell takes it: its console script, else its interpreter."""
    script = Path(sys.executable).with_name("winnow")
    return shlex.quote(str(script)) if script.is_file() else f"{shlex.quote(sys.executable)} -m winnow"


def _in_make(text: str) -> str:
    return text.replace("$", "$$").replace("#", "\\#")
